//! Limits in words: of queues, of kinds, of concurrency keys.

use crate::{JobId, Rate, RunnerId, State};
use jiff::Timestamp;

use crate::api::text::{count, shell_word};
use crate::api::time::{duration, relative, rfc3339};
use crate::api::why::{Explanation, pending};

pub(super) fn short_of(id: JobId, runner: RunnerId, (reason, running): (&str, u64)) -> Explanation {
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

pub(super) fn of_queue(
    id: JobId,
    (queue, limit): (&str, u32),
    (running, jobs): (u64, &[JobId]),
) -> Explanation {
    let jobs = some_of(running, jobs);
    pending(
        id,
        "queue_limit",
        &format!("queue {queue} is at its limit of {limit}: {jobs}"),
    )
    .with_hint(format!(
        "`jobq queue set {} --concurrency N` changes it",
        shell_word(queue)
    ))
}

pub(super) fn of_rate(
    id: JobId,
    (queue, rate): (&str, Rate),
    (next, now): (Timestamp, Timestamp),
) -> Explanation {
    let next = format!("{} ({})", relative(next, now), rfc3339(next));
    let (jobs, span) = (count(u64::from(rate.jobs), "job"), duration(rate.per));
    pending(
        id,
        "queue_rate",
        &format!("queue {queue} may start {jobs} in {span}: the next {next}"),
    )
    .needs_no_action()
    .with_hint(format!(
        "`jobq queue set {} --rate N/DURATION` changes it",
        shell_word(queue)
    ))
}

/// Runners that were started differently have several limits.
pub(super) fn of_kind(
    id: JobId,
    (kind, limits): (&str, &[u64]),
    (running, jobs): (u64, &[JobId]),
) -> Explanation {
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

/// A job that holds a slot of the key need not run: it may be paused, or without a handler.
pub(super) fn of_key(
    id: JobId,
    (key, limit): (&str, u64),
    holders: &[(JobId, State)],
) -> Explanation {
    let named = with_states(holders);
    let more = format!(
        "`jobq edit {id} --key-limit {}` raises the limit",
        limit + 1
    );
    let idle = holders.iter().find(|(_, state)| *state != State::Running);
    let reason = format!("key '{key}' is at its limit of {limit}: {named}");
    Explanation::because("key_taken", (id, State::Blocked), &reason).with_hint(match idle {
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
    use crate::Why;

    use super::*;
    use crate::api::why::explain;

    fn words(why: &Why) -> (String, Option<String>) {
        let told = explain(JobId(7), why, Timestamp::UNIX_EPOCH);
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
                limit: 1,
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
