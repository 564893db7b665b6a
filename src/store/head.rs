//! What a change of state needs to know of a job.

use rusqlite::{Connection, OptionalExtension};

use super::links::Links;
use super::records::no_such_job;
use super::statement::statements;
use crate::job::JobId;
use crate::state::State;
use crate::{Error, Result};

statements! {
    hot JOB_HEAD = "SELECT state, queue_id, links, parent_id, attempt FROM jobq_job WHERE id = ?1";
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) state: State,
    pub(crate) queue: i64,
    pub(crate) links: Links,
    pub(crate) parent: Option<JobId>,
    pub(crate) attempt: u32,
}

/// None where there is no such job.
pub(crate) fn find(conn: &Connection, id: JobId) -> Result<Option<Head>> {
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
    let Some((code, queue, links, parent, attempt)) = found else {
        return Ok(None);
    };
    let state = State::from_code(code).ok_or_else(|| {
        Error::invalid(format!(
            "job {id} is in a state that this jobq does not know"
        ))
    })?;
    Ok(Some(Head {
        state,
        queue,
        links,
        parent: parent.map(JobId),
        attempt,
    }))
}

pub(crate) fn get(conn: &Connection, id: JobId) -> Result<Head> {
    find(conn, id)?.ok_or_else(|| no_such_job(id))
}
