//! Deadlines: what has not begun by then is cancelled.

use crate::model::part::NO_PARTS;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::ClockReading;
use crate::model::family::GROUP_KIND;
use crate::model::id::JobId;
use crate::model::job::{NewJob, OnDuplicate};
use crate::model::outcome::{Snooze, Verdict};
use crate::model::state::State::*;
use crate::model::why::Why;
use crate::store::jobs::claim::ClaimFor;
use crate::store::jobs::finish_attempt::PrefetchAgain;
use crate::store::jobs::{deadlines, finish_attempt};
use crate::store::read::why;
use crate::store::tests::sandbox::{START_MS, Sandbox};
use crate::store::upkeep::promote::Schedules;
use crate::store::upkeep::runners::Loss;
use crate::store::upkeep::{clock_step, promote, runners};

/// Five seconds after the beginning.
const DEADLINE_MS: i64 = START_MS + 5000;

fn urgent() -> NewJob {
    NewJob::new("send").deadline(Timestamp::from_millisecond(DEADLINE_MS).unwrap())
}

/// What a dispatcher does at this moment.
fn look(sandbox: &mut Sandbox, now_ms: i64) {
    sandbox.now_ms = now_ms;
    sandbox.write(|tx| {
        deadlines::cancel_late(tx, 100)?;
        promote::promote_due(tx, 100)
    });
    sandbox.assert_books_are_right();
}

fn watched(sandbox: &Sandbox) -> i64 {
    sandbox.number("SELECT count(*) FROM jobq_deadline")
}

#[track_caller]
fn assert_late(sandbox: &Sandbox, id: JobId) {
    assert_eq!(sandbox.state(id), Cancelled);
    let error = sandbox.error(id);
    let at = Timestamp::from_millisecond(DEADLINE_MS).unwrap();
    assert_eq!(error, format!("it had not begun by its deadline, {at}"));
    assert_eq!(watched(sandbox), 0);
}

#[test]
fn a_job_not_begun_by_its_deadline_is_cancelled_as_such() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(urgent());
    let other = sandbox.enqueue(NewJob::new("send"));
    assert_eq!(
        promote::next_moment(&sandbox.conn, sandbox.now_ms, (Schedules::Fire, &NO_PARTS)).unwrap(),
        Some(DEADLINE_MS)
    );
    look(&mut sandbox, DEADLINE_MS - 1);
    assert_eq!(sandbox.state(id), Pending);
    look(&mut sandbox, DEADLINE_MS);
    assert_late(&sandbox, id);
    assert_eq!(sandbox.state(other), Pending);
    assert_eq!(
        promote::next_moment(&sandbox.conn, sandbox.now_ms, (Schedules::Fire, &NO_PARTS)).unwrap(),
        None
    );
}

#[test]
fn it_is_cancelled_whatever_it_waits_for() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.enqueue(NewJob::new("first"));
    let holder = sandbox.enqueue(NewJob::new("first").key("k"));
    let parent = sandbox.enqueue(NewJob::new("parent"));
    let late = [
        sandbox.enqueue(urgent().after([first])),
        sandbox.enqueue(urgent().key("k")),
        sandbox.enqueue(urgent().parent(parent)),
        sandbox.enqueue(urgent().delay(Duration::from_secs(60))),
    ];
    let before = [Blocked, Blocked, Blocked, Scheduled];
    assert_eq!(sandbox.states(&late), before);
    look(&mut sandbox, DEADLINE_MS);
    for id in late {
        assert_late(&sandbox, id);
    }
    assert_eq!(sandbox.states(&[first, holder]), [Pending, Pending]);
    assert_eq!(
        sandbox.number("SELECT count(*) FROM jobq_concurrency_slot"),
        1
    );
}

#[test]
fn a_late_job_cancels_its_dependents_and_fails_its_parent() {
    let mut sandbox = Sandbox::new();
    let group = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let id = sandbox.enqueue(urgent().parent(group).unique("u"));
    let next = sandbox.enqueue(NewJob::new("next").after([id]));
    look(&mut sandbox, DEADLINE_MS);
    assert_late(&sandbox, id);
    assert_eq!(sandbox.states(&[group, next]), [Failed, Cancelled]);
    let cause = sandbox.error(group);
    assert!(
        cause.starts_with(&format!("child {id} was cancelled: it had not")),
        "{cause}"
    );
}

#[test]
fn an_attempt_meets_the_deadline_and_retries_may_come_later() {
    let comes_back = [
        Verdict::Retry {
            error: "not now".to_owned(),
            after: Duration::from_secs(3600),
        },
        Verdict::Snooze(Snooze::For(Duration::from_secs(3600))),
        Verdict::GiveBack {
            why: "shut down".into(),
        },
        Verdict::Recover {
            error: "lost".to_owned(),
        },
    ];
    for verdict in comes_back {
        let mut sandbox = Sandbox::new();
        let id = sandbox.enqueue(urgent());
        let held = sandbox.start(id);
        sandbox.settle(&held, &verdict);
        assert_eq!(watched(&sandbox), 0, "{verdict:?}");
        look(&mut sandbox, DEADLINE_MS + 3_600_000);
        assert_eq!(sandbox.state(id), Pending, "{verdict:?}");
        sandbox.complete(id);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_running_job_is_not_touched_by_it() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(urgent());
    let held = sandbox.start(id);
    look(&mut sandbox, DEADLINE_MS);
    assert_eq!(sandbox.state(id), Running);
    assert!(!sandbox.job(id).cancel_requested);
    let retry = Verdict::Retry {
        error: "not now".to_owned(),
        after: Duration::ZERO,
    };
    sandbox.settle(&held, &retry);
    look(&mut sandbox, DEADLINE_MS + 1);
    assert_eq!(sandbox.complete(id), Completed);
    assert_eq!(watched(&sandbox), 0);
    sandbox.assert_books_are_right();
}

#[test]
fn a_prefetched_job_returned_unbegun_can_miss_its_deadline() {
    for looked_meanwhile in [false, true] {
        for lost in [false, true] {
            let mut sandbox = Sandbox::new();
            sandbox.runner("one");
            let id = sandbox.enqueue(urgent());
            let held = sandbox.claim_for(1, 1, ClaimFor::Prefetch)[0].token(1);
            if looked_meanwhile {
                look(&mut sandbox, DEADLINE_MS);
                assert_eq!(sandbox.state(id), Running);
            }
            sandbox.now_ms = DEADLINE_MS;
            if lost {
                sandbox.write(|tx| runners::take_over(tx, 1, Loss::Dead));
            } else {
                sandbox.write(|tx| finish_attempt::return_unbegun(tx, &held, PrefetchAgain::Yes));
            }
            assert_eq!((sandbox.state(id), watched(&sandbox)), (Pending, 1));
            sandbox.assert_books_are_right();
            look(&mut sandbox, DEADLINE_MS);
            assert_late(&sandbox, id);
        }
    }
}

#[test]
fn no_end_leaves_a_deadline_behind() {
    let mut sandbox = Sandbox::new();
    let ids = [(); 3].map(|()| sandbox.enqueue(urgent()));
    sandbox.complete(ids[0]);
    sandbox.fail(ids[1]);
    sandbox.cancel(ids[2]);
    assert_eq!(watched(&sandbox), 0);
    sandbox.assert_books_are_right();
}

#[test]
fn a_retry_by_hand_forgets_the_deadline_that_was_missed() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(urgent());
    look(&mut sandbox, DEADLINE_MS);
    sandbox.requeue(id);
    assert_eq!(sandbox.job(id).deadline, None);
    look(&mut sandbox, DEADLINE_MS + 1);
    assert_eq!(sandbox.complete(id), Completed);
    assert_eq!(sandbox.job(id).error, None);
    sandbox.assert_books_are_right();
}

#[test]
fn a_parent_whose_run_phase_is_done_has_met_it() {
    let mut sandbox = Sandbox::new();
    let parent = sandbox.enqueue(urgent().finalize());
    let child = sandbox.enqueue(NewJob::new("child").parent(parent));
    sandbox.complete(parent);
    assert_eq!(watched(&sandbox), 0);
    look(&mut sandbox, DEADLINE_MS);
    assert_eq!(sandbox.state(parent), Waiting);
    sandbox.complete(child);
    look(&mut sandbox, DEADLINE_MS);
    assert_eq!(sandbox.complete(parent), Completed);
    sandbox.assert_books_are_right();
}

#[test]
fn many_late_jobs_go_in_steps_the_earliest_first() {
    let mut sandbox = Sandbox::new();
    let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
    let ids: Vec<JobId> = (0..5)
        .map(|n| sandbox.enqueue(NewJob::new("send").deadline(at(DEADLINE_MS - n))))
        .collect();
    sandbox.now_ms = DEADLINE_MS;
    sandbox.write(|tx| deadlines::cancel_late(tx, 2));
    assert_eq!(
        sandbox.states(&ids),
        [Pending, Pending, Pending, Cancelled, Cancelled]
    );
    sandbox.assert_books_are_right();
    sandbox.write(|tx| deadlines::cancel_late(tx, 100));
    assert_eq!(sandbox.states(&ids), [Cancelled; 5]);
    sandbox.assert_books_are_right();
}

/// A box in a field starts in 1970 and hears of the year later: what it may still begin within two
/// hours was cancelled as if it were decades late.
#[test]
fn a_duration_deadline_keeps_its_remainder_over_a_clock_step() {
    const YEARS_MS: i64 = 10 * 365 * 24 * 60 * 60 * 1000;
    let soon = || NewJob::new("send").deadline(Duration::from_secs(5));
    let reading = |offset_ms| ClockReading {
        boot: "boot",
        offset_ms,
    };
    let mut sandbox = Sandbox::new();
    sandbox.write(|tx| clock_step::follow(tx, reading(0)));
    let moving = [
        sandbox.enqueue(soon()),
        sandbox.enqueue(soon().delay(Duration::from_secs(60))),
        sandbox.enqueue(urgent().unique("u")),
    ];
    sandbox.enqueue(soon().unique("u").on_duplicate(OnDuplicate::Replace));
    let fixed = sandbox.enqueue(urgent());
    sandbox.now_ms += YEARS_MS;
    sandbox.write(|tx| clock_step::follow(tx, reading(YEARS_MS)));
    let before = DEADLINE_MS + YEARS_MS - 1;
    look(&mut sandbox, before);
    assert_eq!(sandbox.states(&moving), [Pending, Scheduled, Pending]);
    assert_eq!(sandbox.state(fixed), Cancelled);
    look(&mut sandbox, before + 1);
    assert_eq!(sandbox.states(&moving), [Cancelled; 3]);
}

#[test]
fn why_reports_an_unmet_deadline_until_the_job_is_cancelled() {
    let mut sandbox = Sandbox::new();
    let met = sandbox.enqueue(urgent());
    let held = sandbox.start(met);
    sandbox.settle(
        &held,
        &Verdict::GiveBack {
            why: "shut down".into(),
        },
    );
    let first = sandbox.enqueue(NewJob::new("first"));
    let late = [
        sandbox.enqueue(urgent()),
        sandbox.enqueue(urgent().after([first])),
        sandbox.enqueue(urgent().delay(Duration::from_secs(60))),
    ];
    let why = |sandbox: &Sandbox, id| {
        let no_locks = std::path::Path::new("");
        why::why(&sandbox.conn, id, (sandbox.now_ms, no_locks)).unwrap()
    };
    sandbox.now_ms = DEADLINE_MS - 1;
    assert!(late.iter().all(|id| !is_over(&why(&sandbox, *id))));
    sandbox.now_ms = DEADLINE_MS;
    for (id, state) in late.into_iter().zip([Pending, Blocked, Scheduled]) {
        let deadline = Timestamp::from_millisecond(DEADLINE_MS).unwrap();
        let over = Why::DeadlineOver { state, deadline };
        assert_eq!(why(&sandbox, id), over);
    }
    assert!(!is_over(&why(&sandbox, met)));
    look(&mut sandbox, DEADLINE_MS);
    assert!(late.iter().all(|id| !is_over(&why(&sandbox, *id))));
}

fn is_over(why: &Why) -> bool {
    matches!(why, Why::DeadlineOver { .. })
}
