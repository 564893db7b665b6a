//! Updating a job that does not run: by hand, or because a new one with its unique key replaces its options.

use std::time::Duration;

use crate::clock::millis;
use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::model::job::derived_key;
use crate::model::job::options::{JobOptions, Priority};
use crate::model::job::update::{ClearOption, JobUpdate};
use crate::model::job::{Due, NewJob, When};
use crate::model::json::object::with_field;
use crate::model::limits::{EnqueueLimits, Update};
use crate::model::remedy::Remedy;
use crate::model::retry::{Backoff, Jitter, RetryPolicy};
use crate::model::state::State;
use crate::store::jobs::edited_options::EditedOptions;
use crate::store::jobs::job_row::JobRow;
use crate::store::jobs::quota::QuotaLimits;
use crate::store::jobs::validate::{Rules, ValidatedJob, check_payload};
use crate::store::jobs::{
    concurrency_slots, enqueue, families, hooks, job_row, quota, release, retry_delays,
    traceparents, unique, update_rules,
};
use crate::store::sqlite::blocks::BlockOf;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::{EventFields, NewEvent, Tx};
use crate::store::sqlite::{blocks, params};
use crate::{Error, Result};

statements! {
    /// What is null stays.
    hot JOB_UPDATE_IF_NOT_RUNNING = "UPDATE jobq_job SET queue_id = coalesce(?2, queue_id), kind_id = coalesce(?3, kind_id),
            priority = coalesce(?4, priority), max_retries = coalesce(?5, max_retries), backoff = coalesce(?6, backoff),
            retry_delay_ms = coalesce(?7, retry_delay_ms), jitter = coalesce(?8, jitter),
            timeout_ms = iif(?9, ?10, timeout_ms), updated_at = ?11
        WHERE id = ?1 AND state <> 3";
    hot JOB_RESCHEDULE_DELAY = "UPDATE jobq_job SET run_at = ?2, wait_fixed = ?3 WHERE id = ?1 AND state IN (0, 1)
        AND (state = 1 OR ?2 IS NOT NULL)";
    hot JOB_RESCHEDULE_IF_SCHEDULED = "UPDATE jobq_job SET run_at = ?2, wait_fixed = ?3, updated_at = ?4
        WHERE id = ?1 AND state = 0";
    hot PAYLOAD_GET = "SELECT payload FROM jobq_payload WHERE job_id = ?1";
    hot PAYLOAD_REPLACE = "INSERT INTO jobq_payload (job_id, payload) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET payload = excluded.payload";
}

/// Columns of a job's row that change together; what is none stays.
#[derive(Default)]
struct Columns {
    queue: Option<i64>,
    kind: Option<i64>,
    priority: Option<Priority>,
    max_retries: Option<u32>,
    backoff: Option<Backoff>,
    retry_delay: Option<Duration>,
    /// Empty: no list.
    retry_delays: Option<Vec<Duration>>,
    jitter: Option<Jitter>,
    timeout_ms: Update<i64>,
}

/// Writes them, with the counters of the queues, the blocks that hold the job and the job's place in the line of its concurrency key.
fn write_columns(tx: &mut Tx<'_>, (id, row): (JobId, &JobRow), columns: &Columns) -> Result<()> {
    tx.run(
        JOB_UPDATE_IF_NOT_RUNNING,
        params![
            id.0,
            columns.queue,
            columns.kind,
            columns.priority.map(Priority::code),
            columns.max_retries,
            columns.backoff.map(Backoff::code),
            columns.retry_delay.map(millis),
            columns.jitter.map(|jitter| jitter == Jitter::Tenth),
            columns.timeout_ms != Update::Keep,
            columns.timeout_ms.of(None),
            tx.now_ms
        ],
    )?;
    if let Some(delays) = &columns.retry_delays {
        retry_delays::replace(tx, (id, row.flags), delays)?;
    }
    if columns.priority.is_some() {
        concurrency_slots::reorder(tx, id)?;
    }
    if let Some(queue) = columns.queue {
        tx.counts.add(row.queue, row.state, -1);
        tx.counts.add(queue, row.state, 1);
        blocks::add(tx.conn, BlockOf::Queue(queue), id)?;
    }
    if let Some(kind) = columns.kind {
        blocks::add(tx.conn, BlockOf::Kind(kind), id)?;
    }
    Ok(())
}

pub(crate) fn edit(
    tx: &mut Tx<'_>,
    id: JobId,
    edit: &JobUpdate,
    limits: &EnqueueLimits,
) -> Result<()> {
    let row = job_row::get(tx.conn, id)?;
    check(edit, (id, &row))?;
    let before = EditedOptions::of(tx, (id, &row), edit)?;
    let columns = columns(tx, edit)?;
    let columns = Columns {
        queue: columns.queue,
        priority: columns.priority,
        timeout_ms: columns.timeout_ms,
        ..retries(&edit.set)
    };
    apply(tx, (id, &row), &columns, (edit, limits))?;
    record(tx, id, Some(&before))
}

/// Gives a job the options back that it had before an edit.
pub(crate) fn undo(tx: &mut Tx<'_>, id: JobId, before: &EditedOptions) -> Result<()> {
    if before.is_lost {
        return Err(Error::wrong_state(format!(
            "the edit of job {id} cannot be undone: its payload was too long to be kept"
        ))
        .with_hint("edit it once more"));
    }
    let row = job_row::get(tx.conn, id)?;
    let edit = before.update(tx.now_ms)?;
    check(&edit, (id, &row))?;
    let columns = columns(tx, &edit)?;
    // It was valid before.
    let limits = EnqueueLimits {
        max_payload_bytes: usize::MAX,
        ..EnqueueLimits::default()
    };
    apply(tx, (id, &row), &columns, (&edit, &limits))?;
    record(tx, id, None)
}

/// The columns that an edit sets, as it says them.
fn columns(tx: &mut Tx<'_>, edit: &JobUpdate) -> Result<Columns> {
    let set = &edit.set;
    let queue = set.queue.as_deref();
    let timeout = edit.of(&set.timeout, &ClearOption::Timeout);
    Ok(Columns {
        queue: queue
            .map(|name| tx.names.queue_id(tx.conn, name))
            .transpose()?,
        kind: None,
        priority: set.priority,
        max_retries: set.max_retries,
        backoff: set.backoff,
        retry_delay: set.retry_delay,
        retry_delays: set.retry_delays.clone(),
        jitter: set.jitter,
        timeout_ms: timeout.map(|timeout| millis(*timeout)),
    })
}

/// Whether a job may be edited so.
fn check(edit: &JobUpdate, (id, row): (JobId, &JobRow)) -> Result<()> {
    let state = row.state;
    if state == State::Running {
        return Err(
            Error::wrong_state(format!("job {id} is running and cannot be edited"))
                .with_hint("cancel it, or wait until it has ended")
                .with_remedy(Remedy::CancelJob(id)),
        );
    }
    if edit.set.when.is_some() && state != State::Scheduled {
        return Err(Error::wrong_state(format!(
            "job {id} is {state}; only a scheduled job can be given another time"
        ))
        .with_hint("cancel it, and enqueue it anew with another time")
        .with_remedy(Remedy::CancelJob(id)));
    }
    Ok(())
}

/// Changes the columns of a job's row, and of the update what is in none of them.
fn apply(
    tx: &mut Tx<'_>,
    (id, row): (JobId, &JobRow),
    columns: &Columns,
    (edit, limits): (&JobUpdate, &EnqueueLimits),
) -> Result<()> {
    let to_queue = columns.queue.filter(|to_queue| *to_queue != row.queue);
    if let Some(to_queue) = to_queue.filter(|_| !row.state.is_final()) {
        quota::check(tx, to_queue, Some(&QuotaLimits::default()))?;
    }
    write_columns(tx, (id, row), columns)?;
    update_rules::edit(tx, (id, row), edit)?;
    edit_payload(tx, (id, row), (edit, limits))?;
    match edit.set.when {
        Some(when) => reschedule(tx, id, when),
        None => Ok(()),
    }
}

/// Records an edit, with what it has changed.
fn record(tx: &mut Tx<'_>, id: JobId, before: Option<&EditedOptions>) -> Result<()> {
    let before = before.map(|before| ("before".to_owned(), before.to_json()));
    let data = EventFields::from_iter(before);
    tx.append_change(NewEvent::job(EventKind::Edited, id), data)
}

/// How a job is retried after an edit. A list of delays takes the place of the backoff, and the other way round.
fn retries(set: &JobOptions) -> Columns {
    let listed = set.retry_delays.is_some();
    let listed = listed.then(|| set.retry_policy(&RetryPolicy::default()));
    let no_list = || set.has_backoff().then(Vec::new);
    Columns {
        max_retries: listed
            .as_ref()
            .map(|list| list.max_retries)
            .or(set.max_retries),
        jitter: listed.as_ref().map(|list| list.jitter).or(set.jitter),
        backoff: set.backoff,
        retry_delay: set.retry_delay,
        retry_delays: listed.map(|list| list.delays).or_else(no_list),
        ..Columns::default()
    }
}

/// A unique key that was derived from the payload follows it.
fn edit_payload(
    tx: &mut Tx<'_>,
    (id, row): (JobId, &JobRow),
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
    tx.run(PAYLOAD_REPLACE, params![id.0, new])?;
    if let Some(kind) = unique::derived_from(tx, id, &old)?
        && edit.of(&edit.set.unique, &ClearOption::Unique) == Update::Keep
        && !row.state.is_final()
    {
        update_rules::set_unique(tx, (id, row), Some(&derived_key(&kind, &new)))?;
    }
    Ok(())
}

/// Gives a scheduled job another time.
pub(crate) fn reschedule(tx: &mut Tx<'_>, id: JobId, when: When) -> Result<()> {
    let Some(due) = Due::of(when, tx.now_ms) else {
        return release::due(tx, id);
    };
    tx.run(
        JOB_RESCHEDULE_IF_SCHEDULED,
        params![id.0, due.run_at_ms, due.fixed, tx.now_ms],
    )?;
    Ok(())
}

/// Replaces payload and options by those of the new job. What ties it to other jobs
/// stays, and so does its concurrency key.
pub(crate) fn replace(
    tx: &mut Tx<'_>,
    job: &ValidatedJob,
    (id, row): (JobId, &JobRow),
) -> Result<()> {
    let none = Rules::default();
    let rules = job.rules.as_deref().unwrap_or(&none);
    let ids = enqueue::ids(tx, job)?;
    if ids.0 != row.queue {
        quota::check(tx, ids.0, job.bounds.as_ref())?;
    }
    let columns = Columns {
        queue: Some(ids.0),
        kind: Some(ids.1),
        priority: Some(job.priority),
        max_retries: Some(job.retry.max_retries),
        backoff: Some(job.retry.backoff),
        retry_delay: Some(job.retry.delay),
        retry_delays: Some(job.retry.delays.clone()),
        jitter: Some(job.retry.jitter),
        timeout_ms: job.timeout_ms.map_or(Update::Clear, Update::Set),
    };
    write_columns(tx, (id, row), &columns)?;
    update_rules::replace(tx, id, rules)?;
    tx.run(PAYLOAD_REPLACE, params![id.0, job.payload])?;
    families::set_rules(tx, (id, row), rules.family)?;
    hooks::replace(tx, (id, row.flags), &rules.hooks)?;
    traceparents::replace(tx, (id, row.flags), rules.traceparent)?;
    tx.append(NewEvent::job(EventKind::Edited, id))?;
    delay_anew(tx, job, (id, row.state))
}

/// A job that waits for its time waits for the new one's, and so does one that waits for a slot;
/// one that may run stays so.
fn delay_anew(tx: &mut Tx<'_>, job: &ValidatedJob, (id, state): (JobId, State)) -> Result<()> {
    if state == State::Scheduled && Due::of(job.when, tx.now_ms).is_none() {
        return reschedule(tx, id, job.when);
    }
    let due = Due::of(job.when, tx.now_ms);
    tx.run(
        JOB_RESCHEDULE_DELAY,
        params![
            id.0,
            due.as_ref().map(|due| due.run_at_ms),
            due.as_ref().map(|due| due.fixed)
        ],
    )?;
    if state == State::Blocked && due.is_some() {
        concurrency_slots::leave(tx, id)?;
        release::release_if_met(tx, id)?;
    }
    Ok(())
}
