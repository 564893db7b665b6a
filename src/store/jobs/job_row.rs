//! A job's row: the columns that a change of state needs, and the transitions that several rules use.

use crate::model::event::{AttemptEnd, EventKind};
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::state::State;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::{Ended, NewEvent, Tx};
use crate::store::sqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use crate::store::sqlite::{Connection, RowResult, params};
use crate::{Error, Result};

statements! {
    hot JOB_STATE = "SELECT state FROM jobq_job WHERE id = ?1";
    hot JOB_HEAD = "SELECT state, queue_id, links, parent_id, attempt FROM jobq_job WHERE id = ?1";
    hot JOB_LINK_IF_NOT = "UPDATE jobq_job SET links = links | ?2 WHERE id = ?1 AND links & ?2 = 0";
    hot JOB_FINISH_IF_WAITING = "UPDATE jobq_job SET state = ?2, finished_at = ?3, updated_at = ?3
        WHERE id = ?1 AND state = 4";
    hot JOB_GRANT_IF_WAITS = "UPDATE jobq_job SET state = 2, run_at = NULL, wait_reason = NULL, wait_fixed = NULL,
            updated_at = ?2
        WHERE id = ?1 AND state = ?3 AND state IN (0, 1, 4)";
    /// Clears the error of an earlier attempt, or the reason for stopping this one.
    hot OUTCOME_FORGET_ERROR = "UPDATE jobq_outcome SET error = NULL WHERE job_id = ?1 AND error IS NOT NULL";
    hot OUTCOME_FORGET = "UPDATE jobq_outcome SET result = NULL WHERE job_id = ?1";
    /// Discards the result of a failed attempt.
    hot OUTCOME_SET_ERROR = "INSERT INTO jobq_outcome (job_id, error) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET result = NULL, error = excluded.error";
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct JobRow {
    pub(crate) state: State,
    pub(crate) queue: i64,
    pub(crate) flags: JobFlags,
    pub(crate) parent: Option<JobId>,
    pub(crate) attempt: u32,
}

/// None if the job does not exist.
pub(crate) fn find(conn: &Connection, id: JobId) -> Result<Option<JobRow>> {
    let found = conn.optional(JOB_HEAD, [id.0], |row| {
        let parent: Option<i64> = row.get(3)?;
        Ok((
            row.get::<_, i64>(0)?,
            row.get(1)?,
            row.get(2)?,
            parent,
            row.get(4)?,
        ))
    })?;
    let Some((code, queue, flags, parent, attempt)) = found else {
        return Ok(None);
    };
    let state = State::from_code(code).ok_or_else(|| {
        Error::invalid(format!(
            "job {id} is in a state that this jobq does not know"
        ))
    })?;
    Ok(Some(JobRow {
        state,
        queue,
        flags,
        parent: parent.map(JobId),
        attempt,
    }))
}

pub(crate) fn get(conn: &Connection, id: JobId) -> Result<JobRow> {
    find(conn, id)?.ok_or_else(|| Error::no_such_job(id))
}

pub(crate) fn state(conn: &Connection, id: JobId) -> Result<Option<State>> {
    let code = conn.optional(JOB_STATE, [id.0], |row| row.get(0))?;
    Ok(code.and_then(State::from_code))
}

/// Sets missing bits of a job's row.
pub(crate) fn set_flags(conn: &Connection, job: JobId, flags: JobFlags) -> Result<()> {
    conn.run(JOB_LINK_IF_NOT, params![job.0, flags])?;
    Ok(())
}

impl FromSql for JobFlags {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<JobFlags> {
        value.as_i64().map(JobFlags)
    }
}

impl ToSql for JobFlags {
    fn to_sql(&self) -> RowResult<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

/// Ends a waiting parent, by its children or because it has none.
pub(crate) fn finish_waiting(
    tx: &mut Tx<'_>,
    ended: Ended,
    queue: i64,
    error: Option<&str>,
) -> Result<()> {
    tx.run(
        JOB_FINISH_IF_WAITING,
        params![ended.job.0, ended.to.code(), tx.now_ms],
    )?;
    if let Some(error) = error {
        tx.run(OUTCOME_SET_ERROR, params![ended.job.0, error])?;
    } else {
        forget_error(tx, ended.job)?;
    }
    let kind = if ended.to == State::Completed {
        EventKind::Completed
    } else {
        EventKind::Failed
    };
    tx.append(NewEvent::job(kind, ended.job).text(because(error)))?;
    tx.counts.moved(queue, State::Waiting, ended.to);
    tx.pending.ended(ended);
    Ok(())
}

/// Makes a blocked or scheduled job, or a parent before its finalize phase, pending.
pub(crate) fn granted(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    let row = get(tx.conn, job)?;
    let changed = tx.run(
        JOB_GRANT_IF_WAITS,
        params![job.0, tx.now_ms, row.state.code()],
    )?;
    if changed == 0 {
        return Ok(());
    }
    tx.counts.moved(row.queue, row.state, State::Pending);
    if row.state == State::Scheduled {
        return Ok(());
    }
    tx.append(NewEvent::job(EventKind::Released, job))
}

pub(crate) fn forget_error(tx: &Tx<'_>, job: JobId) -> Result<()> {
    let mut forget = tx.conn.prepare_cached(OUTCOME_FORGET_ERROR)?;
    forget.execute([job.0])?;
    Ok(())
}

/// The data of an event that has a reason.
pub(crate) fn because(reason: Option<&str>) -> Option<String> {
    let end = AttemptEnd {
        error: Some(reason?.to_owned()),
        ..AttemptEnd::default()
    };
    end.to_json()
}
