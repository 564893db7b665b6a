//! Cancelling a job: by hand, or by a rule.

use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::model::outcome::Cancelled;
use crate::model::state::State;
use crate::store::jobs::job_row;
use crate::store::jobs::job_row::{
    JobRow, OUTCOME_FORGET, OUTCOME_SET_ERROR, because, forget_error,
};
use crate::store::jobs::was::Was;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::{ChildAction, Ended, EventFields, NewEvent, Tx};
use crate::{Error, Result};

statements! {
    hot JOB_CANCEL_IF_NOT_RUNNING = "UPDATE jobq_job SET state = 7, finished_at = ?2, updated_at = ?2
        WHERE id = ?1 AND state IN (0, 1, 2, 4)";
    hot JOB_REQUEST_CANCEL_IF_RUNNING = "UPDATE jobq_job SET cancel = 1, updated_at = ?2 WHERE id = ?1 AND state = 3";
    /// The result of an attempt that may yet complete stays.
    hot OUTCOME_SET_REASON = "INSERT INTO jobq_outcome (job_id, error) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET error = excluded.error";
}

/// Cancels a job by hand.
pub(crate) fn cancel(tx: &mut Tx<'_>, id: JobId) -> Result<Cancelled> {
    let row = job_row::get(tx.conn, id)?;
    if row.state.is_final() {
        return Err(Error::wrong_state(format!(
            "job {id} is {} already",
            row.state
        )));
    }
    if row.state == State::Running {
        request_cancel(tx, id, None)?;
        return Ok(Cancelled::Requested);
    }
    let was = Was::of(tx, (id, &row))?;
    cancel_now(tx, (id, &row), (None, Some(was)))?;
    Ok(Cancelled::Now)
}

/// Cancels a job that is not final by a rule: at once, or by asking its running attempt to stop.
pub(crate) fn cancel_by_rule(tx: &mut Tx<'_>, job: JobId, reason: &str) -> Result<()> {
    let Some(row) = job_row::find(tx.conn, job)? else {
        return Ok(());
    };
    if row.state == State::Running {
        return request_cancel(tx, job, Some(reason));
    }
    if !row.state.is_final() {
        let was = match tx.cancel {
            Some(_) => Some(Was::of(tx, (job, &row))?),
            None => None,
        };
        tx.run(OUTCOME_SET_ERROR, params![job.0, reason])?;
        cancel_now(tx, (job, &row), (Some(reason), was))?;
    }
    Ok(())
}

/// Asks a running attempt to stop. The reason of a rule becomes the job's error; a cancel by hand clears the
/// error of an earlier attempt.
pub(crate) fn request_cancel(tx: &mut Tx<'_>, job: JobId, reason: Option<&str>) -> Result<()> {
    tx.asked_to_stop = true;
    match reason {
        Some(reason) => {
            let mut set = tx.conn.prepare_cached(OUTCOME_SET_REASON)?;
            set.execute(params![job.0, reason])?;
        }
        None => forget_error(tx, job)?,
    }
    tx.run(JOB_REQUEST_CANCEL_IF_RUNNING, params![job.0, tx.now_ms])?;
    let event = NewEvent::job(EventKind::CancelRequested, job);
    match reason {
        Some(_) => tx.append(event),
        None => tx.append_change(event, EventFields::new()),
    }
}

/// Cancels a job that is neither running nor final. An event with what the job was can be undone.
pub(crate) fn cancel_now(
    tx: &mut Tx<'_>,
    (job, row): (JobId, &JobRow),
    (reason, was): (Option<&str>, Option<Was>),
) -> Result<()> {
    tx.run(JOB_CANCEL_IF_NOT_RUNNING, params![job.0, tx.now_ms])?;
    if row.state == State::Waiting {
        tx.run(OUTCOME_FORGET, [job.0])?;
    }
    if reason.is_none() {
        forget_error(tx, job)?;
    }
    let cancel = match (reason, &was) {
        (Some(_), _) => tx.cancel,
        (None, was) => was.as_ref().map(|_| tx.next_event_id()),
    };
    let event = NewEvent::job(EventKind::Cancelled, job);
    match (reason, was) {
        (None, was) => {
            let was = was.map(|was| was.fields((None, None)));
            tx.append_change(event, was.unwrap_or_default())?;
        }
        (Some(_), None) => tx.append(event.text(because(reason)))?,
        (Some(_), Some(was)) => {
            let data = serde_json::Value::Object(was.fields((reason, cancel)));
            tx.append(event.text(Some(data.to_string())))?;
        }
    }
    tx.counts.moved(row.queue, row.state, State::Cancelled);
    tx.pending.ended(Ended {
        job,
        to: State::Cancelled,
        flags: row.flags,
        parent: row.parent,
        children: ChildAction::Cancel,
        cancel,
    });
    Ok(())
}
