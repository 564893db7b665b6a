//! Metrics by the minute become metrics by the hour when they are old.

use std::time::Duration;

use crate::Result;
use crate::clock::millis;
use crate::error::Of;
use crate::model::metrics::{KEEP_HOURS, KEEP_MINUTES, MetricSpan};
use crate::model::part::Part;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::tx::metrics::{MetricKey, add, decode};

statements! {
    hot METRICS_OLDEST = "SELECT at, queue_id, kind_id, outcome, attempts, took, took_us, waited, waited_ms, cpu_ms,
            max_rss_bytes
        FROM jobq_metric WHERE span = ?1 AND at < ?2 ORDER BY at, queue_id, kind_id, outcome LIMIT ?3";
    hot METRIC_REMOVE = "DELETE FROM jobq_metric
        WHERE span = ?1 AND at = ?2 AND queue_id = ?3 AND kind_id = ?4 AND outcome = ?5";
}

/// Maximum number of rows of each span in one transaction.
const ROWS: usize = 100;

/// Moves some old metrics on; returns whether there are more.
pub(crate) fn step(tx: &Tx<'_>) -> Result<bool> {
    if tx.is_aside(Part::Metrics) {
        return Ok(false);
    }
    let minutes = move_on(tx, MetricSpan::Minute, KEEP_MINUTES).of(Part::Metrics)?;
    let hours = move_on(tx, MetricSpan::Hour, KEEP_HOURS).of(Part::Metrics)?;
    Ok(minutes == ROWS || hours == ROWS)
}

fn move_on(tx: &Tx<'_>, span: MetricSpan, keep: Duration) -> Result<usize> {
    let length = span.length().as_secs();
    let before_ms = tx.now_ms.saturating_sub(millis(keep));
    let old = tx.all(
        METRICS_OLDEST,
        params![length, before_ms, ROWS as i64],
        |row| {
            let key = MetricKey {
                queue: row.get(1)?,
                kind: row.get(2)?,
                outcome: row.get(3)?,
            };
            Ok((row.get::<_, i64>(0)?, key, decode(row, 4)?))
        },
    )?;
    for (at_ms, key, totals) in &old {
        if span == MetricSpan::Minute {
            let hour = MetricSpan::Hour;
            add(tx.conn, (hour, hour.start_ms(*at_ms)), *key, totals)?;
        }
        tx.run(
            METRIC_REMOVE,
            params![length, at_ms, key.queue, key.kind, key.outcome],
        )?;
    }
    Ok(old.len())
}
