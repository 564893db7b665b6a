//! The finalize phase: a parent's handler once more, after its children.

use std::time::Duration;

use crate::model::event::EventKind;
use crate::model::family::{ChildPolicy, GROUP_KIND, Stage};
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::outcome::Verdict;
use crate::model::state::State;
use crate::model::state::State::*;
use crate::store::jobs::families;
use crate::store::jobs::finish_attempt::ClaimToken;
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::runners::Loss;
use crate::store::upkeep::{promote, runners};

fn parent() -> NewJob {
    NewJob::new("parent").finalize()
}

fn child(of: JobId) -> NewJob {
    NewJob::new("child").parent(of)
}

/// A parent whose run phase is done, and its children.
fn family<const N: usize>(sandbox: &mut Sandbox, rules: NewJob) -> (JobId, [JobId; N]) {
    let id = sandbox.enqueue(rules);
    let children = std::array::from_fn(|_| sandbox.enqueue(child(id)));
    assert_eq!(sandbox.complete(id), Waiting);
    (id, children)
}

/// Claims the parent, which must be in its finalize phase.
fn begin_final(sandbox: &mut Sandbox, id: JobId) -> ClaimToken {
    let claimed = sandbox.claim(1, 10);
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].id, claimed[0].stage), (id, Stage::Finalize));
    claimed[0].token(1)
}

fn done() -> Verdict {
    Verdict::Complete { result: None }
}

#[test]
fn finalize_runs_once_after_all_children_and_sees_them() {
    let mut sandbox = Sandbox::new();
    let (id, [one, two]) = family(&mut sandbox, parent());
    sandbox.complete(one);
    assert_eq!(sandbox.state(id), Waiting);
    sandbox.complete(two);
    assert_eq!(sandbox.state(id), Pending);
    let held = begin_final(&mut sandbox, id);
    assert_eq!(held.attempt, 2, "an attempt like any other");
    assert_eq!(
        families::children(&sandbox.conn, id).unwrap(),
        [(one, Completed), (two, Completed)]
    );
    sandbox.assert_books_are_right();
    assert_eq!(sandbox.settle(&held, &done()), Some(State::Completed));
    assert_eq!(sandbox.claim(1, 10).len(), 0, "it does not come again");
    assert_eq!(
        sandbox.history(id),
        [
            EventKind::Enqueued,
            EventKind::Started,
            EventKind::Waiting,
            EventKind::Released,
            EventKind::Started,
            EventKind::Completed
        ]
    );
    sandbox.assert_books_are_right();
}

#[test]
fn the_result_is_what_the_finalize_phase_returns() {
    for (last, expected) in [(Some("2"), Some("2")), (None, None)] {
        let mut sandbox = Sandbox::new();
        let id = sandbox.enqueue(parent());
        let one = sandbox.enqueue(child(id));
        let held = sandbox.start(id);
        let result = |json: Option<&str>| Verdict::Complete {
            result: json.map(str::to_owned),
        };
        sandbox.settle(&held, &result(Some("1")));
        sandbox.complete(one);
        let held = begin_final(&mut sandbox, id);
        sandbox.settle(&held, &result(last));
        let found = sandbox.job(id).result.map(|json| json.get().to_owned());
        assert_eq!(found.as_deref(), expected);
    }
}

#[test]
fn after_a_failure_there_is_no_finalize_phase() {
    for policy in [
        ChildPolicy::FailAtEnd,
        ChildPolicy::FailFast,
        ChildPolicy::CancelOthers,
    ] {
        let mut sandbox = Sandbox::new();
        let (id, [one, two]) = family(&mut sandbox, parent().child_policy(policy));
        sandbox.complete(one);
        sandbox.fail(two);
        assert_eq!(sandbox.state(id), Failed, "{policy}");
        assert_eq!(sandbox.claim(1, 10).len(), 0, "{policy}");
        sandbox.assert_books_are_right();
    }
}

#[test]
fn with_tolerate_the_finalize_phase_comes_after_failures_too() {
    let mut sandbox = Sandbox::new();
    let rules = parent().child_policy(ChildPolicy::Tolerate);
    let (id, [one, two]) = family(&mut sandbox, rules);
    sandbox.fail(one);
    sandbox.cancel(two);
    let held = begin_final(&mut sandbox, id);
    assert_eq!(
        families::children(&sandbox.conn, id).unwrap(),
        [(one, Failed), (two, Cancelled)]
    );
    assert_eq!(sandbox.settle(&held, &done()), Some(State::Completed));
    sandbox.assert_books_are_right();
}

#[test]
fn a_parent_without_children_still_has_its_finalize_phase() {
    let mut sandbox = Sandbox::new();
    let (id, []) = family(&mut sandbox, parent());
    let held = begin_final(&mut sandbox, id);
    assert_eq!(sandbox.settle(&held, &done()), Some(State::Completed));
    sandbox.assert_books_are_right();
}

#[test]
fn a_failed_finalize_phase_fails_the_parent_with_its_error() {
    let mut sandbox = Sandbox::new();
    let (id, [one]) = family(&mut sandbox, parent());
    sandbox.complete(one);
    assert_eq!(sandbox.fail(id), Failed);
    assert_eq!(sandbox.error(id), "boom");
    assert_eq!(sandbox.state(one), Completed);
    // Put back, it finalizes again and nothing else.
    sandbox.requeue(id);
    let held = begin_final(&mut sandbox, id);
    sandbox.settle(&held, &done());
    let job = sandbox.job(id);
    assert_eq!((job.state, job.error, job.attempt), (Completed, None, 3));
    assert_eq!(sandbox.job(one).attempt, 1);
    sandbox.assert_books_are_right();
}

#[test]
fn a_finalize_phase_is_tried_again_as_one() {
    let mut sandbox = Sandbox::new();
    let (id, [one]) = family(&mut sandbox, parent());
    sandbox.complete(one);
    let held = begin_final(&mut sandbox, id);
    let retry = Verdict::Retry {
        error: "not now".to_owned(),
        after: Duration::from_secs(5),
    };
    assert_eq!(sandbox.settle(&held, &retry), Some(Scheduled));
    sandbox.now_ms += 5000;
    sandbox.write(|tx| promote::promote_due(tx, 10));
    let held = begin_final(&mut sandbox, id);
    assert_eq!(sandbox.settle(&held, &done()), Some(State::Completed));
    assert_eq!(sandbox.job(id).retries, 1);
    sandbox.assert_books_are_right();
}

#[test]
fn a_finalize_phase_of_a_lost_runner_is_retried_with_a_crash() {
    let mut sandbox = Sandbox::new();
    assert_eq!(sandbox.runner("one"), 1);
    let (id, [one]) = family(&mut sandbox, parent());
    sandbox.complete(one);
    begin_final(&mut sandbox, id);
    sandbox.write(|tx| runners::take_over(tx, 1, Loss::Dead));
    assert_eq!(sandbox.job(id).crashes, 1);
    let held = begin_final(&mut sandbox, id);
    assert_eq!(sandbox.settle(&held, &done()), Some(State::Completed));
    sandbox.assert_books_are_right();
}

#[test]
fn a_cancelled_finalize_phase_leaves_its_children_as_they_ended() {
    let mut sandbox = Sandbox::new();
    let (id, [one]) = family(&mut sandbox, parent());
    sandbox.complete(one);
    let held = begin_final(&mut sandbox, id);
    sandbox.cancel(id);
    sandbox.settle(&held, &Verdict::Cancel);
    assert_eq!(sandbox.states(&[id, one]), [Cancelled, Completed]);
    sandbox.assert_books_are_right();
}

#[test]
fn in_its_finalize_phase_a_parent_gets_no_more_children() {
    let mut sandbox = Sandbox::new();
    let (id, [one]) = family(&mut sandbox, parent());
    sandbox.complete(one);
    for begins in [false, true] {
        if begins {
            begin_final(&mut sandbox, id);
        }
        let error = sandbox.refused(child(id));
        assert!(error.is_wrong_state(), "{error}");
        assert!(error.to_string().contains("finalizes"), "{error}");
    }
    sandbox.assert_books_are_right();
}

#[test]
fn a_child_retried_during_finalize_causes_another_finalize() {
    let mut sandbox = Sandbox::new();
    let (id, [one]) = family(&mut sandbox, parent());
    sandbox.complete(one);
    let held = begin_final(&mut sandbox, id);
    sandbox.requeue(one);
    assert_eq!(sandbox.settle(&held, &done()), Some(Waiting));
    sandbox.assert_books_are_right();
    sandbox.complete(one);
    let held = begin_final(&mut sandbox, id);
    assert_eq!(sandbox.settle(&held, &done()), Some(State::Completed));
    sandbox.assert_books_are_right();
}

#[test]
fn the_finalize_phase_of_a_group_is_its_handlers_only_call() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new(GROUP_KIND).finalize());
    let one = sandbox.enqueue(child(id));
    sandbox.complete(one);
    let held = begin_final(&mut sandbox, id);
    assert_eq!(held.attempt, 1);
    assert_eq!(sandbox.settle(&held, &done()), Some(State::Completed));
    sandbox.assert_books_are_right();
}

#[test]
fn a_keyed_parent_needs_a_slot_to_finalize_but_none_to_wait() {
    let mut sandbox = Sandbox::new();
    let (id, [one]) = family(&mut sandbox, parent().key("k"));
    let other = sandbox.enqueue(NewJob::new("other").key("k"));
    assert_eq!(
        sandbox.state(other),
        Pending,
        "the waiting parent holds no place"
    );
    sandbox.complete(one);
    assert_eq!(sandbox.states(&[id, other]), [Waiting, Pending]);
    sandbox.assert_books_are_right();
    sandbox.complete(other);
    let held = begin_final(&mut sandbox, id);
    assert_eq!(sandbox.settle(&held, &done()), Some(State::Completed));
    assert_eq!(
        sandbox.number("SELECT count(*) FROM jobq_concurrency_slot"),
        0
    );
    sandbox.assert_books_are_right();
}
