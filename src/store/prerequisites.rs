//! What blocked jobs wait for: edges from a prerequisite to the job that needs it.

use std::collections::{HashMap, HashSet, VecDeque};

use rusqlite::{OptionalExtension, params};

use super::checked::Rules;
use super::ended;
use super::families::{self, Admitted};
use super::head;
use super::links::{Links, link};
use super::statement::statements;
use super::tx::Tx;
use crate::family::{PrerequisiteRule, Release, Step};
use crate::job::JobId;
use crate::state::State;
use crate::{Error, Result};

statements! {
    hot PREREQUISITE_STATE = "SELECT state FROM jobq_job WHERE id = ?1";
    hot EDGE_INSERT = "INSERT INTO jobq_prerequisite (needs_id, job_id, rule, attempt, met) VALUES (?1, ?2, ?3, ?4, ?5)";
    /// A range of the primary key: the jobs that wait for one by some of the rules.
    hot EDGES_FROM = "SELECT job_id, rule FROM jobq_prerequisite
        WHERE needs_id = ?1 AND rule BETWEEN ?2 AND ?3 AND met = 0";
    hot EDGE_MEET_IF_UNMET = "UPDATE jobq_prerequisite SET met = 1
        WHERE needs_id = ?1 AND rule = ?2 AND job_id = ?3 AND met = 0";
    hot JOB_MEET_IF_BLOCKED = "UPDATE jobq_job SET unmet = unmet - 1 WHERE id = ?1 AND state = 1 AND unmet > 0
        RETURNING unmet";
    hot EDGES_UNMET_OF = "SELECT needs_id, rule, attempt FROM jobq_prerequisite WHERE job_id = ?1 AND met = 0";
    hot JOB_SET_UNMET = "UPDATE jobq_job SET unmet = ?2 WHERE id = ?1";
    hot JOB_PARENT = "SELECT parent_id FROM jobq_job WHERE id = ?1 AND parent_id IS NOT NULL";
}

/// The first and the last of the rules that are meant, in the order of their codes.
type RuleRange = (PrerequisiteRule, PrerequisiteRule);

const ANY_RULE: RuleRange = (PrerequisiteRule::Completed, PrerequisiteRule::OwnPart);
const FOR_THE_END: RuleRange = (PrerequisiteRule::Completed, PrerequisiteRule::Final);
const FOR_AN_ATTEMPT: RuleRange = (PrerequisiteRule::Spawned, PrerequisiteRule::Spawned);
const FOR_THE_OWN_PART: RuleRange = (PrerequisiteRule::Spawned, PrerequisiteRule::OwnPart);

/// An edge of a new job.
pub(crate) struct Edge {
    needs: JobId,
    rule: PrerequisiteRule,
    attempt: Option<u32>,
    pub(crate) met: bool,
    /// Why the job can never run: its prerequisite has ended otherwise.
    pub(crate) doom: Option<String>,
}

/// The edges of a new job; unknown prerequisites and cycles are errors.
pub(crate) fn edges(
    tx: &mut Tx<'_>,
    rules: &Rules,
    admitted: Option<&Admitted>,
) -> Result<Vec<Edge>> {
    let mut edges = Vec::with_capacity(rules.prerequisites.len());
    for (needs, rule) in &rules.prerequisites {
        edges.push(edge(tx, *needs, *rule)?);
    }
    let Some(admitted) = admitted else {
        // Nobody waits for a job that is not there yet: without a parent it closes no circle.
        return Ok(edges);
    };
    let mut outside = HashSet::new();
    for edge in edges.iter().filter(|edge| !edge.met) {
        // A sibling was let in without waiting for their parent: it need not be looked at again.
        if parent_of(tx, edge.needs)? != Some(admitted.parent) {
            outside.insert(edge.needs);
        }
    }
    if !outside.is_empty() {
        check_no_cycle(tx, admitted.parent, &outside)?;
    }
    if let Some(held) = &admitted.held_by {
        edges.push(Edge {
            needs: held.job,
            rule: held.rule,
            attempt: held.attempt,
            met: false,
            doom: None,
        });
    }
    if let Some(spawner) = &admitted.spawned_by {
        if edges.iter().any(|edge| edge.needs == spawner.job) {
            return Err(Error::invalid(format!(
                "an attempt of job {} spawns the job, which waits for that attempt already",
                spawner.job
            ))
            .hint("leave out the prerequisite"));
        }
        edges.push(Edge {
            needs: spawner.job,
            rule: PrerequisiteRule::Spawned,
            attempt: Some(spawner.attempt),
            met: false,
            doom: None,
        });
    }
    Ok(edges)
}

fn edge(tx: &Tx<'_>, needs: JobId, rule: PrerequisiteRule) -> Result<Edge> {
    let found: Option<i64> = tx
        .conn
        .prepare_cached(PREREQUISITE_STATE)?
        .query_row([needs.0], |row| row.get(0))
        .optional()?;
    let state = found.and_then(State::from_code).ok_or_else(|| {
        Error::invalid(format!("there is no job {needs} to wait for"))
            .hint("it may have been removed; `jobq list` shows the jobs in the file")
    })?;
    let release = state.is_final().then(|| rule.on_end(state));
    Ok(Edge {
        needs,
        rule,
        attempt: None,
        met: release == Some(Release::Met),
        doom: (release == Some(Release::Cancel)).then(|| doom(needs, state)),
    })
}

fn doom(needs: JobId, state: State) -> String {
    let verb = if state == State::Failed {
        "failed"
    } else {
        "was cancelled"
    };
    format!("job {needs}, which it waits for, {verb}")
}

/// What of a job cannot come before the new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    /// Its end. Its own part may be done, and what waits for no more than that runs.
    End,
    /// Its beginning, and with it everything that waits for any part of it.
    Beginning,
}

/// A child that waits for its parent, or for somebody who waits for that parent, would wait for ever.
/// Looks from the parent upwards: who waits for its end. Its other children wait for its own part only.
fn check_no_cycle(tx: &Tx<'_>, parent: JobId, needs: &HashSet<JobId>) -> Result<()> {
    let mut seen = HashMap::from([(parent, Held::End)]);
    let mut waiting = VecDeque::from([(parent, Held::End)]);
    while let Some((job, held)) = waiting.pop_front() {
        if needs.contains(&job) {
            let how = if job == parent {
                "is its parent".to_owned()
            } else {
                format!("waits for its parent {parent}")
            };
            return Err(Error::invalid(format!(
                "the job would wait for job {job}, which {how}: a cycle, neither would ever run"
            ))
            .hint("leave out the prerequisite or the parent"));
        }
        let rules = match held {
            Held::End => FOR_THE_END,
            Held::Beginning => ANY_RULE,
        };
        let waiting_for = unmet_from(tx, job, rules)?.into_iter();
        let mut found: Vec<(JobId, Held)> = waiting_for
            .map(|(waits, _)| (waits, Held::Beginning))
            .collect();
        found.extend(parent_of(tx, job)?.map(|parent| (parent, Held::End)));
        for (job, held) in found {
            if seen.get(&job).is_none_or(|seen| *seen < held) {
                seen.insert(job, held);
                waiting.push_back((job, held));
            }
        }
    }
    Ok(())
}

fn parent_of(tx: &Tx<'_>, job: JobId) -> Result<Option<JobId>> {
    let mut statement = tx.conn.prepare_cached(JOB_PARENT)?;
    Ok(statement
        .query_row([job.0], |row| row.get(0).map(JobId))
        .optional()?)
}

/// Writes a new job's edges.
pub(crate) fn add(tx: &Tx<'_>, job: JobId, edges: &[Edge]) -> Result<()> {
    for edge in edges {
        tx.conn.prepare_cached(EDGE_INSERT)?.execute(params![
            edge.needs.0,
            job.0,
            edge.rule.code(),
            edge.attempt,
            edge.met
        ])?;
        if !edge.met {
            link(tx, edge.needs, Links::NEEDED)?;
        }
    }
    Ok(())
}

/// A job that others need became final.
pub(crate) fn ended(tx: &mut Tx<'_>, needs: JobId, state: State) -> Result<()> {
    for (job, rule) in unmet_from(tx, needs, ANY_RULE)? {
        match rule.on_end(state) {
            Release::Met => meet(tx, (needs, rule), job)?,
            Release::Cancel => ended::cancel(tx, job, &doom(needs, state))?,
            Release::CallOff => ended::call_off(tx, job, needs)?,
        }
    }
    Ok(())
}

/// A parent's own part is done, by an attempt that has completed.
pub(crate) fn own_part_done(tx: &mut Tx<'_>, parent: JobId) -> Result<()> {
    for (job, rule) in unmet_from(tx, parent, FOR_THE_OWN_PART)? {
        meet(tx, (parent, rule), job)?;
    }
    Ok(())
}

/// An attempt has ended without completing: what it spawned is called off.
pub(crate) fn attempt_undone(tx: &mut Tx<'_>, spawner: JobId) -> Result<()> {
    for (job, _) in unmet_from(tx, spawner, FOR_AN_ATTEMPT)? {
        ended::call_off(tx, job, spawner)?;
    }
    Ok(())
}

/// Who waits for a job by these rules, by age.
fn unmet_from(
    tx: &Tx<'_>,
    needs: JobId,
    (first, last): RuleRange,
) -> Result<Vec<(JobId, PrerequisiteRule)>> {
    let mut statement = tx.conn.prepare_cached(EDGES_FROM)?;
    let mut rows = statement.query([needs.0, first.code(), last.code()])?;
    let mut edges = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(rule) = PrerequisiteRule::from_code(row.get(1)?) {
            edges.push((JobId(row.get(0)?), rule));
        }
    }
    edges.sort_unstable_by_key(|(job, _)| *job);
    Ok(edges)
}

fn meet(tx: &mut Tx<'_>, (needs, rule): (JobId, PrerequisiteRule), job: JobId) -> Result<()> {
    tx.conn
        .prepare_cached(EDGE_MEET_IF_UNMET)?
        .execute([needs.0, rule.code(), job.0])?;
    let left: Option<i64> = tx
        .conn
        .prepare_cached(JOB_MEET_IF_BLOCKED)?
        .query_row([job.0], |row| row.get(0))
        .optional()?;
    if left == Some(0) {
        ended::release(tx, job)?;
    }
    Ok(())
}

/// How many of a job's prerequisites can still be met, as it is put back by hand: what has ended
/// otherwise no longer keeps it, and neither does an own part or an attempt that is over.
pub(crate) fn count_anew(tx: &Tx<'_>, job: JobId) -> Result<i64> {
    let mut unmet = 0;
    let edges: Vec<(i64, i64, Option<u32>)> = {
        let mut statement = tx.conn.prepare_cached(EDGES_UNMET_OF)?;
        let rows =
            statement.query_map([job.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    for (id, rule, attempt) in edges {
        if can_be_met(tx, JobId(id), (PrerequisiteRule::from_code(rule), attempt))? {
            unmet += 1;
            link(tx, JobId(id), Links::NEEDED)?;
        } else {
            tx.conn
                .prepare_cached(EDGE_MEET_IF_UNMET)?
                .execute([id, rule, job.0])?;
        }
    }
    tx.conn
        .prepare_cached(JOB_SET_UNMET)?
        .execute([job.0, unmet])?;
    Ok(unmet)
}

fn can_be_met(
    tx: &Tx<'_>,
    needs: JobId,
    (rule, attempt): (Option<PrerequisiteRule>, Option<u32>),
) -> Result<bool> {
    let Some(head) = head::find(tx.conn, needs)?.filter(|head| !head.state.is_final()) else {
        return Ok(false);
    };
    Ok(match rule {
        Some(PrerequisiteRule::Spawned) => {
            head.state == State::Running && Some(head.attempt) == attempt
        }
        Some(PrerequisiteRule::OwnPart) => {
            families::step(tx.conn, needs, head.links)? == Step::OwnPart
        }
        _ => true,
    })
}
