//! Reading metrics of minutes and hours, newest first and for a limited time.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::clock::millis;
use crate::model::event::EventKind;
use crate::model::metrics::stats::{Stats, StatsBy, StatsQuery, StepSums};
use crate::model::metrics::{AttemptTotals, KEEP_MINUTES, MetricRecord, MetricSpan};
use crate::store::read::metrics::name;
use crate::store::sqlite::names::{KIND_NAME, QUEUE_NAME};
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::metrics::{MetricKey, decode};
use crate::store::sqlite::{Connection, params};
use crate::{Result, clock};

statements! {
    /// Along the primary key, backwards.
    hot METRICS_NEWEST = "SELECT at, queue_id, kind_id, outcome, attempts, took, took_us, waited, waited_ms, cpu_ms,
            max_rss_bytes
        FROM jobq_metric WHERE span = ?1 AND at >= ?2 AND at < ?3 ORDER BY at DESC, queue_id DESC, kind_id DESC";
}

/// A chart is read for no longer: the write-ahead log cannot be reset meanwhile.
const TIME: Duration = Duration::from_millis(200);
/// The clock is looked at after this number of rows.
const ROWS: usize = 64;

/// Attempts over time.
pub(crate) fn stats(conn: &Connection, query: &StatsQuery, now_ms: i64) -> Result<Stats> {
    let mut sums = StepSums::new(query, now_ms)?;
    let read = conn.unchecked_transaction()?;
    let wanted = NewestFirst {
        times_ms: sums.times_ms(),
        until: Some(clock::after(clock::instant(), TIME)),
        minutes_from_ms: now_ms.saturating_sub(millis(KEEP_MINUTES)),
    };
    let read_to = wanted.read(&read, |at_ms, key, totals| {
        let series = match query.by {
            StatsBy::None => 0,
            StatsBy::Kind => key.kind,
            StatsBy::Queue => key.queue,
        };
        if let Some(outcome) = EventKind::from_code(key.outcome) {
            sums.add((series, at_ms), outcome, totals);
        }
    })?;
    let sql = match query.by {
        StatsBy::None => None,
        StatsBy::Kind => Some(KIND_NAME),
        StatsBy::Queue => Some(QUEUE_NAME),
    };
    let mut names = HashMap::new();
    for (sql, series) in sql.into_iter().flat_map(|sql| {
        let series = sums.series().into_iter();
        series.map(move |series| (sql, series))
    }) {
        names.insert(series, read.one(sql, [series], |row| name(row, 0))?);
    }
    sums.finish(read_to, &names)
}

/// The attempts that have ended since a moment, added up by queue, kind and outcome.
pub(crate) fn totals_since(
    conn: &Connection,
    (since_ms, now_ms): (i64, i64),
) -> Result<Vec<MetricRecord>> {
    let read = conn.unchecked_transaction()?;
    let minutes_from_ms = now_ms.saturating_sub(millis(KEEP_MINUTES));
    let span = match since_ms < minutes_from_ms {
        true => MetricSpan::Hour,
        false => MetricSpan::Minute,
    };
    let mut sums: BTreeMap<MetricKey, AttemptTotals> = BTreeMap::new();
    let wanted = NewestFirst {
        times_ms: (span.start_ms(since_ms), i64::MAX),
        until: None,
        minutes_from_ms,
    };
    wanted.read(&read, |_, key, totals| {
        sums.entry(key).or_default().merge(totals);
    })?;
    let mut records = Vec::with_capacity(sums.len());
    for (key, totals) in sums {
        if let Some(outcome) = EventKind::from_code(key.outcome) {
            records.push(MetricRecord {
                at: None,
                queue: read.one(QUEUE_NAME, [key.queue], |row| name(row, 0))?,
                kind: read.one(KIND_NAME, [key.kind], |row| name(row, 0))?,
                outcome,
                totals,
            });
        }
    }
    Ok(records)
}

/// Metrics of minutes and hours that begin in some time.
struct NewestFirst {
    times_ms: (i64, i64),
    /// When reading stops; none: at the end.
    until: Option<Instant>,
    /// From here on there are no metrics of hours.
    minutes_from_ms: i64,
}

impl NewestFirst {
    /// Returns which ones were read if the time was up: all that begin later than this.
    fn read(
        &self,
        conn: &Connection,
        mut each: impl FnMut(i64, MetricKey, &AttemptTotals),
    ) -> Result<Option<i64>> {
        let mut statement = conn.prepare_cached(METRICS_NEWEST)?;
        let mut count = 0_usize;
        for span in [MetricSpan::Minute, MetricSpan::Hour] {
            let (from_ms, to_ms) = self.times_ms;
            let mut rows = statement.query(params![span.length().as_secs(), from_ms, to_ms])?;
            while let Some(row) = rows.next()? {
                let at_ms = row.get(0)?;
                count += 1;
                let is_up = |until: Instant| clock::instant() >= until;
                if count.is_multiple_of(ROWS) && self.until.is_some_and(is_up) {
                    return Ok(Some(match span {
                        MetricSpan::Minute => self.minutes_from_ms.max(at_ms),
                        _ => at_ms,
                    }));
                }
                let key = MetricKey {
                    queue: row.get(1)?,
                    kind: row.get(2)?,
                    outcome: row.get(3)?,
                };
                each(at_ms, key, &decode(row, 4)?);
            }
        }
        Ok(None)
    }
}
