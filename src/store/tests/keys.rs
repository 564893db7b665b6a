//! Concurrency keys: so many at once, the others in order, and no place that leaks.

use std::time::Duration;

use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::model::job::JobOptions;
use crate::model::job::NewJob;
use crate::model::job::options::Priority;
use crate::model::job::update::JobUpdate;
use crate::model::limits::EnqueueLimits;
use crate::model::outcome::{Snooze, Verdict};
use crate::model::state::State;
use crate::model::state::State::*;
use crate::store::jobs::claim::ClaimFor;
use crate::store::jobs::finish_attempt::PrefetchAgain;
use crate::store::jobs::{finish_attempt, requeue, update};
use crate::store::tests::sandbox::{Sandbox, verdicts};
use crate::store::upkeep::runners::Loss;
use crate::store::upkeep::{promote, runners};

fn keyed() -> NewJob {
    NewJob::new("send").key("k")
}

fn jobs<const N: usize>(sandbox: &mut Sandbox, job: &NewJob) -> [JobId; N] {
    std::array::from_fn(|_| sandbox.enqueue(job.clone()))
}

fn places(sandbox: &Sandbox) -> (i64, i64) {
    let count =
        |held: i64| format!("SELECT count(*) FROM jobq_concurrency_slot WHERE held = {held}");
    (sandbox.number(&count(1)), sandbox.number(&count(0)))
}

#[test]
fn of_a_key_one_job_runs_at_once_and_the_others_follow() {
    let mut sandbox = Sandbox::new();
    let ids: [JobId; 3] = jobs(&mut sandbox, &keyed());
    let free = sandbox.enqueue(NewJob::new("other").key("other"));
    assert_eq!(sandbox.states(&ids), [Pending, Blocked, Blocked]);
    assert_eq!(sandbox.state(free), Pending, "another key, another line");
    sandbox.assert_books_are_right();
    for (at, id) in ids.into_iter().enumerate() {
        let held = sandbox.start(id);
        assert_eq!(places(&sandbox), (2, 2 - at as i64));
        let verdict = Verdict::Fail {
            error: "boom".to_owned(),
        };
        sandbox.settle(&held, &verdict);
        sandbox.assert_books_are_right();
    }
    assert_eq!(
        sandbox.history(ids[1])[..2],
        [EventKind::Enqueued, EventKind::Released]
    );
    assert_eq!(places(&sandbox), (1, 0));
}

#[test]
fn a_key_with_places_runs_that_many() {
    let mut sandbox = Sandbox::new();
    let ids: [JobId; 5] = jobs(&mut sandbox, &keyed().key_limit(3));
    assert_eq!(
        sandbox.states(&ids),
        [Pending, Pending, Pending, Blocked, Blocked]
    );
    let claimed = sandbox.claim(1, 10);
    assert_eq!(claimed.len(), 3);
    let done = Verdict::Complete { result: None };
    sandbox.settle(&claimed[1].token(1), &done);
    assert_eq!(sandbox.states(&ids[3..]), [Pending, Blocked]);
    sandbox.assert_books_are_right();
}

#[test]
fn the_line_goes_by_priority_and_then_by_age() {
    let mut sandbox = Sandbox::new();
    let [first] = jobs(&mut sandbox, &keyed());
    let [normal, later] = jobs(&mut sandbox, &keyed());
    let low = sandbox.enqueue(keyed().priority(Priority::Low));
    let urgent = sandbox.enqueue(keyed().priority(Priority::Urgent));
    let high = sandbox.enqueue(keyed().priority(Priority::High));
    let mut order = Vec::new();
    while let Some(job) = sandbox.claim(1, 10).pop() {
        order.push(job.id);
        sandbox.settle(&job.token(1), &Verdict::Complete { result: None });
        sandbox.assert_books_are_right();
    }
    assert_eq!(order, [first, urgent, high, normal, later, low]);
    assert_eq!(places(&sandbox), (0, 0));
}

#[test]
fn an_edit_of_the_priority_changes_the_place_in_the_line() {
    let mut sandbox = Sandbox::new();
    let [first, one, two] = jobs(&mut sandbox, &keyed());
    let urgent = JobUpdate::from(JobOptions {
        priority: Some(Priority::Urgent),
        ..JobOptions::default()
    });
    // Who holds a slot keeps it.
    sandbox.write(|tx| update::edit(tx, first, &urgent, &EnqueueLimits::default()));
    sandbox.assert_books_are_right();
    sandbox.write(|tx| update::edit(tx, two, &urgent, &EnqueueLimits::default()));
    sandbox.assert_books_are_right();
    sandbox.complete(first);
    assert_eq!(sandbox.states(&[one, two]), [Blocked, Pending]);
    sandbox.assert_books_are_right();
}

#[test]
fn delayed_jobs_hold_no_place_until_they_are_due() {
    let mut sandbox = Sandbox::new();
    let delayed = sandbox.enqueue(keyed().delay(Duration::from_secs(5)));
    assert_eq!(places(&sandbox), (0, 0));
    let [one] = jobs(&mut sandbox, &keyed());
    assert_eq!(sandbox.state(one), Pending);
    sandbox.now_ms += 5000;
    assert_eq!(sandbox.write(|tx| promote::promote_due(tx, 10)), 1);
    assert_eq!(sandbox.state(delayed), Blocked, "the place is taken");
    sandbox.assert_books_are_right();
    sandbox.complete(one);
    assert_eq!(sandbox.state(delayed), Pending);
    sandbox.assert_books_are_right();
}

#[test]
fn many_due_jobs_of_one_key_do_not_delay_other_due_jobs() {
    let mut sandbox = Sandbox::new();
    let delay = Duration::from_secs(5);
    let keyed: [JobId; 8] = jobs(&mut sandbox, &keyed().delay(delay));
    let free: [JobId; 2] = jobs(&mut sandbox, &NewJob::new("send").delay(delay));
    sandbox.now_ms += 5000;
    let mut promoted = 0;
    for _ in 0..5 {
        promoted += sandbox.write(|tx| promote::promote_due(tx, 2));
        sandbox.assert_books_are_right();
    }
    assert_eq!(promoted, 10);
    assert_eq!(sandbox.states(&free), [Pending, Pending]);
    let pending = "SELECT count(*) FROM jobq_job WHERE state = 2 AND key = 'k'";
    assert_eq!(sandbox.number(pending), 1);
    assert_eq!(sandbox.state(keyed[0]), Pending);
}

#[test]
fn a_job_that_waits_for_another_try_holds_no_place() {
    let waits = [
        Verdict::Retry {
            error: "not now".to_owned(),
            after: Duration::from_secs(5),
        },
        Verdict::Snooze(Snooze::For(Duration::from_secs(5))),
    ];
    for verdict in waits {
        let mut sandbox = Sandbox::new();
        let [one, two] = jobs(&mut sandbox, &keyed());
        let held = sandbox.start(one);
        sandbox.settle(&held, &verdict);
        assert_eq!(sandbox.states(&[one, two]), [Scheduled, Pending]);
        sandbox.assert_books_are_right();
        sandbox.now_ms += 5000;
        sandbox.write(|tx| promote::promote_due(tx, 10));
        assert_eq!(sandbox.state(one), Blocked);
        sandbox.complete(two);
        assert_eq!(sandbox.state(one), Pending);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_waiting_parent_holds_no_place() {
    let mut sandbox = Sandbox::new();
    let parent = sandbox.enqueue(NewJob::new("parent").key("k"));
    let child = sandbox.enqueue(keyed().parent(parent));
    sandbox.complete(parent);
    assert_eq!(sandbox.states(&[parent, child]), [Waiting, Pending]);
    sandbox.assert_books_are_right();
    sandbox.complete(child);
    assert_eq!(sandbox.state(parent), Completed);
    assert_eq!(places(&sandbox), (0, 0));
}

#[test]
fn raising_a_key_limit_releases_jobs_and_lowering_takes_none() {
    let mut sandbox = Sandbox::new();
    let ids: [JobId; 4] = jobs(&mut sandbox, &keyed());
    assert_eq!(sandbox.states(&ids), [Pending, Blocked, Blocked, Blocked]);
    let fifth = sandbox.enqueue(keyed().key_limit(3));
    assert_eq!(sandbox.states(&ids), [Pending, Pending, Pending, Blocked]);
    assert_eq!(sandbox.state(fifth), Blocked, "others were before it");
    sandbox.assert_books_are_right();
    let sixth = sandbox.enqueue(keyed().key_limit(1));
    assert_eq!(places(&sandbox), (3, 3));
    for id in &ids[..2] {
        sandbox.complete(*id);
        assert_eq!(sandbox.state(ids[3]), Blocked);
        sandbox.assert_books_are_right();
    }
    sandbox.complete(ids[2]);
    assert_eq!(sandbox.state(ids[3]), Pending);
    assert_eq!(sandbox.states(&[fifth, sixth]), [Blocked, Blocked]);
    sandbox.assert_books_are_right();
}

#[test]
fn no_end_of_an_attempt_leaks_a_place() {
    for verdict in verdicts() {
        let mut sandbox = Sandbox::new();
        let [one, two] = jobs(&mut sandbox, &keyed());
        let held = sandbox.start(one);
        let to = sandbox.settle(&held, &verdict).unwrap();
        let keeps = to == Pending;
        let expected = if keeps { Blocked } else { Pending };
        assert_eq!(sandbox.state(two), expected, "{verdict:?}");
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_lost_runner_leaks_nothing_and_doubles_nothing() {
    for claim_for in [ClaimFor::FreeWorker, ClaimFor::Prefetch] {
        let mut sandbox = Sandbox::new();
        sandbox.runner("one");
        let ids: [JobId; 4] = jobs(&mut sandbox, &keyed().key_limit(2));
        assert_eq!(sandbox.claim_for(1, 10, claim_for).len(), 2);
        sandbox.write(|tx| runners::take_over(tx, 1, Loss::Dead));
        assert_eq!(
            sandbox.states(&ids),
            [Pending, Pending, Blocked, Blocked],
            "{claim_for:?}"
        );
        sandbox.assert_books_are_right();
        assert_eq!(sandbox.claim(1, 10).len(), 2);
    }
}

#[test]
fn a_job_failed_by_its_third_lost_runner_frees_its_slot() {
    let mut sandbox = Sandbox::new();
    let [one, two] = jobs(&mut sandbox, &keyed());
    for round in 1..=3 {
        let runner = sandbox.runner(&format!("runner {round}"));
        assert_eq!(sandbox.claim_one(runner).job, one);
        sandbox.write(|tx| runners::take_over(tx, runner, Loss::Dead));
    }
    assert_eq!(sandbox.states(&[one, two]), [Failed, Pending]);
    sandbox.assert_books_are_right();
}

#[test]
fn what_was_claimed_ahead_and_comes_back_keeps_its_place() {
    let mut sandbox = Sandbox::new();
    let [one, two] = jobs(&mut sandbox, &keyed());
    let held = sandbox.claim_for(1, 1, ClaimFor::Prefetch)[0].token(1);
    sandbox.write(|tx| finish_attempt::return_unbegun(tx, &held, PrefetchAgain::Yes));
    assert_eq!(sandbox.states(&[one, two]), [Pending, Blocked]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_job_that_is_cancelled_leaves_the_line_or_its_place() {
    let mut sandbox = Sandbox::new();
    let [one, two, three, four] = jobs(&mut sandbox, &keyed());
    sandbox.cancel(two);
    assert_eq!(places(&sandbox), (1, 2));
    assert_eq!(sandbox.state(three), Blocked);
    sandbox.cancel(one);
    assert_eq!(sandbox.states(&[three, four]), [Pending, Blocked]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_job_with_unmet_prerequisites_does_not_wait_for_a_slot() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.enqueue(NewJob::new("first"));
    let late = sandbox.enqueue(keyed().priority(Priority::Urgent).after([first]));
    let [one, two] = jobs(&mut sandbox, &keyed());
    assert_eq!(places(&sandbox), (1, 1));
    sandbox.complete(first);
    assert_eq!(sandbox.states(&[late, one]), [Blocked, Pending]);
    sandbox.assert_books_are_right();
    sandbox.complete(one);
    assert_eq!(sandbox.states(&[late, two]), [Pending, Blocked]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_retry_by_hand_stands_in_line_again() {
    let mut sandbox = Sandbox::new();
    let [one, two] = jobs(&mut sandbox, &keyed());
    sandbox.fail(one);
    sandbox.requeue(one);
    assert_eq!(sandbox.states(&[one, two]), [Blocked, Pending]);
    sandbox.assert_books_are_right();
    sandbox.complete(two);
    assert_eq!(sandbox.complete(one), State::Completed);
    assert_eq!(places(&sandbox), (0, 0));
    // With the key free it is pending at once.
    sandbox.write(|tx| requeue::requeue(tx, one));
    assert_eq!(sandbox.state(one), Pending);
    sandbox.assert_books_are_right();
}
