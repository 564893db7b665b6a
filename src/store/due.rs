//! Scheduled jobs: what is due next, making it pending, and steps of the wall clock.

use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::deadlines;
use super::ended;
use super::fire;
use super::rate;
use super::statement::statements;
use super::tx::Tx;
use super::uniques;
use crate::clock::{Clock, UNKNOWN_BOOT, millis};
use crate::job::JobId;
use crate::part::{Of, Part, Parts};
use crate::state::State;
use crate::{Error, Result};

statements! {
    /// One step in the index of due times.
    hot JOB_NEXT_DUE = "SELECT min(run_at) FROM jobq_job WHERE state = 0";
    hot JOBS_PROMOTE_IF_DUE = "UPDATE jobq_job SET state = 2, run_at = NULL, wait_reason = NULL, wait_fixed = NULL,
            updated_at = ?1
        WHERE id IN (SELECT id FROM jobq_job WHERE state = 0 AND run_at <= ?1 ORDER BY run_at LIMIT ?2)
            AND links & 8 = 0
        RETURNING queue_id";
    /// What the other statement has left: jobs with a concurrency key, which may find their places taken.
    hot JOBS_DUE = "SELECT id FROM jobq_job WHERE state = 0 AND run_at <= ?1 ORDER BY run_at, id LIMIT ?2";
    hot META_GET = "SELECT value FROM jobq_meta WHERE key = ?1";
    cold META_PUT = "INSERT INTO jobq_meta (key, value) VALUES (?1, ?2)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    /// Rare, and every job that waits for a duration is meant.
    cold JOBS_SHIFT_WAITS = "UPDATE jobq_job SET run_at = run_at + ?1 WHERE state = 0 AND wait_fixed = 0";
    /// The same for those whose delay is counted although they are blocked.
    cold JOBS_SHIFT_BLOCKED = "UPDATE jobq_job SET run_at = run_at + ?1 WHERE state = 1 AND wait_fixed = 0
        AND id IN (SELECT job_id FROM jobq_prerequisite WHERE met = 0)";
    /// Once for each start of the machine, and every wait for a duration that was given before is meant.
    cold JOBS_FIX_WAITS = "UPDATE jobq_job SET wait_fixed = 1 WHERE state = 0 AND wait_fixed = 0";
    cold JOBS_FIX_BLOCKED = "UPDATE jobq_job SET wait_fixed = 1 WHERE state = 1 AND wait_fixed = 0
        AND id IN (SELECT job_id FROM jobq_prerequisite WHERE met = 0)";
}

/// When the next scheduled job is due, in milliseconds since 1970.
pub(crate) fn next_due(conn: &Connection) -> Result<Option<i64>> {
    Ok(conn
        .prepare_cached(JOB_NEXT_DUE)?
        .query_row([], |row| moment(row, 0))?)
}

/// A moment in a row. What is no number is none: it comes after all numbers, so where it is the least
/// there are no others.
pub(crate) fn moment(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<i64>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Integer(ms) => Some(ms),
        ValueRef::Real(ms) => Some(ms as i64),
        _ => None,
    })
}

/// What a runner does with schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schedules {
    Fire,
    /// It drains: what it finds is to come to an end.
    Leave,
}

/// When there is something to do next that nobody announces, in milliseconds since 1970: a scheduled
/// job, a deadline, a slot, or a start that a queue's rate allows only then.
pub(crate) fn next_moment(
    conn: &Connection,
    now_ms: i64,
    (schedules, aside): (Schedules, &Parts),
) -> Result<Option<i64>> {
    let of = |part, find: &dyn Fn() -> Result<Option<i64>>| match aside.has(part) {
        true => Ok(None),
        false => find().of(part),
    };
    let next_fire = || match schedules {
        Schedules::Fire => fire::next_fire(conn),
        Schedules::Leave => Ok(None),
    };
    let moments = [
        of(Part::DueTimes, &|| next_due(conn))?,
        of(Part::Deadlines, &|| deadlines::next(conn))?,
        of(Part::Schedules, &next_fire)?,
        of(Part::Rates, &|| rate::next_start(conn, now_ms))?,
    ];
    Ok(moments.into_iter().flatten().min())
}

/// Makes at most `limit` due jobs pending; how many it were.
pub(crate) fn promote_due(tx: &mut Tx<'_>, limit: usize) -> Result<usize> {
    // What is due by a clock that has just stepped may not be.
    tx.follow_clock()?;
    if tx.is_aside(Part::DueTimes) {
        return Ok(0);
    }
    // Where they cannot be moved together, each is on its own.
    let promoted = match tx.is_aside(Part::DueJobs) {
        true => 0,
        false => promote_together(tx, limit).of(Part::DueJobs)?,
    };
    let left = limit.saturating_sub(promoted) + tx.aside.len();
    let keyed = due_jobs(tx, left).of(Part::DueTimes)?;
    let mut moved = 0;
    for job in keyed {
        if !tx.is_aside(Part::Job(job)) {
            ended::due(tx, job).of(Part::Job(job))?;
            moved += 1;
        }
    }
    Ok(promoted + moved)
}

fn promote_together(tx: &mut Tx<'_>, limit: usize) -> Result<usize> {
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

fn due_jobs(tx: &Tx<'_>, limit: usize) -> Result<Vec<JobId>> {
    let mut statement = tx.conn.prepare_cached(JOBS_DUE)?;
    let rows = statement.query_map(params![tx.now_ms, limit as i64], |row| {
        row.get(0).map(JobId)
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
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
            boot: clock.boot().to_owned(),
            offset_ms: clock.now_ms() - clock.boot_ms(),
        }
    }

    /// How far the clock has stepped since then; none where the machine may have been started again, as
    /// it may at any time where the system does not tell.
    pub(crate) fn step_since(&self, known: &ClockReading) -> Option<i64> {
        let is_same = self.boot == known.boot && self.boot != UNKNOWN_BOOT;
        is_same.then(|| self.offset_ms - known.offset_ms)
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

/// Whether the clock stands so differently that waits must be moved or the reading be renewed. Who does not
/// know which start it is sees both by that, a step and another start.
pub(crate) fn has_stepped(known: Option<&ClockReading>, now: &ClockReading) -> bool {
    known.is_none_or(|known| {
        let is_another = now.boot != UNKNOWN_BOOT && now.boot != known.boot;
        is_another || (known.offset_ms - now.offset_ms).abs() >= STEP_MS
    })
}

/// Whether the clock has become another, by a step or by a start of the machine, in the last `span` of
/// time that has really passed, whoever has noticed.
pub(crate) fn was_set_within(conn: &Connection, clock: &Clock, span: Duration) -> Result<bool> {
    let Some(known) = clock_reading(conn)? else {
        return Ok(false);
    };
    if has_stepped(Some(&known), &ClockReading::of(clock)) {
        return Ok(true);
    }
    let mut get = conn.prepare_cached(META_GET)?;
    let set_at: Option<i64> = get
        .query_row(["clock_set_boot_ms"], |row| row.get(0))
        .optional()?;
    Ok(set_at.is_some_and(|set_at| (0..millis(span)).contains(&(clock.boot_ms() - set_at))))
}

/// After a step of the clock keeps what is left of every wait that was given as a duration, and keeps
/// schedules going, once for all runners. How many jobs moved.
///
/// Between two starts of the machine only the wall clock tells how long it was off, and what it says
/// first may be years off the mark until somebody sets it. So what was given before is due when the
/// wall clock says so, and the steps to come move only what is given from now on.
pub(crate) fn follow_clock(tx: &mut Tx<'_>, now: &ClockReading) -> Result<usize> {
    let known = clock_reading(tx.conn)?;
    if !has_stepped(known.as_ref(), now) {
        return Ok(0);
    }
    let is_first = known.is_none();
    let shift_ms = known.and_then(|known| now.step_since(&known));
    let moved = match shift_ms {
        Some(shift_ms) => {
            deadlines::follow_step(tx.conn, shift_ms)?;
            let shift = |sql| Ok::<_, Error>(tx.conn.prepare_cached(sql)?.execute([shift_ms])?);
            shift(JOBS_SHIFT_WAITS)? + shift(JOBS_SHIFT_BLOCKED)?
        }
        None => {
            deadlines::fix(tx.conn)?;
            tx.conn.prepare_cached(JOBS_FIX_WAITS)?.execute([])?;
            tx.conn.prepare_cached(JOBS_FIX_BLOCKED)?.execute([])?;
            0
        }
    };
    uniques::follow_clock(tx.conn, shift_ms.unwrap_or(0), tx.now_ms)?;
    rate::follow_clock(tx.conn, shift_ms.unwrap_or(0), tx.now_ms)?;
    fire::follow_clock(tx, shift_ms)?;
    let mut put = tx.conn.prepare_cached(META_PUT)?;
    put.execute(params!["clock_boot", now.boot])?;
    put.execute(params!["clock_offset_ms", now.offset_ms])?;
    if !is_first {
        put.execute(params!["clock_set_boot_ms", tx.now_ms - now.offset_ms])?;
    }
    Ok(moved)
}
