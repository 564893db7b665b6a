//! Releasing a job that nothing blocks any more: it becomes pending if it is due and its concurrency key has
//! a free slot.

use crate::Result;
use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::model::state::State;
use crate::store::jobs::job_row::OUTCOME_FORGET;
use crate::store::jobs::{concurrency_slots, job_row};
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::{NewEvent, Tx};

statements! {
    hot JOB_IS_MET = "SELECT 1 FROM jobq_job WHERE id = ?1 AND state = 1 AND unmet = 0
        AND NOT EXISTS (SELECT 1 FROM jobq_concurrency_slot WHERE job_id = ?1)";
    hot JOB_DELAY = "SELECT run_at FROM jobq_job WHERE id = ?1 AND run_at IS NOT NULL";
    hot JOB_DELAY_IF_BLOCKED = "UPDATE jobq_job SET state = 0, wait_reason = 1, updated_at = ?2 WHERE id = ?1 AND state = 1";
    hot JOB_BLOCK_IF_DUE = "UPDATE jobq_job SET state = 1, run_at = NULL, wait_reason = NULL, wait_fixed = NULL,
            updated_at = ?2
        WHERE id = ?1 AND state = 0";
}

/// Releases a blocked job that waits for nothing, and leaves any other.
pub(crate) fn release_if_met(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    let met = tx.has_row(JOB_IS_MET, [job.0])?;
    if met { release(tx, job) } else { Ok(()) }
}

/// All prerequisites of a blocked job are met.
pub(crate) fn release(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    let run_at: Option<i64> = tx.optional(JOB_DELAY, [job.0], |row| row.get(0))?;
    if run_at.is_some_and(|run_at| run_at > tx.now_ms) {
        let queue = job_row::get(tx.conn, job)?.queue;
        tx.run(JOB_DELAY_IF_BLOCKED, params![job.0, tx.now_ms])?;
        tx.counts.moved(queue, State::Blocked, State::Scheduled);
        return tx.append(NewEvent::job(EventKind::Released, job));
    }
    if concurrency_slots::take(tx, job)? {
        job_row::granted(tx, job)?;
    }
    Ok(())
}

/// A parent's children are final, and its handler is called once more. The result of that call is the job's
/// result.
pub(crate) fn finalize(tx: &mut Tx<'_>, parent: JobId) -> Result<()> {
    tx.run(OUTCOME_FORGET, [parent.0])?;
    if concurrency_slots::take(tx, parent)? {
        job_row::granted(tx, parent)?;
    }
    Ok(())
}

/// A scheduled job with a concurrency key is due: it becomes pending if a slot is free, else blocked.
pub(crate) fn due(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    if concurrency_slots::take(tx, job)? {
        return job_row::granted(tx, job);
    }
    let queue = job_row::get(tx.conn, job)?.queue;
    let changed = tx.run(JOB_BLOCK_IF_DUE, params![job.0, tx.now_ms])?;
    if changed == 1 {
        tx.counts.moved(queue, State::Scheduled, State::Blocked);
    }
    Ok(())
}
