//! Undoing a cancel by hand: the job is put back to what it was, with the jobs that were cancelled because of it.

use std::collections::BTreeMap;

use crate::model::event::{EventId, EventKind};
use crate::model::family::{PrerequisiteRule, Stage};
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::remedy::Remedy;
use crate::model::state::State;
use crate::store::jobs::job_row::JobRow;
use crate::store::jobs::requeue::OUTCOME_CLEAR;
use crate::store::jobs::was::Was;
use crate::store::jobs::{concurrency_slots, deadlines, dependencies, families, job_row, unique};
use crate::store::sqlite::params;
use crate::store::sqlite::statement::{statements, text};
use crate::store::sqlite::tx::{EventFields, NewEvent, Tx};
use crate::{Error, Result};

statements! {
    /// The entries of a final job after its end are few.
    hot JOB_CANCELLED_EVENT = "SELECT id, data FROM jobq_log WHERE job_id = ?1 AND kind = 7 ORDER BY id DESC LIMIT 1";
    hot JOB_ENDED_AT = "SELECT finished_at, enqueued_event FROM jobq_job WHERE id = ?1";
    hot JOB_DUE_LATER = "SELECT 1 FROM jobq_job WHERE id = ?1 AND run_at > ?2";
    /// Its wait stays where it still has one.
    hot JOB_PUT_BACK_IF_CANCELLED = "UPDATE jobq_job SET state = ?3, finished_at = NULL, updated_at = ?2,
            run_at = iif(?5, NULL, run_at), wait_fixed = iif(?5, NULL, wait_fixed),
            wait_reason = iif(?5, NULL, iif(?4, 1, wait_reason))
        WHERE id = ?1 AND state = 7";
}

/// Maximum number of jobs that are put back in one transaction.
const MAX_JOBS: usize = 10_000;

/// The jobs that a cancel by hand has cancelled: parents and prerequisites before those that wait for them.
type CancelledJobs = BTreeMap<JobId, (JobRow, Was)>;

/// Undoes the cancel of a job that this event records. Returns the job's state, and the number of the other jobs.
pub(crate) fn undo(tx: &mut Tx<'_>, (job, event): (JobId, EventId)) -> Result<(State, u64)> {
    let cancelled = cancelled_by(tx, (job, event))?;
    for (id, (row, was)) in &cancelled {
        check_children(tx, (*id, row), was)?;
        check_dependents(tx, (*id, row), event)?;
        put_back(tx, (*id, row), was)?;
    }
    let others = cancelled.len() as u64 - 1;
    tx.follow()?;
    Ok((job_row::get(tx.conn, job)?.state, others))
}

/// Searches downwards from the job: its children, and the jobs that wait for it.
fn cancelled_by(tx: &Tx<'_>, (job, event): (JobId, EventId)) -> Result<CancelledJobs> {
    let mut found = CancelledJobs::new();
    let mut open = vec![job];
    while let Some(id) = open.pop() {
        if found.contains_key(&id) {
            continue;
        }
        let row = job_row::get(tx.conn, id)?;
        let was = match row.state {
            State::Cancelled => last_cancel(tx, id)?,
            _ => None,
        };
        let was = was.filter(|(at, was)| match id == job {
            true => *at == event,
            false => was.of == Some(event),
        });
        let Some((_, was)) = was else {
            if id == job {
                return Err(Error::wrong_state(format!(
                    "job {job} has changed since: it is {} now",
                    row.state
                ))
                .with_remedy(Remedy::ShowJob(job)));
            }
            continue;
        };
        if row.flags.has(JobFlags::NEEDED) {
            let dependents = dependencies::dependents(tx, id)?.into_iter();
            open.extend(dependents.map(|dependent| dependent.job));
        }
        if row.flags.has(JobFlags::FAMILY) {
            let children = families::children(tx.conn, id)?.into_iter();
            open.extend(children.map(|(child, _)| child));
        }
        found.insert(id, (row, was));
        if found.len() > MAX_JOBS {
            return Err(Error::wrong_state(format!(
                "more than {MAX_JOBS} jobs were cancelled with job {job}: they cannot be brought back at once"
            ))
            .with_hint("retry them: that may be done a few hundred at a time"));
        }
    }
    Ok(found)
}

/// The latest cancel of a job, if its event keeps what the job was.
fn last_cancel(tx: &Tx<'_>, id: JobId) -> Result<Option<(EventId, Was)>> {
    let found = tx.optional(JOB_CANCELLED_EVENT, [id.0], |row| {
        Ok((row.get(0).map(EventId)?, text(row.get_ref(1)?)))
    })?;
    Ok(found.and_then(|(event, data)| Some((event, Was::parse(data.as_deref())?))))
}

fn in_the_way(job: JobId, why: impl std::fmt::Display) -> Error {
    Error::wrong_state(format!("the cancel of job {job} cannot be undone: {why}"))
}

/// The children of a parent must be as the cancel has left them.
fn check_children(tx: &Tx<'_>, (id, row): (JobId, &JobRow), was: &Was) -> Result<()> {
    if was.is_lost {
        return Err(in_the_way(id, "its result was too long to be kept")
            .with_hint("retry it: a result is made anew then"));
    }
    if let Some(child) = was.stopped {
        return Err(in_the_way(
            id,
            format_args!("its child {child} was running and has been asked to stop"),
        ));
    }
    if !row.flags.has(JobFlags::FAMILY) {
        return Ok(());
    }
    let total = families::get(tx.conn, id)?.map_or(0, |family| family.children.total);
    if families::children(tx.conn, id)?.len() as u64 != total {
        return Err(in_the_way(id, "some of its children have been removed"));
    }
    Ok(())
}

/// Jobs that waited for the end, however it came, have been released by it.
fn check_dependents(tx: &Tx<'_>, (id, row): (JobId, &JobRow), event: EventId) -> Result<()> {
    let ended = |id: JobId| -> Result<(Option<i64>, Option<i64>)> {
        let found = tx.optional(JOB_ENDED_AT, [id.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.unwrap_or_default())
    };
    if !row.flags.has(JobFlags::NEEDED) {
        return Ok(());
    }
    let (cancelled_at, _) = ended(id)?;
    for dependent in dependencies::dependents(tx, id)? {
        if dependent.rule != PrerequisiteRule::Final || !dependent.met {
            continue;
        }
        let (ended_at, enqueued) = ended(dependent.job)?;
        let had_ended = ended_at.is_some_and(|at| Some(at) < cancelled_at);
        let came_later = enqueued.is_some_and(|enqueued| enqueued > event.0);
        if !had_ended && !came_later {
            let other = dependent.job;
            return Err(in_the_way(
                id,
                format_args!("job {other}, which waited for its end, waits for it no longer"),
            )
            .with_remedy(Remedy::ShowJob(other)));
        }
    }
    Ok(())
}

fn put_back(tx: &mut Tx<'_>, (id, row): (JobId, &JobRow), was: &Was) -> Result<()> {
    check_parent(tx, (id, row))?;
    let (unmet, waits_for) = dependencies::wait_again(tx, id)?;
    if row.flags.has(JobFlags::UNIQUE) {
        unique::take_back(tx, id, |other| waits_for.contains(&other))?;
    }
    if row.flags.has(JobFlags::DEADLINE) {
        deadlines::arm_before(tx, id)?;
    }
    let is_later = tx.has_row(JOB_DUE_LATER, params![id.0, tx.now_ms])?;
    let to = match was.state {
        _ if unmet > 0 => State::Blocked,
        State::Blocked if is_later => State::Scheduled,
        State::Blocked if !concurrency_slots::take(tx, id)? => State::Blocked,
        State::Blocked => State::Pending,
        State::Waiting if families::stage(tx.conn, id, row.flags)? == Stage::Finalize => {
            match concurrency_slots::take(tx, id)? {
                true => State::Pending,
                false => State::Waiting,
            }
        }
        State::Pending if !concurrency_slots::take(tx, id)? => {
            let key = concurrency_slots::key_of(tx.conn, id)?;
            let key = key.map_or_else(String::new, |(key, _)| key);
            return Err(in_the_way(
                id,
                format_args!("its concurrency key '{key}' has no free slot now"),
            )
            .with_hint("try again when it has, or retry the job: then it waits for a slot"));
        }
        was => was,
    };
    let has_waited = to == State::Scheduled && was.state == State::Blocked;
    let is_due = to == State::Pending || (to == State::Blocked && unmet == 0);
    tx.run(
        JOB_PUT_BACK_IF_CANCELLED,
        params![id.0, tx.now_ms, to.code(), has_waited, is_due],
    )?;
    match row.attempt {
        0 => drop(tx.run(OUTCOME_CLEAR, [id.0])?),
        _ => was.restore_outcome(tx, id)?,
    }
    tx.append_change(NewEvent::job(EventKind::Requeued, id), EventFields::new())?;
    tx.counts.moved(row.queue, State::Cancelled, to);
    if let Some(parent) = row.parent {
        families::child_is_back(tx, (parent, id), State::Cancelled)?;
    }
    if to == State::Waiting {
        tx.pending.family(id);
    }
    Ok(())
}

/// A parent must still take children back.
fn check_parent(tx: &Tx<'_>, (id, row): (JobId, &JobRow)) -> Result<()> {
    let Some(parent) = row.parent else {
        return Ok(());
    };
    let Some(of) = job_row::find(tx.conn, parent)? else {
        return Err(in_the_way(
            id,
            format_args!("its parent {parent} has been removed"),
        ));
    };
    if of.state.is_final() {
        let why = format_args!("its parent {parent} is {}", of.state).to_string();
        return Err(in_the_way(id, why).with_remedy(Remedy::ShowJob(parent)));
    }
    if families::stage(tx.conn, parent, of.flags)? == Stage::Finalize {
        return Err(in_the_way(
            id,
            format_args!("its parent {parent} finalizes already"),
        ));
    }
    Ok(())
}
