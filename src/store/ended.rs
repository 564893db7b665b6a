//! What follows when a job ends: its key and its places become free, those who need it are released
//! or cancelled, its children end with it, its parent counts it.
//!
//! A job that ends is put on a list; the list is worked off in the same transaction, without
//! recursion, however long the chain. So a change of state and all that follows from it is one commit.

use std::collections::VecDeque;

use rusqlite::{OptionalExtension, params};

use super::edit::OUTCOME_FORGET;
use super::events::NewEvent;
use super::families::{self, FamilyChanges};
use super::head::{self, Head};
use super::links::Links;
use super::settle::OUTCOME_SET_ERROR;
use super::statement::statements;
use super::tx::Tx;
use super::{deadlines, places, prerequisites, uniques};
use crate::Result;
use crate::event::{AttemptEnd, EventKind};
use crate::job::JobId;
use crate::part::{Of, Part};
use crate::state::State;

statements! {
    hot JOB_CANCEL_IF_NOT_RUNNING = "UPDATE jobq_job SET state = 7, finished_at = ?2, updated_at = ?2
        WHERE id = ?1 AND state IN (0, 1, 2, 4)";
    hot JOB_REQUEST_CANCEL_IF_RUNNING = "UPDATE jobq_job SET cancel = 1, updated_at = ?2 WHERE id = ?1 AND state = 3";
    hot JOB_FINISH_IF_WAITING = "UPDATE jobq_job SET state = ?2, finished_at = ?3, updated_at = ?3
        WHERE id = ?1 AND state = 4";
    hot JOB_IS_MET = "SELECT 1 FROM jobq_job WHERE id = ?1 AND state = 1 AND unmet = 0
        AND NOT EXISTS (SELECT 1 FROM jobq_place WHERE job_id = ?1)";
    /// What an earlier attempt had failed by, or why this one was to stop.
    hot OUTCOME_FORGET_ERROR = "UPDATE jobq_outcome SET error = NULL WHERE job_id = ?1 AND error IS NOT NULL";
    /// The result of an attempt that may yet complete stays.
    hot OUTCOME_SET_REASON = "INSERT INTO jobq_outcome (job_id, error) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET error = excluded.error";
    hot JOB_DELAY = "SELECT run_at FROM jobq_job WHERE id = ?1 AND run_at IS NOT NULL";
    hot JOB_DELAY_IF_BLOCKED = "UPDATE jobq_job SET state = 0, wait_reason = 1, updated_at = ?2 WHERE id = ?1 AND state = 1";
    hot JOB_GRANT_IF_WAITS = "UPDATE jobq_job SET state = 2, run_at = NULL, wait_reason = NULL, wait_fixed = NULL,
            updated_at = ?2
        WHERE id = ?1 AND state = ?3 AND state IN (0, 1, 4)";
    hot JOB_BLOCK_IF_DUE = "UPDATE jobq_job SET state = 1, run_at = NULL, wait_reason = NULL, wait_fixed = NULL,
            updated_at = ?2
        WHERE id = ?1 AND state = 0";
}

/// A job that has ended and is under rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) job: JobId,
    pub(crate) to: State,
    pub(crate) links: Links,
    pub(crate) parent: Option<JobId>,
    pub(crate) offspring: Offspring,
}

/// What becomes of the live children of a parent that did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offspring {
    Cancelled,
    LeftAlone,
}

/// What a transaction still has to follow up.
#[derive(Clone, Debug, Default)]
pub(crate) struct FollowUps {
    ended: VecDeque<Ended>,
}

impl Tx<'_> {
    /// Notes that a job has ended; [`follow`] does what follows from it.
    pub(crate) fn ended(&mut self, ended: Ended) {
        if ended.links != Links::NONE {
            self.follow_ups.ended.push_back(ended);
        }
    }
}

/// Works off what has ended, and what ends by that.
pub(crate) fn follow(tx: &mut Tx<'_>) -> Result<()> {
    loop {
        while let Some(ended) = tx.follow_ups.ended.pop_front() {
            let part = Part::Job(ended.job);
            if !tx.is_aside(part) {
                after(tx, ended).of(part)?;
            }
        }
        let Some((parent, change)) = FamilyChanges::take_next(&mut tx.families) else {
            return Ok(());
        };
        let part = Part::Job(parent);
        if !tx.is_aside(part) {
            families::apply(tx, parent, change).of(part)?;
        }
    }
}

fn after(tx: &mut Tx<'_>, ended: Ended) -> Result<()> {
    let Ended { job, to, links, .. } = ended;
    if links.has(Links::UNIQUE) {
        uniques::release(tx, job)?;
    }
    if links.has(Links::KEY) {
        places::leave(tx, job)?;
    }
    if links.has(Links::DEADLINE) {
        deadlines::disarm(tx, job)?;
    }
    if links.has(Links::NEEDED) {
        prerequisites::ended(tx, job, to)?;
    }
    if links.has(Links::FAMILY) && ended.offspring == Offspring::Cancelled {
        families::cancel_children(tx, job, to)?;
    }
    if let Some(parent) = ended.parent {
        tx.families.child_ended(parent, job, to);
    }
    Ok(())
}

/// Cancels a live job because of a rule: at once, or by asking its running attempt to stop.
pub(crate) fn cancel(tx: &mut Tx<'_>, job: JobId, reason: &str) -> Result<()> {
    let Some(head) = head::find(tx.conn, job)? else {
        return Ok(());
    };
    if head.state == State::Running {
        return request_cancel(tx, job, Some(reason));
    }
    if !head.state.is_final() {
        tx.conn
            .prepare_cached(OUTCOME_SET_ERROR)?
            .execute(params![job.0, reason])?;
        cancel_now(tx, (job, &head), Some(reason))?;
    }
    Ok(())
}

/// Asks a running attempt to stop. Why is what the job is cancelled for; where somebody asks by hand
/// that is no error, and neither is what an earlier attempt has failed by.
pub(crate) fn request_cancel(tx: &mut Tx<'_>, job: JobId, reason: Option<&str>) -> Result<()> {
    tx.asked_to_stop = true;
    match reason {
        Some(reason) => {
            let mut set = tx.conn.prepare_cached(OUTCOME_SET_REASON)?;
            set.execute(params![job.0, reason])?;
        }
        None => forget_error(tx, job)?,
    }
    tx.conn
        .prepare_cached(JOB_REQUEST_CANCEL_IF_RUNNING)?
        .execute(params![job.0, tx.now_ms])?;
    tx.append(NewEvent::job(EventKind::CancelRequested, job))
}

/// Cancels a live job that does not run.
pub(crate) fn cancel_now(
    tx: &mut Tx<'_>,
    (job, head): (JobId, &Head),
    reason: Option<&str>,
) -> Result<()> {
    tx.conn
        .prepare_cached(JOB_CANCEL_IF_NOT_RUNNING)?
        .execute(params![job.0, tx.now_ms])?;
    if head.state == State::Waiting {
        tx.conn.prepare_cached(OUTCOME_FORGET)?.execute([job.0])?;
    }
    if reason.is_none() {
        forget_error(tx, job)?;
    }
    tx.append(NewEvent::job(EventKind::Cancelled, job).text(because(reason)))?;
    tx.counts.moved(head.queue, head.state, State::Cancelled);
    tx.ended(Ended {
        job,
        to: State::Cancelled,
        links: head.links,
        parent: head.parent,
        offspring: Offspring::Cancelled,
    });
    Ok(())
}

pub(crate) fn forget_error(tx: &Tx<'_>, job: JobId) -> Result<()> {
    let mut forget = tx.conn.prepare_cached(OUTCOME_FORGET_ERROR)?;
    forget.execute([job.0])?;
    Ok(())
}

fn because(reason: Option<&str>) -> Option<String> {
    let end = AttemptEnd {
        error: Some(reason?.to_owned()),
        ..AttemptEnd::default()
    };
    end.to_json()
}

/// Cancels what an attempt spawned that did not complete: it was never a child, not even where
/// something else has cancelled it before.
pub(crate) fn call_off(tx: &mut Tx<'_>, job: JobId, spawner: JobId) -> Result<()> {
    let Some(head) = head::find(tx.conn, job)? else {
        return Ok(());
    };
    if let Some(parent) = head.parent {
        families::leave(tx, (parent, job), head.state)?;
    }
    if head.links.has(Links::UNIQUE) {
        uniques::forget(tx, job)?;
    }
    if head.state.is_final() {
        return Ok(());
    }
    let reason = format!("the attempt of job {spawner} that spawned it did not complete");
    tx.conn
        .prepare_cached(OUTCOME_SET_ERROR)?
        .execute(params![job.0, reason])?;
    let orphan = Head {
        parent: None,
        ..head
    };
    tx.called_off += 1;
    cancel_now(tx, (job, &orphan), Some(&reason))
}

/// A waiting parent comes to its end through its children.
pub(crate) fn parent(tx: &mut Tx<'_>, ended: Ended, queue: i64, error: Option<&str>) -> Result<()> {
    tx.conn
        .prepare_cached(JOB_FINISH_IF_WAITING)?
        .execute(params![ended.job.0, ended.to.code(), tx.now_ms])?;
    if let Some(error) = error {
        tx.conn
            .prepare_cached(OUTCOME_SET_ERROR)?
            .execute(params![ended.job.0, error])?;
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
    tx.ended(ended);
    Ok(())
}

/// Releases a blocked job that nothing keeps, and leaves any other.
pub(crate) fn release_if_met(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    let met = tx.conn.prepare_cached(JOB_IS_MET)?.exists([job.0])?;
    if met { release(tx, job) } else { Ok(()) }
}

/// All prerequisites of a blocked job are met.
pub(crate) fn release(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    let run_at: Option<i64> = tx
        .conn
        .prepare_cached(JOB_DELAY)?
        .query_row([job.0], |row| row.get(0))
        .optional()?;
    if run_at.is_some_and(|run_at| run_at > tx.now_ms) {
        let queue = head::get(tx.conn, job)?.queue;
        tx.conn
            .prepare_cached(JOB_DELAY_IF_BLOCKED)?
            .execute(params![job.0, tx.now_ms])?;
        tx.counts.moved(queue, State::Blocked, State::Scheduled);
        return tx.append(NewEvent::job(EventKind::Released, job));
    }
    if places::take(tx, job)? {
        granted(tx, job)?;
    }
    Ok(())
}

/// Nothing keeps a blocked or scheduled job, or a parent before its finalize phase, from being pending.
pub(crate) fn granted(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    let head = head::get(tx.conn, job)?;
    let changed = tx
        .conn
        .prepare_cached(JOB_GRANT_IF_WAITS)?
        .execute(params![job.0, tx.now_ms, head.state.code()])?;
    if changed == 0 {
        return Ok(());
    }
    tx.counts.moved(head.queue, head.state, State::Pending);
    if head.state == State::Scheduled {
        return Ok(());
    }
    tx.append(NewEvent::job(EventKind::Released, job))
}

/// A parent's children are final, and its handler is to be called once more. Its result is what that
/// leaves.
pub(crate) fn finalize(tx: &mut Tx<'_>, parent: JobId) -> Result<()> {
    tx.conn
        .prepare_cached(OUTCOME_FORGET)?
        .execute([parent.0])?;
    if places::take(tx, parent)? {
        granted(tx, parent)?;
    }
    Ok(())
}

/// A scheduled job with a concurrency key is due: it is pending where a place is free, else blocked.
pub(crate) fn due(tx: &mut Tx<'_>, job: JobId) -> Result<()> {
    if places::take(tx, job)? {
        return granted(tx, job);
    }
    let queue = head::get(tx.conn, job)?.queue;
    let changed = tx
        .conn
        .prepare_cached(JOB_BLOCK_IF_DUE)?
        .execute(params![job.0, tx.now_ms])?;
    if changed == 1 {
        tx.counts.moved(queue, State::Scheduled, State::Blocked);
    }
    Ok(())
}
