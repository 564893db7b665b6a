//! The columns of a job's row that a change of state needs.

use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::state::State;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use crate::store::sqlite::{Connection, RowResult, params};
use crate::{Error, Result};

statements! {
    hot JOB_STATE = "SELECT state FROM jobq_job WHERE id = ?1";
    hot JOB_HEAD = "SELECT state, queue_id, links, parent_id, attempt FROM jobq_job WHERE id = ?1";
    hot JOB_LINK_IF_NOT = "UPDATE jobq_job SET links = links | ?2 WHERE id = ?1 AND links & ?2 = 0";
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
