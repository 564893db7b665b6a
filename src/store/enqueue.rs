//! Putting jobs into the file.

use rusqlite::params;

use super::checked::{CheckedJob, Rules};
use super::families::{self, Admitted};
use super::job_row;
use super::numbers;
use super::prerequisites::{self, Edge};
use super::room;
use super::statement::statements;
use super::tx::{NewEvent, Tx};
use super::uniques::{self, Replaceable, Taken};
use super::{cancel, deadlines, edit, places};
use crate::Result;
use crate::clock::millis;
use crate::due::Due;
use crate::event::EventKind;
use crate::flags::JobFlags;
use crate::job::{Enqueued, JobId};
use crate::retry::Jitter;
use crate::state::{State, WaitReason};

statements! {
    hot JOB_INSERT = "INSERT INTO jobq_job (queue_id, kind_id, state, priority, max_retries, backoff, retry_delay_ms,
            jitter, timeout_ms, wait_reason, run_at, wait_fixed, created_at, updated_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13)";
    hot JOB_INSERT_WITH_RULES = "INSERT INTO jobq_job (queue_id, kind_id, state, priority, max_retries, backoff,
            retry_delay_ms, jitter, timeout_ms, wait_reason, run_at, wait_fixed, created_at, updated_at,
            links, unmet, parent_id, key, unique_key, unique_for_ms, deadline, tenant)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)";
    hot PAYLOAD_INSERT = "INSERT INTO jobq_payload (job_id, payload) VALUES (?1, ?2)";
    hot TAG_INSERT = "INSERT INTO jobq_tag (name, value, job_id) VALUES (?1, ?2, ?3)";
}

pub(crate) fn enqueue(tx: &mut Tx<'_>, job: &CheckedJob) -> Result<Enqueued> {
    let due = Due::of(job.when, tx.now_ms);
    match &job.rules {
        None => enqueue_alone(tx, job, due),
        Some(rules) => enqueue_with(tx, job, rules, due),
    }
}

/// The values that every job has, in the order of the columns.
macro_rules! columns {
    ($tx:ident, $job:ident, $ids:expr, $state:expr, $due:ident $(, $more:expr)*) => {
        params![
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

fn enqueue_alone(tx: &mut Tx<'_>, job: &CheckedJob, due: Option<Due>) -> Result<Enqueued> {
    let ids = ids(tx, job)?;
    room::check(tx, ids.0, job.bounds.as_ref())?;
    let state = if due.is_some() {
        State::Scheduled
    } else {
        State::Pending
    };
    let mut insert = tx.conn.prepare_cached(JOB_INSERT)?;
    let id = insert.insert(columns!(tx, job, ids, state, due));
    let id = numbers::inserted(tx.conn, id)?;
    drop(insert);
    added(tx, job, JobId(id), (ids.0, state))
}

/// The numbers of its queue and its kind.
pub(crate) fn ids(tx: &mut Tx<'_>, job: &CheckedJob) -> Result<(i64, i64)> {
    let queue = tx.names.queue_id(tx.conn, &job.queue)?;
    Ok((queue, tx.names.kind_id(tx.conn, &job.kind)?))
}

/// What follows from a new row, whatever its rules.
fn added(
    tx: &mut Tx<'_>,
    job: &CheckedJob,
    id: JobId,
    (queue, state): (i64, State),
) -> Result<Enqueued> {
    tx.conn
        .prepare_cached(PAYLOAD_INSERT)?
        .execute(params![id.0, job.payload])?;
    tx.append(NewEvent::job(EventKind::Enqueued, id))?;
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
    job: &CheckedJob,
    rules: &Rules,
    due: Option<Due>,
) -> Result<Enqueued> {
    let taken = match &rules.unique {
        Some(unique) => uniques::look_up(tx, unique)?,
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
fn replace(tx: &mut Tx<'_>, job: &CheckedJob, old: &Replaceable) -> Result<Enqueued> {
    edit::replace(tx, job, (old.job, &old.row))?;
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
    job: &CheckedJob,
    rules: &Rules,
    due: Option<Due>,
) -> Result<Enqueued> {
    let ids = ids(tx, job)?;
    room::check(tx, ids.0, job.bounds.as_ref())?;
    let admitted = rules
        .parent
        .map(|parent| families::admit(tx, parent))
        .transpose()?;
    let edges = prerequisites::edges(tx, rules, admitted.as_ref())?;
    let doomed = edges.iter().find_map(|edge| edge.doom.clone());
    let unmet = edges.iter().filter(|edge| !edge.met).count();
    if let (Some(key), Some(number)) = (&rules.key, rules.key_limit) {
        places::set_number(tx, key, number)?;
    }
    let place = match &rules.key {
        Some(key) if unmet == 0 && due.is_none() => Some(places::is_free(tx, key)?),
        _ => None,
    };
    let state = begins_in(job, unmet, (due.is_some(), place));
    let flags = rules.flags().and(JobFlags::WAITS, !edges.is_empty());
    let deadline_ms = rules.deadline_ms(tx.now_ms);
    let mut insert = tx.conn.prepare_cached(JOB_INSERT_WITH_RULES)?;
    let id = insert.insert(columns!(
        tx,
        job,
        ids,
        state,
        due,
        flags,
        unmet as i64,
        rules.parent.map(|parent| parent.job.0),
        rules.key,
        rules.unique.as_ref().map(|unique| &unique.key),
        rules.unique.as_ref().and_then(|unique| unique.for_ms),
        deadline_ms,
        rules.tenant
    ));
    let id = JobId(numbers::inserted(tx.conn, id)?);
    drop(insert);
    let rerun_of = rules.unique.as_ref().and_then(|unique| unique.rerun_of);
    let enqueued = Enqueued {
        duplicate: rerun_of.is_some(),
        rerun_of,
        ..added(tx, job, id, (ids.0, state))?
    };
    if let (Some(key), Some(free)) = (&rules.key, place) {
        places::add(tx, key, (free, places::urgency(job.priority.code())), id)?;
    }
    tie(tx, rules, id, (&edges, admitted.as_ref()))?;
    if state == State::Waiting {
        families::set_stage(tx, id, crate::family::Stage::Children)?;
        deadlines::begun(tx, id)?;
    }
    let Some(reason) = doomed else {
        return Ok(enqueued);
    };
    // Those whom it doomed are gone, and so is everybody it could have waited for.
    cancel::cancel_by_rule(tx, id, &reason)?;
    Ok(Enqueued {
        state: State::Cancelled,
        ..enqueued
    })
}

/// Where a new job begins. `place` is whether there is a free one under its key, where it needs one now.
fn begins_in(job: &CheckedJob, unmet: usize, (is_delayed, place): (bool, Option<bool>)) -> State {
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
    (edges, admitted): (&[Edge], Option<&Admitted>),
) -> Result<()> {
    if let Some(unique) = &rules.unique {
        match unique.rerun_of {
            None => uniques::take(tx, &unique.key, id)?,
            Some(_) => uniques::take_after(tx, &unique.key, id)?,
        }
    }
    if let Some(deadline_ms) = rules.deadline_ms(tx.now_ms) {
        deadlines::arm(tx, id, deadline_ms)?;
    }
    for (name, value) in &rules.tags {
        tx.conn
            .prepare_cached(TAG_INSERT)?
            .execute(params![name, value, id.0])?;
    }
    prerequisites::add(tx, id, edges)?;
    if let Some(family) = &rules.family {
        families::found(tx, id, rules.parent.map(|parent| parent.job), *family)?;
    }
    if let Some(admitted) = admitted {
        families::join(tx, admitted)?;
    }
    Ok(())
}
