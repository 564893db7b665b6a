//! Putting jobs into the file.

use rusqlite::params;

use super::checked::{CheckedJob, Rules};
use super::events::NewEvent;
use super::families::{self, Admitted};
use super::links::Links;
use super::numbers;
use super::prerequisites::{self, Edge};
use super::room;
use super::statement::statements;
use super::tx::Tx;
use super::uniques::{self, Taken};
use super::{deadlines, ended, places};
use crate::Result;
use crate::clock::millis;
use crate::event::EventKind;
use crate::job::{Enqueued, JobId, When};
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

/// When a waiting job is due, and whether that moment was asked for or follows from a duration.
pub(crate) struct Due {
    pub(crate) run_at_ms: i64,
    pub(crate) fixed: bool,
}

impl Due {
    /// None where it is due already.
    pub(crate) fn of(when: When, now_ms: i64) -> Option<Due> {
        Some(Due::moment(when, now_ms)).filter(|due| due.run_at_ms > now_ms)
    }

    /// The same where it has passed, too.
    pub(crate) fn moment(when: When, now_ms: i64) -> Due {
        let run_at_ms = match when {
            When::Now => now_ms,
            When::In(delay) => after(millis(delay), now_ms),
            When::At(at) => at.as_millisecond(),
        };
        Due {
            run_at_ms,
            fixed: !matches!(when, When::In(_)),
        }
    }
}

/// So long after now. The year 9999 is never, and still fits when a step of the clock moves it.
pub(crate) fn after(wait_ms: i64, now_ms: i64) -> i64 {
    const NEVER_MS: i64 = 253_402_300_799_999;
    now_ms.saturating_add(wait_ms).min(NEVER_MS)
}

pub(crate) fn enqueue(tx: &mut Tx<'_>, job: &CheckedJob) -> Result<Enqueued> {
    let due = Due::of(job.when, tx.now_ms);
    let deadline = job.rules.as_ref().and_then(|rules| rules.deadline);
    if due.as_ref().is_some_and(|due| !due.fixed) || matches!(deadline, Some(When::In(_))) {
        tx.follow_clock()?;
    }
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
        Some(unique) => uniques::claim(tx, job, unique)?,
        None => Taken::Free,
    };
    match taken {
        Taken::Free => insert_with(tx, job, rules, due),
        Taken::By(enqueued) => Ok(enqueued),
        Taken::ByRunning(holder) => insert_with(tx, job, &rules.once_more_after(holder), due),
    }
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
    let links = rules.links().and(Links::WAITS, !edges.is_empty());
    let deadline_ms = rules.deadline_ms(tx.now_ms);
    let mut insert = tx.conn.prepare_cached(JOB_INSERT_WITH_RULES)?;
    let id = insert.insert(columns!(
        tx,
        job,
        ids,
        state,
        due,
        links,
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
    ended::cancel(tx, id, &reason)?;
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
