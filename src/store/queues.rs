//! Queues: pausing, resuming, listing.

use rusqlite::{Connection, params};

use super::counts::Counts;
use super::events::NewEvent;
use super::names::find_queue;
use super::statement::statements;
use super::tx::Tx;
use crate::clock::timestamp;
use crate::event::EventKind;
use crate::job::check_name;
use crate::state::State;
use crate::{Error, Result};

statements! {
    hot QUEUE_PAUSE_IF_RESUMED = "UPDATE jobq_queue SET paused_at = ?2 WHERE id = ?1 AND paused_at IS NULL";
    hot QUEUE_RESUME_IF_PAUSED = "UPDATE jobq_queue SET paused_at = NULL WHERE id = ?1 AND paused_at IS NOT NULL";
    hot ALL_PAUSE_IF_RESUMED = "INSERT INTO jobq_meta (key, value) VALUES ('paused_at', ?1) ON CONFLICT (key) DO NOTHING";
    hot ALL_RESUME = "DELETE FROM jobq_meta WHERE key = 'paused_at'";
    hot ALL_PAUSED_SINCE = "SELECT value FROM jobq_meta WHERE key = 'paused_at'";
    /// A row per queue and state: small whatever the number of jobs.
    cold QUEUES_LIST = "SELECT q.name, q.paused_at, c.state, coalesce(c.jobs, 0)
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
}

/// Which queues are to be paused or resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Every queue, also those that are yet to come.
    All,
    /// The queue of this name.
    Named(String),
}

/// Whether anything changed.
pub(crate) fn pause(tx: &mut Tx<'_>, which: &Which) -> Result<bool> {
    let changed = match which {
        Which::All => tx
            .conn
            .prepare_cached(ALL_PAUSE_IF_RESUMED)?
            .execute([tx.now_ms])?,
        Which::Named(name) => {
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
pub(crate) fn resume(tx: &mut Tx<'_>, which: &Which) -> Result<bool> {
    let changed = match which {
        Which::All => tx.conn.prepare_cached(ALL_RESUME)?.execute([])?,
        Which::Named(name) => {
            let queue = find_queue(tx.conn, name)?.ok_or_else(|| {
                Error::not_found(format!("no queue '{name}'")).hint("`jobq queue list` shows them")
            })?;
            tx.conn
                .prepare_cached(QUEUE_RESUME_IF_PAUSED)?
                .execute([queue])?
        }
    };
    record(tx, EventKind::QueueResumed, which, changed)
}

fn record(tx: &mut Tx<'_>, kind: EventKind, which: &Which, changed: usize) -> Result<bool> {
    if changed == 0 {
        return Ok(false);
    }
    let data = match which {
        Which::All => None,
        Which::Named(name) => Some(serde_json::json!({ "queue": name }).to_string()),
    };
    tx.append(NewEvent::new(kind).text(data))?;
    Ok(true)
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
            });
        }
        let state = row.get::<_, Option<i64>>(2)?.and_then(State::from_code);
        if let (Some(state), Some(queue)) = (state, queues.last_mut()) {
            queue.counts.add(state, row.get(3)?);
        }
    }
    Ok(queues)
}
