//! What becomes of a job when an attempt ends, seen through the file.

use std::time::Duration;

use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::model::job::{AttemptRef, NewJob};
use crate::model::outcome::{Ending, Outcome, Snooze, Verdict, judge};
use crate::model::retry::{Backoff, Jitter};
use crate::model::state::{State, WaitReason};
use crate::store::jobs::claim::ClaimFor;
use crate::store::jobs::finish_attempt::{AttemptMeasures, PrefetchAgain};
use crate::store::jobs::{attempt_reports, cancel, finish_attempt, remove, requeue};
use crate::store::read::attempts;
use crate::store::tests::sandbox;
use crate::store::tests::sandbox::{START_MS, Sandbox};
use crate::store::upkeep::promote;

fn retry() -> Verdict {
    Verdict::Retry {
        error: "not now".to_owned(),
        after: Duration::from_secs(5),
    }
}

/// An earlier attempt's error was told as the reason of the cancellation.
#[test]
fn a_manually_cancelled_job_keeps_no_error_of_an_attempt() {
    for runs in [false, true] {
        let mut sandbox = Sandbox::new();
        let id = sandbox.enqueue(NewJob::new("send"));
        sandbox.fail(id);
        sandbox.requeue(id);
        let held = runs.then(|| sandbox.start(id));
        assert!(sandbox.job(id).error.is_some(), "runs: {runs}");
        sandbox.cancel(id);
        if let Some(held) = held {
            sandbox.settle(&held, &Verdict::Cancel);
        }
        let job = sandbox.job(id);
        assert_eq!((job.state, job.error), (State::Cancelled, None));
    }
}

#[test]
fn a_cancel_request_wins_over_a_retry_snooze_or_recovery() {
    let comes_back = [
        retry(),
        Verdict::Snooze(Snooze::For(Duration::from_secs(5))),
        Verdict::GiveBack {
            why: "shut down".into(),
        },
        Verdict::Recover {
            error: "lost".to_owned(),
        },
        Verdict::Cancel,
    ];
    for verdict in comes_back {
        let mut sandbox = Sandbox::new();
        let id = sandbox.enqueue(NewJob::new("send"));
        let runner = sandbox.runner("one");
        let held = sandbox.claim_one(runner);
        sandbox.write(|tx| cancel::cancel(tx, id));
        assert!(sandbox.job(id).cancel_requested);
        assert_eq!(
            sandbox.settle(&held, &verdict),
            Some(State::Cancelled),
            "{verdict:?}"
        );
        let job = sandbox.job(id);
        assert_eq!(job.state, State::Cancelled);
        assert_eq!(job.retries, 0, "a cancelled attempt spends no retry");
        assert!(!job.cancel_requested);
        assert_eq!(sandbox.history(id).last(), Some(&EventKind::Cancelled));
        let attempt = attempts::of_job(&sandbox.conn, id).unwrap().remove(0);
        assert_eq!(attempt.end.run_at_ms, None, "it waits for nothing");
        sandbox.assert_counters_are_right();
    }
}

#[test]
fn a_cancel_request_is_not_lost_when_the_job_was_never_begun() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    let runner = sandbox.runner("one");
    let claimed = sandbox.claim_for(runner, 1, ClaimFor::Prefetch);
    let held = sandbox::held(&claimed[0], runner);
    sandbox.write(|tx| cancel::cancel(tx, id));
    let to = sandbox.write(|tx| finish_attempt::return_unbegun(tx, &held, PrefetchAgain::Yes));
    assert_eq!(to, Some(State::Cancelled));
    assert_eq!(sandbox.history(id).last(), Some(&EventKind::Cancelled));
}

#[test]
fn what_was_done_counts_although_somebody_asked_to_cancel_it() {
    for (verdict, state) in [
        (Verdict::Complete { result: None }, State::Completed),
        (
            Verdict::Fail {
                error: "broken".to_owned(),
            },
            State::Failed,
        ),
    ] {
        let mut sandbox = Sandbox::new();
        let id = sandbox.enqueue(NewJob::new("send"));
        let runner = sandbox.runner("one");
        let held = sandbox.claim_one(runner);
        sandbox.write(|tx| cancel::cancel(tx, id));
        assert_eq!(sandbox.settle(&held, &verdict), Some(state));
        // The request is gone with the attempt: a retry by hand does not meet it again.
        sandbox.write(|tx| requeue::requeue(tx, id));
        let held = sandbox.claim_one(runner);
        assert_eq!(held.attempt, 2);
        assert!(!sandbox.job(id).cancel_requested);
    }
}

pub(super) fn fail_once(sandbox: &mut Sandbox, id: JobId, runner: i64) -> State {
    let claimed = sandbox.claim(runner, 1).remove(0);
    assert_eq!(claimed.id, id);
    let ending = Ending::Returned {
        outcome: Outcome::Retry {
            error: "not now".to_owned(),
            after: None,
        },
        reason: None,
    };
    let verdict = judge(ending, &claimed.budget, 0.0);
    let held = sandbox::held(&claimed, runner);
    sandbox.settle(&held, &verdict).unwrap()
}

#[test]
fn a_job_is_retried_to_its_limit_and_never_before_its_backoff() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let job = NewJob::new("send")
        .max_retries(2)
        .backoff(Backoff::Linear)
        .jitter(Jitter::Off);
    let id = sandbox.enqueue(job);
    for (retries, wait_ms) in [(1, 5000), (2, 10_000)] {
        assert_eq!(fail_once(&mut sandbox, id, runner), State::Scheduled);
        let job = sandbox.job(id);
        assert_eq!(
            (job.retries, job.wait_reason),
            (retries, Some(WaitReason::Retry))
        );
        assert_eq!(job.error.as_deref(), Some("not now"));
        let due = job.run_at.unwrap().as_millisecond();
        assert_eq!(due, sandbox.now_ms + wait_ms);
        sandbox.now_ms = due - 1;
        assert_eq!(sandbox.write(|tx| promote::promote_due(tx, 10)), 0);
        assert_eq!(sandbox.claim(runner, 1).len(), 0);
        sandbox.now_ms = due;
        assert_eq!(sandbox.write(|tx| promote::promote_due(tx, 10)), 1);
    }
    assert_eq!(fail_once(&mut sandbox, id, runner), State::Failed);
    let job = sandbox.job(id);
    assert_eq!((job.retries, job.attempt), (2, 3));
    assert_eq!(job.finished_at.unwrap().as_millisecond(), sandbox.now_ms);
    assert_eq!(
        sandbox.history(id),
        [
            EventKind::Enqueued,
            EventKind::Started,
            EventKind::Retry,
            EventKind::Started,
            EventKind::Retry,
            EventKind::Started,
            EventKind::Failed
        ]
    );
}

#[test]
fn a_snooze_and_a_give_back_cost_no_retry() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let id = sandbox.enqueue(NewJob::new("send"));
    let held = sandbox.claim_one(runner);
    let snooze = Verdict::Snooze(Snooze::For(Duration::from_secs(60)));
    assert_eq!(sandbox.settle(&held, &snooze), Some(State::Scheduled));
    let job = sandbox.job(id);
    assert_eq!(
        (job.retries, job.wait_reason),
        (0, Some(WaitReason::Snooze))
    );
    assert_eq!(job.run_at.unwrap().as_millisecond(), START_MS + 60_000);
    sandbox.now_ms += 60_000;
    sandbox.write(|tx| promote::promote_due(tx, 1));
    let held = sandbox.claim_one(runner);
    let give_back = Verdict::GiveBack {
        why: "shut down".into(),
    };
    assert_eq!(sandbox.settle(&held, &give_back), Some(State::Pending));
    let job = sandbox.job(id);
    assert_eq!((job.retries, job.crashes, job.attempt), (0, 0, 2));
    assert_eq!(job.error, None, "a shutdown is no failure of the job");
}

#[test]
fn a_manual_retry_resets_the_budget_and_keeps_the_history() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let job = NewJob::new("send")
        .max_retries(1)
        .retry_delay(Duration::ZERO);
    let id = sandbox.enqueue(job);
    assert_eq!(fail_once(&mut sandbox, id, runner), State::Scheduled);
    sandbox.write(|tx| promote::promote_due(tx, 1));
    assert_eq!(fail_once(&mut sandbox, id, runner), State::Failed);
    assert_eq!(sandbox.job(id).retries, 1);
    sandbox.write(|tx| requeue::requeue(tx, id));
    let job = sandbox.job(id);
    assert_eq!(job.state, State::Pending);
    assert_eq!((job.retries, job.crashes, job.attempt), (0, 0, 2));
    assert_eq!(job.finished_at, None);
    let held = sandbox.claim_one(runner);
    assert_eq!(held.attempt, 3, "attempts are never reused");
    assert_eq!(attempts::of_job(&sandbox.conn, id).unwrap().len(), 3);
}

fn store_result(sandbox: &mut Sandbox, id: JobId, attempt: u32, json: &str) {
    let attempt = AttemptRef { job: id, attempt };
    sandbox.write(|tx| attempt_reports::result(tx, attempt, json));
}

fn complete(result: Option<&str>) -> Verdict {
    Verdict::Complete {
        result: result.map(str::to_owned),
    }
}

fn result(sandbox: &Sandbox, id: JobId) -> Option<String> {
    sandbox.job(id).result.map(|result| result.get().to_owned())
}

#[test]
fn a_result_set_by_the_job_outlasts_the_handlers_own() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let id = sandbox.enqueue(NewJob::new("send"));
    let held = sandbox.claim_one(runner);
    store_result(&mut sandbox, id, 1, "\"mine\"");
    sandbox.settle(&held, &complete(Some("{\"exit_code\":0}")));
    assert_eq!(result(&sandbox, id).as_deref(), Some("\"mine\""));
}

#[test]
fn a_result_of_an_attempt_that_did_not_complete_is_not_the_jobs() {
    let unfinished = [
        retry(),
        Verdict::Snooze(Snooze::For(Duration::ZERO)),
        Verdict::GiveBack {
            why: "shut down".into(),
        },
        Verdict::Recover {
            error: "lost".to_owned(),
        },
    ];
    for verdict in unfinished {
        for (second, expected) in [(Some("2"), Some("2")), (None, None)] {
            let mut sandbox = Sandbox::new();
            let runner = sandbox.runner("one");
            let id = sandbox.enqueue(NewJob::new("send"));
            let held = sandbox.claim_one(runner);
            store_result(&mut sandbox, id, 1, "1");
            sandbox.settle(&held, &verdict);
            sandbox.now_ms += 5000;
            sandbox.write(|tx| promote::promote_due(tx, 1));
            let held = sandbox.claim_one(runner);
            sandbox.settle(&held, &complete(second));
            assert_eq!(result(&sandbox, id).as_deref(), expected, "{verdict:?}");
            assert_eq!(sandbox.job(id).error, None, "a completed job has no error");
        }
    }
}

#[test]
fn the_history_says_how_each_attempt_ended_and_what_it_cost() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let id = sandbox.enqueue(NewJob::new("send"));
    let held = sandbox.claim_one(runner);
    let measured = AttemptMeasures {
        worker: Some(4),
        took: Some(Duration::from_micros(1500)),
        exit_code: Some(3),
        cpu_ms: Some(12),
        max_rss_bytes: Some(4096),
    };
    sandbox.write(|tx| finish_attempt::finish(tx, &held, &retry(), &measured));
    let attempt = attempts::of_job(&sandbox.conn, id).unwrap().remove(0);
    assert_eq!(
        (attempt.attempt, attempt.outcome),
        (1, Some(EventKind::Retry))
    );
    assert_eq!(
        (attempt.runner, attempt.worker, attempt.took),
        (
            Some(crate::RunnerId(runner)),
            Some(crate::WorkerId(4)),
            measured.took
        )
    );
    let end = attempt.end;
    assert_eq!(
        (end.exit_code, end.cpu_ms, end.max_rss_bytes),
        (Some(3), Some(12), Some(4096))
    );
    assert_eq!(end.error.as_deref(), Some("not now"));
    assert_eq!(end.run_at_ms, Some(START_MS + 5000));
}

/// Events are held back until the transaction ends: those of a removed job must not come after it.
#[test]
fn a_job_removed_in_the_transaction_that_ends_it_is_gone() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    sandbox.write(|tx| {
        cancel::cancel(tx, id)?;
        remove::remove(tx, id)
    });
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_job"), 0);
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_payload"), 0);
    assert_eq!(sandbox.history(id), []);
    sandbox.assert_counters_are_right();
}
