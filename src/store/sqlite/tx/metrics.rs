//! The attempts that a write transaction has ended, for metrics.

use std::time::Duration;

use rusqlite::{Connection, params};

use crate::Result;
use crate::clock::millis;
use crate::model::event::EventKind;
use crate::model::metrics::{AttemptTotals, Histogram, MetricSpan};
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::micros;
use crate::store::sqlite::{Row, RowResult};

statements! {
    hot METRIC_GET = "SELECT attempts, took, took_us, waited, waited_ms, cpu_ms, max_rss_bytes FROM jobq_metric
        WHERE span = ?1 AND at = ?2 AND queue_id = ?3 AND kind_id = ?4 AND outcome = ?5";
    hot METRIC_SET = "INSERT OR REPLACE INTO jobq_metric (span, at, queue_id, kind_id, outcome, attempts, took, took_us,
            waited, waited_ms, cpu_ms, max_rss_bytes)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
}

/// What attempts are added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MetricKey {
    pub(crate) queue: i64,
    pub(crate) kind: i64,
    pub(crate) outcome: i64,
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndedSample {
    pub(crate) queue: i64,
    pub(crate) kind: i64,
    pub(crate) outcome: EventKind,
    pub(crate) took: Option<Duration>,
    pub(crate) waited: Option<Duration>,
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) max_rss_bytes: Option<u64>,
}

impl EndedSample {
    fn key(&self) -> MetricKey {
        MetricKey {
            queue: self.queue,
            kind: self.kind,
            outcome: self.outcome.code(),
        }
    }

    fn add_to(&self, totals: &mut AttemptTotals) {
        totals.attempts += 1;
        if let Some(took) = self.took {
            totals.took.add(took);
            totals.took_total = totals.took_total.saturating_add(took);
        }
        if let Some(waited) = self.waited {
            totals.waited.add(waited);
            totals.waited_total = totals.waited_total.saturating_add(waited);
        }
        let cpu = Duration::from_millis(self.cpu_ms.unwrap_or(0));
        totals.cpu = totals.cpu.saturating_add(cpu);
        totals.max_rss_bytes = totals.max_rss_bytes.max(self.max_rss_bytes.unwrap_or(0));
    }
}

/// Adds the attempts to the metrics and clears them: two rows for each queue, kind and outcome.
pub(super) fn flush(conn: &Connection, ended: &mut Vec<EndedSample>, now_ms: i64) -> Result<()> {
    ended.sort_unstable_by_key(EndedSample::key);
    for same in ended.chunk_by(|one, other| one.key() == other.key()) {
        let mut totals = AttemptTotals::default();
        same.iter().for_each(|sample| sample.add_to(&mut totals));
        for span in [MetricSpan::Lifetime, MetricSpan::Minute] {
            add(conn, (span, span.start_ms(now_ms)), same[0].key(), &totals)?;
        }
    }
    ended.clear();
    Ok(())
}

/// Adds attempts to those of a span.
pub(crate) fn add(
    conn: &Connection,
    (span, at_ms): (MetricSpan, i64),
    key: MetricKey,
    totals: &AttemptTotals,
) -> Result<()> {
    let MetricKey {
        queue,
        kind,
        outcome,
    } = key;
    let span = span.length().as_secs();
    let place = params![span, at_ms, queue, kind, outcome];
    let before = conn.optional(METRIC_GET, place, |row| decode(row, 0))?;
    let mut sum = before.unwrap_or_default();
    sum.merge(totals);
    conn.run(
        METRIC_SET,
        params![
            span,
            at_ms,
            queue,
            kind,
            outcome,
            i64::try_from(sum.attempts).unwrap_or(i64::MAX),
            sum.took.to_json(),
            micros(sum.took_total),
            sum.waited.to_json(),
            millis(sum.waited_total),
            millis(sum.cpu),
            i64::try_from(sum.max_rss_bytes).unwrap_or(i64::MAX)
        ],
    )?;
    Ok(())
}

/// The columns from `attempts` on; `first` is its place.
pub(crate) fn decode(row: &Row<'_>, first: usize) -> RowResult<AttemptTotals> {
    let number = |at: usize| -> RowResult<u64> {
        let number = row.get_ref(first + at)?.as_i64().unwrap_or(0);
        Ok(u64::try_from(number).unwrap_or(0))
    };
    let bins = |at: usize| -> RowResult<Histogram> {
        let json = row.get_ref(first + at)?;
        Ok(Histogram::from_json(json.as_str().unwrap_or_default()))
    };
    Ok(AttemptTotals {
        attempts: number(0)?,
        took: bins(1)?,
        took_total: Duration::from_micros(number(2)?),
        waited: bins(3)?,
        waited_total: Duration::from_millis(number(4)?),
        cpu: Duration::from_millis(number(5)?),
        max_rss_bytes: number(6)?,
    })
}
