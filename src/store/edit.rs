//! What people do to jobs: cancel, edit, remove.

use std::time::Duration;

use rusqlite::params;

use super::checked::{EnqueueLimits, check_payload, derived_key};
use super::enqueue::Due;
use super::events::NewEvent;
use super::head::{self, Head};
use super::room::{self, Bounds};
use super::statement::statements;
use super::tx::Tx;
use super::{edit_rules, ended, places, uniques};
use crate::clock::millis;
use crate::event::EventKind;
use crate::job::{JobId, NewJob, Priority, When, check_name};
use crate::json::object::with_field;
use crate::limit::Update;
use crate::retry::{Backoff, Jitter};
use crate::state::State;
use crate::{Error, Result};

statements! {
    hot JOB_EDIT_IF_NOT_RUNNING = "UPDATE jobq_job SET queue_id = coalesce(?2, queue_id), priority = coalesce(?3, priority),
            max_retries = coalesce(?4, max_retries), backoff = coalesce(?5, backoff),
            retry_delay_ms = coalesce(?6, retry_delay_ms), jitter = coalesce(?7, jitter),
            timeout_ms = iif(?8, ?9, timeout_ms), updated_at = ?10
        WHERE id = ?1 AND state <> 3";
    hot JOB_RESCHEDULE_IF_SCHEDULED = "UPDATE jobq_job SET run_at = ?2, wait_fixed = ?3, updated_at = ?4
        WHERE id = ?1 AND state = 0";
    hot PAYLOAD_GET = "SELECT payload FROM jobq_payload WHERE job_id = ?1";
    hot PAYLOAD_REPLACE = "UPDATE jobq_payload SET payload = ?2 WHERE job_id = ?1";
    hot JOB_REMOVE_IF_FINAL = "DELETE FROM jobq_job WHERE id = ?1 AND state >= 5";
    /// A job may have any number of events: the first of them, by the index of their job.
    hot EVENTS_REMOVE_SOME_OF_JOB = "DELETE FROM jobq_event
        WHERE id IN (SELECT id FROM jobq_event WHERE job_id = ?1 ORDER BY id LIMIT ?2)";
    hot OUTCOME_FORGET = "UPDATE jobq_outcome SET result = NULL WHERE job_id = ?1";
}

/// What cancelling a job did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It did not run: it is cancelled.
    Now,
    /// It runs: its attempt has been asked to stop.
    Requested,
}

/// What is to be changed of a job; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct JobUpdate {
    /// Another queue.
    pub queue: Option<String>,
    /// Another priority.
    pub priority: Option<Priority>,
    /// Another time, for a scheduled job.
    pub when: Option<When>,
    /// Another number of retries.
    pub max_retries: Option<u32>,
    /// Another backoff.
    pub backoff: Option<Backoff>,
    /// Another first wait between tries.
    pub retry_delay: Option<Duration>,
    /// Whether chance lengthens the waits a little.
    pub jitter: Option<Jitter>,
    /// Another limit for one attempt.
    pub timeout: Update<Duration>,
    /// Another deadline, for a job that has not begun.
    pub deadline: Update<When>,
    /// Another tenant.
    pub tenant: Update<String>,
    /// Tags to set, or to take away; the others stay.
    pub tags: Vec<(String, Option<String>)>,
    /// Another concurrency key.
    pub key: Update<String>,
    /// How many jobs of its concurrency key run at a time from now on.
    pub key_limit: Option<u32>,
    /// Another unique key, which must be free. One that was derived from the payload follows it by itself.
    pub unique: Update<String>,
    /// How long the unique key stays taken after the job has ended.
    pub unique_for: Update<Duration>,
    /// Another payload: JSON text.
    pub payload: Option<String>,
    /// Fields of a payload that is an object: each is set to JSON text or left out, and all others stay as
    /// they are. A longer path names a field of an object in it.
    pub payload_fields: Vec<(Vec<String>, Option<String>)>,
}

pub(crate) fn cancel(tx: &mut Tx<'_>, id: JobId) -> Result<Cancelled> {
    let head = head::get(tx.conn, id)?;
    if head.state.is_final() {
        return Err(Error::wrong_state(format!(
            "job {id} is {} already",
            head.state
        )));
    }
    if head.state == State::Running {
        ended::request_cancel(tx, id, None)?;
        return Ok(Cancelled::Requested);
    }
    ended::cancel_now(tx, (id, &head), None)?;
    Ok(Cancelled::Now)
}

pub(crate) fn edit(
    tx: &mut Tx<'_>,
    id: JobId,
    edit: &JobUpdate,
    limits: &EnqueueLimits,
) -> Result<()> {
    let head = head::get(tx.conn, id)?;
    let Head { state, queue, .. } = head;
    if state == State::Running {
        return Err(
            Error::wrong_state(format!("job {id} is running and cannot be edited")).with_hint(
                format!("cancel it (`jobq cancel {id}`) or wait until it has ended"),
            ),
        );
    }
    if edit.when.is_some() && state != State::Scheduled {
        return Err(Error::wrong_state(format!(
            "job {id} is {state}; only a scheduled job can be given another time"
        ))
        .with_hint(format!(
            "cancel it (`jobq cancel {id}`) and enqueue it anew with --in or --at"
        )));
    }
    if let Some(name) = &edit.queue {
        check_name("queue's name", name)?;
    }
    let to_queue = edit
        .queue
        .as_deref()
        .map(|name| tx.names.queue_id(tx.conn, name))
        .transpose()?;
    if let Some(to_queue) = to_queue.filter(|to_queue| *to_queue != queue && !state.is_final()) {
        room::check(tx, to_queue, Some(&Bounds::default()))?;
    }
    tx.conn
        .prepare_cached(JOB_EDIT_IF_NOT_RUNNING)?
        .execute(params![
            id.0,
            to_queue,
            edit.priority.map(Priority::code),
            edit.max_retries,
            edit.backoff.map(Backoff::code),
            edit.retry_delay.map(millis),
            edit.jitter.map(|jitter| jitter == Jitter::Tenth),
            edit.timeout != Update::Keep,
            edit.timeout.of(None).map(millis),
            tx.now_ms
        ])?;
    if edit.priority.is_some() {
        places::reorder(tx, id)?;
    }
    if let Some(to_queue) = to_queue {
        tx.counts.add(queue, state, -1);
        tx.counts.add(to_queue, state, 1);
    }
    edit_rules::edit(tx, (id, &head), edit)?;
    edit_payload(tx, (id, &head), (edit, limits))?;
    if let Some(when) = edit.when {
        reschedule(tx, id, when)?;
    }
    tx.append(NewEvent::job(EventKind::Edited, id))
}

/// A unique key that was derived from the payload follows it.
fn edit_payload(
    tx: &mut Tx<'_>,
    (id, head): (JobId, &Head),
    (edit, limits): (&JobUpdate, &EnqueueLimits),
) -> Result<()> {
    if edit.payload.is_none() && edit.payload_fields.is_empty() {
        return Ok(());
    }
    let old: String = {
        let mut get = tx.conn.prepare_cached(PAYLOAD_GET)?;
        get.query_row([id.0], |row| row.get(0))?
    };
    let mut new = edit.payload.clone().unwrap_or_else(|| old.clone());
    for (path, value) in &edit.payload_fields {
        new = with_field(&new, path, value.as_deref()).ok_or_else(|| {
            Error::invalid(format!(
                "the payload of job {id} is not an object with fields"
            ))
        })?;
    }
    let new = NewJob::new("edit").payload_json(new).payload;
    let new = check_payload("the payload", new, limits)?;
    tx.conn
        .prepare_cached(PAYLOAD_REPLACE)?
        .execute(params![id.0, new])?;
    if let Some(kind) = uniques::derived_from(tx, id, &old)?
        && edit.unique == Update::Keep
        && !head.state.is_final()
    {
        edit_rules::set_unique(tx, (id, head), Some(&derived_key(&kind, &new)))?;
    }
    Ok(())
}

/// Gives a scheduled job another time.
pub(crate) fn reschedule(tx: &mut Tx<'_>, id: JobId, when: When) -> Result<()> {
    let Some(due) = Due::of(when, tx.now_ms) else {
        return ended::due(tx, id);
    };
    if !due.fixed {
        tx.follow_clock()?;
    }
    tx.conn
        .prepare_cached(JOB_RESCHEDULE_IF_SCHEDULED)?
        .execute(params![id.0, due.run_at_ms, due.fixed, tx.now_ms])?;
    Ok(())
}

/// So many events are removed at once: up to 64 KiB each.
pub(crate) const EVENTS_AT_ONCE: usize = 100;

/// What one part of a removal took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) events: usize,
    /// The job itself went with the last of its events. Else it has some yet, and is still there.
    pub(crate) is_gone: bool,
}

/// Removes the oldest events of a final job, and the job once it has no more of them.
pub(crate) fn remove(tx: &mut Tx<'_>, id: JobId) -> Result<Removed> {
    let Head { state, queue, .. } = head::get(tx.conn, id)?;
    if !state.is_final() {
        return Err(Error::wrong_state(format!(
            "job {id} is {state}; only final jobs can be removed"
        ))
        .with_hint(format!("cancel it first: `jobq cancel {id}`")));
    }
    tx.flush_events()?;
    let events = tx
        .conn
        .prepare_cached(EVENTS_REMOVE_SOME_OF_JOB)?
        .execute(params![id.0, EVENTS_AT_ONCE as i64])?;
    let is_gone = events < EVENTS_AT_ONCE;
    if is_gone {
        tx.conn
            .prepare_cached(JOB_REMOVE_IF_FINAL)?
            .execute([id.0])?;
        tx.counts.add(queue, state, -1);
    }
    Ok(Removed { events, is_gone })
}
