//! Claiming: which pending jobs go next, and taking them.

use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::events::NewEvent;
use super::families;
use super::links::Links;
use super::settle::Held;
use super::statement::statements;
use super::tx::Tx;
use crate::Result;
use crate::event::EventKind;
use crate::family::Step;
use crate::job::JobId;
use crate::outcome::Budget;
use crate::retry::{Backoff, Jitter, RetryPolicy};
use crate::state::State;

statements! {
    /// A partial index holds just the queues with pending jobs.
    hot QUEUES_CLAIMABLE = "SELECT c.queue_id FROM jobq_count c JOIN jobq_queue q ON q.id = c.queue_id
        WHERE c.state = 2 AND c.jobs > 0 AND q.paused_at IS NULL";
    hot QUEUE_IS_PAUSED = "SELECT paused_at IS NOT NULL FROM jobq_queue WHERE id = ?1";
    hot JOB_PLACE_IF_PENDING = "SELECT queue_id, kind_id FROM jobq_job WHERE id = ?1 AND state = 2";
    hot ALL_IS_PAUSED = "SELECT 1 FROM jobq_meta WHERE key = 'paused_at'";
    /// Read from the index alone, in its order.
    hot JOBS_CLAIMABLE = "SELECT id, priority FROM jobq_job WHERE state = 2 AND queue_id = ?1 AND kind_id = ?2
        ORDER BY priority DESC, id LIMIT ?3";
    /// Looks at the rows as well: jobs that a lost runner had claimed ahead are few.
    hot JOBS_CLAIMABLE_AHEAD = "SELECT id, priority FROM jobq_job WHERE state = 2 AND queue_id = ?1 AND kind_id = ?2
        AND no_ahead = 0 ORDER BY priority DESC, id LIMIT ?3";
    /// What the worker needs, read before the row changes: RETURNING would cost an ephemeral table and
    /// a statement journal for each job.
    hot JOB_TO_CLAIM = "SELECT j.attempt + 1, j.retries, j.crashes, j.max_retries, j.backoff, j.retry_delay_ms, j.jitter,
            j.timeout_ms, p.payload, j.links, j.parent_id
        FROM jobq_job j LEFT JOIN jobq_payload p ON p.job_id = j.id WHERE j.id = ?1 AND j.state = 2";
    /// Every claim raises the attempt: the fence for whatever its worker reports.
    hot JOB_CLAIM_IF_PENDING = "UPDATE jobq_job SET state = 3, attempt = attempt + 1, claim = ?2, runner_id = ?3,
            worker = NULL, started_at = ?4, updated_at = ?4
        WHERE id = ?1 AND state = 2";
}

/// Payloads that wait in the channel may take this much memory, and as much again in one claim.
pub(crate) const AHEAD_BYTES: usize = 16 * 1024 * 1024;

/// For whom a job is claimed. A crash charges only what was claimed for a free worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ClaimFor {
    FreeWorker = 0,
    Ahead = 1,
}

/// What a runner can take.
#[derive(Clone, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) runner: i64,
    /// The queues it serves; none: all.
    pub(crate) queues: Option<&'a [i64]>,
    /// The kinds it has handlers for.
    pub(crate) kinds: &'a [i64],
    pub(crate) claim_for: ClaimFor,
    pub(crate) jobs: usize,
    /// Grows with each claim, so that each queue comes first in turn.
    pub(crate) turn: usize,
}

/// A job that this runner now holds.
#[derive(Debug)]
pub(crate) struct ClaimedJob {
    pub(crate) id: JobId,
    pub(crate) attempt: u32,
    pub(crate) queue: i64,
    pub(crate) kind: i64,
    pub(crate) budget: Budget,
    /// None where it cannot be read as text: the attempt fails alone.
    pub(crate) payload: Option<String>,
    pub(crate) links: Links,
    pub(crate) parent: Option<JobId>,
    /// Which part of a parent is due.
    pub(crate) step: Step,
}

impl ClaimedJob {
    pub(crate) fn held(&self, runner: i64) -> Held {
        Held {
            job: self.id,
            attempt: self.attempt,
            queue: self.queue,
            runner,
            links: self.links,
            parent: self.parent,
        }
    }
}

/// Whether there is anything that the wish could take: looks, and writes nothing.
pub(crate) fn anything(conn: &Connection, wish: &Wish<'_>) -> Result<bool> {
    for queue in queues(conn, wish, &[])? {
        for kind in wish.kinds {
            if conn
                .prepare_cached(JOBS_CLAIMABLE)?
                .exists(params![queue, kind, 1])?
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Takes as many jobs as the wish says, or as there are: by priority and age within a queue, in
/// equal shares between queues.
pub(crate) fn claim(tx: &mut Tx<'_>, wish: &Wish<'_>) -> Result<Vec<ClaimedJob>> {
    let fresh = tx.counts.grown(State::Pending);
    let mut queues = queues(tx.conn, wish, &fresh)?;
    let mut claimed = Vec::with_capacity(wish.jobs.min(1024));
    let mut bytes = 0;
    while claimed.len() < wish.jobs && !queues.is_empty() {
        let mut left = Vec::with_capacity(queues.len());
        for (at, queue) in queues.iter().copied().enumerate() {
            let share = (wish.jobs - claimed.len()).div_ceil(queues.len() - at);
            let next = next_of_queue(tx.conn, wish, queue, share)?;
            if next.len() == share {
                left.push(queue);
            }
            for (id, kind) in next {
                let job = take(tx, wish, Candidate { id, queue, kind })?;
                bytes += job
                    .as_ref()
                    .and_then(|job| job.payload.as_ref())
                    .map_or(0, String::len);
                claimed.extend(job);
                if wish.claim_for == ClaimFor::Ahead && bytes >= AHEAD_BYTES {
                    return Ok(claimed);
                }
            }
        }
        queues = left;
    }
    Ok(claimed)
}

/// Takes this one job, whatever comes before it; none where it is not pending.
pub(crate) fn claim_this(
    tx: &mut Tx<'_>,
    wish: &Wish<'_>,
    id: JobId,
) -> Result<Option<ClaimedJob>> {
    let place = tx
        .conn
        .prepare_cached(JOB_PLACE_IF_PENDING)?
        .query_row([id.0], |row| {
            Ok(Candidate {
                id: id.0,
                queue: row.get(0)?,
                kind: row.get(1)?,
            })
        })
        .optional()?;
    place.map_or(Ok(None), |candidate| take(tx, wish, candidate))
}

/// The queues with something pending, rotated. `fresh` are those in which this transaction made
/// jobs pending: their counters are not written yet.
fn queues(conn: &Connection, wish: &Wish<'_>, fresh: &[i64]) -> Result<Vec<i64>> {
    if wish.jobs == 0 || conn.prepare_cached(ALL_IS_PAUSED)?.exists([])? {
        return Ok(Vec::new());
    }
    let mut statement = conn.prepare_cached(QUEUES_CLAIMABLE)?;
    let mut found: Vec<i64> = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for queue in fresh {
        if !found.contains(queue) && !is_paused(conn, *queue)? {
            found.push(*queue);
        }
    }
    if let Some(served) = wish.queues {
        found.retain(|queue| served.contains(queue));
    }
    if !found.is_empty() {
        let first = wish.turn % found.len();
        found.rotate_left(first);
    }
    Ok(found)
}

pub(crate) fn is_paused(conn: &Connection, queue: i64) -> Result<bool> {
    Ok(conn
        .prepare_cached(QUEUE_IS_PAUSED)?
        .query_row([queue], |row| row.get(0))
        .optional()?
        .unwrap_or(false))
}

/// The next jobs of a queue over all kinds of the wish: each kind's are in order already.
fn next_of_queue(
    conn: &Connection,
    wish: &Wish<'_>,
    queue: i64,
    jobs: usize,
) -> Result<Vec<(i64, i64)>> {
    let sql = match wish.claim_for {
        ClaimFor::FreeWorker => JOBS_CLAIMABLE,
        ClaimFor::Ahead => JOBS_CLAIMABLE_AHEAD,
    };
    let mut statement = conn.prepare_cached(sql)?;
    let mut found: Vec<(i64, i64, i64)> = Vec::with_capacity(jobs);
    for kind in wish.kinds {
        let mut rows = statement.query(params![queue, kind, jobs as i64])?;
        while let Some(row) = rows.next()? {
            found.push((-row.get::<_, i64>(1)?, row.get(0)?, *kind));
        }
    }
    if wish.kinds.len() > 1 {
        found.sort_unstable();
        found.truncate(jobs);
    }
    Ok(found.into_iter().map(|(_, id, kind)| (id, kind)).collect())
}

struct Candidate {
    id: i64,
    queue: i64,
    kind: i64,
}

fn take(tx: &mut Tx<'_>, wish: &Wish<'_>, candidate: Candidate) -> Result<Option<ClaimedJob>> {
    let Candidate { id, queue, kind } = candidate;
    let mut read = tx.conn.prepare_cached(JOB_TO_CLAIM)?;
    let mut rows = read.query([id])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let (attempt, budget) = (row.get(0)?, budget(row, 1)?);
    let payload = match row.get_ref(8)? {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        _ => None,
    };
    let links: Links = row.get(9)?;
    let parent = row.get::<_, Option<i64>>(10)?.map(JobId);
    drop(rows);
    let claim = params![id, wish.claim_for as u8, wish.runner, tx.now_ms];
    if tx
        .conn
        .prepare_cached(JOB_CLAIM_IF_PENDING)?
        .execute(claim)?
        == 0
    {
        return Ok(None);
    }
    let job = JobId(id);
    let started = NewEvent {
        attempt: Some(attempt),
        runner: Some(wish.runner),
        ..NewEvent::job(EventKind::Started, job)
    };
    tx.append(started)?;
    tx.counts.moved(queue, State::Pending, State::Running);
    Ok(Some(ClaimedJob {
        id: job,
        attempt,
        queue,
        kind,
        budget,
        payload,
        links,
        parent,
        step: families::step(tx.conn, job, links)?,
    }))
}

/// Reads `retries, crashes, max_retries, backoff, retry_delay_ms, jitter, timeout_ms` from column `at` on.
pub(crate) fn budget(row: &Row<'_>, at: usize) -> rusqlite::Result<Budget> {
    // What somebody else has written there may be out of range; one such row must block nobody.
    let count = |column| {
        Ok::<_, rusqlite::Error>(
            u32::try_from(row.get::<_, i64>(column)?.max(0)).unwrap_or(u32::MAX),
        )
    };
    let duration = |ms: i64| Duration::from_millis(ms.max(0).unsigned_abs());
    Ok(Budget {
        policy: RetryPolicy {
            max_retries: count(at + 2)?,
            backoff: Backoff::from_code(row.get(at + 3)?).unwrap_or_default(),
            delay: duration(row.get(at + 4)?),
            jitter: if row.get(at + 5)? {
                Jitter::Tenth
            } else {
                Jitter::Off
            },
        },
        retries: count(at)?,
        crashes: count(at + 1)?,
        timeout: row.get::<_, Option<i64>>(at + 6)?.map(duration),
    })
}
