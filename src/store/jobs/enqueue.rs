//! Enqueuing: adds jobs to the file.

use crate::Result;
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
    cancel, concurrency_slots, deadlines, dependencies, families, job_row, quota, unique, update,
};
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::{NO_ATTEMPT, Tx};

statements! {
    hot JOB_INSERT = "INSERT INTO jobq_job (id, enqueued_event, queue_id, kind_id, state, priority, max_retries, backoff,
            retry_delay_ms, jitter, timeout_ms, wait_reason, run_at, wait_fixed, created_at, updated_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15)";
    hot JOB_INSERT_WITH_RULES = "INSERT INTO jobq_job (id, enqueued_event, queue_id, kind_id, state, priority,
            max_retries, backoff, retry_delay_ms, jitter, timeout_ms, wait_reason, run_at, wait_fixed, created_at,
            updated_at, links, unmet, parent_id, key, unique_key, unique_for_ms, deadline, tenant, schedule, slot)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
            ?23, ?24, ?25)";
    hot PAYLOAD_INSERT = "INSERT INTO jobq_payload (job_id, payload) VALUES (?1, ?2)";
    hot TAG_INSERT = "INSERT INTO jobq_tag (name, value, job_id) VALUES (?1, ?2, ?3)";
}

pub(crate) fn enqueue(tx: &mut Tx<'_>, job: &ValidatedJob) -> Result<Enqueued> {
    let due = Due::of(job.when, tx.now_ms);
    match &job.rules {
        None => enqueue_alone(tx, job, due),
        Some(rules) => enqueue_with(tx, job, rules, due),
    }
}

/// The values that every job has, in the order of the columns.
macro_rules! columns {
    ($tx:ident, $job:ident, $new:expr, $ids:expr, $state:expr, $due:ident $(, $more:expr)*) => {
        params![
            $new.0.0,
            $new.1.0,
            $ids.0,
            $ids.1,
            $state.code(),
            $job.priority.code(),
            $job.retry.max_retries,
            $job.retry.backoff.code(),
            millis($job.retry.delay),
            $job.retry.jitter == Jitter::Tenth,
            $job.timeout_ms,
            $due.as_ref().map(|_| WaitReason::Delay.code()),
            $due.as_ref().map(|due| due.run_at_ms),
            $due.as_ref().map(|due| due.fixed),
            $tx.now_ms,
            $($more),*
        ]
    };
}

fn enqueue_alone(tx: &mut Tx<'_>, job: &ValidatedJob, due: Option<Due>) -> Result<Enqueued> {
    let ids = ids(tx, job)?;
    quota::check(tx, ids.0, job.bounds.as_ref())?;
    let state = if due.is_some() {
        State::Scheduled
    } else {
        State::Pending
    };
    let new = new_id(tx)?;
    tx.run(JOB_INSERT, columns!(tx, job, new, ids, state, due))?;
    added(tx, job, new.0, (ids.0, state))
}

/// The numbers of its queue and its kind.
pub(crate) fn ids(tx: &mut Tx<'_>, job: &ValidatedJob) -> Result<(i64, i64)> {
    let queue = tx.names.queue_id(tx.conn, &job.queue)?;
    Ok((queue, tx.names.kind_id(tx.conn, &job.kind)?))
}

/// A new job's id, and that of the event.
fn new_id(tx: &mut Tx<'_>) -> Result<(JobId, EventId)> {
    let id = tx.new_job_id()?;
    Ok((id, tx.note(EventKind::Enqueued, id, NO_ATTEMPT)?))
}

/// What follows from a new row, whatever its rules.
fn added(
    tx: &mut Tx<'_>,
    job: &ValidatedJob,
    id: JobId,
    (queue, state): (i64, State),
) -> Result<Enqueued> {
    tx.run(PAYLOAD_INSERT, params![id.0, job.payload])?;
    tx.counts.add(queue, state, 1);
    Ok(Enqueued {
        id,
        state,
        duplicate: false,
        replaced: false,
        rerun_of: None,
    })
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
    let flags = rules.flags().and(JobFlags::WAITS, !edges.is_empty());
    let id = insert_row(tx, (job, rules), ids, (state, due, flags, unmet))?;
    let rerun_of = rules.unique.as_ref().and_then(|unique| unique.rerun_of);
    let enqueued = Enqueued {
        duplicate: rerun_of.is_some(),
        rerun_of,
        ..added(tx, job, id, (ids.0, state))?
    };
    if let (Some(key), Some(free)) = (&rules.key, place) {
        concurrency_slots::add(
            tx,
            key,
            (free, concurrency_slots::urgency(job.priority.code())),
            id,
        )?;
    }
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
    let new = new_id(tx)?;
    let columns = columns!(
        tx,
        job,
        new,
        ids,
        state,
        due,
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
    );
    tx.run(JOB_INSERT_WITH_RULES, columns)?;
    Ok(new.0)
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
    Ok(())
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
