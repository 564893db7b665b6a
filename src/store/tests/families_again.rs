//! Families that are retried by hand, and what they leave behind as results and errors.

use crate::model::event::EventKind;
use crate::model::family::{ChildPolicy, GROUP_KIND};
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::outcome::Verdict;
use crate::model::state::State::*;
use crate::store::jobs::{remove, requeue};
use crate::store::tests::families::family;
use crate::store::tests::sandbox::Sandbox;

fn child(of: JobId) -> NewJob {
    NewJob::new("child").parent(of)
}

fn attempts(sandbox: &Sandbox, ids: &[JobId]) -> Vec<u32> {
    ids.iter().map(|id| sandbox.job(*id).attempt).collect()
}

#[test]
fn a_retry_of_a_failed_parent_runs_only_what_did_not_complete() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two, three]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    sandbox.complete(one);
    sandbox.fail(two);
    sandbox.cancel(three);
    sandbox.assert_books_are_right();
    sandbox.requeue(id);
    assert_eq!(
        sandbox.states(&[id, one, two, three]),
        [Waiting, Completed, Pending, Pending]
    );
    sandbox.assert_books_are_right();
    sandbox.complete(two);
    sandbox.complete(three);
    let job = sandbox.job(id);
    assert_eq!((job.state, job.error), (Completed, None));
    assert_eq!(attempts(&sandbox, &[id, one, two, three]), [1, 1, 2, 1]);
    assert_eq!(sandbox.job(three).error, None, "its cancellation is over");
    sandbox.assert_books_are_right();
}

#[test]
fn a_retry_reaches_through_all_generations() {
    let mut sandbox = Sandbox::new();
    let old = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let middle = sandbox.enqueue(NewJob::new(GROUP_KIND).parent(old));
    let [one, two] = [(); 2].map(|()| sandbox.enqueue(child(middle)));
    sandbox.complete(one);
    sandbox.fail(two);
    assert_eq!(sandbox.states(&[old, middle]), [Failed, Failed]);
    sandbox.requeue(old);
    assert_eq!(
        sandbox.states(&[old, middle, one, two]),
        [Waiting, Waiting, Completed, Pending]
    );
    sandbox.assert_books_are_right();
    sandbox.complete(two);
    assert_eq!(sandbox.states(&[old, middle]), [Completed, Completed]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_retry_of_a_parent_whose_run_phase_failed_begins_with_that() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("parent"));
    let one = sandbox.enqueue(child(id));
    sandbox.fail(id);
    assert_eq!(sandbox.state(one), Cancelled);
    sandbox.requeue(id);
    assert_eq!(sandbox.states(&[id, one]), [Pending, Blocked]);
    sandbox.assert_books_are_right();
    sandbox.complete(id);
    sandbox.complete(one);
    assert_eq!(sandbox.states(&[id, one]), [Completed, Completed]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_retry_of_a_parent_keeps_the_order_among_its_children() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let one = sandbox.enqueue(child(id));
    let two = sandbox.enqueue(child(id).after([one]));
    let three = sandbox.enqueue(child(id).after([two]));
    sandbox.fail(one);
    assert_eq!(
        sandbox.states(&[id, one, two, three]),
        [Failed, Failed, Cancelled, Cancelled]
    );
    sandbox.requeue(id);
    assert_eq!(
        sandbox.states(&[id, one, two, three]),
        [Waiting, Pending, Blocked, Blocked]
    );
    sandbox.assert_books_are_right();
    for child in [one, two, three] {
        sandbox.complete(child);
    }
    assert_eq!(sandbox.state(id), Completed);
    sandbox.assert_books_are_right();
}

#[test]
fn a_retried_completed_parent_starts_over_with_its_children() {
    let mut sandbox = Sandbox::new();
    let (id, [one]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    sandbox.complete(one);
    sandbox.requeue(id);
    assert_eq!(sandbox.states(&[id, one]), [Pending, Completed]);
    let two = sandbox.enqueue(child(id));
    assert_eq!(sandbox.state(two), Blocked);
    assert_eq!(sandbox.complete(id), Waiting);
    sandbox.complete(two);
    assert_eq!(sandbox.state(id), Completed);
    assert_eq!(attempts(&sandbox, &[id, one, two]), [2, 1, 1]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_retry_of_a_completed_group_has_nothing_to_do() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let one = sandbox.enqueue(child(id));
    sandbox.complete(one);
    sandbox.requeue(id);
    assert_eq!(sandbox.states(&[id, one]), [Completed, Completed]);
    assert_eq!(
        sandbox.history(id),
        [
            EventKind::Enqueued,
            EventKind::Completed,
            EventKind::Requeued,
            EventKind::Completed
        ]
    );
    sandbox.assert_books_are_right();
}

#[test]
fn a_child_put_back_while_its_parent_waits_counts_as_live_again() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    sandbox.fail(one);
    sandbox.requeue(one);
    assert_eq!(sandbox.states(&[id, one]), [Waiting, Pending]);
    sandbox.assert_books_are_right();
    sandbox.complete(one);
    sandbox.complete(two);
    assert_eq!(sandbox.state(id), Completed, "the failure is forgiven");
    sandbox.assert_books_are_right();
}

#[test]
fn a_child_put_back_alone_leaves_its_final_parent_as_it_is() {
    let mut sandbox = Sandbox::new();
    let (id, [one]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    sandbox.fail(one);
    sandbox.requeue(one);
    assert_eq!(sandbox.states(&[id, one]), [Failed, Pending]);
    sandbox.complete(one);
    assert_eq!(sandbox.state(id), Failed, "what is final stays");
    sandbox.assert_books_are_right();
    // Now nothing is left that did not complete.
    sandbox.requeue(id);
    let job = sandbox.job(id);
    assert_eq!((job.state, job.error), (Completed, None));
    sandbox.assert_books_are_right();
}

#[test]
fn a_parent_that_was_cancelled_is_put_back_with_its_children() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    sandbox.complete(one);
    sandbox.cancel(id);
    sandbox.requeue(id);
    assert_eq!(
        sandbox.states(&[id, one, two]),
        [Waiting, Completed, Pending]
    );
    sandbox.complete(two);
    assert_eq!(sandbox.state(id), Completed);
    sandbox.assert_books_are_right();
}

#[test]
fn a_live_parent_is_not_put_back() {
    let mut sandbox = Sandbox::new();
    let (id, [_]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    let error = sandbox
        .try_write(|tx| requeue::requeue(tx, id))
        .unwrap_err();
    assert!(error.is_wrong_state(), "{error}");
    assert!(error.to_string().contains("waiting"), "{error}");
}

fn result(sandbox: &Sandbox, id: JobId) -> Option<String> {
    sandbox.job(id).result.map(|json| json.get().to_owned())
}

fn done(result: &str) -> Verdict {
    Verdict::Complete {
        result: Some(result.to_owned()),
    }
}

#[test]
fn the_result_of_a_parents_run_phase_is_the_parents() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("parent"));
    let one = sandbox.enqueue(child(id));
    let held = sandbox.start(id);
    sandbox.settle(&held, &done("1"));
    sandbox.complete(one);
    assert_eq!(sandbox.state(id), Completed);
    assert_eq!(result(&sandbox, id).as_deref(), Some("1"));
}

#[test]
fn a_parent_that_did_not_complete_has_no_result() {
    let mut sandbox = Sandbox::new();
    for fails in [true, false] {
        let id = sandbox.enqueue(NewJob::new("parent"));
        let one = sandbox.enqueue(child(id));
        let held = sandbox.start(id);
        sandbox.settle(&held, &done("1"));
        if fails {
            sandbox.fail(one);
        } else {
            sandbox.cancel(id);
        }
        assert_eq!(result(&sandbox, id), None, "{}", sandbox.state(id));
    }
}

#[test]
fn a_job_cancelled_before_it_ran_completes_without_an_error() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.enqueue(NewJob::new("first"));
    let id = sandbox.enqueue(NewJob::new("second").after([first]));
    sandbox.fail(first);
    assert!(sandbox.error(id).contains("failed"));
    sandbox.requeue(id);
    sandbox.complete(id);
    assert_eq!(sandbox.job(id).error, None);
    sandbox.assert_books_are_right();
}

/// The child ended cancelled after its parent was put back, was not run again, and failed it once more.
#[test]
fn a_parent_is_not_retried_while_its_child_is_being_stopped() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two]) = family(&mut sandbox, ChildPolicy::CancelOthers);
    let [failing, running] = [one, two].map(|child| sandbox.start(child));
    let error = "it cannot".to_owned();
    sandbox.settle(&failing, &Verdict::Fail { error });
    assert_eq!(sandbox.states(&[id, two]), [Failed, Running]);
    let refused = sandbox
        .try_write(|tx| requeue::requeue(tx, id))
        .unwrap_err();
    assert!(refused.is_wrong_state());
    assert!(refused.to_string().contains("job 3"), "{refused}");
    sandbox.assert_books_are_right();
    sandbox.settle(&running, &Verdict::Cancel);
    sandbox.requeue(id);
    assert_eq!(sandbox.states(&[id, one, two]), [Waiting, Pending, Pending]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_removed_failed_child_does_not_fail_its_parent_again() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two, three]) = family(&mut sandbox, ChildPolicy::FailAtEnd);
    sandbox.complete(one);
    sandbox.fail(two);
    sandbox.fail(three);
    sandbox.write(|tx| remove::remove(tx, two));
    sandbox.requeue(id);
    assert_eq!(sandbox.states(&[id, three]), [Waiting, Pending]);
    sandbox.assert_books_are_right();
    sandbox.complete(three);
    assert_eq!(sandbox.state(id), Completed);
    assert_eq!(sandbox.job(id).children.unwrap().total, 2);
    sandbox.assert_books_are_right();
}
