//! Metrics: each attempt that ends is added up once, and old minutes become hours.

use std::time::Duration;

use crate::clock::timestamp;
use crate::model::event::EventKind;
use crate::model::job::NewJob;
use crate::model::job::options::Priority;
use crate::model::metrics::MetricSpan;
use crate::model::metrics::stats::{StatsBy, StatsQuery};
use crate::model::outcome::Verdict;
use crate::store::jobs::finish_attempt::{AttemptMeasures, finish};
use crate::store::read::metrics::snapshot::snapshot;
use crate::store::read::metrics::stats::{stats, totals_since};
use crate::store::read::metrics::{between, enqueued};
use crate::store::tests::sandbox::{START_MS, Sandbox};
use crate::store::upkeep::rollup;

const ALL: (i64, i64) = (i64::MIN, i64::MAX);
const HOUR_MS: i64 = 3_600_000;

/// Queue, kind, outcome, number of attempts and their time, of each row of the span.
fn rows(
    sandbox: &Sandbox,
    span: MetricSpan,
) -> Vec<(Option<i64>, String, EventKind, u64, Duration)> {
    let found = between(&sandbox.conn, span, ALL).unwrap().into_iter();
    let row = |metric: crate::MetricRecord| {
        let at = metric.at.map(|at| at.as_millisecond());
        let of = format!("{} {}", metric.queue, metric.kind);
        let totals = metric.totals;
        (at, of, metric.outcome, totals.attempts, totals.took_total)
    };
    found.map(row).collect()
}

/// Runs a job to its end.
fn run(sandbox: &mut Sandbox, kind: &str, (verdict, took_ms): (Verdict, u64)) {
    let id = sandbox.enqueue(NewJob::new(kind));
    sandbox.now_ms += 250;
    let held = sandbox.start(id);
    let measured = AttemptMeasures {
        took: Some(Duration::from_millis(took_ms)),
        cpu_ms: Some(3),
        max_rss_bytes: Some(took_ms),
        ..AttemptMeasures::default()
    };
    sandbox.write(|tx| finish(tx, &held, &verdict, &measured));
}

fn done() -> Verdict {
    Verdict::Complete { result: None }
}

fn failed() -> Verdict {
    Verdict::Fail {
        error: "no".to_owned(),
    }
}

#[test]
fn attempts_are_added_up_by_kind_outcome_and_minute() {
    let mut sandbox = Sandbox::new();
    for took_ms in [10, 20] {
        run(&mut sandbox, "resize", (done(), took_ms));
    }
    run(&mut sandbox, "resize", (failed(), 5));
    run(&mut sandbox, "send", (done(), 7));
    sandbox.now_ms += 60_000;
    run(&mut sandbox, "send", (done(), 8));
    let ms = Duration::from_millis;
    let (completed, failed) = (EventKind::Completed, EventKind::Failed);
    let of = |kind: &str| format!("default {kind}");
    assert_eq!(
        rows(&sandbox, MetricSpan::Lifetime),
        [
            (None, of("resize"), completed, 2, ms(30)),
            (None, of("resize"), failed, 1, ms(5)),
            (None, of("send"), completed, 2, ms(15)),
        ]
    );
    let minute = MetricSpan::Minute.start_ms(START_MS);
    let by_minute = rows(&sandbox, MetricSpan::Minute);
    let counts: Vec<_> = by_minute
        .iter()
        .map(|row| (row.0.unwrap(), row.3))
        .collect();
    assert_eq!(
        counts,
        [(minute, 2), (minute, 1), (minute, 1), (minute + 60_000, 1)]
    );
    let all = between(&sandbox.conn, MetricSpan::Lifetime, ALL).unwrap();
    let resized = &all[0].totals;
    assert_eq!((resized.took.count(), resized.waited.count()), (2, 2));
    assert_eq!(resized.waited_total, ms(500));
    assert_eq!((resized.cpu, resized.max_rss_bytes), (ms(6), 20));
    let enqueued = enqueued(&sandbox.conn).unwrap();
    let number = |kind: &str| enqueued.iter().find(|of| of.1 == kind).unwrap().2;
    assert_eq!((number("resize"), number("send")), (3, 2));
}

#[test]
fn an_attempt_that_was_undone_is_not_added_up() {
    let mut sandbox = Sandbox::new();
    run(&mut sandbox, "send", (done(), 7));
    let id = sandbox.enqueue(NewJob::new("send"));
    let held = sandbox.start(id);
    let undone = sandbox.write(|tx| {
        let _undone = tx.savepoint(|tx| {
            finish(tx, &held, &done(), &AttemptMeasures::default())?;
            Err::<(), _>(crate::Error::invalid("undone"))
        });
        Ok(tx.ended.len())
    });
    assert_eq!(undone, 0);
    assert_eq!(rows(&sandbox, MetricSpan::Lifetime)[0].3, 1);
}

#[test]
fn old_minutes_become_hours_and_old_hours_go() {
    let mut sandbox = Sandbox::new();
    sandbox.now_ms = MetricSpan::Hour.start_ms(START_MS);
    let hour = sandbox.now_ms;
    for _ in 0..3 {
        run(&mut sandbox, "send", (done(), 10));
        sandbox.now_ms += 60_000;
    }
    let move_on = |sandbox: &mut Sandbox| while sandbox.write(|tx| rollup::step(tx)) {};
    move_on(&mut sandbox);
    assert_eq!(rows(&sandbox, MetricSpan::Minute).len(), 3, "they are new");
    sandbox.now_ms = hour + 72 * HOUR_MS + 60_000;
    move_on(&mut sandbox);
    assert_eq!(rows(&sandbox, MetricSpan::Minute).len(), 2);
    sandbox.now_ms += HOUR_MS;
    move_on(&mut sandbox);
    assert!(rows(&sandbox, MetricSpan::Minute).is_empty());
    let hours = rows(&sandbox, MetricSpan::Hour);
    let took = Duration::from_millis(30);
    let whole = (
        Some(hour),
        "default send".to_owned(),
        EventKind::Completed,
        3,
        took,
    );
    assert_eq!(hours, [whole]);
    sandbox.now_ms = hour + 90 * 24 * HOUR_MS + 1;
    move_on(&mut sandbox);
    assert!(rows(&sandbox, MetricSpan::Hour).is_empty());
    assert_eq!(rows(&sandbox, MetricSpan::Lifetime)[0].3, 3);
}

#[test]
fn many_rows_move_on_in_steps() {
    let mut sandbox = Sandbox::new();
    sandbox.sql(
        "INSERT INTO jobq_queue (name) VALUES ('mail'); INSERT INTO jobq_kind (name) VALUES ('send');
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 249)
         INSERT INTO jobq_metric SELECT 60, i * 60000, 1, 1, 4, 1, '[5,1]', 5, '[]', 0, 0, 0 FROM n",
    );
    let mut steps = 0;
    while sandbox.write(|tx| rollup::step(tx)) {
        steps += 1;
    }
    assert_eq!(steps, 2);
    assert_eq!(
        sandbox.number("SELECT count(*) FROM jobq_metric WHERE span = 60"),
        0
    );
}

#[test]
fn a_row_that_cannot_be_read_is_begun_anew() {
    let mut sandbox = Sandbox::new();
    run(&mut sandbox, "send", (done(), 7));
    sandbox.sql("UPDATE jobq_metric SET took = 'x', attempts = -5");
    run(&mut sandbox, "send", (done(), 7));
    let all = between(&sandbox.conn, MetricSpan::Lifetime, ALL).unwrap();
    assert_eq!((all[0].totals.attempts, all[0].totals.took.count()), (1, 1));
}

#[test]
fn stats_stay_the_same_as_minutes_become_hours() {
    let mut sandbox = Sandbox::new();
    sandbox.now_ms = MetricSpan::Hour.start_ms(START_MS);
    let hour = sandbox.now_ms;
    for kind in ["resize", "send", "resize"] {
        run(&mut sandbox, kind, (done(), 10));
        sandbox.now_ms += 60_000;
    }
    run(&mut sandbox, "send", (failed(), 10));
    sandbox.now_ms = hour + 73 * HOUR_MS;
    let query = StatsQuery {
        from: timestamp(hour),
        to: timestamp(hour + HOUR_MS),
        step: Duration::from_secs(3600),
        by: StatsBy::Kind,
    };
    let before = stats(&sandbox.conn, &query, sandbox.now_ms).unwrap();
    let totals_before = totals_since(&sandbox.conn, (hour, sandbox.now_ms)).unwrap();
    let found: Vec<_> = before
        .series
        .iter()
        .map(|of| {
            (
                of.name.as_deref(),
                of.points[0].completed,
                of.points[0].failed,
            )
        })
        .collect();
    assert_eq!(found, [(Some("resize"), 2, 0), (Some("send"), 1, 1)]);
    while sandbox.write(|tx| rollup::step(tx)) {}
    assert!(rows(&sandbox, MetricSpan::Minute).is_empty());
    let after = stats(&sandbox.conn, &query, sandbox.now_ms).unwrap();
    assert_eq!(after, before);
    let totals_after = totals_since(&sandbox.conn, (hour, sandbox.now_ms)).unwrap();
    assert_eq!(totals_after, totals_before);
    assert_eq!(totals_after.len(), 3, "two kinds, and one of them failed");
}

#[test]
fn a_snapshot_tells_how_long_the_oldest_job_is_pending() {
    let mut sandbox = Sandbox::new();
    sandbox.enqueue(NewJob::new("send").queue("mail"));
    sandbox.now_ms += 5000;
    sandbox.enqueue(NewJob::new("send").queue("mail").priority(Priority::High));
    sandbox.enqueue(
        NewJob::new("resize")
            .queue("images")
            .delay(Duration::from_secs(60)),
    );
    sandbox.now_ms += 2000;
    let locks = tempfile::tempdir().unwrap();
    let found = snapshot(&sandbox.conn, (sandbox.now_ms, locks.path())).unwrap();
    let pending: Vec<_> = found
        .queues
        .iter()
        .map(|of| (of.queue.name.as_str(), of.oldest_pending))
        .collect();
    let expected = [("images", None), ("mail", Some(Duration::from_secs(7)))];
    assert_eq!(pending, expected);
    let pairs: Vec<_> = found
        .pairs
        .iter()
        .map(|of| (of.queue.as_str(), of.kind.as_str(), of.enqueued))
        .collect();
    assert_eq!(pairs, [("mail", "send", 2), ("images", "resize", 1)]);
}
