//! Retrying final jobs by hand.

use std::collections::BTreeMap;

use crate::model::event::EventKind;
use crate::model::family::Stage;
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::remedy::Remedy;
use crate::model::state::State;
use crate::store::jobs::job_row::{JobRow, OUTCOME_FORGET};
use crate::store::jobs::{
    attempts, concurrency_slots, deadlines, dependencies, families, job_row, unique,
};
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::{EventFields, NewEvent, Tx};
use crate::{Error, Result};

statements! {
    /// The attempt stays, for the fence and the history; used retries and crashes are reset.
    hot JOB_REQUEUE_IF_FINAL = "UPDATE jobq_job SET state = ?3, finished_at = NULL, retries = 0, crashes = 0, no_ahead = 0,
            run_at = NULL, wait_reason = NULL, wait_fixed = NULL, updated_at = ?2, took_us = NULL, ended_event = NULL
        WHERE id = ?1 AND state >= 5";
    /// A job that was cancelled before its first attempt has no error of an attempt.
    hot OUTCOME_CLEAR = "DELETE FROM jobq_outcome WHERE job_id = ?1";
}

/// Requeues a final job: a parent with all children that have not completed, and without its run phase if
/// that is done.
pub(crate) fn requeue(tx: &mut Tx<'_>, id: JobId) -> Result<()> {
    let row = job_row::get(tx.conn, id)?;
    if !row.state.is_final() {
        return Err(Error::wrong_state(format!(
            "job {id} is {}; only final jobs can be retried",
            row.state
        )));
    }
    // Oldest first: parents and prerequisites before the jobs that may wait for them.
    let mut back = BTreeMap::from([(id, row)]);
    while let Some((id, row)) = back.pop_first() {
        put_back(tx, id, &row)?;
        if row.flags.has(JobFlags::FAMILY) && row.state != State::Completed {
            for child in undone_children(tx, id)? {
                back.insert(child, job_row::get(tx.conn, child)?);
            }
        }
    }
    Ok(())
}

/// The children of a parent that have not completed. Those that were removed since cannot run again.
fn undone_children(tx: &mut Tx<'_>, parent: JobId) -> Result<Vec<JobId>> {
    if let Some(child) = families::child_being_stopped(tx.conn, parent)? {
        return Err(Error::wrong_state(format!(
            "job {child}, a child of job {parent}, has been asked to stop and still runs"
        ))
        .with_hint("try again when it has")
        .with_remedy(Remedy::WaitForJob(child)));
    }
    let mut children = families::children(tx.conn, parent)?;
    children.retain(|(_, state)| matches!(state, State::Failed | State::Cancelled));
    families::forget_removed(tx, parent, children.len())?;
    Ok(children.into_iter().map(|(child, _)| child).collect())
}

fn put_back(tx: &mut Tx<'_>, id: JobId, row: &JobRow) -> Result<()> {
    if row.flags.has(JobFlags::UNIQUE) {
        unique::take_again(tx, id)?;
    }
    deadlines::forget(tx, id)?;
    let to = becomes(tx, id, row)?;
    if row.state == State::Completed {
        attempts::keep(tx, id)?;
    }
    tx.run(JOB_REQUEUE_IF_FINAL, params![id.0, tx.now_ms, to.code()])?;
    if row.attempt == 0 {
        tx.run(OUTCOME_CLEAR, [id.0])?;
    } else if to != State::Waiting {
        tx.run(OUTCOME_FORGET, [id.0])?;
    }
    tx.append_change(NewEvent::job(EventKind::Requeued, id), EventFields::new())?;
    tx.counts.moved(row.queue, row.state, to);
    if let Some(parent) = row.parent {
        families::child_is_back(tx, (parent, id), row.state)?;
    }
    if to == State::Waiting {
        // Without requeued children its outcome is decided at once.
        tx.pending.family(id);
    }
    Ok(())
}

fn becomes(tx: &mut Tx<'_>, id: JobId, row: &JobRow) -> Result<State> {
    if row.flags.has(JobFlags::FAMILY) && families::is_run_phase_done(tx, id, row.state)? {
        return waits_for_children(tx, id);
    }
    if row.flags.has(JobFlags::WAITS) && dependencies::count_anew(tx, id)? > 0 {
        return Ok(State::Blocked);
    }
    if row.flags.has(JobFlags::FAMILY) && families::is_group(tx, id)? {
        return waits_for_children(tx, id);
    }
    if row.flags.has(JobFlags::KEY) && !concurrency_slots::take(tx, id)? {
        return Ok(State::Blocked);
    }
    Ok(State::Pending)
}

fn waits_for_children(tx: &Tx<'_>, id: JobId) -> Result<State> {
    families::set_stage(tx, id, Stage::Children)?;
    Ok(State::Waiting)
}
