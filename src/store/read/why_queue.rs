//! Which rules keep the pending jobs of a queue from running: one look for each kind, and not for each job.

use std::path::Path;

use crate::Result;
use crate::error::Error;
use crate::model::remedy::Remedy;
use crate::model::state::State;
use crate::model::why::{JobsUnderRule, QueueVerdict, Why};
use crate::store::jobs::queues;
use crate::store::read::drivers::PENDING_NEXT_KIND;
use crate::store::read::why::{active_runners, nothing_runs, of_kind};
use crate::store::sqlite::names::{KIND_NAME, find_queue};
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::{Connection, params};

statements! {
    /// By the index alone, up to a limit.
    hot PENDING_UP_TO = "SELECT count(*) FROM (SELECT 1 FROM jobq_job
        WHERE state = 2 AND queue_id = ?1 AND kind_id = ?2 LIMIT ?3)";
}

/// The pending jobs of a kind are counted no further.
const COUNTED: u64 = 10_000;

/// `locks` is the folder of the runners' lock files.
pub(crate) fn why_queue(
    conn: &Connection,
    name: &str,
    (now_ms, locks): (i64, &Path),
) -> Result<QueueVerdict> {
    // One read transaction: the counters and the rows agree.
    let read = conn.unchecked_transaction()?;
    let unknown = || Error::not_found(format!("no queue '{name}'")).with_remedy(Remedy::ListQueues);
    let queue = find_queue(&read, name)?.ok_or_else(unknown)?;
    let counts = queues::list(&read)?
        .into_iter()
        .find(|found| found.name == name)
        .map(|found| found.counts)
        .unwrap_or_default();
    let pending = counts.get(State::Pending);
    let rules = match nothing_runs(&read, queue, name)? {
        _ if pending == 0 => Vec::new(),
        Some(why) => vec![exactly(pending, why)],
        None => rules(&read, (queue, name), (pending, now_ms, locks))?,
    };
    Ok(QueueVerdict {
        queue: name.to_owned(),
        counts,
        rules,
    })
}

fn exactly(jobs: u64, why: Why) -> JobsUnderRule {
    JobsUnderRule {
        jobs,
        is_at_least: false,
        why,
    }
}

/// The rules by kind; kinds under the same rule are one.
fn rules(
    conn: &Connection,
    (queue, name): (i64, &str),
    (pending, now_ms, locks): (u64, i64, &Path),
) -> Result<Vec<JobsUnderRule>> {
    let runners = active_runners(conn, locks)?;
    let mut rules: Vec<JobsUnderRule> = Vec::new();
    let mut kind = i64::MIN;
    let next = |row: &crate::store::sqlite::Row<'_>| row.get(1);
    while let Some(found) = conn.optional(PENDING_NEXT_KIND, [queue, kind], next)? {
        kind = found;
        let jobs: u64 = conn.one(PENDING_UP_TO, params![queue, kind, COUNTED as i64], |row| {
            row.get(0)
        })?;
        let kind_name: String = conn.one(KIND_NAME, [kind], |row| row.get(0))?;
        let why = of_kind(conn, (queue, name), &kind_name, (&runners, now_ms))?;
        let is_at_least = jobs == COUNTED;
        match rules.iter_mut().find(|rule| rule.why == why) {
            Some(rule) => {
                rule.jobs += jobs;
                rule.is_at_least |= is_at_least;
            }
            None => rules.push(JobsUnderRule {
                jobs,
                is_at_least,
                why,
            }),
        }
    }
    complete(&mut rules, pending);
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.jobs));
    Ok(rules)
}

/// Where one number is not known, it is what the others leave of all.
fn complete(rules: &mut [JobsUnderRule], pending: u64) {
    let known: u64 = rules
        .iter()
        .filter(|rule| !rule.is_at_least)
        .map(|rule| rule.jobs)
        .sum();
    let mut unknown = rules.iter_mut().filter(|rule| rule.is_at_least);
    if let (Some(rule), None) = (unknown.next(), unknown.next()) {
        rule.jobs = rule.jobs.max(pending.saturating_sub(known));
        rule.is_at_least = false;
    }
}
