//! What people do to jobs: cancel, edit, remove.

use std::time::Duration;

use rusqlite::params;

use super::checked::{CheckedJob, EnqueueLimits, Rules, check_payload, derived_key};
use super::job_row::{self, JobRow};
use super::room::{self, Bounds};
use super::statement::statements;
use super::tx::{NewEvent, Tx};
use super::{deadlines, edit_rules, enqueue, families, places, release, uniques};
use crate::clock::millis;
use crate::due::Due;
use crate::event::EventKind;
use crate::job::{JobId, NewJob, Priority, When, check_name};
use crate::json::object::with_field;
use crate::limit::Update;
use crate::retry::{Backoff, Jitter};
use crate::state::State;
use crate::{Error, Result};

statements! {
    hot JOB_REPLACE_IF_NOT_BEGUN = "UPDATE jobq_job SET queue_id = ?2, kind_id = ?3, priority = ?4, max_retries = ?5,
            backoff = ?6, retry_delay_ms = ?7, jitter = ?8, timeout_ms = ?9, unique_for_ms = ?10, tenant = ?11,
            deadline = ?12, links = (links & ~352) | ?13, updated_at = ?14
        WHERE id = ?1 AND state IN (0, 1, 2)";
    hot JOB_RESCHEDULE_DELAY = "UPDATE jobq_job SET run_at = ?2, wait_fixed = ?3 WHERE id = ?1 AND state IN (0, 1)
        AND (state = 1 OR ?2 IS NOT NULL)";
    hot PAYLOAD_DELETE = "DELETE FROM jobq_payload WHERE job_id = ?1";
    hot TAGS_DELETE = "DELETE FROM jobq_tag WHERE job_id = ?1";

    hot JOB_EDIT_IF_NOT_RUNNING = "UPDATE jobq_job SET queue_id = coalesce(?2, queue_id), priority = coalesce(?3, priority),
            max_retries = coalesce(?4, max_retries), backoff = coalesce(?5, backoff),
            retry_delay_ms = coalesce(?6, retry_delay_ms), jitter = coalesce(?7, jitter),
            timeout_ms = iif(?8, ?9, timeout_ms), updated_at = ?10
        WHERE id = ?1 AND state <> 3";
    hot JOB_RESCHEDULE_IF_SCHEDULED = "UPDATE jobq_job SET run_at = ?2, wait_fixed = ?3, updated_at = ?4
        WHERE id = ?1 AND state = 0";
    hot PAYLOAD_GET = "SELECT payload FROM jobq_payload WHERE job_id = ?1";
    hot PAYLOAD_REPLACE = "UPDATE jobq_payload SET payload = ?2 WHERE job_id = ?1";
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

pub(crate) fn edit(
    tx: &mut Tx<'_>,
    id: JobId,
    edit: &JobUpdate,
    limits: &EnqueueLimits,
) -> Result<()> {
    let head = job_row::get(tx.conn, id)?;
    let JobRow { state, queue, .. } = head;
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
    (id, head): (JobId, &JobRow),
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
        return release::due(tx, id);
    };
    tx.conn
        .prepare_cached(JOB_RESCHEDULE_IF_SCHEDULED)?
        .execute(params![id.0, due.run_at_ms, due.fixed, tx.now_ms])?;
    Ok(())
}

/// Payload and options of the new job take the place of the old one's. What ties it to other jobs
/// stays, and so does its concurrency key.
pub(crate) fn replace(
    tx: &mut Tx<'_>,
    job: &CheckedJob,
    (id, head): (JobId, &JobRow),
) -> Result<()> {
    let none = Rules::default();
    let rules = job.rules.as_deref().unwrap_or(&none);
    let ids = enqueue::ids(tx, job)?;
    if ids.0 != head.queue {
        room::check(tx, ids.0, job.bounds.as_ref())?;
    }
    let deadline = rules.deadline_ms(tx.now_ms);
    let unique = rules.unique.as_ref();
    tx.conn
        .prepare_cached(JOB_REPLACE_IF_NOT_BEGUN)?
        .execute(params![
            id.0,
            ids.0,
            ids.1,
            job.priority.code(),
            job.retry.max_retries,
            job.retry.backoff.code(),
            millis(job.retry.delay),
            job.retry.jitter == Jitter::Tenth,
            job.timeout_ms,
            unique.and_then(|unique| unique.for_ms),
            rules.tenant,
            deadline,
            rules.options_bits(),
            tx.now_ms
        ])?;
    tx.counts.add(head.queue, head.state, -1);
    tx.counts.add(ids.0, head.state, 1);
    tx.conn.prepare_cached(PAYLOAD_DELETE)?.execute([id.0])?;
    tx.conn
        .prepare_cached(enqueue::PAYLOAD_INSERT)?
        .execute(params![id.0, job.payload])?;
    tx.conn.prepare_cached(TAGS_DELETE)?.execute([id.0])?;
    for (name, value) in &rules.tags {
        tx.conn
            .prepare_cached(enqueue::TAG_INSERT)?
            .execute(params![name, value, id.0])?;
    }
    deadlines::disarm(tx, id)?;
    if let Some(deadline) = deadline {
        deadlines::arm(tx, id, deadline)?;
    }
    places::reorder(tx, id)?;
    families::set_rules(tx, (id, head), rules.family)?;
    tx.append(NewEvent::job(EventKind::Edited, id))?;
    delay_anew(tx, job, (id, head.state))
}

/// A job that waits for its time waits for the new one's, and so does one that is in line for a place;
/// one that may run stays so.
fn delay_anew(tx: &mut Tx<'_>, job: &CheckedJob, (id, state): (JobId, State)) -> Result<()> {
    if state == State::Scheduled && Due::of(job.when, tx.now_ms).is_none() {
        return reschedule(tx, id, job.when);
    }
    let due = Due::of(job.when, tx.now_ms);
    tx.conn
        .prepare_cached(JOB_RESCHEDULE_DELAY)?
        .execute(params![
            id.0,
            due.as_ref().map(|due| due.run_at_ms),
            due.as_ref().map(|due| due.fixed)
        ])?;
    if state == State::Blocked && due.is_some() {
        places::leave(tx, id)?;
        release::release_if_met(tx, id)?;
    }
    Ok(())
}
