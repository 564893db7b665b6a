//! What a lost runner costs its jobs.

use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::lost_runner::MAX_CRASHES;
use crate::model::outcome::Verdict;
use crate::model::state::State;
use crate::store::jobs::{cancel, requeue};
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::runners;
use crate::store::upkeep::runners::Loss;

/// A new runner claims the job and is lost.
fn crash(sandbox: &mut Sandbox, id: JobId, name: &str) {
    let runner = sandbox.runner(name);
    assert_eq!(sandbox.claim_one(runner).job, id);
    assert_eq!(
        sandbox.write(|tx| runners::take_over(tx, runner, Loss::Dead)),
        Some(1)
    );
}

#[test]
fn a_crash_is_counted_apart_from_retries() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send").max_retries(0));
    crash(&mut sandbox, id, "first");
    let job = sandbox.job(id);
    assert_eq!(
        (job.state, job.crashes, job.retries),
        (State::Pending, 1, 0)
    );
    let error = job.error.unwrap();
    assert!(error.contains("runner was lost"), "{error}");
    assert_eq!(
        sandbox.history(id),
        [
            EventKind::Enqueued,
            EventKind::Started,
            EventKind::Recovered
        ]
    );
}

#[test]
fn a_job_that_took_down_three_runners_fails_with_that_reason() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send").max_retries(10));
    for crashes in 1..MAX_CRASHES {
        crash(&mut sandbox, id, &format!("runner {crashes}"));
        assert_eq!(sandbox.job(id).state, State::Pending);
    }
    crash(&mut sandbox, id, "the last");
    let job = sandbox.job(id);
    assert_eq!((job.state, job.retries), (State::Failed, 0));
    let error = job.error.unwrap();
    assert!(error.contains("lost 3 times"), "{error}");
    assert_eq!(sandbox.history(id).last(), Some(&EventKind::Failed));
    sandbox.assert_counters_are_right();
}

#[test]
fn a_retry_by_hand_forgives_the_crashes_too() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    for crashes in 0..MAX_CRASHES {
        crash(&mut sandbox, id, &format!("runner {crashes}"));
    }
    sandbox.write(|tx| requeue::requeue(tx, id));
    crash(&mut sandbox, id, "one more");
    let job = sandbox.job(id);
    assert_eq!((job.state, job.crashes), (State::Pending, 1));
}

#[test]
fn a_cancel_requested_job_is_cancelled_if_its_runner_is_lost() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    let runner = sandbox.runner("one");
    sandbox.claim_one(runner);
    sandbox.write(|tx| cancel::cancel(tx, id));
    sandbox.write(|tx| runners::take_over(tx, runner, Loss::Dead));
    let job = sandbox.job(id);
    assert_eq!((job.state, job.crashes), (State::Cancelled, 0));
    sandbox.assert_counters_are_right();
}

#[test]
fn only_one_of_two_observers_takes_over() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    let runner = sandbox.runner("one");
    sandbox.claim_one(runner);
    let heartbeat = runners::alive(&sandbox.conn).unwrap()[0].heartbeat;
    assert_eq!(
        sandbox.write(|tx| runners::take_over(tx, runner, Loss::Hung { heartbeat })),
        Some(1)
    );
    for loss in [Loss::Hung { heartbeat }, Loss::Dead] {
        assert_eq!(
            sandbox.write(|tx| runners::take_over(tx, runner, loss)),
            None
        );
    }
    assert_eq!(sandbox.job(id).crashes, 1);
    assert!(!sandbox.write(|tx| runners::write_heartbeat(tx, runner)));
}

#[test]
fn a_runner_that_has_beaten_since_is_not_taken_for_hung() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    let runner = sandbox.runner("one");
    sandbox.claim_one(runner);
    let heartbeat = runners::alive(&sandbox.conn).unwrap()[0].heartbeat;
    assert!(sandbox.write(|tx| runners::write_heartbeat(tx, runner)));
    assert_eq!(
        sandbox.write(|tx| runners::take_over(tx, runner, Loss::Hung { heartbeat })),
        None
    );
    assert_eq!(sandbox.job(id).state, State::Running);
    assert!(sandbox.write(|tx| runners::write_heartbeat(tx, runner)));
}

#[test]
fn a_zombie_cannot_finish_a_job_that_was_taken_over() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    let zombie = sandbox.runner("zombie");
    let old = sandbox.claim_one(zombie);
    sandbox.write(|tx| runners::take_over(tx, zombie, Loss::Dead));
    let heir = sandbox.runner("heir");
    let new = sandbox.claim_one(heir);
    let done = Verdict::Complete { result: None };
    assert_eq!(sandbox.settle(&old, &done), None);
    assert_eq!(sandbox.job(id).runner, Some(crate::RunnerId(heir)));
    assert_eq!(sandbox.settle(&new, &done), Some(State::Completed));
}
