//! Scheduled jobs: what is due next, making it pending, and steps of the wall clock.

use rusqlite::{Connection, OptionalExtension, params};

use super::rate;
use super::statement::statements;
use super::tx::Tx;
use crate::Result;
use crate::clock::{Clock, boot_id};
use crate::state::State;

statements! {
    /// One step in the index of due times.
    hot JOB_NEXT_DUE = "SELECT min(run_at) FROM jobq_job WHERE state = 0";
    hot JOBS_PROMOTE_IF_DUE = "UPDATE jobq_job SET state = 2, run_at = NULL, wait_reason = NULL, wait_fixed = NULL,
            updated_at = ?1
        WHERE id IN (SELECT id FROM jobq_job WHERE state = 0 AND run_at <= ?1 ORDER BY run_at LIMIT ?2)
        RETURNING queue_id";
    hot META_GET = "SELECT value FROM jobq_meta WHERE key = ?1";
    cold META_PUT = "INSERT INTO jobq_meta (key, value) VALUES (?1, ?2)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    /// Rare, and every job that waits for a duration is meant.
    cold JOBS_SHIFT_WAITS = "UPDATE jobq_job SET run_at = run_at + ?1 WHERE state = 0 AND wait_fixed = 0";
}

/// When the next scheduled job is due, in milliseconds since 1970.
pub(crate) fn next_due(conn: &Connection) -> Result<Option<i64>> {
    Ok(conn
        .prepare_cached(JOB_NEXT_DUE)?
        .query_row([], |row| row.get(0))?)
}

/// When something is due next that nobody's change will tell of: a scheduled job, or a start that a
/// queue's rate allows only then.
pub(crate) fn next_moment(conn: &Connection, now_ms: i64) -> Result<Option<i64>> {
    let moments = [next_due(conn)?, rate::next_start(conn, now_ms)?];
    Ok(moments.into_iter().flatten().min())
}

/// Makes at most `limit` due jobs pending; how many it were.
pub(crate) fn promote_due(tx: &mut Tx<'_>, limit: usize) -> Result<usize> {
    let mut statement = tx.conn.prepare_cached(JOBS_PROMOTE_IF_DUE)?;
    let mut rows = statement.query(params![tx.now_ms, limit as i64])?;
    let mut promoted = 0;
    while let Some(row) = rows.next()? {
        tx.counts
            .moved(row.get(0)?, State::Scheduled, State::Pending);
        promoted += 1;
    }
    Ok(promoted)
}

/// How the wall clock stands to the time since the machine was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClockReading {
    /// Which start of the machine: after another one the two cannot be compared.
    pub(crate) boot: String,
    pub(crate) offset_ms: i64,
}

impl ClockReading {
    pub(crate) fn of(clock: &Clock) -> ClockReading {
        ClockReading {
            boot: boot_id().to_owned(),
            offset_ms: clock.now_ms() - clock.boot_ms(),
        }
    }
}

/// Smaller steps are left to the clock's own drift.
pub(crate) const STEP_MS: i64 = 1000;

pub(crate) fn clock_reading(conn: &Connection) -> Result<Option<ClockReading>> {
    let mut get = conn.prepare_cached(META_GET)?;
    let boot = get.query_row(["clock_boot"], |row| row.get(0)).optional()?;
    let offset = get
        .query_row(["clock_offset_ms"], |row| row.get(0))
        .optional()?;
    Ok(boot
        .zip(offset)
        .map(|(boot, offset_ms)| ClockReading { boot, offset_ms }))
}

/// Whether the clock stands so differently that waits must be moved or the reading be renewed.
pub(crate) fn has_stepped(known: Option<&ClockReading>, now: &ClockReading) -> bool {
    known.is_none_or(|known| {
        known.boot != now.boot || (known.offset_ms - now.offset_ms).abs() >= STEP_MS
    })
}

/// Keeps what is left of every wait that was given as a duration, once for all runners. How many
/// jobs moved.
pub(crate) fn follow_clock(tx: &mut Tx<'_>, now: &ClockReading) -> Result<usize> {
    let known = clock_reading(tx.conn)?;
    if !has_stepped(known.as_ref(), now) {
        return Ok(0);
    }
    let moved = match known {
        Some(known) if known.boot == now.boot => {
            let step_ms = now.offset_ms - known.offset_ms;
            rate::follow_step(tx.conn, step_ms)?;
            tx.conn
                .prepare_cached(JOBS_SHIFT_WAITS)?
                .execute([step_ms])?
        }
        _ => 0,
    };
    let mut put = tx.conn.prepare_cached(META_PUT)?;
    put.execute(params!["clock_boot", now.boot])?;
    put.execute(params!["clock_offset_ms", now.offset_ms])?;
    Ok(moved)
}
