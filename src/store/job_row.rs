//! What a change of state needs to know of a job's row.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};

use super::statement::statements;
use crate::flags::JobFlags;
use crate::job::JobId;
use crate::state::State;
use crate::{Error, Result};

statements! {
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

/// None where there is no such job.
pub(crate) fn find(conn: &Connection, id: JobId) -> Result<Option<JobRow>> {
    let found = conn
        .prepare_cached(JOB_HEAD)?
        .query_row([id.0], |row| {
            let parent: Option<i64> = row.get(3)?;
            Ok((
                row.get::<_, i64>(0)?,
                row.get(1)?,
                row.get(2)?,
                parent,
                row.get(4)?,
            ))
        })
        .optional()?;
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

/// Sets bits of a job's row that it has not.
pub(crate) fn set_flags(conn: &Connection, job: JobId, flags: JobFlags) -> Result<()> {
    conn.prepare_cached(JOB_LINK_IF_NOT)?
        .execute(params![job.0, flags])?;
    Ok(())
}

impl FromSql for JobFlags {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<JobFlags> {
        value.as_i64().map(JobFlags)
    }
}

impl ToSql for JobFlags {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}
