//! What an attempt spawns lives and dies with it.

use std::time::Duration;

use crate::model::family::Children;
use crate::model::family::GROUP_KIND;
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::job::NewJob;
use crate::model::limits::EnqueueLimits;
use crate::model::outcome::Verdict;
use crate::model::state::State;
use crate::model::state::State::*;
use crate::store::jobs::claim::ClaimFor;
use crate::store::jobs::enqueue::Spawned;
use crate::store::jobs::finish_attempt::{AttemptMeasures, ClaimToken};
use crate::store::jobs::validate::{FamilyRules, ValidatedJob};
use crate::store::jobs::{cancel, finish_attempt};
use crate::store::tests::sandbox::{Sandbox, verdicts};
use crate::store::upkeep::runners::Loss;
use crate::store::upkeep::{promote, runners};

fn done() -> Verdict {
    Verdict::Complete { result: None }
}

fn spawned(jobs: Vec<NewJob>, is_parent: bool) -> Spawned {
    let checked = |job| ValidatedJob::new(job, &EnqueueLimits::default()).unwrap();
    Spawned {
        jobs: jobs.into_iter().map(checked).collect(),
        is_parent,
        family: FamilyRules::default(),
    }
}

fn finish_with(
    sandbox: &mut Sandbox,
    held: &ClaimToken,
    (verdict, spawned): (&Verdict, &Spawned),
) -> Option<State> {
    sandbox.write(|tx| {
        finish_attempt::finish_with(tx, held, (verdict, spawned), &AttemptMeasures::default())
    })
}

/// A child that the attempt adds through the file, while it runs.
fn by(parent: JobId, held: &ClaimToken) -> NewJob {
    let attempt = AttemptRef {
        job: held.job,
        attempt: held.attempt,
    };
    NewJob::new("child").spawned(parent, attempt)
}

fn total(sandbox: &Sandbox, id: JobId) -> u64 {
    sandbox
        .job(id)
        .children
        .map_or(0, |children| children.total)
}

#[test]
fn spawned_jobs_commit_only_when_their_attempt_completes() {
    for verdict in verdicts() {
        let mut sandbox = Sandbox::new();
        let id = sandbox.enqueue(NewJob::new("parent"));
        let held = sandbox.start(id);
        let jobs = vec![
            NewJob::new("child").parent(id),
            NewJob::new("child").parent(id),
            NewJob::new("other"),
        ];
        let to = finish_with(&mut sandbox, &held, (&verdict, &spawned(jobs, true)));
        let jobs = sandbox.number("SELECT count(*) FROM jobq_job");
        if matches!(verdict, Verdict::Complete { .. }) {
            assert_eq!((to, jobs), (Some(Waiting), 4), "{verdict:?}");
            assert_eq!(total(&sandbox, id), 2);
            let children = [JobId(2), JobId(3)];
            assert_eq!(sandbox.states(&children), [Pending, Pending]);
            sandbox.complete(JobId(2));
            sandbox.complete(JobId(3));
            assert_eq!(sandbox.state(id), Completed);
        } else {
            assert_eq!(jobs, 1, "{verdict:?}");
            assert_eq!(total(&sandbox, id), 0, "{verdict:?}");
        }
        sandbox.assert_books_are_right();
    }
}

/// It was cancelled with its run phase undone, although an effect of it had been committed: a retry
/// had that happen twice.
#[test]
fn a_parent_with_a_cancel_request_does_its_run_phase_once() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("parent"));
    let held = sandbox.start(id);
    sandbox.cancel(id);
    let children = spawned(vec![NewJob::new("child").parent(id)], true);
    let to = finish_with(&mut sandbox, &held, (&done(), &children));
    assert_eq!(to, Some(Cancelled));
    let child = JobId(2);
    assert_eq!(sandbox.states(&[id, child]), [Cancelled, Cancelled]);
    sandbox.assert_books_are_right();
    sandbox.requeue(id);
    assert_eq!(sandbox.states(&[id, child]), [Waiting, Pending]);
    sandbox.complete(child);
    assert_eq!(sandbox.state(id), Completed);
    assert!(!sandbox.job(id).cancel_requested);
    sandbox.assert_books_are_right();
}

/// A zombie's report is dropped, and with it all that it would have made of the job.
#[test]
fn a_zombie_spawns_nothing_and_founds_no_family() {
    let mut sandbox = Sandbox::new();
    sandbox.runner("one");
    let id = sandbox.enqueue(NewJob::new("parent"));
    let zombie = sandbox.start(id);
    sandbox.write(|tx| runners::take_over(tx, 1, Loss::Dead));
    let held = sandbox.start(id);
    let mut children = spawned(vec![NewJob::new("child").parent(id)], true);
    children.family.finalize = true;
    assert_eq!(
        finish_with(&mut sandbox, &zombie, (&done(), &children)),
        None
    );
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_family"), 0);
    assert_eq!(
        sandbox.settle(&held, &done()),
        Some(State::Completed),
        "it is no parent and takes no finalize phase"
    );
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_job"), 1);
    sandbox.assert_books_are_right();
}

#[test]
fn children_added_by_command_run_after_the_attempt_completes() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("parent"));
    let held = sandbox.start(id);
    let children = [(); 2].map(|()| sandbox.enqueue(by(id, &held)));
    assert_eq!(sandbox.states(&children), [Blocked, Blocked]);
    sandbox.assert_books_are_right();
    assert_eq!(sandbox.settle(&held, &done()), Some(Waiting));
    assert_eq!(sandbox.states(&children), [Pending, Pending]);
    for child in children {
        sandbox.complete(child);
    }
    assert_eq!(sandbox.state(id), Completed);
    sandbox.assert_books_are_right();
}

#[test]
fn children_added_by_command_are_discarded_with_the_attempt() {
    let otherwise = verdicts()
        .into_iter()
        .filter(|verdict| !matches!(verdict, Verdict::Complete { .. }));
    for verdict in otherwise {
        let mut sandbox = Sandbox::new();
        let id = sandbox.enqueue(NewJob::new("parent"));
        let held = sandbox.start(id);
        let child = sandbox.enqueue(by(id, &held).unique("u").key("k"));
        let after = sandbox.enqueue(NewJob::new("after").after([child]));
        sandbox.settle(&held, &verdict);
        assert_eq!(
            sandbox.states(&[child, after]),
            [Cancelled, Cancelled],
            "{verdict:?}"
        );
        assert_eq!(sandbox.job(child).parent, None, "it was never a child");
        assert_eq!(sandbox.job(id).children, Some(Children::default()));
        let error = sandbox.error(child);
        assert!(
            error.contains(&format!("job {id} that spawned it")),
            "{error}"
        );
        assert_eq!(sandbox.number("SELECT count(*) FROM jobq_unique"), 0);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn the_next_attempt_runs_its_own_children_not_the_last_ones() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("parent"));
    let held = sandbox.start(id);
    let first = sandbox.enqueue(by(id, &held));
    let retry = Verdict::Retry {
        error: "not now".to_owned(),
        after: Duration::ZERO,
    };
    sandbox.settle(&held, &retry);
    sandbox.write(|tx| promote::promote_due(tx, 1));
    let held = sandbox.start(id);
    let second = sandbox.enqueue(by(id, &held));
    sandbox.settle(&held, &done());
    assert_eq!(sandbox.states(&[first, second]), [Cancelled, Pending]);
    assert_eq!(total(&sandbox, id), 1);
    sandbox.complete(second);
    assert_eq!(sandbox.state(id), Completed);
    sandbox.assert_books_are_right();
}

/// Short jobs are claimed ahead, and their runner may be lost before the file says that they began.
#[test]
fn a_lost_runner_discards_children_however_it_claimed_the_job() {
    for claim_for in [ClaimFor::FreeWorker, ClaimFor::Prefetch] {
        let mut sandbox = Sandbox::new();
        sandbox.runner("one");
        let id = sandbox.enqueue(NewJob::new("parent"));
        let held = sandbox.claim_for(1, 1, claim_for)[0].token(1);
        let first = sandbox.enqueue(by(id, &held));
        sandbox.write(|tx| runners::take_over(tx, 1, Loss::Dead));
        assert_eq!(
            sandbox.states(&[id, first]),
            [Pending, Cancelled],
            "{claim_for:?}"
        );
        let held = sandbox.start(id);
        let second = sandbox.enqueue(by(id, &held));
        sandbox.settle(&held, &done());
        assert_eq!(sandbox.states(&[first, second]), [Cancelled, Pending]);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn an_attempt_that_lost_its_job_spawns_nothing_through_the_file() {
    let mut sandbox = Sandbox::new();
    sandbox.runner("one");
    let id = sandbox.enqueue(NewJob::new("parent"));
    let zombie = sandbox.start(id);
    sandbox.write(|tx| runners::take_over(tx, 1, Loss::Dead));
    sandbox.start(id);
    let error = sandbox.refused(by(id, &zombie));
    assert!(error.is_wrong_state(), "{error}");
    assert!(error.to_string().contains("no longer holds"), "{error}");
    sandbox.assert_books_are_right();
}

#[test]
fn a_sibling_spawned_by_a_child_keeps_the_parent_waiting() {
    for through_the_file in [false, true] {
        let mut sandbox = Sandbox::new();
        let group = sandbox.enqueue(NewJob::new(GROUP_KIND));
        let one = sandbox.enqueue(NewJob::new("child").parent(group));
        let held = sandbox.start(one);
        if through_the_file {
            sandbox.enqueue(by(group, &held));
            assert_eq!(sandbox.state(JobId(3)), Blocked);
            sandbox.settle(&held, &done());
        } else {
            let sibling = NewJob::new("child").parent(group);
            let spawned = spawned(vec![sibling], false);
            finish_with(&mut sandbox, &held, (&done(), &spawned));
        }
        let sibling = JobId(3);
        assert_eq!(
            sandbox.states(&[one, group, sibling]),
            [Completed, Waiting, Pending]
        );
        assert_eq!(total(&sandbox, group), 2);
        sandbox.assert_books_are_right();
        sandbox.complete(sibling);
        assert_eq!(sandbox.state(group), Completed);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_sibling_of_a_child_that_failed_was_never_one() {
    let mut sandbox = Sandbox::new();
    let group = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let one = sandbox.enqueue(NewJob::new("child").parent(group));
    let held = sandbox.start(one);
    let sibling = sandbox.enqueue(by(group, &held));
    let fail = Verdict::Fail {
        error: "boom".to_owned(),
    };
    sandbox.settle(&held, &fail);
    assert_eq!(sandbox.states(&[group, sibling]), [Failed, Cancelled]);
    assert_eq!(sandbox.error(group), format!("child {one} failed: boom"));
    assert_eq!(total(&sandbox, group), 1);
    sandbox.assert_books_are_right();
}

#[test]
fn a_spawned_child_may_have_prerequisites_of_its_own_among_them() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("parent"));
    let held = sandbox.start(id);
    let one = sandbox.enqueue(by(id, &held));
    let two = sandbox.enqueue(by(id, &held).after([one]));
    sandbox.settle(&held, &done());
    assert_eq!(sandbox.states(&[one, two]), [Pending, Blocked]);
    sandbox.complete(one);
    sandbox.complete(two);
    assert_eq!(sandbox.state(id), Completed);
    sandbox.assert_books_are_right();
}

#[test]
fn a_sibling_after_its_parents_end_is_left_out() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let group = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let child = sandbox.enqueue(NewJob::new("send").parent(group));
    let held = sandbox.claim_one(runner);
    sandbox.write(|tx| cancel::cancel(tx, group));
    let late = NewJob::new("send").parent(group);
    let spawned = Spawned {
        jobs: vec![ValidatedJob::new(late, &EnqueueLimits::default()).unwrap()],
        ..Spawned::default()
    };
    let done = Verdict::Complete { result: None };
    let ended = sandbox.write(|tx| {
        finish_attempt::finish_with(tx, &held, (&done, &spawned), &AttemptMeasures::default())
    });
    assert_eq!(ended, Some(State::Completed));
    assert_eq!(sandbox.job(child).state, State::Completed);
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_job"), 2);
    sandbox.assert_books_are_right();
}
