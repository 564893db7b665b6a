//! Removing a final job, with its history.

use crate::model::id::JobId;
use crate::model::remedy::Remedy;
use crate::store::jobs::attempts::ATTEMPTS_REMOVE_SOME_OF_JOB;
use crate::store::jobs::job_row;
use crate::store::jobs::job_row::JobRow;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::Tx;
use crate::{Error, Result};

statements! {
    hot JOB_REMOVE_IF_FINAL = "DELETE FROM jobq_job WHERE id = ?1 AND state >= 5";
    hot PAYLOAD_REMOVE = "DELETE FROM jobq_payload WHERE job_id = ?1";
    hot OUTCOME_REMOVE = "DELETE FROM jobq_outcome WHERE job_id = ?1";
    hot PROGRESS_REMOVE = "DELETE FROM jobq_progress WHERE job_id = ?1";
    /// A job may have any number of entries: the first of them, which lie together.
    hot LOG_REMOVE_SOME_OF_JOB = "DELETE FROM jobq_log WHERE job_id = ?1
        AND id IN (SELECT id FROM jobq_log WHERE job_id = ?1 ORDER BY id LIMIT ?2)";
}

/// Maximum number of entries and of attempts removed at once, of up to 64 KiB each.
pub(crate) const ROWS_AT_ONCE: usize = 100;

/// The result of one part of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Entries of its log, and attempts.
    pub(crate) rows: usize,
    /// Whether the job was removed with the last of them; otherwise it has more.
    pub(crate) is_gone: bool,
}

/// Removes the oldest entries and attempts of a final job, and the job once it has none.
pub(crate) fn remove(tx: &mut Tx<'_>, id: JobId) -> Result<Removed> {
    let JobRow { state, queue, .. } = job_row::get(tx.conn, id)?;
    if !state.is_final() {
        return Err(Error::wrong_state(format!(
            "job {id} is {state}; only final jobs can be removed"
        ))
        .with_hint("cancel it first")
        .with_remedy(Remedy::CancelJob(id)));
    }
    let some = params![id.0, ROWS_AT_ONCE as i64];
    let entries = tx.run(LOG_REMOVE_SOME_OF_JOB, some)?;
    let attempts = match entries < ROWS_AT_ONCE {
        true => tx.run(ATTEMPTS_REMOVE_SOME_OF_JOB, some)?,
        false => 0,
    };
    let rows = entries + attempts;
    let is_gone = entries < ROWS_AT_ONCE && attempts < ROWS_AT_ONCE;
    if is_gone {
        for sql in [
            PAYLOAD_REMOVE,
            OUTCOME_REMOVE,
            PROGRESS_REMOVE,
            JOB_REMOVE_IF_FINAL,
        ] {
            tx.run_often(sql, [id.0])?;
        }
        tx.counts.add(queue, state, -1);
    }
    Ok(Removed { rows, is_gone })
}
