//! Lists of delays before retries.

use std::time::Duration;

use crate::model::job::update::JobUpdate;
use crate::model::job::{JobOptions, NewJob, OnDuplicate};
use crate::model::limits::EnqueueLimits;
use crate::model::retry::{Backoff, Jitter};
use crate::model::state::State;
use crate::store::jobs::{remove, update};
use crate::store::tests::rules::fail_once;
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::promote;

const LISTS: &str = "SELECT count(*) FROM jobq_retry_delays";

fn seconds(delays: &[u64]) -> Vec<Duration> {
    delays.iter().copied().map(Duration::from_secs).collect()
}

fn listed(delays: &[u64]) -> NewJob {
    NewJob::new("send").retry_delays(seconds(delays))
}

#[test]
fn each_retry_waits_as_the_list_says_and_the_last_delay_repeats() {
    let mut sandbox = Sandbox::new();
    let runner = sandbox.runner("one");
    let id = sandbox.enqueue(listed(&[7, 7200]).max_retries(3));
    for wait_ms in [7000, 7_200_000, 7_200_000] {
        assert_eq!(fail_once(&mut sandbox, id, runner), State::Scheduled);
        let due = sandbox.job(id).run_at.unwrap().as_millisecond();
        assert_eq!(due, sandbox.now_ms + wait_ms);
        sandbox.now_ms = due;
        assert_eq!(sandbox.write(|tx| promote::promote_due(tx, 10)), 1);
    }
    assert_eq!(fail_once(&mut sandbox, id, runner), State::Failed);
    sandbox.assert_books_are_right();
    sandbox.write(|tx| remove::remove(tx, id));
    assert_eq!(sandbox.number(LISTS), 0);
}

#[test]
fn a_list_is_as_many_retries_unless_their_number_is_given() {
    let mut sandbox = Sandbox::new();
    let job = |sandbox: &mut Sandbox, job| {
        let id = sandbox.enqueue(job);
        sandbox.job(id).retry
    };
    let retry = job(&mut sandbox, listed(&[1, 2]));
    assert_eq!((retry.max_retries, retry.jitter), (2, Jitter::Off));
    assert_eq!(retry.delays, seconds(&[1, 2]));
    let retry = job(
        &mut sandbox,
        listed(&[1, 2]).max_retries(1).jitter(Jitter::Tenth),
    );
    assert_eq!((retry.max_retries, retry.jitter), (1, Jitter::Tenth));
    let both = JobOptions {
        retry_delays: Some(seconds(&[1])),
        backoff: Some(Backoff::Fixed),
        ..JobOptions::default()
    };
    let error = sandbox.refused(NewJob::new("send").with_options(both));
    assert!(error.is_invalid_input());
}

#[test]
fn an_edit_changes_a_list_for_another_and_for_a_backoff() {
    let mut sandbox = Sandbox::new();
    let edit = |sandbox: &mut Sandbox, id, set: JobOptions| {
        let change = JobUpdate::from(set);
        sandbox.write(|tx| update::edit(tx, id, &change, &EnqueueLimits::default()));
        sandbox.assert_books_are_right();
        sandbox.job(id).retry
    };
    let id = sandbox.enqueue(NewJob::new("send"));
    let list = JobOptions {
        retry_delays: Some(seconds(&[1, 2])),
        ..JobOptions::default()
    };
    let retry = edit(&mut sandbox, id, list.clone());
    assert_eq!((retry.max_retries, retry.jitter), (2, Jitter::Off));
    let other = JobOptions {
        retry_delays: Some(seconds(&[9])),
        max_retries: Some(5),
        ..JobOptions::default()
    };
    let retry = edit(&mut sandbox, id, other);
    assert_eq!((retry.max_retries, retry.delays), (5, seconds(&[9])));
    let tenant = JobOptions {
        tenant: Some("acme".to_owned()),
        ..JobOptions::default()
    };
    assert_eq!(edit(&mut sandbox, id, tenant).delays, seconds(&[9]));
    let backoff = JobOptions {
        backoff: Some(Backoff::Linear),
        ..JobOptions::default()
    };
    let retry = edit(&mut sandbox, id, backoff);
    assert_eq!((retry.delays, retry.backoff), (Vec::new(), Backoff::Linear));
    assert_eq!(sandbox.number(LISTS), 0);
}

#[test]
fn a_job_that_replaces_another_brings_its_own_list_or_none() {
    let mut sandbox = Sandbox::new();
    let unique = |job: NewJob| job.unique("u").on_duplicate(OnDuplicate::Replace);
    let id = sandbox.enqueue(unique(listed(&[1, 2])));
    for (job, delays) in [
        (listed(&[3]), seconds(&[3])),
        (NewJob::new("send"), Vec::new()),
        (listed(&[4, 5]), seconds(&[4, 5])),
    ] {
        assert_eq!(sandbox.enqueue(unique(job)), id);
        assert_eq!(sandbox.job(id).retry.delays, delays);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_job_whose_list_cannot_be_read_is_retried_by_its_backoff() {
    for spoil in [
        "UPDATE jobq_retry_delays SET delays_ms = 'soon'",
        "UPDATE jobq_retry_delays SET delays_ms = '[-1]'",
        "DELETE FROM jobq_retry_delays",
    ] {
        let mut sandbox = Sandbox::new();
        let runner = sandbox.runner("one");
        let id = sandbox.enqueue(listed(&[7]));
        sandbox.sql(spoil);
        assert_eq!(fail_once(&mut sandbox, id, runner), State::Scheduled);
        let due = sandbox.job(id).run_at.unwrap().as_millisecond();
        assert_eq!(due, sandbox.now_ms + 5000, "{spoil}");
    }
}

#[test]
fn a_job_without_a_list_has_no_row_for_one() {
    let mut sandbox = Sandbox::new();
    sandbox.enqueue(NewJob::new("send").backoff(Backoff::Fixed).tag("a", "b"));
    assert_eq!(sandbox.number(LISTS), 0);
    assert_eq!(
        sandbox.number("SELECT count(*) FROM jobq_job WHERE links & 1024"),
        0
    );
}
