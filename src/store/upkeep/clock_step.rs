//! Steps of the wall clock: waits that were given as durations keep their remaining time.

use std::time::Duration;

use crate::Result;
use crate::clock::{Clock, ClockReading, millis};
use crate::store::jobs::{deadlines, rate, unique};
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{Connection, OptionalExtension, params};
use crate::store::upkeep::fire;

statements! {
    hot META_GET = "SELECT value FROM jobq_meta WHERE key = ?1";
    cold META_PUT = "INSERT INTO jobq_meta (key, value) VALUES (?1, ?2)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    /// Rare; it updates every job that waits for a duration.
    cold JOBS_SHIFT_WAITS = "UPDATE jobq_job SET run_at = run_at + ?1 WHERE state = 0 AND wait_fixed = 0";
    /// The same for those whose delay is counted although they are blocked.
    cold JOBS_SHIFT_BLOCKED = "UPDATE jobq_job SET run_at = run_at + ?1 WHERE state = 1 AND wait_fixed = 0
        AND id IN (SELECT job_id FROM jobq_prerequisite WHERE met = 0)";
    /// Once for each start of the machine, and every wait for a duration that was given before is meant.
    cold JOBS_FIX_WAITS = "UPDATE jobq_job SET wait_fixed = 1 WHERE state = 0 AND wait_fixed = 0";
    cold JOBS_FIX_BLOCKED = "UPDATE jobq_job SET wait_fixed = 1 WHERE state = 1 AND wait_fixed = 0
        AND id IN (SELECT job_id FROM jobq_prerequisite WHERE met = 0)";
}

/// The file's reading of the clock: the id of the machine's start, and the clock's offset to it.
pub(crate) struct KnownClock {
    boot: String,
    offset_ms: i64,
}

impl KnownClock {
    pub(crate) fn read(conn: &Connection) -> Result<Option<KnownClock>> {
        let mut get = conn.prepare_cached(META_GET)?;
        let boot = get.query_row(["clock_boot"], |row| row.get(0)).optional()?;
        let offset = get
            .query_row(["clock_offset_ms"], |row| row.get(0))
            .optional()?;
        Ok(boot
            .zip(offset)
            .map(|(boot, offset_ms)| KnownClock { boot, offset_ms }))
    }

    pub(crate) fn reading(&self) -> ClockReading<'_> {
        ClockReading {
            boot: &self.boot,
            offset_ms: self.offset_ms,
        }
    }
}

/// Whether the clock was set, or the machine restarted, within the last `span` of time that has really
/// passed.
pub(crate) fn was_set_within(conn: &Connection, clock: &Clock, span: Duration) -> Result<bool> {
    let Some(known) = KnownClock::read(conn)? else {
        return Ok(false);
    };
    if clock.reading().has_stepped_since(Some(known.reading())) {
        return Ok(true);
    }
    let mut get = conn.prepare_cached(META_GET)?;
    let set_at: Option<i64> = get
        .query_row(["clock_set_boot_ms"], |row| row.get(0))
        .optional()?;
    Ok(set_at.is_some_and(|set_at| (0..millis(span)).contains(&(clock.boot_ms() - set_at))))
}

/// After a step of the clock, keeps the remaining time of every wait that was given as a duration, and keeps
/// schedules going, once for all runners. Returns the number of changed jobs.
///
/// After a restart only the wall clock tells how long the machine was off, and it may be years wrong until it
/// is set. So earlier waits are due when the wall clock says so, and later steps move only later waits.
pub(crate) fn follow(tx: &mut Tx<'_>, now: ClockReading<'_>) -> Result<usize> {
    let known = KnownClock::read(tx.conn)?;
    let known = known.as_ref().map(KnownClock::reading);
    if !now.has_stepped_since(known) {
        return Ok(0);
    }
    let shift_ms = known.and_then(|known| now.step_since(known));
    let moved = match shift_ms {
        Some(shift_ms) => {
            deadlines::follow_step(tx.conn, shift_ms)?;
            let shift = |sql| tx.run(sql, [shift_ms]);
            shift(JOBS_SHIFT_WAITS)? + shift(JOBS_SHIFT_BLOCKED)?
        }
        None => {
            deadlines::fix(tx.conn)?;
            tx.run(JOBS_FIX_WAITS, [])?;
            tx.run(JOBS_FIX_BLOCKED, [])?;
            0
        }
    };
    unique::follow_clock(tx.conn, shift_ms.unwrap_or(0), tx.now_ms)?;
    rate::follow_clock(tx.conn, shift_ms.unwrap_or(0), tx.now_ms)?;
    fire::follow_clock(tx, shift_ms)?;
    let mut put = tx.conn.prepare_cached(META_PUT)?;
    put.execute(params!["clock_boot", now.boot])?;
    put.execute(params!["clock_offset_ms", now.offset_ms])?;
    if known.is_some() {
        put.execute(params!["clock_set_boot_ms", tx.now_ms - now.offset_ms])?;
    }
    Ok(moved)
}
