//! Putting jobs into the file.

use rusqlite::params;

use super::events::NewEvent;
use super::room;
use super::statement::statements;
use super::tx::Tx;
use crate::clock::millis;
use crate::event::EventKind;
use crate::job::{Enqueued, JobId, NewJob, Priority, When, check_name};
use crate::retry::{Jitter, RetryPolicy};
use crate::state::{State, WaitReason};
use crate::{Error, Result};

statements! {
    hot JOB_INSERT = "INSERT INTO jobq_job (queue_id, kind_id, state, priority, max_retries, backoff, retry_delay_ms,
            jitter, timeout_ms, wait_reason, run_at, wait_fixed, created_at, updated_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13)";
    hot PAYLOAD_INSERT = "INSERT INTO jobq_payload (job_id, payload) VALUES (?1, ?2)";
}

/// What a queue holds new jobs to, and what it fills in where they say nothing.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A payload's JSON text may be so long, in bytes.
    pub max_payload_bytes: usize,
    /// For jobs that do not say how they are retried.
    pub retry: RetryPolicy,
    /// So many jobs that have not ended a queue takes where it has no limit of its own; none: any
    /// number. More are refused: [`Error::is_queue_full`].
    pub max_queue_size: Option<u64>,
    /// How much of the database file may be in use, in bytes; none: any size. The log beside it comes
    /// on top. Once that is reached new jobs are refused ([`Error::is_full`]), and everything else goes on.
    pub max_file_bytes: Option<u64>,
}

/// 16 MiB: larger things belong into files, with their path in the payload.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024 * 1024;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_payload_bytes: MAX_PAYLOAD_BYTES,
            retry: RetryPolicy::default(),
            max_queue_size: None,
            max_file_bytes: None,
        }
    }
}

/// A job that has been checked and lacks nothing.
#[derive(Clone, Debug)]
pub(crate) struct CheckedJob {
    kind: String,
    queue: String,
    payload: String,
    priority: Priority,
    when: When,
    retry: RetryPolicy,
    timeout_ms: Option<i64>,
    bounds: room::Bounds,
}

impl CheckedJob {
    pub(crate) fn new(job: NewJob, limits: &Limits) -> Result<CheckedJob> {
        check_name("kind", &job.kind)?;
        check_name("queue's name", &job.queue)?;
        let payload = job.payload.map_err(|error| {
            Error::invalid(format!(
                "the payload of the '{}' job is no JSON: {error}",
                job.kind
            ))
        })?;
        if payload.len() > limits.max_payload_bytes {
            return Err(Error::invalid(format!(
                "the payload of the '{}' job is {} bytes long, at most {} are allowed",
                job.kind,
                payload.len(),
                limits.max_payload_bytes
            ))
            .hint("put the data into a file and its path into the payload"));
        }
        if job.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(Error::invalid("a timeout of zero leaves no time to run"));
        }
        let backoff = job.backoff.unwrap_or(limits.retry.backoff);
        let own_delay = job.backoff.map(|_| backoff.default_delay());
        let retry = RetryPolicy {
            max_retries: job.max_retries.unwrap_or(limits.retry.max_retries),
            backoff,
            delay: job.retry_delay.or(own_delay).unwrap_or(limits.retry.delay),
            jitter: job.jitter.unwrap_or(limits.retry.jitter),
        };
        Ok(CheckedJob {
            kind: job.kind,
            queue: job.queue,
            payload,
            priority: job.priority,
            when: job.when,
            retry,
            timeout_ms: job.timeout.map(millis),
            bounds: room::Bounds::of(limits),
        })
    }
}

/// When a waiting job is due, and whether that moment was asked for or follows from a duration.
pub(crate) struct Due {
    pub(crate) run_at_ms: i64,
    pub(crate) fixed: bool,
}

impl Due {
    /// None where it is due already.
    pub(crate) fn of(when: When, now_ms: i64) -> Option<Due> {
        // Ten thousand years from now is never, and still fits when a step of the clock moves it.
        const NEVER_MS: i64 = 253_402_300_799_999;
        match when {
            When::Now => None,
            When::In(delay) if delay.is_zero() => None,
            When::In(delay) => Some(Due {
                run_at_ms: now_ms.saturating_add(millis(delay)).min(NEVER_MS),
                fixed: false,
            }),
            When::At(at) if at.as_millisecond() <= now_ms => None,
            When::At(at) => Some(Due {
                run_at_ms: at.as_millisecond(),
                fixed: true,
            }),
        }
    }
}

pub(crate) fn enqueue(tx: &mut Tx<'_>, job: &CheckedJob) -> Result<Enqueued> {
    let queue = tx.names.queue_id(tx.conn, &job.queue)?;
    room::check(tx, queue, &job.bounds)?;
    let kind = tx.names.kind_id(tx.conn, &job.kind)?;
    let due = Due::of(job.when, tx.now_ms);
    if due.as_ref().is_some_and(|due| !due.fixed) {
        tx.follow_clock()?;
    }
    let state = if due.is_some() {
        State::Scheduled
    } else {
        State::Pending
    };
    let id = tx.conn.prepare_cached(JOB_INSERT)?.insert(params![
        queue,
        kind,
        state.code(),
        job.priority.code(),
        job.retry.max_retries,
        job.retry.backoff.code(),
        millis(job.retry.delay),
        job.retry.jitter == Jitter::Tenth,
        job.timeout_ms,
        due.as_ref().map(|_| WaitReason::Delay.code()),
        due.as_ref().map(|due| due.run_at_ms),
        due.as_ref().map(|due| due.fixed),
        tx.now_ms,
    ])?;
    let id = JobId(id);
    tx.conn
        .prepare_cached(PAYLOAD_INSERT)?
        .execute(params![id.0, job.payload])?;
    tx.append(NewEvent::job(EventKind::Enqueued, id))?;
    tx.counts.add(queue, state, 1);
    Ok(Enqueued {
        id,
        state,
        duplicate: false,
    })
}
