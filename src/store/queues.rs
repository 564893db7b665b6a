//! Queues: pausing, resuming, listing.

use std::time::Duration;

use rusqlite::{Connection, Row, params};

use super::counts::Counts;
use super::names::find_queue;
use super::rate;
use super::statement::statements;
use super::tx::NewEvent;
use super::tx::Tx;
use crate::clock::{millis, timestamp};
use crate::event::EventKind;
use crate::job::check_name;
use crate::limit::{QueueLimitsUpdate, Rate};
use crate::state::State;
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
    cold QUEUES_LIST = "SELECT q.name, q.paused_at, c.state, coalesce(c.jobs, 0),
            q.concurrency, q.rate_jobs, q.rate_ms, q.max_size, q.weight
        FROM jobq_queue q LEFT JOIN jobq_count c ON c.queue_id = q.id ORDER BY q.name";
}

/// A queue as the file has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueueRecord {
    /// Its name.
    pub name: String,
    /// Since when nothing of it is claimed.
    pub paused_at: Option<jiff::Timestamp>,
    /// Its jobs by state.
    pub counts: Counts,
    /// Its limits, over all runners.
    pub limits: QueueLimits,
}

/// The limits that a queue has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// So many of its jobs run at once; none: any number.
    pub concurrency: Option<u32>,
    /// So many of its jobs start in any span; none: any number.
    pub rate: Option<Rate>,
    /// So many jobs that have not ended it takes; none: as many as [`EnqueueLimits`](crate::EnqueueLimits) says.
    pub max_size: Option<u64>,
    /// Its share of a runner among the queues with work.
    pub weight: u32,
}

impl QueueLimits {
    /// Reads `concurrency, rate_jobs, rate_ms, max_size, weight` from column `at` on.
    pub(crate) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<QueueLimits> {
        // What somebody else has written there may be out of range; one such row must hide no other.
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
}

/// Which queues are to be paused or resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueSelector {
    /// Every queue, also those that are yet to come.
    All,
    /// The queue of this name.
    Named(String),
}

/// Whether anything changed.
pub(crate) fn pause(tx: &mut Tx<'_>, which: &QueueSelector) -> Result<bool> {
    let changed = match which {
        QueueSelector::All => tx
            .conn
            .prepare_cached(ALL_PAUSE_IF_RESUMED)?
            .execute([tx.now_ms])?,
        QueueSelector::Named(name) => {
            check_name("queue's name", name)?;
            let queue = tx.names.queue_id(tx.conn, name)?;
            tx.conn
                .prepare_cached(QUEUE_PAUSE_IF_RESUMED)?
                .execute(params![queue, tx.now_ms])?
        }
    };
    record(tx, EventKind::QueuePaused, which, changed)
}

/// Whether anything changed. A queue that was paused by name stays so when all are resumed.
pub(crate) fn resume(tx: &mut Tx<'_>, which: &QueueSelector) -> Result<bool> {
    let changed = match which {
        QueueSelector::All => tx.conn.prepare_cached(ALL_RESUME)?.execute([])?,
        QueueSelector::Named(name) => {
            let queue = find_queue(tx.conn, name)?.ok_or_else(|| {
                Error::not_found(format!("no queue '{name}'"))
                    .with_hint("`jobq queue list` shows them")
            })?;
            tx.conn
                .prepare_cached(QUEUE_RESUME_IF_PAUSED)?
                .execute([queue])?
        }
    };
    record(tx, EventKind::QueueResumed, which, changed)
}

/// Whether anything changed. A queue that is not there yet is made.
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
    tx.conn.prepare_cached(QUEUE_LIMIT)?.execute(params![
        queue,
        after.concurrency,
        after.rate.map(|rate| rate.jobs),
        rate_ms,
        after
            .max_size
            .map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
        after.weight
    ])?;
    // What was looked up of it does not hold any more.
    tx.flush_counts()?;
    let data = serde_json::json!({
        "queue": name,
        "concurrency": after.concurrency,
        "rate_jobs": after.rate.map(|rate| rate.jobs),
        "rate_ms": rate_ms,
        "max_size": after.max_size,
        "weight": after.weight,
    });
    tx.append(NewEvent::new(EventKind::QueueLimited).text(Some(data.to_string())))?;
    Ok(true)
}

pub(crate) fn limits(conn: &Connection, queue: i64) -> Result<QueueLimits> {
    Ok(conn
        .prepare_cached(QUEUE_LIMITS)?
        .query_row([queue], |row| QueueLimits::read(row, 0))?)
}

fn record(tx: &mut Tx<'_>, kind: EventKind, which: &QueueSelector, changed: usize) -> Result<bool> {
    if changed == 0 {
        return Ok(false);
    }
    let data = match which {
        QueueSelector::All => None,
        QueueSelector::Named(name) => Some(serde_json::json!({ "queue": name }).to_string()),
    };
    tx.append(NewEvent::new(kind).text(data))?;
    Ok(true)
}

pub(crate) fn is_all_paused(conn: &Connection) -> Result<bool> {
    Ok(conn.prepare_cached(ALL_IS_PAUSED)?.exists([])?)
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
                limits: QueueLimits::read(row, 4)?,
            });
        }
        let state = row.get::<_, Option<i64>>(2)?.and_then(State::from_code);
        if let (Some(state), Some(queue)) = (state, queues.last_mut()) {
            queue.counts.add(state, row.get(3)?);
        }
    }
    Ok(queues)
}
