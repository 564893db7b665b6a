//! Promoting due jobs: scheduled jobs become pending when they are due.

use crate::Result;
use crate::error::Of;
use crate::model::id::JobId;
use crate::model::part::{Part, Parts};
use crate::model::state::State;
use crate::store::jobs::{deadlines, rate, release};
use crate::store::sqlite::statement::{Statements, moment, statements};
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{Connection, params};
use crate::store::upkeep::fire;

statements! {
    /// One step in the index of due times, which is named here and below: that of states has the same jobs.
    hot JOB_NEXT_DUE = "SELECT min(run_at) FROM jobq_job INDEXED BY jobq_job_due WHERE state = 0";
    hot JOBS_PROMOTE_IF_DUE = "UPDATE jobq_job SET state = 2, run_at = NULL, wait_reason = NULL, wait_fixed = NULL,
            updated_at = ?1
        WHERE id IN (SELECT id FROM jobq_job INDEXED BY jobq_job_due WHERE state = 0 AND run_at <= ?1 ORDER BY run_at LIMIT ?2)
            AND links & 8 = 0
        RETURNING queue_id";
    /// The jobs that the other statement leaves: those with a concurrency key, which need a free slot.
    hot JOBS_DUE = "SELECT id FROM jobq_job INDEXED BY jobq_job_due WHERE state = 0 AND run_at <= ?1
        ORDER BY run_at, id LIMIT ?2";
}

/// When the next scheduled job is due, in milliseconds since 1970.
pub(crate) fn next_due(conn: &Connection) -> Result<Option<i64>> {
    conn.one(JOB_NEXT_DUE, [], |row| moment(row, 0))
}

/// What a runner does with schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schedules {
    Fire,
    /// It drains: only existing jobs must end.
    Leave,
}

/// The next moment with something to do, in milliseconds since 1970: a due job, a deadline, a slot of a
/// schedule, or a start that a queue's rate allows.
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

/// Promotes at most `limit` due jobs; returns how many.
pub(crate) fn promote_due(tx: &mut Tx<'_>, limit: usize) -> Result<usize> {
    if tx.is_aside(Part::DueTimes) {
        return Ok(0);
    }
    // If they cannot be promoted together, promote them one by one.
    let promoted = match tx.is_aside(Part::DueJobs) {
        true => 0,
        false => promote_together(tx, limit).of(Part::DueJobs)?,
    };
    let left = limit.saturating_sub(promoted) + tx.aside.len();
    let keyed = due_jobs(tx, left).of(Part::DueTimes)?;
    let mut moved = 0;
    for job in keyed {
        if !tx.is_aside(Part::Job(job)) {
            release::due(tx, job).of(Part::Job(job))?;
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
    tx.all(JOBS_DUE, params![tx.now_ms, limit as i64], |row| {
        row.get(0).map(JobId)
    })
}
