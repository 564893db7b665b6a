//! Queues: pausing, resuming, limits, listing, and the numbers of their jobs by state.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{millis, timestamp};
use crate::model::event::EventKind;
use crate::model::limits::{QueueLimitsUpdate, Rate};
use crate::model::queue::{Counts, QueueLimits, QueueRecord, QueueSelector, check_name};
use crate::model::remedy::Remedy;
use crate::model::state::State;
use crate::store::jobs::rate;
use crate::store::sqlite::names::find_queue;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::{EventFields, NewEvent, Tx};
use crate::store::sqlite::{Connection, Row, RowResult, params};
use crate::{Error, Result};

statements! {
    hot QUEUE_PAUSE_IF_RESUMED = "UPDATE jobq_queue SET paused_at = ?2 WHERE id = ?1 AND paused_at IS NULL";
    hot QUEUE_RESUME_IF_PAUSED = "UPDATE jobq_queue SET paused_at = NULL WHERE id = ?1 AND paused_at IS NOT NULL";
    hot ALL_PAUSE_IF_RESUMED = "INSERT INTO jobq_meta (key, value) VALUES ('paused_at', ?1) ON CONFLICT (key) DO NOTHING";
    hot ALL_RESUME = "DELETE FROM jobq_meta WHERE key = 'paused_at'";
    hot ALL_IS_PAUSED = "SELECT 1 FROM jobq_meta WHERE key = 'paused_at'";
    hot ALL_PAUSED_SINCE = "SELECT value FROM jobq_meta WHERE key = 'paused_at'";
    hot QUEUE_LIMITS = "SELECT concurrency, rate_jobs, rate_ms, max_size, weight FROM jobq_queue WHERE id = ?1";
    hot QUEUE_LIMIT = "UPDATE jobq_queue SET concurrency = ?2, rate_jobs = ?3, rate_ms = ?4, max_size = ?5, weight = ?6
        WHERE id = ?1";
    /// A row per queue and state: small whatever the number of jobs.
    cold QUEUES_LIST = "SELECT q.name, q.paused_at, n.what, coalesce(n.value, 0),
            q.concurrency, q.rate_jobs, q.rate_ms, q.max_size, q.weight
        FROM jobq_queue q LEFT JOIN jobq_number n ON n.id = q.id AND n.what IN (0, 1, 2, 3, 4, 5, 6, 7) ORDER BY q.name";
    /// A row per queue and state: small whatever the number of jobs.
    hot COUNTS_BY_STATE = "SELECT what, sum(value) FROM jobq_number WHERE what >= 0 GROUP BY what";
    cold COUNTS_RECOUNT = "SELECT queue_id, state, count(*) FROM jobq_job GROUP BY queue_id, state";
    cold COUNTS_ALL = "SELECT id, what, value FROM jobq_number WHERE what >= 0 AND value <> 0";
    cold COUNTS_CLEAR = "DELETE FROM jobq_number WHERE what >= 0";
}

/// Returns whether anything changed.
pub(crate) fn pause(tx: &mut Tx<'_>, which: &QueueSelector) -> Result<bool> {
    let changed = match which {
        QueueSelector::All => tx.run(ALL_PAUSE_IF_RESUMED, [tx.now_ms])?,
        QueueSelector::Named(name) => {
            check_name("queue's name", name)?;
            let queue = tx.names.queue_id(tx.conn, name)?;
            tx.run(QUEUE_PAUSE_IF_RESUMED, params![queue, tx.now_ms])?
        }
    };
    record(tx, EventKind::QueuePaused, which, changed)
}

/// Returns whether anything changed. A queue that was paused by name stays paused when all are resumed.
pub(crate) fn resume(tx: &mut Tx<'_>, which: &QueueSelector) -> Result<bool> {
    let changed = match which {
        QueueSelector::All => tx.run(ALL_RESUME, [])?,
        QueueSelector::Named(name) => {
            let queue = find_queue(tx.conn, name)?.ok_or_else(|| {
                Error::not_found(format!("no queue '{name}'")).with_remedy(Remedy::ListQueues)
            })?;
            tx.run(QUEUE_RESUME_IF_PAUSED, [queue])?
        }
    };
    record(tx, EventKind::QueueResumed, which, changed)
}

/// Creates a missing queue. Returns whether anything changed.
pub(crate) fn set_limits(tx: &mut Tx<'_>, name: &str, change: &QueueLimitsUpdate) -> Result<bool> {
    let queue = tx.names.queue_id(tx.conn, name)?;
    let before = limits(tx.conn, queue)?;
    let after = QueueLimits {
        concurrency: change.concurrency.of(before.concurrency),
        rate: change.rate.of(before.rate),
        max_size: change.max_size.of(before.max_size),
        weight: change.weight.of(Some(before.weight)).unwrap_or(1),
    };
    if after == before {
        return Ok(false);
    }
    if after.rate != before.rate {
        rate::forget(tx, queue)?;
    }
    let rate_ms = after.rate.map(|rate| millis(rate.per));
    tx.run(
        QUEUE_LIMIT,
        params![
            queue,
            after.concurrency,
            after.rate.map(|rate| rate.jobs),
            rate_ms,
            after
                .max_size
                .map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
            after.weight
        ],
    )?;
    // Cached limits of the queue are no longer valid.
    tx.flush_counts()?;
    let mut data = limit_fields(&after);
    let mut was = limit_fields(&before);
    was.retain(|name, value| data.get(name) != Some(value));
    if after.rate != before.rate {
        // The two belong together.
        let rate = limit_fields(&before).into_iter();
        was.extend(rate.filter(|(name, _)| name.starts_with("rate_")));
    }
    data.insert("before".to_owned(), was.into());
    data.insert("queue".to_owned(), name.into());
    tx.append_change(NewEvent::new(EventKind::QueueLimited), data)?;
    Ok(true)
}

pub(crate) fn limits(conn: &Connection, queue: i64) -> Result<QueueLimits> {
    conn.one(QUEUE_LIMITS, [queue], |row| read_limits(row, 0))
}

fn limit_fields(limits: &QueueLimits) -> EventFields {
    [
        ("concurrency", limits.concurrency.into()),
        ("rate_jobs", limits.rate.map(|rate| rate.jobs).into()),
        ("rate_ms", limits.rate.map(|rate| millis(rate.per)).into()),
        ("max_size", limits.max_size.into()),
        ("weight", limits.weight.into()),
    ]
    .map(|(name, value): (&str, serde_json::Value)| (name.to_owned(), value))
    .into_iter()
    .collect()
}

fn record(tx: &mut Tx<'_>, kind: EventKind, which: &QueueSelector, changed: usize) -> Result<bool> {
    if changed == 0 {
        return Ok(false);
    }
    let mut data = EventFields::new();
    if let QueueSelector::Named(name) = which {
        data.insert("queue".to_owned(), name.as_str().into());
    }
    tx.append_change(NewEvent::new(kind), data)?;
    Ok(true)
}

pub(crate) fn is_all_paused(conn: &Connection) -> Result<bool> {
    conn.has_row(ALL_IS_PAUSED, [])
}

/// Since when all queues are paused.
pub(crate) fn all_paused_since(conn: &Connection) -> Result<Option<jiff::Timestamp>> {
    let mut statement = conn.prepare_cached(ALL_PAUSED_SINCE)?;
    let mut rows = statement.query([])?;
    Ok(rows
        .next()?
        .map(|row| row.get(0))
        .transpose()?
        .map(timestamp))
}

pub(crate) fn list(conn: &Connection) -> Result<Vec<QueueRecord>> {
    let mut statement = conn.prepare_cached(QUEUES_LIST)?;
    let mut rows = statement.query([])?;
    let mut queues: Vec<QueueRecord> = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        if queues.last().is_none_or(|queue| queue.name != name) {
            let paused_at = row.get::<_, Option<i64>>(1)?.map(timestamp);
            queues.push(QueueRecord {
                name,
                paused_at,
                counts: Counts::default(),
                limits: read_limits(row, 4)?,
            });
        }
        let state = row.get::<_, Option<i64>>(2)?.and_then(State::from_code);
        if let (Some(state), Some(queue)) = (state, queues.last_mut()) {
            queue.counts.add(state, row.get(3)?);
        }
    }
    Ok(queues)
}

/// Reads `concurrency, rate_jobs, rate_ms, max_size, weight` from column `at` on.
fn read_limits(row: &Row<'_>, at: usize) -> RowResult<QueueLimits> {
    // Another program may have written a value out of range; one such row must hide no other.
    let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let rate: Option<(i64, i64)> = row.get::<_, Option<_>>(at + 1)?.zip(row.get(at + 2)?);
    Ok(QueueLimits {
        concurrency: row.get::<_, Option<i64>>(at)?.map(count),
        rate: rate.map(|(jobs, ms)| Rate {
            jobs: count(jobs),
            per: Duration::from_millis(ms.unsigned_abs()),
        }),
        max_size: row.get(at + 3)?,
        weight: count(row.get(at + 4)?),
    })
}

pub(crate) fn by_state(conn: &Connection) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut statement = conn.prepare_cached(COUNTS_BY_STATE)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(state) = State::from_code(row.get(0)?) {
            counts.add(state, row.get(1)?);
        }
    }
    Ok(counts)
}

/// The counters by queue and state code, as stored or as recounted. Unknown codes are included, so that
/// `doctor` can name them.
pub(crate) fn table(conn: &Connection, sql: &str) -> Result<BTreeMap<(i64, i64), i64>> {
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    Ok(rows.collect::<RowResult<_>>()?)
}
