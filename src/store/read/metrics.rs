//! Reading metrics.

pub(crate) mod snapshot;
pub(crate) mod stats;

use crate::Result;
use crate::clock::timestamp;
use crate::model::event::EventKind;
use crate::model::metrics::{MetricRecord, MetricSpan};
use crate::store::sqlite::statement::{Statements, statements, text};
use crate::store::sqlite::tx::metrics::decode;
use crate::store::sqlite::{Connection, Row, RowResult, params};

statements! {
    hot METRICS_BETWEEN = "SELECT m.at, q.name, k.name, m.outcome, m.attempts, m.took, m.took_us, m.waited, m.waited_ms,
            m.cpu_ms, m.max_rss_bytes, m.queue_id, m.kind_id
        FROM jobq_metric m CROSS JOIN jobq_queue q ON q.id = m.queue_id CROSS JOIN jobq_kind k ON k.id = m.kind_id
        WHERE m.span = ?1 AND m.at >= ?2 AND m.at < ?3 ORDER BY m.at, m.queue_id, m.kind_id, m.outcome";
    hot ENQUEUED_TOTALS = "SELECT q.name, k.name, n.value, n.id >> 32, n.id & 4294967295
        FROM jobq_number n CROSS JOIN jobq_queue q ON q.id = n.id >> 32 CROSS JOIN jobq_kind k ON k.id = n.id & 4294967295
        WHERE n.what = -3";
}

/// The metrics of the spans that begin in this time, oldest first.
pub(crate) fn between(
    conn: &Connection,
    span: MetricSpan,
    (since_ms, until_ms): (i64, i64),
) -> Result<Vec<MetricRecord>> {
    let arguments = params![span.length().as_secs(), since_ms, until_ms];
    let records = conn.all(METRICS_BETWEEN, arguments, |row| {
        let at = Some(timestamp(row.get(0)?)).filter(|_| span != MetricSpan::Lifetime);
        let outcome = EventKind::from_code(row.get(3)?);
        let (queue, kind) = (name(row, 1)?, name(row, 2)?);
        let totals = decode(row, 4)?;
        Ok(outcome.map(|outcome| MetricRecord {
            at,
            queue,
            kind,
            outcome,
            totals,
        }))
    })?;
    Ok(records.into_iter().flatten().collect())
}

/// How many jobs have been enqueued, by queue and kind.
pub(crate) fn enqueued(conn: &Connection) -> Result<Vec<(String, String, u64)>> {
    conn.all(ENQUEUED_TOTALS, [], |row| {
        Ok((name(row, 0)?, name(row, 1)?, row.get(2)?))
    })
}

fn name(row: &Row<'_>, at: usize) -> RowResult<String> {
    Ok(text(row.get_ref(at)?).unwrap_or_default())
}
