//! Snoozes that running attempts ask for.

use std::time::Duration;

use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::limits::EnqueueLimits;
use crate::model::outcome::Verdict;
use crate::model::state::{State, WaitReason};
use crate::store::jobs::claim::ClaimFor;
use crate::store::jobs::enqueue::Spawned;
use crate::store::jobs::finish_attempt::{AttemptMeasures, ClaimToken, PrefetchAgain};
use crate::store::jobs::validate::{FamilyRules, ValidatedJob};
use crate::store::jobs::{attempt_reports, finish_attempt, snooze};
use crate::store::tests::sandbox::{Sandbox, held, verdicts};
use crate::store::upkeep::runners::Loss;
use crate::store::upkeep::{promote, runners};

const MINUTE: Duration = Duration::from_secs(60);

fn done() -> Verdict {
    Verdict::Complete { result: None }
}

/// The running attempt of a new job, which has asked for a minute.
fn asking(sandbox: &mut Sandbox) -> (i64, ClaimToken) {
    sandbox.enqueue(NewJob::new("send").max_retries(1));
    let runner = sandbox.runner("one");
    let held = sandbox.claim_one(runner);
    sandbox.write(|tx| snooze::ask(tx, held.reference(), MINUTE));
    sandbox.assert_books_are_right();
    (runner, held)
}

fn was_logged(sandbox: &Sandbox, id: JobId) -> bool {
    let sql = format!("SELECT count(*) FROM jobq_log WHERE job_id = {id} AND kind = 20");
    sandbox.number(&sql) == 1
}

#[test]
fn an_attempt_that_asks_and_succeeds_is_snoozed_at_no_cost() {
    let mut sandbox = Sandbox::new();
    let (runner, held) = asking(&mut sandbox);
    sandbox.write(|tx| attempt_reports::result(tx, held.reference(), "7"));
    sandbox.write(|tx| snooze::ask(tx, held.reference(), 2 * MINUTE));
    sandbox.now_ms += 1000;
    assert_eq!(sandbox.settle(&held, &done()), Some(State::Scheduled));
    let job = sandbox.job(held.job);
    assert_eq!(
        (job.retries, job.wait_reason),
        (0, Some(WaitReason::Snooze))
    );
    let due = job.run_at.unwrap().as_millisecond();
    assert_eq!(due, sandbox.now_ms + 120_000);
    assert!(job.result.is_none());
    sandbox.assert_books_are_right();
    sandbox.now_ms = due;
    sandbox.write(|tx| promote::promote_due(tx, 10));
    let again = sandbox.claim_one(runner);
    assert_eq!(sandbox.settle(&again, &done()), Some(State::Completed));
    assert_eq!(
        sandbox.history(held.job),
        [
            EventKind::Enqueued,
            EventKind::Started,
            EventKind::Snoozed,
            EventKind::Started,
            EventKind::Completed
        ]
    );
}

#[test]
fn an_attempt_that_does_not_succeed_is_not_snoozed() {
    for verdict in verdicts() {
        let mut plain = Sandbox::new();
        plain.enqueue(NewJob::new("send").max_retries(1));
        let runner = plain.runner("one");
        let claimed = plain.claim_one(runner);
        let expected = plain.settle(&claimed, &verdict);

        let mut sandbox = Sandbox::new();
        let (_, held) = asking(&mut sandbox);
        let state = sandbox.settle(&held, &verdict);
        let is_snoozed = matches!(verdict, Verdict::Complete { .. });
        if !is_snoozed {
            assert_eq!(state, expected, "{verdict:?}");
            let (own, usual) = (sandbox.job(held.job), plain.job(claimed.job));
            assert_eq!(own.run_at, usual.run_at, "{verdict:?}");
        }
        let is_told = !is_snoozed
            && state != Some(State::Cancelled)
            && !matches!(verdict, Verdict::Snooze(_));
        assert_eq!(was_logged(&sandbox, held.job), is_told, "{verdict:?}");
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_cancel_request_wins_over_a_snooze_that_was_asked_for() {
    let mut sandbox = Sandbox::new();
    let (_, held) = asking(&mut sandbox);
    sandbox.cancel(held.job);
    assert_eq!(sandbox.settle(&held, &done()), Some(State::Cancelled));
    sandbox.assert_books_are_right();
}

#[test]
fn a_snoozed_attempt_adds_none_of_the_jobs_that_it_spawned() {
    let mut sandbox = Sandbox::new();
    let (_, held) = asking(&mut sandbox);
    let child = NewJob::new("child").parent(held.job);
    let spawned = Spawned {
        jobs: vec![ValidatedJob::new(child, &EnqueueLimits::default()).unwrap()],
        is_parent: true,
        family: FamilyRules::default(),
    };
    let by_itself = NewJob::new("child").spawned(held.job, held.reference());
    let by_itself = sandbox.enqueue(by_itself);
    let to = sandbox.write(|tx| {
        let measured = AttemptMeasures::default();
        finish_attempt::finish_with(tx, &held, (&done(), &spawned), &measured)
    });
    assert_eq!(to, Some(State::Scheduled));
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_job"), 2);
    assert_eq!(sandbox.state(by_itself), State::Cancelled);
    sandbox.assert_books_are_right();
}

#[test]
fn a_lost_runners_attempt_is_recovered_and_not_snoozed() {
    for crashes in 0..3 {
        let mut sandbox = Sandbox::new();
        let (runner, held) = asking(&mut sandbox);
        sandbox.sql(&format!("UPDATE jobq_job SET crashes = {crashes}"));
        sandbox.write(|tx| runners::take_over(tx, runner, Loss::Dead));
        let expected = match crashes {
            2 => State::Failed,
            _ => State::Pending,
        };
        assert_eq!(sandbox.state(held.job), expected);
        assert!(was_logged(&sandbox, held.job));
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_job_that_comes_back_unbegun_is_not_snoozed_later() {
    for cancels in [false, true] {
        let mut sandbox = Sandbox::new();
        let id = sandbox.enqueue(NewJob::new("send"));
        let runner = sandbox.runner("one");
        let claimed = sandbox.claim_for(runner, 1, ClaimFor::Prefetch).remove(0);
        let held = held(&claimed, runner);
        sandbox.write(|tx| snooze::ask(tx, held.reference(), MINUTE));
        if cancels {
            sandbox.cancel(id);
        }
        sandbox.write(|tx| finish_attempt::return_unbegun(tx, &held, PrefetchAgain::Yes));
        assert_eq!(sandbox.state(id) == State::Cancelled, cancels);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn an_attempt_that_lost_its_job_asks_for_nothing() {
    let mut sandbox = Sandbox::new();
    let (runner, stale) = asking(&mut sandbox);
    sandbox.write(|tx| runners::take_over(tx, runner, Loss::Dead));
    let heir = sandbox.runner("two");
    let held = sandbox.claim_one(heir);
    let refused = sandbox.try_write(|tx| snooze::ask(tx, stale.reference(), MINUTE));
    assert!(refused.unwrap_err().to_string().contains("no longer holds"));
    assert_eq!(sandbox.settle(&held, &done()), Some(State::Completed));
}
