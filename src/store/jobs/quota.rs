//! Quotas: whether a queue and the file can take a new job.

use crate::error::Kind;
use crate::model::limits::EnqueueLimits;
use crate::model::plural::count;
use crate::model::remedy::Remedy;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::{QueueQuota, Tx};
use crate::store::sqlite::{Connection, params};
use crate::{Error, Result};

statements! {
    /// The jobs that are not final, a row per state, counted only if there is a limit.
    hot QUEUE_ROOM = "SELECT q.max_size, CASE WHEN coalesce(q.max_size, ?2) IS NOT NULL
            THEN (SELECT coalesce(sum(n.value), 0) FROM jobq_number n WHERE n.what IN (0, 1, 2, 3, 4) AND n.id = q.id) END
        FROM jobq_queue q WHERE q.id = ?1";
}

/// Number of inserts of one transaction between two checks of the file's size.
const LOOK_EVERY: u32 = 1000;

/// The size limits of queues and the file that apply to the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QuotaLimits {
    /// For queues without a limit of their own.
    pub(crate) max_queue_size: Option<u64>,
    pub(crate) max_file_bytes: Option<u64>,
}

impl QuotaLimits {
    pub(crate) fn of(limits: &EnqueueLimits) -> QuotaLimits {
        QuotaLimits {
            max_queue_size: limits.max_queue_size,
            max_file_bytes: limits.max_file_bytes,
        }
    }
}

/// Checks the quotas before a job is added to `queue`. A full queue or file refuses only new jobs.
pub(crate) fn check(tx: &mut Tx<'_>, queue: i64, bounds: Option<&QuotaLimits>) -> Result<()> {
    let Some(bounds) = bounds else { return Ok(()) };
    check_queue(tx, queue, bounds)?;
    match bounds.max_file_bytes {
        Some(budget) => check_file(tx, budget),
        None => Ok(()),
    }
}

fn check_queue(tx: &mut Tx<'_>, queue: i64, bounds: &QuotaLimits) -> Result<()> {
    let known = match tx.quota.queues.get(&queue) {
        Some(known) => known,
        None => {
            let found = look_up(tx.conn, queue, bounds)?;
            tx.quota.queues.entry(queue).or_insert(found)
        }
    };
    let Some(limit) = known.own_limit.or(bounds.max_queue_size) else {
        return Ok(());
    };
    let Some(counted) = known.live else {
        // Another job of this transaction was added without these limits.
        tx.quota.queues.remove(&queue);
        return check_queue(tx, queue, bounds);
    };
    let own_limit = known.own_limit;
    let live = counted + tx.counts.live_change(queue);
    if u64::try_from(live).unwrap_or(0) < limit {
        return Ok(());
    }
    let name = tx.names.queue_name(tx.conn, queue)?;
    let raise = match own_limit {
        Some(_) => "raise it",
        None => "give it a limit of its own, or raise max_queue_size",
    };
    Err(Error::new(
        Kind::QueueFull,
        format!(
            "queue '{name}' is full: it holds {} that have not ended, its limit is {limit}",
            count(live.unsigned_abs(), "job")
        ),
    )
    .with_hint(format!(
        "try again when some of them have ended, or {raise}"
    ))
    .with_remedy(Remedy::RaiseQueueLimit(name.to_string())))
}

fn look_up(conn: &Connection, queue: i64, bounds: &QuotaLimits) -> Result<QueueQuota> {
    let usual = bounds
        .max_queue_size
        .map(|max| i64::try_from(max).unwrap_or(i64::MAX));
    conn.one(QUEUE_ROOM, params![queue, usual], |row| {
        Ok(QueueQuota {
            own_limit: row.get(0)?,
            live: row.get(1)?,
        })
    })
}

fn check_file(tx: &mut Tx<'_>, budget: u64) -> Result<()> {
    let (size, left) = match tx.quota.file {
        Some((size, left)) if left > 0 => (size, left),
        _ => (file_bytes(tx.conn)?, LOOK_EVERY),
    };
    tx.quota.file = Some((size, left - 1));
    if size < budget {
        return Ok(());
    }
    Err(Error::new(
        Kind::OverBudget,
        format!(
            "the file has reached its size budget: {} are in use, {} are allowed; nothing was enqueued",
            mebibytes(size),
            mebibytes(budget)
        ),
    )
    .with_hint("raise max_file_size")
    .with_remedy(Remedy::Prune))
}

/// The used size of the database file, without free pages.
pub(crate) fn file_bytes(conn: &Connection) -> Result<u64> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or(0))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}
