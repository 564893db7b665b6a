//! Transitions of a job's state that several rules use, each with its event, its counters, and its pending
//! consequences.

use crate::Result;
use crate::model::event::{AttemptEnd, EventKind};
use crate::model::id::JobId;
use crate::model::state::State;
use crate::store::jobs::job_row;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::{Ended, NewEvent, Tx};

statements! {
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
    let head = job_row::get(tx.conn, job)?;
    let changed = tx.run(
        JOB_GRANT_IF_WAITS,
        params![job.0, tx.now_ms, head.state.code()],
    )?;
    if changed == 0 {
        return Ok(());
    }
    tx.counts.moved(head.queue, head.state, State::Pending);
    if head.state == State::Scheduled {
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
