//! Once more after the running one: `OnDuplicate::Rerun`.

use std::time::Duration;

use crate::model::family::GROUP_KIND;
use crate::model::id::JobId;
use crate::model::job::Enqueued;
use crate::model::job::NewJob;
use crate::model::job::OnDuplicate;
use crate::model::job::options::Priority;
use crate::model::outcome::Verdict;
use crate::model::state::State::*;
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::doctor::audit;

fn rerun(payload: u32) -> NewJob {
    let job = NewJob::new("send").unique("u").payload(&payload);
    job.on_duplicate(OnDuplicate::Rerun)
}

fn enqueue(sandbox: &mut Sandbox, payload: u32) -> Enqueued {
    let enqueued = sandbox.try_enqueue(rerun(payload)).unwrap();
    sandbox.assert_books_are_right();
    enqueued
}

fn payload(sandbox: &Sandbox, id: JobId) -> String {
    sandbox.job(id).payload.get().to_owned()
}

#[test]
fn what_does_not_run_yet_is_replaced() {
    let mut sandbox = Sandbox::new();
    let first = enqueue(&mut sandbox, 1);
    let second = enqueue(&mut sandbox, 2);
    assert_eq!((second.id, second.replaced), (first.id, true));
    assert_eq!(second.rerun_of, None);
    assert_eq!(payload(&sandbox, first.id), "2");
}

#[test]
fn while_one_runs_at_most_one_waits_with_the_latest_payload() {
    let mut sandbox = Sandbox::new();
    let first = enqueue(&mut sandbox, 1).id;
    sandbox.start(first);
    let second = enqueue(&mut sandbox, 2);
    assert_eq!((second.state, second.rerun_of), (Blocked, Some(first)));
    assert!(second.duplicate && second.is_new());
    for number in 3..6 {
        let again = enqueue(&mut sandbox, number);
        assert_eq!((again.id, again.rerun_of), (second.id, Some(first)));
        assert!(again.replaced && !again.is_new());
    }
    assert_eq!(payload(&sandbox, first), "1");
    assert_eq!(payload(&sandbox, second.id), "5");
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_job"), 2);
    // Who only replaces has its word there as well; who keeps or rejects meets the running one.
    let replace = rerun(6).on_duplicate(OnDuplicate::Replace);
    let replaced = sandbox.try_enqueue(replace).unwrap();
    assert!(replaced.replaced && replaced.id == second.id);
    let keep = rerun(7).on_duplicate(OnDuplicate::Keep);
    assert_eq!(sandbox.try_enqueue(keep).unwrap().id, first);
    let reject = rerun(7).on_duplicate(OnDuplicate::Reject);
    assert!(sandbox.refused(reject).is_duplicate());
    sandbox.assert_books_are_right();
}

#[test]
fn a_rerun_follows_the_first_job_and_takes_its_unique_key() {
    let failed = Verdict::Fail {
        error: "no".to_owned(),
    };
    for end in [Verdict::Complete { result: None }, failed, Verdict::Cancel] {
        let mut sandbox = Sandbox::new();
        let first = sandbox.enqueue(rerun(1).unique_for(Duration::from_secs(60)));
        let held = sandbox.start(first);
        let second = enqueue(&mut sandbox, 2).id;
        sandbox.settle(&held, &end);
        assert!(sandbox.state(first).is_final());
        assert_eq!(sandbox.state(second), Pending, "{end:?}");
        sandbox.assert_books_are_right();
        let third = enqueue(&mut sandbox, 3);
        assert_eq!((third.id, third.replaced), (second, true));
        sandbox.complete(second);
        assert!(!enqueue(&mut sandbox, 4).duplicate);
    }
}

#[test]
fn while_the_first_waits_for_a_retry_the_second_still_waits() {
    let mut sandbox = Sandbox::new();
    let first = enqueue(&mut sandbox, 1).id;
    let held = sandbox.start(first);
    let second = enqueue(&mut sandbox, 2).id;
    let retry = Verdict::Retry {
        error: "no".to_owned(),
        after: Duration::from_secs(1),
    };
    sandbox.settle(&held, &retry);
    assert_eq!(sandbox.states(&[first, second]), [Scheduled, Blocked]);
    // The latest payload is that of the one that comes later.
    assert_eq!(enqueue(&mut sandbox, 3).id, second);
    assert_eq!(payload(&sandbox, first), "1");
}

#[test]
fn a_waiting_rerun_can_be_cancelled_and_another_replaces_it() {
    let mut sandbox = Sandbox::new();
    let first = enqueue(&mut sandbox, 1).id;
    let held = sandbox.start(first);
    let second = enqueue(&mut sandbox, 2).id;
    sandbox.cancel(second);
    sandbox.assert_books_are_right();
    let third = enqueue(&mut sandbox, 3);
    assert!(third.is_new() && third.id != second);
    sandbox.settle(&held, &Verdict::Complete { result: None });
    assert_eq!(sandbox.states(&[second, third.id]), [Cancelled, Pending]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_child_of_the_running_one_cannot_wait_for_its_end() {
    let mut sandbox = Sandbox::new();
    let first = enqueue(&mut sandbox, 1).id;
    sandbox.start(first);
    let error = sandbox.refused(rerun(2).parent(first));
    assert!(error.is_invalid_input(), "{error}");
    assert!(error.to_string().contains("cycle"), "{error}");
}

#[test]
fn a_parent_that_waits_for_its_children_has_begun() {
    let mut sandbox = Sandbox::new();
    let group = sandbox.enqueue(NewJob::new(GROUP_KIND).unique("u"));
    let child = sandbox.enqueue(NewJob::new("send").parent(group));
    let second = enqueue(&mut sandbox, 2);
    assert_eq!(second.rerun_of, Some(group));
    sandbox.complete(child);
    assert_eq!(sandbox.states(&[group, second.id]), [Completed, Pending]);
    sandbox.assert_books_are_right();
}

#[test]
fn the_audit_finds_and_mends_what_is_wrong_with_it() {
    for spoil in [
        "UPDATE jobq_unique SET rerun_id = 99",
        "UPDATE jobq_unique SET rerun_id = NULL",
        "UPDATE jobq_unique SET job_id = 99",
        "DELETE FROM jobq_unique",
    ] {
        let mut sandbox = Sandbox::new();
        sandbox.runner("one");
        let first = enqueue(&mut sandbox, 1).id;
        let held = sandbox.start(first);
        let second = enqueue(&mut sandbox, 2).id;
        sandbox.sql(spoil);
        let found = sandbox.write(|tx| audit::faults(tx.conn));
        assert!(!found.is_empty(), "{spoil}");
        sandbox.write(audit::repair);
        let found = sandbox.write(|tx| audit::faults(tx.conn));
        assert!(found.is_empty(), "{spoil}: {found:?}");
        sandbox.settle(&held, &Verdict::Complete { result: None });
        assert_eq!(sandbox.state(second), Pending, "{spoil}");
        sandbox.assert_books_are_right();
    }
}

#[test]
fn the_line_of_a_key_and_the_priority_are_the_latest_ones() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.enqueue(rerun(1).key("k"));
    let held = sandbox.start(first);
    let second = sandbox.enqueue(rerun(2).key("k"));
    sandbox.enqueue(rerun(3).key("k").priority(Priority::Urgent));
    sandbox.assert_books_are_right();
    sandbox.settle(&held, &Verdict::Complete { result: None });
    assert_eq!(sandbox.state(second), Pending);
    assert_eq!(sandbox.job(second).priority, Priority::Urgent);
    sandbox.assert_books_are_right();
}
