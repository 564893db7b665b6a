//! Taking pending jobs: reads their rows, and marks them as running.

use std::time::Duration;

use crate::error::Kind;
use crate::model::event::EventKind;
use crate::model::family::Stage;
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::outcome::Budget;
use crate::model::part::Part;
use crate::model::retry::{Backoff, Jitter, RetryPolicy};
use crate::model::schedule::JobOrigin;
use crate::model::state::State;
use crate::store::jobs::claim::{ClaimRequest, ClaimedJob};
use crate::store::jobs::{deadlines, families, hooks, retry_delays, traceparents};
use crate::store::sqlite::statement::{statements, text};
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::types::ValueRef;
use crate::store::sqlite::{CachedStatement, Connection, Row, params};
use crate::{Error, Result};

statements! {
    /// What the workers need, read before the rows change: RETURNING would cost an ephemeral table and a statement
    /// journal. Neighbours are read, and changed, by one statement: beginning one costs as much as a row.
    hot JOBS_TO_CLAIM = "SELECT j.attempt + 1, j.retries, j.crashes, j.max_retries, j.backoff, j.retry_delay_ms, j.jitter,
            j.timeout_ms, p.payload, j.links, j.parent_id, j.updated_at, j.id
        FROM jobq_job j LEFT JOIN jobq_payload p ON p.job_id = j.id
        WHERE j.id BETWEEN ?1 AND ?2 AND j.state = 2 ORDER BY j.id";
    /// For a job whose flag says that a schedule has enqueued it.
    hot JOB_ORIGIN = "SELECT schedule, slot FROM jobq_job WHERE id = ?1 AND schedule IS NOT NULL";
    /// Every claim raises the attempt: the fence for all reports of its worker. OR FAIL spares a statement journal:
    /// after an error the whole transaction is undone.
    hot JOBS_CLAIM_IF_PENDING = "UPDATE OR FAIL jobq_job SET state = 3, attempt = attempt + 1, claim = ?3, runner_id = ?4,
            worker = NULL, started_at = ?5, updated_at = ?5, started_event = ?6 + id - ?1
        WHERE id BETWEEN ?1 AND ?2 AND state = 2";
}

/// Jobs to take: this one and those with the next ids.
pub(super) struct Candidates {
    pub(super) first: i64,
    pub(super) jobs: usize,
    pub(super) queue: i64,
    pub(super) kind: i64,
    /// No further job is taken once the payloads are so large.
    pub(super) bytes: usize,
}

/// The statements for taking jobs, prepared once: looking one up costs as much as a few columns.
pub(super) struct Taking<'a, 'c> {
    request: &'a ClaimRequest<'a>,
    read: CachedStatement<'c>,
    write: CachedStatement<'c>,
}

impl<'a, 'c> Taking<'a, 'c> {
    pub(super) fn new(
        conn: &'c Connection,
        request: &'a ClaimRequest<'a>,
    ) -> Result<Taking<'a, 'c>> {
        Ok(Taking {
            request,
            read: conn.prepare_cached(JOBS_TO_CLAIM)?,
            write: conn.prepare_cached(JOBS_CLAIM_IF_PENDING)?,
        })
    }

    /// Takes the first of these jobs, as many as are pending.
    pub(super) fn take(
        &mut self,
        tx: &mut Tx<'_>,
        candidates: Candidates,
    ) -> Result<Vec<ClaimedJob>> {
        let mut jobs = self.read(tx, &candidates)?;
        let Some(last) = jobs.last() else {
            return Ok(jobs);
        };
        let (request, event) = (self.request, tx.next_event_id());
        let changed = self.write.execute(params![
            candidates.first,
            last.id.0,
            request.claim_for.code(),
            request.runner,
            tx.now_ms,
            event.0
        ])?;
        if changed != jobs.len() {
            let error = "pending jobs were read and could not be claimed";
            return Err(Error::new(Kind::Sqlite, error));
        }
        for job in &mut jobs {
            tx.note(EventKind::Started, job.id, job.attempt)?;
            tx.counts.moved(job.queue, State::Pending, State::Running);
            job.stage = families::stage(tx.conn, job.id, job.flags)?;
            job.origin = origin(tx, job.id, job.flags)?;
            job.hook_of = hooks::event(tx, job.id, job.flags)?;
            job.traceparent = traceparents::of_job(tx, job.id, job.flags)?;
            job.budget.policy.delays = retry_delays::of_job(tx, job.id, job.flags)?;
        }
        Ok(jobs)
    }

    fn read(&mut self, tx: &Tx<'_>, candidates: &Candidates) -> Result<Vec<ClaimedJob>> {
        let first = candidates.first;
        let last = first + candidates.jobs as i64 - 1;
        let mut jobs = Vec::with_capacity(candidates.jobs);
        let mut bytes = 0;
        let mut rows = self.read.query([first, last])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(12)?;
            if id != first + jobs.len() as i64 || bytes > candidates.bytes {
                break;
            }
            let job = decode(row, (id, candidates), tx.now_ms)?;
            let aside = self.request.aside;
            let is_late = aside.has(Part::Deadlines) && job.flags.has(JobFlags::DEADLINE);
            if is_late && deadlines::is_over_by_row(tx, job.id)? {
                break;
            }
            bytes += job.payload.as_ref().map_or(0, String::len);
            jobs.push(job);
        }
        Ok(jobs)
    }
}

fn decode(row: &Row<'_>, (id, of): (i64, &Candidates), now_ms: i64) -> Result<ClaimedJob> {
    let payload = match row.get_ref(8)? {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        _ => None,
    };
    // The clock may have been set back meanwhile.
    let waited_ms = now_ms.saturating_sub(row.get(11)?);
    Ok(ClaimedJob {
        id: JobId(id),
        attempt: row.get(0)?,
        queue: of.queue,
        kind: of.kind,
        budget: budget(row, 1),
        payload,
        flags: row.get(9)?,
        parent: row.get::<_, Option<i64>>(10)?.map(JobId),
        stage: Stage::Run,
        waited: Duration::from_millis(u64::try_from(waited_ms).unwrap_or(0)),
        origin: None,
        hook_of: None,
        traceparent: None,
    })
}

fn origin(tx: &Tx<'_>, job: JobId, flags: JobFlags) -> Result<Option<Box<JobOrigin>>> {
    if !flags.has(JobFlags::SCHEDULED) {
        return Ok(None);
    }
    // Another program may have written any value there, too.
    let read = |row: &Row<'_>| {
        Ok(JobOrigin {
            schedule: text(row.get_ref(0)?).unwrap_or_default(),
            slot_ms: row.get(1).ok(),
        })
    };
    Ok(tx.optional(JOB_ORIGIN, [job.0], read)?.map(Box::new))
}

/// Reads `retries, crashes, max_retries, backoff, retry_delay_ms, jitter, timeout_ms` from column `at` on; a list of
/// retry delays is in a table of its own.
pub(crate) fn budget(row: &Row<'_>, at: usize) -> Budget {
    // Another program may have written any value there; one such row must block no other job.
    let number = |column| row.get::<_, i64>(column).ok();
    let count = |column| {
        let count = number(column).unwrap_or(0).max(0);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let duration = |ms: i64| Duration::from_millis(ms.max(0).unsigned_abs());
    Budget {
        policy: RetryPolicy {
            max_retries: count(at + 2),
            backoff: number(at + 3)
                .and_then(Backoff::from_code)
                .unwrap_or_default(),
            delay: duration(number(at + 4).unwrap_or(0)),
            delays: Vec::new(),
            jitter: match number(at + 5) {
                Some(0) => Jitter::Off,
                _ => Jitter::Tenth,
            },
        },
        retries: count(at),
        crashes: count(at + 1),
        timeout: number(at + 6).map(duration),
    }
}
