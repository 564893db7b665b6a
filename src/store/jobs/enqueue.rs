//! Enqueuing: adds jobs to the file.

use crate::clock::millis;
use crate::model::event::{EventId, EventKind};
use crate::model::family::Stage;
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::job::{Due, Enqueued};
use crate::model::retry::Jitter;
use crate::model::state::{State, WaitReason};
use crate::store::jobs::dependencies::Edge;
use crate::store::jobs::families::ValidatedParent;
use crate::store::jobs::unique::{Replaceable, Taken};
use crate::store::jobs::validate::{FamilyRules, Rules, ValidatedJob};
use crate::store::jobs::{
    cancel, concurrency_slots, deadlines, dependencies, families, hooks, job_row, quota,
    retry_delays, traceparents, unique, update,
};
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::{NO_ATTEMPT, Tx};
use crate::store::sqlite::types::ToSql;
use crate::store::sqlite::{params, params_from_iter};
use crate::{Error, Result};

/// A statement that inserts as many rows as there are separators.
macro_rules! insert_rows {
    ($into:literal, $row:literal, $($after:literal)+) => {
        // FAIL: an insert that cannot be completed ends its transaction or savepoint anyway, and ABORT would
        // need a statement journal for more than one row.
        concat!("INSERT OR FAIL INTO ", $into, " VALUES ", $($row, $after),+)
    };
}

/// Of jobs that may run at once and have nothing out of the ordinary: each column that is bound costs time.
macro_rules! insert_plain {
    ($($after:literal)+) => {
        insert_rows!(
            "jobq_job (id, enqueued_event, queue_id, kind_id, state, priority, max_retries, backoff,
                retry_delay_ms, jitter, created_at, updated_at)",
            "(?, ?, ?, ?, 2, ?, ?, ?, ?, ?, ?, ?)",
            $($after)+
        )
    };
}

/// The values of such a job.
type PlainRow = [i64; 11];

/// Plain jobs in one statement: half of an insert is the statement itself.
pub(crate) const PLAIN_AT_ONCE: usize = 8;

statements! {
    hot JOB_INSERT_PLAIN = insert_plain!("");
    hot JOBS_INSERT_PLAIN = insert_plain!(", " ", " ", " ", " ", " ", " ", " "");
    hot PAYLOAD_INSERT = "INSERT INTO jobq_payload (job_id, payload) VALUES (?, ?)";
    hot PAYLOADS_INSERT = insert_rows!("jobq_payload (job_id, payload)", "(?, ?)", ", " ", " ", " ", " ", " ", " ", " "");
    hot JOB_INSERT = "INSERT INTO jobq_job (id, enqueued_event, queue_id, kind_id, state, priority,
            max_retries, backoff, retry_delay_ms, jitter, timeout_ms, wait_reason, run_at, wait_fixed, created_at,
            updated_at, links, unmet, parent_id, key, unique_key, unique_for_ms, deadline, tenant, schedule, slot)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
            ?23, ?24, ?25)";
    hot TAG_INSERT = "INSERT INTO jobq_tag (name, value, job_id) VALUES (?1, ?2, ?3)";
}

pub(crate) fn enqueue(tx: &mut Tx<'_>, job: &ValidatedJob) -> Result<Enqueued> {
    let due = Due::of(job.when, tx.now_ms);
    match &job.rules {
        _ if job.is_plain() => enqueue_plain(tx, job),
        None => enqueue_with(tx, job, &Rules::default(), due),
        Some(rules) => enqueue_with(tx, job, rules, due),
    }
}

/// The same for so many plain jobs. The error is of the job with this index.
pub(crate) fn enqueue_plain_together(
    tx: &mut Tx<'_>,
    jobs: &[&ValidatedJob; PLAIN_AT_ONCE],
) -> Result<[Enqueued; PLAIN_AT_ONCE], (usize, Error)> {
    let mut rows = [PlainRow::default(); PLAIN_AT_ONCE];
    for (at, job) in jobs.iter().enumerate() {
        rows[at] = plain_row(tx, job).map_err(|error| (at, error))?;
    }
    let payloads: Vec<&dyn ToSql> = rows
        .iter()
        .zip(jobs)
        .flat_map(|(row, job)| [&row[0] as &dyn ToSql, &job.payload])
        .collect();
    tx.run_often(JOBS_INSERT_PLAIN, params_from_iter(rows.as_flattened()))
        .and_then(|_| tx.run_often(PAYLOADS_INSERT, &*payloads))
        .map_err(|error| (0, error))?;
    Ok(rows.map(|row| enqueued(JobId(row[0]), State::Pending)))
}

fn enqueue_plain(tx: &mut Tx<'_>, job: &ValidatedJob) -> Result<Enqueued> {
    let row = plain_row(tx, job)?;
    tx.run_often(JOB_INSERT_PLAIN, row)?;
    let id = JobId(row[0]);
    tx.run_often(PAYLOAD_INSERT, params![id.0, job.payload])?;
    Ok(enqueued(id, State::Pending))
}

/// The row of a new job, which is counted.
fn plain_row(tx: &mut Tx<'_>, job: &ValidatedJob) -> Result<PlainRow> {
    let (queue, kind) = ids(tx, job)?;
    quota::check(tx, queue, job.bounds.as_ref())?;
    let (id, event) = new_id(tx, (queue, kind))?;
    tx.counts.enqueued((queue, kind), State::Pending);
    let retry = &job.retry;
    Ok([
        id.0,
        event.0,
        queue,
        kind,
        job.priority.code(),
        retry.max_retries.into(),
        retry.backoff.code(),
        millis(retry.delay),
        i64::from(retry.jitter == Jitter::Tenth),
        tx.now_ms,
        tx.now_ms,
    ])
}

/// The numbers of its queue and its kind.
pub(crate) fn ids(tx: &mut Tx<'_>, job: &ValidatedJob) -> Result<(i64, i64)> {
    let queue = tx.names.queue_id(tx.conn, &job.queue)?;
    Ok((queue, tx.names.kind_id(tx.conn, &job.kind)?))
}

/// The id of a new job of this queue and this kind, and that of the event.
fn new_id(tx: &mut Tx<'_>, ids: (i64, i64)) -> Result<(JobId, EventId)> {
    let id = tx.new_job_id()?;
    tx.names.block.add(tx.conn, id, ids)?;
    Ok((id, tx.note(EventKind::Enqueued, id, NO_ATTEMPT)?))
}

/// What follows from a new row, whatever its rules.
fn added(
    tx: &mut Tx<'_>,
    job: &ValidatedJob,
    id: JobId,
    (place, state): ((i64, i64), State),
) -> Result<Enqueued> {
    tx.run_often(PAYLOAD_INSERT, params![id.0, job.payload])?;
    tx.counts.enqueued(place, state);
    Ok(enqueued(id, state))
}

fn enqueued(id: JobId, state: State) -> Enqueued {
    Enqueued {
        id,
        state,
        duplicate: false,
        replaced: false,
        rerun_of: None,
    }
}

fn enqueue_with(
    tx: &mut Tx<'_>,
    job: &ValidatedJob,
    rules: &Rules,
    due: Option<Due>,
) -> Result<Enqueued> {
    let taken = match &rules.unique {
        Some(unique) => unique::look_up(tx, unique)?,
        None => Taken::Free,
    };
    match taken {
        Taken::Free => insert_with(tx, job, rules, due),
        Taken::By(enqueued) => Ok(enqueued),
        Taken::ByReplaceable(old) => replace(tx, job, &old),
        Taken::ByRunning(holder) => insert_with(tx, job, &rules.once_more_after(holder), due),
    }
}

/// The new job's payload and options go to the one that has its key.
fn replace(tx: &mut Tx<'_>, job: &ValidatedJob, old: &Replaceable) -> Result<Enqueued> {
    update::replace(tx, job, (old.job, &old.row))?;
    Ok(Enqueued {
        id: old.job,
        state: job_row::get(tx.conn, old.job)?.state,
        duplicate: true,
        replaced: true,
        rerun_of: old.rerun_of,
    })
}

/// A new row under rules.
fn insert_with(
    tx: &mut Tx<'_>,
    job: &ValidatedJob,
    rules: &Rules,
    due: Option<Due>,
) -> Result<Enqueued> {
    let ids = ids(tx, job)?;
    quota::check(tx, ids.0, job.bounds.as_ref())?;
    let parent = rules
        .parent
        .map(|parent| families::validate_parent(tx, parent))
        .transpose()?;
    let edges = dependencies::edges(tx, rules, parent.as_ref())?;
    let unsatisfiable = edges.iter().find_map(|edge| edge.unsatisfiable.clone());
    let unmet = edges.iter().filter(|edge| !edge.met).count();
    if let (Some(key), Some(number)) = (&rules.key, rules.key_limit) {
        concurrency_slots::set_number(tx, key, number)?;
    }
    let place = match &rules.key {
        Some(key) if unmet == 0 && due.is_none() => Some(concurrency_slots::is_free(tx, key)?),
        _ => None,
    };
    let state = begins_in(job, unmet, (due.is_some(), place));
    let flags = rules
        .flags()
        .and(JobFlags::WAITS, !edges.is_empty())
        .and(JobFlags::RETRY_DELAYS, !job.retry.delays.is_empty())
        .and(
            JobFlags::UNDER_HOOK,
            parent.as_ref().is_some_and(|parent| parent.is_of_hook),
        );
    let id = insert_row(tx, (job, rules), ids, (state, due, flags, unmet))?;
    let rerun_of = rules.unique.as_ref().and_then(|unique| unique.rerun_of);
    let enqueued = Enqueued {
        duplicate: rerun_of.is_some(),
        rerun_of,
        ..added(tx, job, id, (ids, state))?
    };
    if let (Some(key), Some(free)) = (&rules.key, place) {
        concurrency_slots::add(
            tx,
            key,
            (free, concurrency_slots::urgency(job.priority.code())),
            id,
        )?;
    }
    retry_delays::add(tx, id, &job.retry.delays)?;
    tie(tx, rules, id, (&edges, parent.as_ref()))?;
    if state == State::Waiting {
        families::set_stage(tx, id, Stage::Children)?;
        deadlines::begun(tx, id)?;
    }
    let Some(reason) = unsatisfiable else {
        return Ok(enqueued);
    };
    // A prerequisite has already ended otherwise, so it can never run.
    cancel::cancel_by_rule(tx, id, &reason)?;
    Ok(Enqueued {
        state: State::Cancelled,
        ..enqueued
    })
}

fn insert_row(
    tx: &mut Tx<'_>,
    (job, rules): (&ValidatedJob, &Rules),
    ids: (i64, i64),
    (state, due, flags, unmet): (State, Option<Due>, JobFlags, usize),
) -> Result<JobId> {
    let (id, event) = new_id(tx, ids)?;
    let retry = &job.retry;
    let values = params![
        id.0,
        event.0,
        ids.0,
        ids.1,
        state.code(),
        job.priority.code(),
        retry.max_retries,
        retry.backoff.code(),
        millis(retry.delay),
        retry.jitter == Jitter::Tenth,
        job.timeout_ms,
        due.as_ref().map(|_| WaitReason::Delay.code()),
        due.as_ref().map(|due| due.run_at_ms),
        due.as_ref().map(|due| due.fixed),
        tx.now_ms,
        flags,
        unmet as i64,
        rules.parent.map(|parent| parent.job.0),
        rules.key,
        rules.unique.as_ref().map(|unique| &unique.key),
        rules.unique.as_ref().and_then(|unique| unique.for_ms),
        rules.deadline_ms(tx.now_ms),
        rules.tenant,
        rules.origin.as_ref().map(|origin| &origin.schedule),
        rules.origin.as_ref().and_then(|origin| origin.slot_ms)
    ];
    tx.run_often(JOB_INSERT, values)?;
    Ok(id)
}

/// Where a new job begins. `place` is whether there is a free one under its key, where it needs one now.
fn begins_in(job: &ValidatedJob, unmet: usize, (is_delayed, place): (bool, Option<bool>)) -> State {
    if unmet > 0 {
        State::Blocked
    } else if is_delayed {
        State::Scheduled
    } else if place == Some(false) {
        State::Blocked
    } else if job.is_group() {
        State::Waiting
    } else {
        State::Pending
    }
}

/// Writes what ties a new job to others.
fn tie(
    tx: &mut Tx<'_>,
    rules: &Rules,
    id: JobId,
    (edges, parent): (&[Edge], Option<&ValidatedParent>),
) -> Result<()> {
    if let Some(unique) = &rules.unique {
        match unique.rerun_of {
            None => unique::take(tx, &unique.key, id)?,
            Some(_) => unique::take_after(tx, &unique.key, id)?,
        }
    }
    if let Some(deadline_ms) = rules.deadline_ms(tx.now_ms) {
        deadlines::arm(tx, id, deadline_ms)?;
    }
    for (name, value) in &rules.tags {
        tx.run(TAG_INSERT, params![name, value, id.0])?;
    }
    dependencies::add(tx, id, edges)?;
    if let Some(family) = &rules.family {
        families::create(tx, id, rules.parent.map(|parent| parent.job), *family)?;
    }
    if let Some(parent) = parent {
        families::add_child(tx, parent)?;
    }
    hooks::add(tx, id, &rules.hooks)?;
    if let Some(event) = &rules.hook_of {
        hooks::add_job(tx, id, event)?;
    }
    traceparents::add(tx, id, rules.traceparent)
}

/// The jobs that an attempt has spawned, added when it completes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spawned {
    pub(crate) jobs: Vec<ValidatedJob>,
    /// Some of them are the job's own children, or it wants a finalize phase.
    pub(crate) is_parent: bool,
    pub(crate) family: FamilyRules,
}

impl Spawned {
    pub(crate) fn add(&self, tx: &mut Tx<'_>) -> Result<()> {
        for job in &self.jobs {
            // A sibling comes too late for a parent that has failed or was cancelled meanwhile.
            if families::takes_children_of(tx, job)? {
                enqueue(tx, job)?;
            }
        }
        Ok(())
    }
}
