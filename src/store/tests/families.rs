//! Parents and children, seen through the file.

use crate::model::event::EventKind;
use crate::model::family::Children;
use crate::model::family::{ChildPolicy, GROUP_KIND};
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::outcome::{Cancelled, Verdict};
use crate::model::state::State;
use crate::model::state::State::*;
use crate::store::jobs::finish_attempt::AttemptMeasures;
use crate::store::jobs::{finish_attempt, remove};
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::promote;
use std::time::Duration;

fn parent(policy: ChildPolicy) -> NewJob {
    NewJob::new("parent").child_policy(policy)
}

fn child(of: JobId) -> NewJob {
    NewJob::new("child").parent(of)
}

/// A parent whose run phase is done, and its children.
pub(super) fn family<const N: usize>(
    sandbox: &mut Sandbox,
    policy: ChildPolicy,
) -> (JobId, [JobId; N]) {
    let id = sandbox.enqueue(parent(policy));
    let children = std::array::from_fn(|_| sandbox.enqueue(child(id)));
    assert_eq!(sandbox.complete(id), Waiting);
    (id, children)
}

fn children(sandbox: &Sandbox, id: JobId) -> Children {
    sandbox.job(id).children.unwrap()
}

fn counted(total: u64, done: u64, failed: u64) -> Children {
    Children {
        total,
        done,
        failed,
    }
}

#[test]
fn a_parents_run_phase_is_first_and_its_wait_holds_no_worker() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(parent(ChildPolicy::FailAtEnd));
    let [one, two] = [(); 2].map(|()| sandbox.enqueue(child(id)));
    assert_eq!(sandbox.states(&[id, one, two]), [Pending, Blocked, Blocked]);
    let claimed = sandbox.claim(1, 10);
    assert_eq!(claimed.len(), 1, "its children wait for it");
    sandbox.assert_books_are_right();
    let done = Verdict::Complete { result: None };
    assert_eq!(sandbox.settle(&claimed[0].token(1), &done), Some(Waiting));
    assert_eq!(sandbox.states(&[id, one, two]), [Waiting, Pending, Pending]);
    assert_eq!(
        sandbox.number("SELECT count(*) FROM jobq_job WHERE state = 3"),
        0
    );
    assert_eq!(
        sandbox.history(id),
        [EventKind::Enqueued, EventKind::Started, EventKind::Waiting]
    );
    let ids: Vec<JobId> = sandbox.claim(1, 10).iter().map(|job| job.id).collect();
    assert_eq!(ids, [one, two], "its children, and not the parent again");
    sandbox.assert_books_are_right();
}

#[test]
fn a_parent_completes_when_all_its_children_have() {
    for policy in ChildPolicy::ALL {
        let mut sandbox = Sandbox::new();
        let (id, [one, two]) = family(&mut sandbox, policy);
        sandbox.complete(one);
        assert_eq!(sandbox.state(id), Waiting);
        assert_eq!(children(&sandbox, id), counted(2, 1, 0));
        sandbox.now_ms += 7;
        sandbox.complete(two);
        let job = sandbox.job(id);
        assert_eq!((job.state, job.error), (Completed, None));
        assert_eq!(job.finished_at.unwrap().as_millisecond(), sandbox.now_ms);
        assert_eq!(children(&sandbox, id), counted(2, 2, 0));
        assert_eq!(sandbox.history(id).last(), Some(&EventKind::Completed));
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_parent_fails_once_all_are_final_and_names_the_child() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    sandbox.fail(one);
    assert_eq!(sandbox.states(&[id, two]), [Waiting, Pending]);
    sandbox.complete(two);
    assert_eq!(sandbox.state(id), Failed);
    assert_eq!(sandbox.error(id), format!("child {one} failed: boom"));
    sandbox.assert_books_are_right();

    let (id, [one, two, three]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    sandbox.complete(one);
    sandbox.fail(two);
    sandbox.fail(three);
    assert_eq!(
        sandbox.error(id),
        format!("2 of its 3 children failed, first child {two}: boom")
    );
    sandbox.assert_books_are_right();
}

#[test]
fn a_cancelled_child_counts_as_a_failed_one() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    assert_eq!(sandbox.cancel(one), Cancelled::Now);
    assert_eq!(children(&sandbox, id), counted(2, 0, 1));
    sandbox.complete(two);
    assert_eq!(sandbox.state(id), Failed);
    assert_eq!(sandbox.error(id), format!("child {one} was cancelled"));
    sandbox.assert_books_are_right();
}

#[test]
fn fail_fast_fails_the_parent_at_once_and_its_children_run_on() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two, three]) = family(&mut sandbox, ChildPolicy::FailFast);
    let held = sandbox.start(one);
    sandbox.fail(two);
    assert_eq!(
        sandbox.states(&[id, one, three]),
        [Failed, Running, Pending]
    );
    assert_eq!(sandbox.error(id), format!("child {two} failed: boom"));
    assert!(!sandbox.job(one).cancel_requested);
    sandbox.settle(&held, &Verdict::Complete { result: None });
    sandbox.complete(three);
    assert_eq!(sandbox.state(id), Failed, "what is final stays");
    assert_eq!(children(&sandbox, id), counted(3, 2, 1));
    sandbox.assert_books_are_right();
}

#[test]
fn with_cancel_others_the_first_failure_ends_the_siblings_too() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two, three]) = family(&mut sandbox, ChildPolicy::CancelOthers);
    let held = sandbox.start(one);
    sandbox.fail(two);
    assert_eq!(
        sandbox.states(&[id, one, three]),
        [Failed, Running, Cancelled]
    );
    assert!(sandbox.job(one).cancel_requested, "it is asked to stop");
    assert_eq!(sandbox.error(three), format!("its parent {id} failed"));
    sandbox.settle(&held, &Verdict::Cancel);
    assert_eq!(sandbox.state(one), Cancelled);
    assert_eq!(sandbox.error(one), format!("its parent {id} failed"));
    assert_eq!(children(&sandbox, id), counted(3, 0, 3));
    assert_eq!(sandbox.error(id), format!("child {two} failed: boom"));
    sandbox.assert_books_are_right();
}

#[test]
fn a_child_that_completes_although_it_was_to_stop_has_no_error() {
    let mut sandbox = Sandbox::new();
    let (_, [one, two]) = family(&mut sandbox, ChildPolicy::CancelOthers);
    let held = sandbox.start(one);
    sandbox.fail(two);
    sandbox.settle(&held, &Verdict::Complete { result: None });
    let job = sandbox.job(one);
    assert_eq!((job.state, job.error), (Completed, None));
}

#[test]
fn the_first_of_several_children_that_fail_at_once_is_the_cause() {
    let mut sandbox = Sandbox::new();
    let (id, children) = family::<3>(&mut sandbox, ChildPolicy::FailAtEnd);
    let held = children.map(|child| sandbox.start(child));
    sandbox.write(|tx| {
        let error = "boom".to_owned();
        let verdict = Verdict::Fail { error };
        let mut settle =
            |held| finish_attempt::finish(tx, held, &verdict, &AttemptMeasures::default());
        held.iter().try_for_each(|held| settle(held).map(|_| ()))
    });
    let error = sandbox.error(id);
    assert!(
        error.contains(&format!("first child {}", children[0])),
        "{error}"
    );
}

#[test]
fn tolerate_completes_the_parent_however_its_children_end() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two, three]) = family(&mut sandbox, ChildPolicy::Tolerate);
    sandbox.fail(one);
    sandbox.cancel(two);
    assert_eq!(sandbox.state(id), Waiting);
    sandbox.complete(three);
    let job = sandbox.job(id);
    assert_eq!((job.state, job.error), (Completed, None));
    sandbox.assert_books_are_right();
}

#[test]
fn a_parent_without_children_completes_with_its_run_phase() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(parent(ChildPolicy::FailAtEnd));
    sandbox.complete(id);
    assert_eq!(sandbox.state(id), Completed);
    sandbox.assert_books_are_right();
}

#[test]
fn a_parent_that_fails_by_itself_cancels_its_blocked_children() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(parent(ChildPolicy::FailAtEnd));
    let one = sandbox.enqueue(child(id));
    sandbox.fail(id);
    assert_eq!(sandbox.states(&[id, one]), [Failed, Cancelled]);
    assert_eq!(sandbox.error(id), "boom");
    assert!(sandbox.error(one).contains(&format!("{id}")));
    assert_eq!(
        sandbox.number("SELECT attempt FROM jobq_job WHERE id = 2"),
        0
    );
    sandbox.assert_books_are_right();
}

#[test]
fn a_group_runs_its_children_at_once_and_waits_for_its_first() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new(GROUP_KIND));
    assert_eq!(sandbox.state(id), Waiting);
    // Something else ends meanwhile; the group is still without children.
    let other = sandbox.enqueue(NewJob::new("send"));
    sandbox.complete(other);
    assert_eq!(sandbox.state(id), Waiting);
    let one = sandbox.enqueue(child(id));
    assert_eq!(sandbox.state(one), Pending);
    sandbox.complete(one);
    assert_eq!(sandbox.state(id), Completed);
    assert_eq!(sandbox.job(id).attempt, 0, "it never took a worker");
    sandbox.assert_books_are_right();
}

#[test]
fn the_children_of_a_delayed_or_blocked_group_wait_for_it() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.enqueue(NewJob::new("first"));
    let delay = Duration::from_secs(5);
    let groups = [
        sandbox.enqueue(NewJob::new(GROUP_KIND).delay(delay)),
        sandbox.enqueue(NewJob::new(GROUP_KIND).after([first])),
    ];
    let children = groups.map(|group| sandbox.enqueue(child(group)));
    assert_eq!(sandbox.states(&groups), [Scheduled, Blocked]);
    assert_eq!(sandbox.states(&children), [Blocked, Blocked]);
    sandbox.complete(first);
    sandbox.now_ms += 5000;
    sandbox.write(|tx| promote::promote_due(tx, 10));
    assert_eq!(sandbox.states(&groups), [Pending, Pending]);
    for (group, child) in groups.into_iter().zip(children) {
        assert_eq!(sandbox.state(child), Blocked);
        assert_eq!(sandbox.complete(group), Waiting);
        assert_eq!(sandbox.state(child), Pending);
        sandbox.complete(child);
        assert_eq!(sandbox.state(group), Completed);
    }
    sandbox.assert_books_are_right();
}

/// A group, a parent in it whose run phase is done, and that one's two children.
fn three_generations(sandbox: &mut Sandbox) -> [JobId; 4] {
    let old = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let middle = sandbox.enqueue(parent(ChildPolicy::FailAtEnd).parent(old));
    let young = [(); 2].map(|()| sandbox.enqueue(child(middle)));
    sandbox.complete(middle);
    [old, middle, young[0], young[1]]
}

#[test]
fn the_last_grandchild_completes_all_generations_at_once() {
    let mut sandbox = Sandbox::new();
    let all = three_generations(&mut sandbox);
    assert_eq!(sandbox.states(&all), [Waiting, Waiting, Pending, Pending]);
    sandbox.complete(all[2]);
    assert_eq!(sandbox.state(all[0]), Waiting);
    sandbox.complete(all[3]);
    assert_eq!(sandbox.states(&all), [Completed; 4]);
    assert_eq!(children(&sandbox, all[0]), counted(1, 1, 0));
    sandbox.assert_books_are_right();
}

#[test]
fn a_failure_goes_up_through_the_generations_with_its_cause() {
    let mut sandbox = Sandbox::new();
    let [old, middle, one, two] = three_generations(&mut sandbox);
    sandbox.fail(one);
    sandbox.complete(two);
    assert_eq!(sandbox.states(&[old, middle]), [Failed, Failed]);
    let error = format!("child {middle} failed: child {one} failed: boom");
    assert_eq!(sandbox.error(old), error);
    sandbox.assert_books_are_right();
}

#[test]
fn cancelling_a_parent_cancels_or_asks_all_descendants() {
    let mut sandbox = Sandbox::new();
    let [old, middle, one, two] = three_generations(&mut sandbox);
    let other = sandbox.enqueue(child(old).after([two]));
    let held = sandbox.start(one);
    assert_eq!(sandbox.cancel(old), Cancelled::Now);
    assert_eq!(
        sandbox.states(&[old, middle, one, two, other]),
        [Cancelled, Cancelled, Running, Cancelled, Cancelled]
    );
    assert!(sandbox.job(one).cancel_requested);
    assert_eq!(
        sandbox.error(two),
        format!("its parent {middle} was cancelled")
    );
    sandbox.settle(&held, &Verdict::Cancel);
    assert_eq!(sandbox.state(one), Cancelled);
    assert_eq!(children(&sandbox, middle), counted(2, 0, 2));
    sandbox.assert_books_are_right();
}

#[test]
fn cancelling_an_unfinished_run_phase_cancels_its_children() {
    for running in [false, true] {
        let mut sandbox = Sandbox::new();
        let id = sandbox.enqueue(parent(ChildPolicy::FailAtEnd));
        let one = sandbox.enqueue(child(id));
        if running {
            let held = sandbox.start(id);
            assert_eq!(sandbox.cancel(id), Cancelled::Requested);
            assert_eq!(sandbox.state(one), Blocked, "it may still complete");
            // What was done counts, but its children have not begun and will not.
            sandbox.settle(&held, &Verdict::Complete { result: None });
        } else {
            sandbox.cancel(id);
        }
        assert_eq!(sandbox.states(&[id, one]), [Cancelled, Cancelled]);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn cancelling_a_child_leaves_its_siblings_alone() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two, three]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    let held = sandbox.start(one);
    sandbox.cancel(two);
    assert_eq!(sandbox.cancel(one), Cancelled::Requested);
    assert_eq!(
        sandbox.states(&[id, one, three]),
        [Waiting, Running, Pending]
    );
    sandbox.settle(&held, &Verdict::Cancel);
    sandbox.complete(three);
    assert_eq!(
        sandbox.states(&[id, one, two]),
        [Failed, Cancelled, Cancelled]
    );
    sandbox.assert_books_are_right();
}

#[test]
fn a_child_of_a_final_or_unknown_parent_is_refused_and_says_why() {
    let mut sandbox = Sandbox::new();
    let (id, [one]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    sandbox.complete(one);
    let error = sandbox.refused(child(id));
    assert!(error.is_wrong_state(), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("job {id} is completed")),
        "{error}"
    );
    let error = sandbox.refused(child(JobId(99)));
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains("no job 99"), "{error}");
    assert_eq!(children(&sandbox, id), counted(1, 1, 0));
    sandbox.assert_books_are_right();
}

#[test]
fn a_child_added_to_a_waiting_parent_runs_and_it_still_waits() {
    let mut sandbox = Sandbox::new();
    let (id, [one]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    let late = sandbox.enqueue(child(id));
    assert_eq!(sandbox.state(late), Pending);
    sandbox.complete(one);
    assert_eq!(sandbox.state(id), Waiting);
    sandbox.complete(late);
    assert_eq!(sandbox.state(id), Completed);
    sandbox.assert_books_are_right();
}

#[test]
fn a_running_job_too_becomes_a_parent_by_its_first_child() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("parent"));
    let held = sandbox.start(id);
    let one = sandbox.enqueue(child(id));
    assert_eq!(sandbox.state(one), Blocked);
    let done = Verdict::Complete { result: None };
    assert_eq!(sandbox.settle(&held, &done), Some(Waiting));
    sandbox.complete(one);
    assert_eq!(sandbox.state(id), Completed);
    sandbox.assert_books_are_right();
}

#[test]
fn a_retried_parent_keeps_its_children_blocked() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(parent(ChildPolicy::FailAtEnd).max_retries(2));
    let one = sandbox.enqueue(child(id));
    let held = sandbox.start(id);
    let retry = Verdict::Retry {
        error: "not now".to_owned(),
        after: Duration::ZERO,
    };
    sandbox.settle(&held, &retry);
    assert_eq!(sandbox.states(&[id, one]), [Scheduled, Blocked]);
    sandbox.write(|tx| promote::promote_due(tx, 10));
    sandbox.complete(id);
    assert_eq!(sandbox.states(&[id, one]), [Waiting, Pending]);
    sandbox.complete(one);
    let job = sandbox.job(id);
    assert_eq!((job.state, job.error), (Completed, None));
    sandbox.assert_books_are_right();
}

#[test]
fn what_is_removed_of_a_family_disturbs_nobody() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two]) = family(&mut sandbox, ChildPolicy::FailFast);
    sandbox.complete(one);
    sandbox.write(|tx| remove::remove(tx, one));
    assert_eq!(children(&sandbox, id), counted(2, 1, 0), "it was there");
    sandbox.complete(two);
    assert_eq!(sandbox.state(id), Completed);

    // A parent that failed at once is removed while a child of it still lives.
    let (id, [one, two]) = family(&mut sandbox, ChildPolicy::FailFast);
    sandbox.fail(one);
    sandbox.write(|tx| remove::remove(tx, id));
    assert_eq!(sandbox.complete(two), State::Completed);
    let left = "SELECT count(*) FROM jobq_family WHERE job_id = ";
    assert_eq!(sandbox.number(&format!("{left}{id}")), 0);
    sandbox.assert_counters_are_right();
}
