//! Removing a final job, with its history.

use crate::model::id::JobId;
use crate::model::remedy::Remedy;
use crate::model::state::State;
use crate::store::jobs::attempts::ATTEMPTS_REMOVE_SOME_OF_JOB;
use crate::store::jobs::job_row;
use crate::store::jobs::job_row::JobRow;
use crate::store::sqlite::error::damaged;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::Tx;
use crate::{Error, Result};

statements! {
    hot JOBS_REMOVE_IF_FINAL = "DELETE FROM jobq_job WHERE id BETWEEN ?1 AND ?2 AND state >= 5";
    hot PAYLOADS_REMOVE = "DELETE FROM jobq_payload WHERE job_id BETWEEN ?1 AND ?2";
    hot OUTCOMES_REMOVE = "DELETE FROM jobq_outcome WHERE job_id BETWEEN ?1 AND ?2";
    hot PROGRESS_REMOVE = "DELETE FROM jobq_progress WHERE job_id BETWEEN ?1 AND ?2";
    hot LOGS_REMOVE = "DELETE FROM jobq_log WHERE job_id BETWEEN ?1 AND ?2";
    hot ATTEMPTS_REMOVE = "DELETE FROM jobq_attempt WHERE job_id BETWEEN ?1 AND ?2";
    /// A job may have any number of entries: the first of them, which lie together.
    hot LOG_REMOVE_SOME_OF_JOB = "DELETE FROM jobq_log WHERE job_id = ?1
        AND id IN (SELECT id FROM jobq_log WHERE job_id = ?1 ORDER BY id LIMIT ?2)";
    /// A row for each row of some jobs. Texts are not read for their lengths.
    hot SIZES_OF_JOBS = "SELECT octet_length(payload) FROM jobq_payload WHERE job_id BETWEEN ?1 AND ?2
        UNION ALL SELECT coalesce(octet_length(result), 0) + coalesce(octet_length(error), 0) FROM jobq_outcome
            WHERE job_id BETWEEN ?1 AND ?2
        UNION ALL SELECT coalesce(octet_length(error), 0) FROM jobq_attempt WHERE job_id BETWEEN ?1 AND ?2
        UNION ALL SELECT coalesce(octet_length(data), 0) FROM jobq_log WHERE job_id BETWEEN ?1 AND ?2";
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
        remove_rows(tx, (id.0, id.0))?;
        tx.counts.add(queue, state, -1);
    }
    Ok(Removed { rows, is_gone })
}

/// Maximum size of jobs that are removed at once.
const LIGHT_BYTES: i64 = 256 * 1024;
/// What a row costs besides its texts.
const ROW_BYTES: i64 = 200;

/// Removes final jobs with consecutive ids, each of a queue and in a state, all at once: a statement costs more than a
/// row. Returns false, and removes nothing, if they are large.
pub(crate) fn remove_light(
    tx: &mut Tx<'_>,
    first: JobId,
    jobs: impl ExactSizeIterator<Item = (i64, State)>,
) -> Result<bool> {
    let count = jobs.len();
    let range = (first.0, first.0 + count as i64 - 1);
    if !are_light(tx, range)? {
        return Ok(false);
    }
    tx.run_often(LOGS_REMOVE, range)?;
    tx.run_often(ATTEMPTS_REMOVE, range)?;
    if remove_rows(tx, range)? != count {
        return Err(damaged(
            "an index of final jobs does not agree with the jobs",
        ));
    }
    for (queue, state) in jobs {
        tx.counts.add(queue, state, -1);
    }
    Ok(true)
}

fn are_light(tx: &Tx<'_>, range: (i64, i64)) -> Result<bool> {
    let mut sizes = tx.conn.prepare_cached(SIZES_OF_JOBS)?;
    let mut rows = sizes.query(range)?;
    let mut left = LIGHT_BYTES;
    while let Some(row) = rows.next()? {
        left -= ROW_BYTES + row.get::<_, i64>(0)?;
        if left < 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes the rows that a final job has one of at most; returns the number of jobs.
fn remove_rows(tx: &Tx<'_>, range: (i64, i64)) -> Result<usize> {
    for sql in [PAYLOADS_REMOVE, OUTCOMES_REMOVE, PROGRESS_REMOVE] {
        tx.run_often(sql, range)?;
    }
    tx.run_often(JOBS_REMOVE_IF_FINAL, range)
}
