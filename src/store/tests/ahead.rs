//! Jobs that were claimed ahead of a free worker come back free of charge.

use crate::model::job::NewJob;
use crate::model::state::State;
use crate::store::jobs::claim::ClaimFor;
use crate::store::jobs::finish_attempt::PrefetchAgain;
use crate::store::jobs::{cancel, finish_attempt, requeue};
use crate::store::tests::sandbox::{Sandbox, held};
use crate::store::upkeep::runners;
use crate::store::upkeep::runners::Loss;

#[test]
fn a_crash_charges_only_what_was_claimed_for_a_free_worker() {
    let mut sandbox = Sandbox::new();
    let begun = sandbox.enqueue(NewJob::new("send"));
    let ahead = sandbox.enqueue(NewJob::new("send"));
    let runner = sandbox.runner("one");
    assert_eq!(sandbox.claim(runner, 1)[0].id, begun);
    assert_eq!(
        sandbox.claim_for(runner, 1, ClaimFor::Prefetch)[0].id,
        ahead
    );
    assert_eq!(
        sandbox.write(|tx| runners::take_over(tx, runner, Loss::Dead)),
        Some(2)
    );
    let job = sandbox.job(begun);
    assert_eq!((job.state, job.crashes), (State::Pending, 1));
    let job = sandbox.job(ahead);
    assert_eq!((job.state, job.crashes), (State::Pending, 0));
    assert_eq!((job.retries, job.error), (0, None));
    assert_eq!(job.attempt, 1, "the fence stays raised");
}

#[test]
fn jobs_prefetched_by_a_lost_runner_are_not_prefetched_again() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    let other = sandbox.enqueue(NewJob::new("send"));
    let lost = sandbox.runner("lost");
    assert_eq!(sandbox.claim_for(lost, 1, ClaimFor::Prefetch)[0].id, id);
    sandbox.write(|tx| runners::take_over(tx, lost, Loss::Dead));
    let heir = sandbox.runner("heir");
    let ahead = sandbox.claim_for(heir, 10, ClaimFor::Prefetch);
    let ahead: Vec<_> = ahead.iter().map(|job| job.id).collect();
    assert_eq!(ahead, [other]);
    let free = sandbox.claim(heir, 10);
    assert_eq!(free[0].id, id);
    // Now a worker had it: the next loss is charged, and it stays out of claims ahead.
    sandbox.write(|tx| runners::take_over(tx, heir, Loss::Dead));
    assert_eq!(sandbox.job(id).crashes, 1);
    let third = sandbox.runner("third");
    assert_eq!(sandbox.claim_for(third, 10, ClaimFor::Prefetch).len(), 0);
}

#[test]
fn a_job_claimed_ahead_is_charged_once_a_worker_has_begun_it() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    let runner = sandbox.runner("one");
    let claimed = sandbox.claim_for(runner, 1, ClaimFor::Prefetch).remove(0);
    sandbox.write(|tx| runners::note_worker(tx, id, claimed.attempt, 2));
    sandbox.write(|tx| runners::take_over(tx, runner, Loss::Dead));
    assert_eq!(sandbox.job(id).crashes, 1);
}

#[test]
fn giving_back_unbegun_jobs_costs_nothing_however_often() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send").max_retries(0));
    let runner = sandbox.runner("one");
    for attempt in 1..=10 {
        let claimed = sandbox.claim_for(runner, 1, ClaimFor::Prefetch).remove(0);
        assert_eq!(claimed.attempt, attempt);
        let held = held(&claimed, runner);
        let to = sandbox.write(|tx| finish_attempt::return_unbegun(tx, &held, PrefetchAgain::Yes));
        assert_eq!(to, Some(State::Pending));
    }
    let job = sandbox.job(id);
    assert_eq!((job.retries, job.crashes, job.error), (0, 0, None));
    sandbox.assert_counters_are_right();
}

#[test]
fn a_retry_by_hand_allows_claiming_ahead_again() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    let lost = sandbox.runner("lost");
    sandbox.claim_for(lost, 1, ClaimFor::Prefetch);
    sandbox.write(|tx| runners::take_over(tx, lost, Loss::Dead));
    sandbox.write(|tx| cancel::cancel(tx, id));
    sandbox.write(|tx| requeue::requeue(tx, id));
    let heir = sandbox.runner("heir");
    assert_eq!(sandbox.claim_for(heir, 1, ClaimFor::Prefetch).len(), 1);
}

#[test]
fn what_comes_back_unbegun_leaves_no_result_behind() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send"));
    let lost = sandbox.runner("lost");
    let claimed = sandbox.claim_for(lost, 1, ClaimFor::Prefetch).remove(0);
    sandbox.sql("INSERT INTO jobq_outcome (job_id, result) VALUES (1, '7')");
    sandbox.write(|tx| runners::take_over(tx, lost, Loss::Dead));
    assert_eq!(claimed.id, id);
    assert!(sandbox.job(id).result.is_none());
}
