//! The traces that jobs belong to.

use crate::model::flags::JobFlags;
use crate::model::job::{NewJob, OnDuplicate, Traceparent};
use crate::store::jobs::{cancel, job_row, remove};
use crate::store::tests::sandbox::Sandbox;

const ROWS: &str = "SELECT count(*) FROM jobq_traceparent";

fn trace(number: u8) -> Traceparent {
    let text = format!("00-{:032x}-{:016x}-01", number, number);
    text.parse().unwrap()
}

#[test]
fn a_job_keeps_its_trace_until_it_is_removed() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send").traceparent(trace(1)));
    let plain = sandbox.enqueue(NewJob::new("send"));
    assert_eq!(sandbox.job(id).traceparent, Some(trace(1)));
    assert_eq!(sandbox.job(plain).traceparent, None);
    assert_eq!(sandbox.number(ROWS), 1);
    let runner = sandbox.runner("one");
    let claimed = sandbox.claim(runner, 1).remove(0);
    assert_eq!(claimed.traceparent.as_deref(), Some(&trace(1)));
    let id = sandbox.enqueue(NewJob::new("send").traceparent(trace(2)));
    sandbox.write(|tx| cancel::cancel(tx, id));
    sandbox.assert_books_are_right();
    sandbox.write(|tx| remove::remove(tx, id));
    assert_eq!(sandbox.number(ROWS), 1);
}

#[test]
fn a_job_that_replaces_options_brings_its_own_trace() {
    let mut sandbox = Sandbox::new();
    let job = || {
        NewJob::new("send")
            .unique("a")
            .on_duplicate(OnDuplicate::Replace)
    };
    let id = sandbox.enqueue(job().traceparent(trace(1)));
    for expected in [Some(trace(2)), None, Some(trace(3))] {
        let with = expected.map_or(job(), |trace| job().traceparent(trace));
        assert_eq!(sandbox.enqueue(with), id);
        assert_eq!(sandbox.job(id).traceparent, expected);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_trace_that_is_spoilt_is_none() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(NewJob::new("send").traceparent(trace(1)));
    sandbox.sql("UPDATE jobq_traceparent SET traceparent = 'x'");
    assert_eq!(sandbox.job(id).traceparent, None);
    assert!(
        sandbox
            .write(|tx| job_row::get(tx.conn, id))
            .flags
            .has(JobFlags::TRACED)
    );
    let runner = sandbox.runner("one");
    assert!(sandbox.claim(runner, 1)[0].traceparent.is_none());
}
