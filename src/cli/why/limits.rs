//! Limits in words: of queues, of kinds, of concurrency keys.

use jiff::Timestamp;
use jobq::{JobId, Rate, RunnerId, State, Why};

use super::{Told, pending, word};
use crate::cli::output::text::count;
use crate::cli::output::time::{duration, relative, rfc3339};

/// None where the rule is no limit.
pub(super) fn told(id: JobId, why: &Why, now: Timestamp) -> Option<Told> {
    match why {
        Why::QueueAtLimit {
            queue,
            limit,
            running,
            jobs,
        } => Some(of_queue(id, (queue, *limit), (*running, jobs))),
        Why::KindAtLimit {
            kind,
            limits,
            running,
            jobs,
        } => Some(of_kind(id, (kind, limits), (*running, jobs))),
        Why::OutOfResources {
            runner,
            reason,
            running,
        } => Some(short_of(id, *runner, (reason, *running))),
        Why::QueueRate { queue, rate, next } => {
            let next = format!("{} ({})", relative(*next, now), rfc3339(*next));
            Some(of_rate(id, (queue, *rate), &next))
        }
        Why::KeyTaken {
            key,
            places,
            holders,
        } => Some(of_key(id, (key, *places), holders)),
        _ => None,
    }
}

fn short_of(id: JobId, runner: RunnerId, (reason, running): (&str, u64)) -> Told {
    let jobs = count(running, "job");
    let run = if running == 1 { "runs" } else { "run" };
    pending(
        id,
        "out_of_resources",
        &format!("runner {runner} takes fewer jobs at a time ({jobs} {run}): {reason}"),
    )
    .with_hint(
        "it takes more as soon as it can; `ulimit -n` and `ulimit -u` show limits of its process",
    )
}

fn of_queue(id: JobId, (queue, limit): (&str, u32), (running, jobs): (u64, &[JobId])) -> Told {
    let jobs = some_of(running, jobs);
    pending(
        id,
        "queue_limit",
        &format!("queue {queue} is at its limit of {limit}: {jobs}"),
    )
    .with_hint(format!(
        "`jobq queue set {} --concurrency N` changes it",
        word(queue)
    ))
}

fn of_rate(id: JobId, (queue, rate): (&str, Rate), next: &str) -> Told {
    let (jobs, span) = (count(u64::from(rate.jobs), "job"), duration(rate.per));
    pending(
        id,
        "queue_rate",
        &format!("queue {queue} may start {jobs} in {span}: the next {next}"),
    )
    .with_hint(format!(
        "`jobq queue set {} --rate N/DURATION` changes it",
        word(queue)
    ))
}

/// Runners that were started differently have several limits.
fn of_kind(id: JobId, (kind, limits): (&str, &[u64]), (running, jobs): (u64, &[JobId])) -> Told {
    let limits: Vec<String> = limits.iter().map(u64::to_string).collect();
    let (limits, jobs) = (limits.join(" or "), some_of(running, jobs));
    pending(
        id,
        "kind_limit",
        &format!("kind {kind} is at its limit of {limits} in each runner: {jobs}"),
    )
    .with_hint(format!(
        "another runner takes more of them: `jobq run`; a runner that starts reads concurrency in [kinds.{kind}] of jobq.toml"
    ))
}

/// Who holds a place need not run: it may be paused, or nobody handles its kind.
fn of_key(id: JobId, (key, places): (&str, u64), holders: &[(JobId, State)]) -> Told {
    let named = with_states(holders);
    let more = format!(
        "`--key-limit` of a later job with --key {} raises the limit of the key",
        word(key)
    );
    let idle = holders.iter().find(|(_, state)| *state != State::Running);
    Told::new(
        "key_taken",
        format!("job {id} is blocked: key '{key}' is at its limit of {places}: {named}"),
    )
    .with_hint(match idle {
        Some((holder, _)) => format!("`jobq why {holder}` says what keeps that one; {more}"),
        None => format!("it follows when one of them ends; {more}"),
    })
}

/// `1 (running), 3 (pending)`.
pub(super) fn with_states(jobs: &[(JobId, State)]) -> String {
    let named = jobs.iter().map(|(job, state)| format!("{job} ({state})"));
    named.collect::<Vec<_>>().join(", ")
}

/// `1, 2 and 5 more`.
fn some_of(all: u64, named: &[JobId]) -> String {
    let more = and_more(all.saturating_sub(named.len() as u64));
    let named: Vec<String> = named.iter().map(ToString::to_string).collect();
    format!("{}{more}", named.join(", "))
}

pub(super) fn and_more(more: u64) -> String {
    match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(why: &Why) -> (String, Option<String>) {
        let told = told(JobId(7), why, Timestamp::UNIX_EPOCH).unwrap();
        (told.message, told.hint)
    }

    #[test]
    fn a_limit_of_a_kind_goes_for_each_runner() {
        let full = |limits: &[u64]| {
            words(&Why::KindAtLimit {
                kind: "resize".into(),
                limits: limits.to_vec(),
                running: 3,
                jobs: vec![JobId(1), JobId(2)],
            })
        };
        let (message, hint) = full(&[1]);
        assert_eq!(
            message,
            "job 7 is pending: kind resize is at its limit of 1 in each runner: 1, 2 and 1 more"
        );
        assert!(hint.unwrap().contains("[kinds.resize]"));
        assert!(full(&[1, 2]).0.contains("its limit of 1 or 2 in each"));
    }

    #[test]
    fn who_holds_a_place_is_told_with_its_state() {
        let taken = |state| {
            words(&Why::KeyTaken {
                key: "disk-1".into(),
                places: 1,
                holders: vec![(JobId(1), state)],
            })
        };
        let (message, hint) = taken(State::Pending);
        assert_eq!(
            message,
            "job 7 is blocked: key 'disk-1' is at its limit of 1: 1 (pending)"
        );
        assert!(hint.unwrap().starts_with("`jobq why 1` says what keeps"));
        let (message, hint) = taken(State::Running);
        assert!(message.ends_with(": 1 (running)"), "{message}");
        assert!(hint.unwrap().starts_with("it follows when"));
    }
}
