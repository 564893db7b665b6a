//! Reading the attempts of a job: those that have ended from their rows, the latest one from the job's.

use std::time::Duration;

use crate::Result;
use crate::clock::timestamp;
use crate::model::event::{AttemptEnd, EventKind};
use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::model::outcome::AttemptRecord;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::{Connection, Row, RowResult, params};

statements! {
    hot ATTEMPTS_OF_JOB = "SELECT attempt, outcome, started_at, started_event, ended_at, ended_event, runner_id, worker,
            took_us, error, exit_code, cpu_ms, max_rss_bytes, run_at
        FROM jobq_attempt WHERE job_id = ?1 ORDER BY attempt";
    hot ATTEMPT_OF_JOB = "SELECT attempt, outcome, started_at, started_event, ended_at, ended_event, runner_id, worker,
            took_us, error, exit_code, cpu_ms, max_rss_bytes, run_at
        FROM jobq_attempt WHERE job_id = ?1 AND attempt = ?2";
    /// The attempt that runs, or that simply completed the job.
    hot ATTEMPT_LATEST = "SELECT attempt, CASE WHEN ended_event IS NOT NULL THEN 4 END, started_at, started_event, finished_at,
            ended_event, runner_id, worker, took_us, NULL, NULL, NULL, NULL, NULL
        FROM jobq_job WHERE id = ?1 AND attempt > 0 AND (state = 3 OR ended_event IS NOT NULL)";
}

/// An attempt, and the ids of its events.
pub(super) struct StoredAttempt {
    pub(super) attempt: u32,
    /// None while it runs.
    pub(super) outcome: Option<EventKind>,
    /// When it was claimed.
    pub(super) started_at: Option<i64>,
    pub(super) started_event: Option<i64>,
    pub(super) ended_at: Option<i64>,
    pub(super) ended_event: Option<i64>,
    pub(super) runner: Option<RunnerId>,
    pub(super) worker: Option<WorkerId>,
    pub(super) took: Option<Duration>,
    pub(super) end: AttemptEnd,
}

/// All attempts of a job, in order.
pub(super) fn stored(conn: &Connection, job: JobId) -> Result<Vec<StoredAttempt>> {
    let mut attempts = conn.all(ATTEMPTS_OF_JOB, [job.0], decode)?;
    if let Some(latest) = latest(conn, job)? {
        attempts.retain(|attempt| attempt.attempt != latest.attempt);
        attempts.push(latest);
    }
    Ok(attempts)
}

/// One of them; none if it is not known.
pub(super) fn find(conn: &Connection, job: JobId, attempt: u32) -> Result<Option<StoredAttempt>> {
    let ended = conn.optional(ATTEMPT_OF_JOB, params![job.0, attempt], decode)?;
    match ended {
        Some(ended) => Ok(Some(ended)),
        None => Ok(latest(conn, job)?.filter(|latest| latest.attempt == attempt)),
    }
}

fn latest(conn: &Connection, job: JobId) -> Result<Option<StoredAttempt>> {
    conn.optional(ATTEMPT_LATEST, [job.0], decode)
}

fn decode(row: &Row<'_>) -> RowResult<StoredAttempt> {
    let outcome: Option<i64> = row.get(1)?;
    Ok(StoredAttempt {
        attempt: row.get(0)?,
        outcome: outcome.and_then(EventKind::from_code),
        started_at: row.get(2)?,
        started_event: row.get(3)?,
        ended_at: row.get(4)?,
        ended_event: row.get(5)?,
        runner: row.get::<_, Option<_>>(6)?.map(RunnerId),
        worker: row.get::<_, Option<_>>(7)?.map(WorkerId),
        took: row.get::<_, Option<u64>>(8)?.map(Duration::from_micros),
        end: AttemptEnd {
            error: row.get(9)?,
            exit_code: row.get(10)?,
            cpu_ms: row.get(11)?,
            max_rss_bytes: row.get(12)?,
            run_at_ms: row.get(13)?,
        },
    })
}

pub(crate) fn of_job(conn: &Connection, job: JobId) -> Result<Vec<AttemptRecord>> {
    let attempts = stored(conn, job)?;
    Ok(attempts.into_iter().map(StoredAttempt::record).collect())
}

impl StoredAttempt {
    fn record(self) -> AttemptRecord {
        let claimed = self.started_at.map(timestamp);
        let ended = self.outcome.and(self.ended_at).map(timestamp);
        let began = ended
            .zip(self.took)
            .and_then(|(ended, took)| ended.checked_sub(took).ok());
        AttemptRecord {
            attempt: self.attempt,
            outcome: self.outcome,
            end: self.end,
            started_at: claimed.map(|claimed| began.map_or(claimed, |began| claimed.max(began))),
            finished_at: ended,
            took: self.took,
            runner: self.runner,
            worker: self.outcome.and(self.worker),
        }
    }
}
