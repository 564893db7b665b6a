//! Removing a final job, with its history.

use crate::model::id::JobId;
use crate::model::remedy::Remedy;
use crate::store::jobs::job_row;
use crate::store::jobs::job_row::JobRow;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::Tx;
use crate::{Error, Result};

statements! {
    hot JOB_REMOVE_IF_FINAL = "DELETE FROM jobq_job WHERE id = ?1 AND state >= 5";
    /// A job may have any number of events: the first of them, by the index of their job.
    hot EVENTS_REMOVE_SOME_OF_JOB = "DELETE FROM jobq_event
        WHERE id IN (SELECT id FROM jobq_event WHERE job_id = ?1 ORDER BY id LIMIT ?2)";
}

/// Maximum number of events removed at once, of up to 64 KiB each.
pub(crate) const EVENTS_AT_ONCE: usize = 100;

/// The result of one part of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) events: usize,
    /// Whether the job was removed with the last of its events; otherwise it has more.
    pub(crate) is_gone: bool,
}

/// Removes the oldest events of a final job, and the job once it has none.
pub(crate) fn remove(tx: &mut Tx<'_>, id: JobId) -> Result<Removed> {
    let JobRow { state, queue, .. } = job_row::get(tx.conn, id)?;
    if !state.is_final() {
        return Err(Error::wrong_state(format!(
            "job {id} is {state}; only final jobs can be removed"
        ))
        .with_hint("cancel it first")
        .with_remedy(Remedy::CancelJob(id)));
    }
    tx.flush_events()?;
    let events = tx.run(
        EVENTS_REMOVE_SOME_OF_JOB,
        params![id.0, EVENTS_AT_ONCE as i64],
    )?;
    let is_gone = events < EVENTS_AT_ONCE;
    if is_gone {
        tx.run(JOB_REMOVE_IF_FINAL, [id.0])?;
        tx.counts.add(queue, state, -1);
    }
    Ok(Removed { events, is_gone })
}
