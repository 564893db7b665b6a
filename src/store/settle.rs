//! Ending an attempt: what becomes of the job, fenced by (job, running, attempt).

use std::time::Duration;

use rusqlite::params;

use super::edit::OUTCOME_FORGET;
use super::enqueue::Due;
use super::events::NewEvent;
use super::statement::statements;
use super::tx::Tx;
use crate::Result;
use crate::event::{AttemptEnd, EventKind};
use crate::fault::{self, Fault};
use crate::job::{JobId, When};
use crate::outcome::{Snooze, Verdict};
use crate::state::{State, WaitReason};

statements! {
    hot JOB_FINISH_IF_HELD = "UPDATE jobq_job SET state = ?3, finished_at = ?4, updated_at = ?4,
            worker = coalesce(?5, worker), cancel = NULL
        WHERE id = ?1 AND state = 3 AND attempt = ?2";
    /// Not where somebody has asked to cancel: that request must not be lost in a retry.
    hot JOB_SCHEDULE_IF_HELD = "UPDATE jobq_job SET state = 0, wait_reason = ?3, run_at = ?4, wait_fixed = ?5,
            retries = retries + ?6, updated_at = ?7, worker = coalesce(?8, worker)
        WHERE id = ?1 AND state = 3 AND attempt = ?2 AND cancel IS NULL";
    /// Back to pending; see [`JOB_SCHEDULE_IF_HELD`] for the last term.
    hot JOB_RETURN_IF_HELD = "UPDATE jobq_job SET state = 2, crashes = crashes + ?3, no_ahead = max(no_ahead, ?4),
            updated_at = ?5
        WHERE id = ?1 AND state = 3 AND attempt = ?2 AND cancel IS NULL";
    /// What `jobq result` stored during the attempt stays.
    hot OUTCOME_SET_RESULT = "INSERT INTO jobq_outcome (job_id, result) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET result = coalesce(result, excluded.result), error = NULL";
    cold JOB_ATTEMPT = "SELECT attempt FROM jobq_job WHERE id = ?1";
    /// A failed attempt's result is nobody's.
    hot OUTCOME_SET_ERROR = "INSERT INTO jobq_outcome (job_id, error) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET result = NULL, error = excluded.error";
}

/// The attempt that is to be ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) job: JobId,
    pub(crate) attempt: u32,
    pub(crate) queue: i64,
    pub(crate) runner: i64,
}

/// What is known of the attempt besides its verdict.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) worker: Option<u32>,
    pub(crate) took: Option<Duration>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) max_rss_bytes: Option<u64>,
}

/// Whether a job that comes back may be claimed ahead again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AheadAgain {
    Yes,
    Never,
}

/// Ends an attempt; the state that its job went to. Where the attempt no longer holds the job, an
/// event says so and nothing else happens.
pub(crate) fn settle(
    tx: &mut Tx<'_>,
    held: &Held,
    verdict: &Verdict,
    measured: &Measured,
) -> Result<Option<State>> {
    let held = &unfenced(tx, *held)?;
    let due = due_of(verdict, tx.now_ms);
    if due.as_ref().is_some_and(|due| !due.fixed) {
        tx.follow_clock()?;
    }
    let Some(to) = change(tx, held, measured, (verdict, due.as_ref()))? else {
        return not_held(tx, held, measured);
    };
    // A request to cancel wins over another try.
    let is_cancelled = to == State::Cancelled;
    let kind = if is_cancelled {
        EventKind::Cancelled
    } else {
        kind_of(verdict)
    };
    let error = error_of(verdict);
    let end = AttemptEnd {
        error: error.map(str::to_owned),
        exit_code: measured.exit_code,
        cpu_ms: measured.cpu_ms,
        max_rss_bytes: measured.max_rss_bytes,
        run_at_ms: due.filter(|_| !is_cancelled).map(|due| due.run_at_ms),
    };
    let is_error = !matches!(verdict, Verdict::GiveBack { .. });
    clear_result(tx, held, to, error.filter(|_| is_error))?;
    append_end(tx, held, measured, (kind, &end))?;
    tx.counts.moved(held.queue, State::Running, to);
    Ok(Some(to))
}

/// Changes the job's row; none where it is not held.
fn change(
    tx: &Tx<'_>,
    held: &Held,
    measured: &Measured,
    (verdict, due): (&Verdict, Option<&Due>),
) -> Result<Option<State>> {
    match (verdict, due) {
        (Verdict::Complete { result }, _) => complete(tx, held, measured, result.as_deref()),
        (Verdict::Fail { .. }, _) => finish(tx, held, measured, State::Failed),
        (Verdict::Retry { .. }, Some(due)) => {
            schedule(tx, held, measured, (WaitReason::Retry, due))
        }
        (Verdict::Snooze(_), Some(due)) => schedule(tx, held, measured, (WaitReason::Snooze, due)),
        (Verdict::GiveBack { .. }, _) => give_back(tx, held, AheadAgain::Yes, 0),
        (Verdict::Recover { .. }, _) => give_back(tx, held, AheadAgain::Yes, 1),
        (Verdict::Cancel | Verdict::Retry { .. } | Verdict::Snooze(_), _) => {
            finish(tx, held, measured, State::Cancelled)
        }
    }
}

/// When the next attempt is due, where one has to wait.
fn due_of(verdict: &Verdict, now_ms: i64) -> Option<Due> {
    match verdict {
        Verdict::Retry { after, .. } => Some(due_at(When::In(*after), now_ms)),
        Verdict::Snooze(snooze) => Some(snoozed_until(*snooze, now_ms)),
        _ => None,
    }
}

fn kind_of(verdict: &Verdict) -> EventKind {
    match verdict {
        Verdict::Complete { .. } => EventKind::Completed,
        Verdict::Fail { .. } => EventKind::Failed,
        Verdict::Cancel => EventKind::Cancelled,
        Verdict::Retry { .. } => EventKind::Retry,
        Verdict::Snooze(_) => EventKind::Snoozed,
        Verdict::GiveBack { .. } => EventKind::Returned,
        Verdict::Recover { .. } => EventKind::Recovered,
    }
}

fn error_of(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Fail { error } | Verdict::Retry { error, .. } | Verdict::Recover { error } => {
            Some(error)
        }
        Verdict::GiveBack { why } => Some(why),
        Verdict::Complete { .. } | Verdict::Cancel | Verdict::Snooze(_) => None,
    }
}

/// What an attempt that did not complete had stored as its result is nobody's.
fn clear_result(tx: &Tx<'_>, held: &Held, to: State, error: Option<&str>) -> Result<()> {
    if let Some(error) = error {
        tx.conn
            .prepare_cached(OUTCOME_SET_ERROR)?
            .execute(params![held.job.0, error])?;
    } else if to != State::Completed {
        tx.conn
            .prepare_cached(OUTCOME_FORGET)?
            .execute([held.job.0])?;
    }
    Ok(())
}

/// The attempt as it is, unless a test has taken the fence away.
fn unfenced(tx: &Tx<'_>, held: Held) -> Result<Held> {
    if !fault::is_on(Fault::NoFence) {
        return Ok(held);
    }
    let attempt = tx
        .conn
        .query_row(JOB_ATTEMPT, [held.job.0], |row| row.get(0))?;
    Ok(Held { attempt, ..held })
}

/// Gives back what was claimed ahead and never begun: free of charge.
pub(crate) fn return_unbegun(
    tx: &mut Tx<'_>,
    held: &Held,
    again: AheadAgain,
) -> Result<Option<State>> {
    let Some(to) = give_back(tx, held, again, 0)? else {
        return not_held(tx, held, &Measured::default());
    };
    let kind = if to == State::Cancelled {
        EventKind::Cancelled
    } else {
        EventKind::Returned
    };
    append_end(
        tx,
        held,
        &Measured::default(),
        (kind, &AttemptEnd::default()),
    )?;
    tx.counts.moved(held.queue, State::Running, to);
    Ok(Some(to))
}

fn complete(
    tx: &Tx<'_>,
    held: &Held,
    measured: &Measured,
    result: Option<&str>,
) -> Result<Option<State>> {
    let to = finish(tx, held, measured, State::Completed)?;
    // A first attempt without a result has left nothing to clear either.
    if to.is_some() && (result.is_some() || held.attempt > 1) {
        tx.conn
            .prepare_cached(OUTCOME_SET_RESULT)?
            .execute(params![held.job.0, result])?;
    }
    Ok(to)
}

fn finish(tx: &Tx<'_>, held: &Held, measured: &Measured, to: State) -> Result<Option<State>> {
    let changed = tx
        .conn
        .prepare_cached(JOB_FINISH_IF_HELD)?
        .execute(params![
            held.job.0,
            held.attempt,
            to.code(),
            tx.now_ms,
            measured.worker
        ])?;
    Ok((changed == 1).then_some(to))
}

fn schedule(
    tx: &Tx<'_>,
    held: &Held,
    measured: &Measured,
    (reason, due): (WaitReason, &Due),
) -> Result<Option<State>> {
    let changed = tx
        .conn
        .prepare_cached(JOB_SCHEDULE_IF_HELD)?
        .execute(params![
            held.job.0,
            held.attempt,
            reason.code(),
            due.run_at_ms,
            due.fixed,
            reason == WaitReason::Retry,
            tx.now_ms,
            measured.worker
        ])?;
    if changed == 1 {
        Ok(Some(State::Scheduled))
    } else {
        finish(tx, held, measured, State::Cancelled)
    }
}

fn give_back(tx: &Tx<'_>, held: &Held, again: AheadAgain, crashes: u32) -> Result<Option<State>> {
    let changed = tx
        .conn
        .prepare_cached(JOB_RETURN_IF_HELD)?
        .execute(params![
            held.job.0,
            held.attempt,
            crashes,
            again == AheadAgain::Never,
            tx.now_ms
        ])?;
    if changed == 1 {
        return Ok(Some(State::Pending));
    }
    finish(tx, held, &Measured::default(), State::Cancelled)
}

fn snoozed_until(snooze: Snooze, now_ms: i64) -> Due {
    let when = match snooze {
        Snooze::For(duration) => When::In(duration),
        Snooze::Until(at) => When::At(at),
    };
    due_at(when, now_ms)
}

/// What is due already is due now: it goes through `scheduled` all the same.
fn due_at(when: When, now_ms: i64) -> Due {
    Due::of(when, now_ms).unwrap_or(Due {
        run_at_ms: now_ms,
        fixed: false,
    })
}

fn append_end(
    tx: &mut Tx<'_>,
    held: &Held,
    measured: &Measured,
    (kind, end): (EventKind, &AttemptEnd),
) -> Result<()> {
    let data = end.to_json();
    let event = NewEvent {
        attempt: Some(held.attempt),
        runner: Some(held.runner),
        worker: measured.worker,
        took: measured.took,
        ..NewEvent::job(kind, held.job).text(data)
    };
    tx.append(event)
}

fn not_held(tx: &mut Tx<'_>, held: &Held, measured: &Measured) -> Result<Option<State>> {
    append_end(
        tx,
        held,
        measured,
        (EventKind::ReportDropped, &AttemptEnd::default()),
    )?;
    Ok(None)
}
