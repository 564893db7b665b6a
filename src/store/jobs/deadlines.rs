//! Deadlines: a job that has not begun by then is cancelled.

use crate::clock::timestamp;
use crate::error::{Kind, Of};
use crate::model::id::JobId;
use crate::model::part::Part;
use crate::model::state::State;
use crate::store::jobs::{cancel, job_row};
use crate::store::sqlite::statement::{Statements, moment, statements};
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{Connection, params};
use crate::{Error, Result};

statements! {
    hot DEADLINE_INSERT = "INSERT INTO jobq_deadline (at, job_id) VALUES (?1, ?2)";
    hot DEADLINE_DELETE = "DELETE FROM jobq_deadline WHERE job_id = ?1";
    /// Clears the bit: an attempt has begun, so the deadline can no longer be missed.
    hot JOB_DEADLINE_MET = "UPDATE jobq_job SET links = links & ~32 WHERE id = ?1 AND links & 32";
    hot DEADLINE_FORGET = "UPDATE jobq_job SET links = links & ~32, deadline = NULL WHERE id = ?1 AND deadline IS NOT NULL";
    hot DEADLINE_NEXT = "SELECT min(at) FROM jobq_deadline";
    hot DEADLINES_PAST = "SELECT job_id, at FROM jobq_deadline WHERE at <= ?1 ORDER BY at, job_id LIMIT ?2";
    /// Rare, after a step of the clock: reads every deadline that can still be missed.
    cold JOBS_SHIFT_DEADLINES = "UPDATE jobq_job SET deadline = deadline + ?1
        WHERE id IN (SELECT job_id FROM jobq_deadline) AND links & 256";
    cold DEADLINES_SHIFT = "UPDATE jobq_deadline SET at = at + ?1
        WHERE (SELECT links & 256 FROM jobq_job WHERE id = job_id)";
    /// Once for each start of the machine.
    cold DEADLINES_FIX = "UPDATE jobq_job SET links = links & ~256
        WHERE id IN (SELECT job_id FROM jobq_deadline) AND links & 256";
    hot DEADLINE_OF = "SELECT deadline FROM jobq_job WHERE id = ?1 AND links & 32";
}

pub(crate) fn arm(tx: &Tx<'_>, job: JobId, at_ms: i64) -> Result<()> {
    tx.run(DEADLINE_INSERT, [at_ms, job.0])?;
    Ok(())
}

/// The job has ended: its deadline can no longer be missed.
pub(crate) fn disarm(tx: &Tx<'_>, job: JobId) -> Result<()> {
    tx.run(DEADLINE_DELETE, [job.0])?;
    Ok(())
}

/// An attempt has begun: the deadline does not apply to retries.
pub(crate) fn begun(tx: &Tx<'_>, job: JobId) -> Result<()> {
    tx.run(JOB_DEADLINE_MET, [job.0])?;
    disarm(tx, job)
}

/// The job is retried by hand: its deadline no longer applies.
pub(crate) fn forget(tx: &Tx<'_>, job: JobId) -> Result<()> {
    tx.run(DEADLINE_FORGET, [job.0])?;
    Ok(())
}

/// A claimed job comes back unbegun: its deadline may have passed meanwhile.
pub(crate) fn arm_again(tx: &Tx<'_>, job: JobId) -> Result<()> {
    disarm(tx, job)?;
    let mut statement = tx.conn.prepare_cached(DEADLINE_OF)?;
    let mut rows = statement.query([job.0])?;
    match rows.next()? {
        Some(row) => arm(tx, job, row.get(0)?),
        None => Ok(()),
    }
}

/// The cancel of a job is undone: its deadline must not have passed.
pub(crate) fn arm_before(tx: &Tx<'_>, job: JobId) -> Result<()> {
    if is_over_by_row(tx, job)? {
        return Err(Error::wrong_state(format!(
            "the cancel of job {job} cannot be undone: its deadline has passed"
        )));
    }
    arm_again(tx, job)
}

/// After a step of the wall clock: a deadline given as a duration keeps its remaining time.
pub(crate) fn follow_step(conn: &Connection, step_ms: i64) -> Result<()> {
    conn.run(JOBS_SHIFT_DEADLINES, [step_ms])?;
    conn.run(DEADLINES_SHIFT, [step_ms])?;
    Ok(())
}

/// After a restart of the machine: earlier deadlines stay where they are.
pub(crate) fn fix(conn: &Connection) -> Result<()> {
    conn.run(DEADLINES_FIX, [])?;
    Ok(())
}

/// When the next deadline passes, in milliseconds since 1970.
pub(crate) fn next(conn: &Connection) -> Result<Option<i64>> {
    conn.one(DEADLINE_NEXT, [], |row| moment(row, 0))
}

/// Whether a deadline has passed.
pub(crate) fn is_any_late(tx: &mut Tx<'_>) -> Result<bool> {
    if tx.is_aside(Part::Deadlines) {
        return Ok(false);
    }
    let is_late = next(tx.conn)
        .of(Part::Deadlines)?
        .is_some_and(|at_ms| at_ms <= tx.now_ms);
    Ok(is_late && (tx.aside.len() == 0 || !past(tx, 1).of(Part::Deadlines)?.is_empty()))
}

/// Jobs whose deadlines have passed, with the deadlines, up to a limit.
fn past(tx: &Tx<'_>, limit: usize) -> Result<Vec<(JobId, i64)>> {
    let mut statement = tx.conn.prepare_cached(DEADLINES_PAST)?;
    let wanted = limit + tx.aside.len();
    let mut rows = statement.query(params![tx.now_ms, wanted as i64])?;
    let mut past = Vec::new();
    while let Some(row) = rows.next()? {
        let job = JobId(row.get(0)?);
        if !tx.is_aside(Part::Job(job)) && past.len() < limit {
            past.push((job, moment(row, 1)?.unwrap_or(tx.now_ms)));
        }
    }
    Ok(past)
}

/// Whether the job's own deadline has passed, for when the deadlines are set aside.
pub(crate) fn is_over_by_row(tx: &Tx<'_>, job: JobId) -> Result<bool> {
    let mut statement = tx.conn.prepare_cached(DEADLINE_OF)?;
    let mut rows = statement.query([job.0])?;
    let deadline = rows.next()?.map(|row| moment(row, 0)).transpose()?;
    Ok(deadline.flatten().is_some_and(|at_ms| at_ms <= tx.now_ms))
}

/// Cancels at most `limit` jobs whose deadlines have passed. A claimed job counts as begun; it is checked
/// again if it comes back unbegun.
pub(crate) fn cancel_late(tx: &mut Tx<'_>, limit: usize) -> Result<()> {
    if !is_any_late(tx)? {
        return Ok(());
    }
    for (job, at_ms) in past(tx, limit).of(Part::Deadlines)? {
        miss(tx, job, at_ms).of(Part::Job(job))?;
    }
    Ok(())
}

fn miss(tx: &mut Tx<'_>, job: JobId, at_ms: i64) -> Result<()> {
    let removed = tx.run(DEADLINE_DELETE, [job.0])?;
    if removed == 0 {
        // It would stay late forever.
        let error = format!("the deadline of job {job} cannot be removed: its index is damaged");
        return Err(Error::new(Kind::Sqlite, error));
    }
    let Some(row) = job_row::find(tx.conn, job)? else {
        return Ok(());
    };
    if matches!(
        row.state,
        State::Scheduled | State::Blocked | State::Pending
    ) {
        let at = timestamp(at_ms);
        cancel::cancel_by_rule(tx, job, &format!("it had not begun by its deadline, {at}"))?;
    }
    Ok(())
}
