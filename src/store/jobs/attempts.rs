//! The rows of attempts that have ended.
//!
//! An attempt that simply completed its job has none: all that there is to say fits on the job's own row, and so
//! a job that succeeds at once, as most do, costs one row less.

use crate::Result;
use crate::model::event::{AttemptEnd, EventId, EventKind};
use crate::model::id::JobId;
use crate::store::jobs::finish_attempt::{AttemptMeasures, ClaimToken};
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::{Tx, micros};

statements! {
    hot ATTEMPT_APPEND = "INSERT OR REPLACE INTO jobq_attempt (job_id, attempt, outcome, started_at, started_event, ended_at,
            ended_event, runner_id, worker, took_us, error, exit_code, cpu_ms, max_rss_bytes, run_at)
        SELECT id, ?2, ?3, started_at, started_event, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
        FROM jobq_job WHERE id = ?1";
    /// Before another attempt takes its place on the job's row.
    hot ATTEMPT_KEEP = "INSERT OR REPLACE INTO jobq_attempt (job_id, attempt, outcome, started_at, started_event, ended_at,
            ended_event, runner_id, worker, took_us)
        SELECT id, attempt, 4, started_at, started_event, finished_at, ended_event, runner_id, worker, took_us
        FROM jobq_job WHERE id = ?1 AND ended_event IS NOT NULL AND finished_at IS NOT NULL";
    hot ATTEMPTS_REMOVE_SOME_OF_JOB = "DELETE FROM jobq_attempt WHERE job_id = ?1 AND attempt IN
        (SELECT attempt FROM jobq_attempt WHERE job_id = ?1 ORDER BY attempt LIMIT ?2)";
}

/// The end of an attempt.
pub(super) struct EndedAttempt<'a> {
    pub(super) held: &'a ClaimToken,
    pub(super) measured: &'a AttemptMeasures,
    pub(super) outcome: EventKind,
    pub(super) end: &'a AttemptEnd,
    pub(super) event: EventId,
}

pub(super) fn append(tx: &Tx<'_>, ended: &EndedAttempt<'_>) -> Result<()> {
    let EndedAttempt {
        held,
        measured,
        end,
        ..
    } = ended;
    tx.run_often(
        ATTEMPT_APPEND,
        params![
            held.job.0,
            held.attempt,
            ended.outcome.code(),
            tx.now_ms,
            ended.event.0,
            held.runner,
            measured.worker,
            measured.took.map(micros),
            end.error,
            end.exit_code,
            end.cpu_ms,
            end.max_rss_bytes,
            end.run_at_ms
        ],
    )?;
    Ok(())
}

/// Keeps an attempt that is on the job's row only.
pub(super) fn keep(tx: &Tx<'_>, job: JobId) -> Result<()> {
    tx.run(ATTEMPT_KEEP, [job.0])?;
    Ok(())
}
