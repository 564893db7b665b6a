//! Finishing an attempt: what happens to the job, fenced by (job, running, attempt).

use std::time::Duration;

use crate::fault::Fault;
use crate::model::event::{AttemptEnd, EventKind};
use crate::model::family::Stage;
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::job::{AttemptRef, Due, When};
use crate::model::outcome::Verdict;
use crate::model::state::{State, WaitReason};
use crate::store::jobs::enqueue::Spawned;
use crate::store::jobs::job_row::{OUTCOME_FORGET, OUTCOME_SET_ERROR};
use crate::store::jobs::{
    attempts, cancel, concurrency_slots, deadlines, dependencies, families, job_row, snooze,
};
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::metrics::EndedSample;
use crate::store::sqlite::tx::{ChildAction, Ended, NewEvent, Tx, micros};
use crate::{Result, fault};

statements! {
    hot JOB_FINISH_IF_HELD = "UPDATE jobq_job SET state = ?3, finished_at = ?4, updated_at = ?4,
            worker = coalesce(?5, worker), cancel = NULL, took_us = ?7, ended_event = ?8
        WHERE id = ?1 AND state = 3 AND attempt = ?2 AND links = ?6";
    /// A parent's run phase is done.
    hot JOB_WAIT_IF_HELD = "UPDATE jobq_job SET state = 4, updated_at = ?3, worker = coalesce(?4, worker)
        WHERE id = ?1 AND state = 3 AND attempt = ?2";
    hot JOB_CANCEL_TAKE = "UPDATE jobq_job SET cancel = NULL WHERE id = ?1 AND cancel = 1";
    /// Not if a cancel was requested: the request must not be lost in a retry.
    hot JOB_SCHEDULE_IF_HELD = "UPDATE jobq_job SET state = 0, wait_reason = ?3, run_at = ?4, wait_fixed = ?5,
            retries = retries + ?6, updated_at = ?7, worker = coalesce(?8, worker)
        WHERE id = ?1 AND state = 3 AND attempt = ?2 AND cancel IS NULL";
    /// Back to pending; see [`JOB_SCHEDULE_IF_HELD`] for the last term.
    hot JOB_RETURN_IF_HELD = "UPDATE jobq_job SET state = 2, crashes = crashes + ?3, no_ahead = max(no_ahead, ?4),
            updated_at = ?5
        WHERE id = ?1 AND state = 3 AND attempt = ?2 AND cancel IS NULL";
    /// Keeps the result that `jobq result` stored during the attempt.
    hot OUTCOME_SET_RESULT = "INSERT INTO jobq_outcome (job_id, result) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET result = coalesce(result, excluded.result), error = NULL";
    cold JOB_ATTEMPT = "SELECT attempt FROM jobq_job WHERE id = ?1";
}

/// The attempt to finish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimToken {
    pub(crate) job: JobId,
    pub(crate) attempt: u32,
    pub(crate) queue: i64,
    pub(crate) kind: i64,
    pub(crate) runner: i64,
    /// The rules it is under, as the claim found them.
    pub(crate) flags: JobFlags,
    pub(crate) parent: Option<JobId>,
    /// How long the job had been pending, if this process has claimed it.
    pub(crate) waited: Option<Duration>,
}

impl ClaimToken {
    pub(crate) fn reference(&self) -> AttemptRef {
        AttemptRef {
            job: self.job,
            attempt: self.attempt,
        }
    }
}

/// Measurements of the attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct AttemptMeasures {
    pub(crate) worker: Option<u32>,
    pub(crate) took: Option<Duration>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) max_rss_bytes: Option<u64>,
}

impl AttemptMeasures {
    /// Whether there is nothing but what is on the job's row.
    fn say_nothing(&self) -> bool {
        self.exit_code.is_none() && self.cpu_ms.is_none() && self.max_rss_bytes.is_none()
    }
}

/// Whether a returned job may be claimed ahead again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefetchAgain {
    Yes,
    Never,
}

/// Finishes an attempt; returns the new state of its job. If the attempt no longer holds the job, an event
/// records that and nothing else happens.
pub(crate) fn finish(
    tx: &mut Tx<'_>,
    held: &ClaimToken,
    verdict: &Verdict,
    measured: &AttemptMeasures,
) -> Result<Option<State>> {
    finish_with(tx, held, (verdict, &Spawned::default()), measured)
}

/// The same for an attempt that has spawned jobs: they are added if it completes.
pub(crate) fn finish_with(
    tx: &mut Tx<'_>,
    held: &ClaimToken,
    (verdict, spawned): (&Verdict, &Spawned),
    measured: &AttemptMeasures,
) -> Result<Option<State>> {
    let held = &unfenced(tx, *held)?;
    let Some((to, flags)) = change(tx, held, measured, (verdict, spawned))? else {
        return not_held(tx, held, measured);
    };
    let snoozed = snooze::settle(tx, held.reference(), (verdict, to, flags))?;
    let verdict = snoozed.as_ref().unwrap_or(verdict);
    let kind = match to {
        State::Cancelled => EventKind::Cancelled,
        State::Waiting => EventKind::Waiting,
        _ => verdict.event(),
    };
    let error = verdict.error();
    let end = AttemptEnd {
        error: error.map(str::to_owned),
        exit_code: measured.exit_code,
        cpu_ms: measured.cpu_ms,
        max_rss_bytes: measured.max_rss_bytes,
        run_at_ms: next_run_at_ms(verdict, tx.now_ms).filter(|_| to == State::Scheduled),
    };
    let is_error = !matches!(verdict, Verdict::GiveBack { .. });
    clear_result(tx, held, to, error.filter(|_| is_error))?;
    append_end(tx, held, measured, (kind, &end))?;
    tx.counts.moved(held.queue, State::Running, to);
    tx.ended.push(EndedSample {
        queue: held.queue,
        kind: held.kind,
        outcome: kind,
        took: measured.took,
        waited: held.waited,
        cpu_ms: measured.cpu_ms,
        max_rss_bytes: measured.max_rss_bytes,
    });
    let left = ClaimToken { flags, ..*held };
    match to {
        State::Waiting => return run_phase_done(tx, &left, spawned).map(Some),
        State::Completed => spawned.add(tx)?,
        State::Scheduled | State::Pending => tried(tx, &left, to)?,
        _ => {}
    }
    if to.is_final() {
        has_ended(tx, &left, to);
    }
    Ok(Some(to))
}

/// Whether the attempt holds its job and has not asked for a snooze, before the job's row changes; the row's own
/// update checks it too.
fn will_complete(tx: &Tx<'_>, held: &ClaimToken) -> Result<bool> {
    let row = job_row::find(tx.conn, held.job)?;
    Ok(row.is_some_and(|row| {
        let is_held = row.state == State::Running && row.attempt == held.attempt;
        is_held && !row.flags.has(JobFlags::SNOOZE)
    }))
}

/// Changes the job's row; returns its new state and its flags, or none if the attempt does not hold it.
fn change(
    tx: &mut Tx<'_>,
    held: &ClaimToken,
    measured: &AttemptMeasures,
    (verdict, spawned): (&Verdict, &Spawned),
) -> Result<Option<(State, JobFlags)>> {
    let tried_again = match verdict {
        Verdict::Complete { result } => {
            if spawned.is_parent && will_complete(tx, held)? {
                families::create(tx, held.job, held.parent, spawned.family)?;
            }
            return complete(tx, held, measured, result.as_deref());
        }
        Verdict::Fail { .. } => return finish_row(tx, held, measured, State::Failed),
        Verdict::Cancel => return finish_row(tx, held, measured, State::Cancelled),
        Verdict::Retry { after, .. } => {
            let due = due_at(When::In(*after), tx.now_ms);
            schedule(tx, held, measured, (WaitReason::Retry, &due))?
        }
        Verdict::Snooze(snooze) => {
            let due = due_at((*snooze).into(), tx.now_ms);
            schedule(tx, held, measured, (WaitReason::Snooze, &due))?
        }
        Verdict::GiveBack { .. } => give_back(tx, held, PrefetchAgain::Yes, 0)?,
        Verdict::Recover { .. } => give_back(tx, held, PrefetchAgain::Yes, 1)?,
    };
    match tried_again {
        // While the attempt ran, other jobs may have begun to wait for it.
        Some(state) => Ok(Some((state, job_row::get(tx.conn, held.job)?.flags))),
        // A request to cancel wins over another attempt.
        None => finish_row(tx, held, measured, State::Cancelled),
    }
}

/// Queues the consequences of the end of a job with rules; they are worked off before the COMMIT.
fn has_ended(tx: &mut Tx<'_>, held: &ClaimToken, to: State) {
    tx.pending.ended(Ended {
        job: held.job,
        to,
        flags: held.flags,
        parent: held.parent,
        children: if to == State::Completed {
            ChildAction::LeaveAlone
        } else {
            ChildAction::Cancel
        },
        cancel: None,
    });
}

/// An attempt that had begun has ended, and the job will be tried again.
fn tried(tx: &mut Tx<'_>, held: &ClaimToken, to: State) -> Result<()> {
    if held.flags.has(JobFlags::DEADLINE) {
        deadlines::begun(tx, held.job)?;
    }
    if held.flags.has(JobFlags::NEEDED) {
        dependencies::attempt_undone(tx, held.job)?;
    }
    if held.flags.has(JobFlags::KEY) && to == State::Scheduled {
        concurrency_slots::leave(tx, held.job)?;
    }
    Ok(())
}

/// A parent's run phase is done: its children may run. A cancel request takes effect afterwards, so a retry
/// does not repeat the part.
fn run_phase_done(tx: &mut Tx<'_>, held: &ClaimToken, spawned: &Spawned) -> Result<State> {
    families::set_stage(tx, held.job, Stage::Children)?;
    if held.flags.has(JobFlags::DEADLINE) {
        deadlines::begun(tx, held.job)?;
    }
    if held.flags.has(JobFlags::KEY) {
        concurrency_slots::leave(tx, held.job)?;
    }
    if held.flags.has(JobFlags::NEEDED) {
        dependencies::run_phase_done(tx, held.job)?;
    }
    spawned.add(tx)?;
    tx.pending.family(held.job);
    let is_asked = tx.run(JOB_CANCEL_TAKE, [held.job.0])? == 1;
    if !is_asked {
        return Ok(State::Waiting);
    }
    let row = job_row::get(tx.conn, held.job)?;
    cancel::cancel_now(tx, (held.job, &row), (None, None))?;
    Ok(State::Cancelled)
}

/// When the next attempt is due, if it must wait.
fn next_run_at_ms(verdict: &Verdict, now_ms: i64) -> Option<i64> {
    match verdict {
        Verdict::Retry { after, .. } => Some(due_at(When::In(*after), now_ms).run_at_ms),
        Verdict::Snooze(snooze) => Some(due_at((*snooze).into(), now_ms).run_at_ms),
        _ => None,
    }
}

/// Discards the result of an attempt that did not complete.
fn clear_result(tx: &Tx<'_>, held: &ClaimToken, to: State, error: Option<&str>) -> Result<()> {
    if let Some(error) = error {
        tx.run(OUTCOME_SET_ERROR, params![held.job.0, error])?;
    } else if !matches!(to, State::Completed | State::Waiting) {
        tx.run(OUTCOME_FORGET, [held.job.0])?;
    }
    Ok(())
}

/// The attempt to compare with, unless a test has disabled the fence.
fn unfenced(tx: &Tx<'_>, held: ClaimToken) -> Result<ClaimToken> {
    if !fault::is_on(Fault::NoFence) {
        return Ok(held);
    }
    let attempt = tx
        .conn
        .query_row(JOB_ATTEMPT, [held.job.0], |row| row.get(0))?;
    Ok(ClaimToken { attempt, ..held })
}

/// Returns a job that was claimed ahead and never begun; it costs no retry.
pub(crate) fn return_unbegun(
    tx: &mut Tx<'_>,
    held: &ClaimToken,
    again: PrefetchAgain,
) -> Result<Option<State>> {
    let (to, flags) = match give_back(tx, held, again, 0)? {
        Some(to) => (to, job_row::get(tx.conn, held.job)?.flags),
        None => match finish_row(tx, held, &AttemptMeasures::default(), State::Cancelled)? {
            Some(ended) => ended,
            None => return not_held(tx, held, &AttemptMeasures::default()),
        },
    };
    let kind = if to == State::Cancelled {
        EventKind::Cancelled
    } else {
        EventKind::Returned
    };
    snooze::take(tx, held.job, flags)?;
    append_end(
        tx,
        held,
        &AttemptMeasures::default(),
        (kind, &AttemptEnd::default()),
    )?;
    tx.counts.moved(held.queue, State::Running, to);
    if to.is_final() {
        has_ended(tx, &ClaimToken { flags, ..*held }, to);
        return Ok(Some(to));
    }
    if flags.has(JobFlags::DEADLINE) {
        deadlines::arm_again(tx, held.job)?;
    }
    // A job that a lost runner had claimed ahead may have just begun.
    tx.run(OUTCOME_FORGET, [held.job.0])?;
    if flags.has(JobFlags::NEEDED) {
        dependencies::attempt_undone(tx, held.job)?;
    }
    Ok(Some(to))
}

fn complete(
    tx: &mut Tx<'_>,
    held: &ClaimToken,
    measured: &AttemptMeasures,
    result: Option<&str>,
) -> Result<Option<(State, JobFlags)>> {
    let ended = finish_row(tx, held, measured, State::Completed)?;
    // A first attempt without a result has nothing to clear.
    let is_done = matches!(ended, Some((State::Completed | State::Waiting, _)));
    if is_done && (result.is_some() || held.attempt > 1) {
        tx.run(OUTCOME_SET_RESULT, params![held.job.0, result])?;
    } else if is_done && held.parent.is_some() {
        // A rule may have asked it to stop.
        job_row::forget_error(tx, held.job)?;
    }
    Ok(ended)
}

/// Ends the job, or snoozes it if it asked for that. The same statement checks the flags that the claim read, at no
/// cost for a job without rules: since then other jobs may have begun to wait for it, or become its children.
fn finish_row(
    tx: &Tx<'_>,
    held: &ClaimToken,
    measured: &AttemptMeasures,
    to: State,
) -> Result<Option<(State, JobFlags)>> {
    let is_simple = !held.flags.has(JobFlags::FAMILY) && !held.flags.has(JobFlags::SNOOZE);
    if is_simple && finish_if_linked(tx, held, measured, (to, held.flags))? {
        return Ok(Some((to, held.flags)));
    }
    let Some(row) = job_row::find(tx.conn, held.job)? else {
        return Ok(None);
    };
    if row.state != State::Running || row.attempt != held.attempt {
        return Ok(None);
    }
    let flags = row.flags;
    if to == State::Completed
        && let Some(snooze) = snooze::asked(tx, held.job, flags)?
    {
        let due = due_at(snooze.into(), tx.now_ms);
        return match schedule(tx, held, measured, (WaitReason::Snooze, &due))? {
            Some(state) => Ok(Some((state, flags))),
            // A request to cancel wins over another attempt.
            None => finish_row(tx, held, measured, State::Cancelled),
        };
    }
    if to == State::Completed && families::goes_on(tx, held.job, flags)? {
        let waits = wait(tx, held, measured)?;
        return Ok(waits.then_some((State::Waiting, flags)));
    }
    let ended = finish_if_linked(tx, held, measured, (to, flags))?;
    Ok(ended.then_some((to, flags)))
}

fn finish_if_linked(
    tx: &Tx<'_>,
    held: &ClaimToken,
    measured: &AttemptMeasures,
    (to, flags): (State, JobFlags),
) -> Result<bool> {
    let simply = (to == State::Completed && measured.say_nothing()).then(|| tx.next_event_id());
    let changed = tx.run_often(
        JOB_FINISH_IF_HELD,
        params![
            held.job.0,
            held.attempt,
            to.code(),
            tx.now_ms,
            measured.worker,
            flags,
            simply.and(measured.took).map(micros),
            simply.map(|event| event.0)
        ],
    )?;
    Ok(changed == 1)
}

fn wait(tx: &Tx<'_>, held: &ClaimToken, measured: &AttemptMeasures) -> Result<bool> {
    let waits = params![held.job.0, held.attempt, tx.now_ms, measured.worker];
    Ok(tx.run(JOB_WAIT_IF_HELD, waits)? == 1)
}

/// Whether it was held and no cancel was requested.
fn schedule(
    tx: &Tx<'_>,
    held: &ClaimToken,
    measured: &AttemptMeasures,
    (reason, due): (WaitReason, &Due),
) -> Result<Option<State>> {
    let changed = tx.run(
        JOB_SCHEDULE_IF_HELD,
        params![
            held.job.0,
            held.attempt,
            reason.code(),
            due.run_at_ms,
            due.fixed,
            reason == WaitReason::Retry,
            tx.now_ms,
            measured.worker
        ],
    )?;
    Ok((changed == 1).then_some(State::Scheduled))
}

/// Whether it was held and no cancel was requested.
fn give_back(
    tx: &Tx<'_>,
    held: &ClaimToken,
    again: PrefetchAgain,
    crashes: u32,
) -> Result<Option<State>> {
    let changed = tx.run(
        JOB_RETURN_IF_HELD,
        params![
            held.job.0,
            held.attempt,
            crashes,
            again == PrefetchAgain::Never,
            tx.now_ms
        ],
    )?;
    Ok((changed == 1).then_some(State::Pending))
}

/// A moment that has passed becomes now: the job goes through `scheduled` all the same.
fn due_at(when: When, now_ms: i64) -> Due {
    Due::of(when, now_ms).unwrap_or(Due {
        run_at_ms: now_ms,
        fixed: false,
    })
}

fn append_end(
    tx: &mut Tx<'_>,
    held: &ClaimToken,
    measured: &AttemptMeasures,
    (kind, end): (EventKind, &AttemptEnd),
) -> Result<()> {
    let event = tx.note(kind, held.job, held.attempt)?;
    if kind == EventKind::Completed && measured.say_nothing() {
        return Ok(());
    }
    let ended = attempts::EndedAttempt {
        held,
        measured,
        outcome: kind,
        end,
        event,
    };
    attempts::append(tx, &ended)
}

fn not_held(
    tx: &mut Tx<'_>,
    held: &ClaimToken,
    measured: &AttemptMeasures,
) -> Result<Option<State>> {
    if job_row::state(tx.conn, held.job)?.is_none() {
        // The job's log has gone with it.
        tx.note(EventKind::ReportDropped, held.job, held.attempt)?;
        return Ok(None);
    }
    tx.append(NewEvent {
        attempt: Some(held.attempt),
        runner: Some(held.runner),
        worker: measured.worker,
        took: measured.took,
        ..NewEvent::job(EventKind::ReportDropped, held.job)
    })?;
    Ok(None)
}
