//! Claiming: selects the next pending jobs and takes them.

use std::time::Duration;

use crate::error::{Kind, Of};
use crate::model::family::Stage;
use crate::model::flags::JobFlags;
use crate::model::hook::HookEvent;
use crate::model::id::JobId;
use crate::model::job::Traceparent;
use crate::model::outcome::Budget;
use crate::model::part::{Part, Parts};
use crate::model::schedule::JobOrigin;
use crate::store::jobs::claim_queues::queues;
use crate::store::jobs::fair_share::{FairShares, QueueShare};
use crate::store::jobs::finish_attempt::ClaimToken;
use crate::store::jobs::take::{Candidates, Taking};
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::{CountChanges, Tx};
use crate::store::sqlite::{Connection, params};
use crate::{Error, Result};

statements! {
    hot QUEUE_IS_PAUSED = "SELECT paused_at IS NOT NULL FROM jobq_queue WHERE id = ?1";
    hot JOB_PLACE_IF_PENDING = "SELECT queue_id, kind_id FROM jobq_job WHERE id = ?1 AND state = 2";
    /// Read from the index alone, in its order.
    hot JOBS_CLAIMABLE = "SELECT id, priority FROM jobq_job WHERE state = 2 AND queue_id = ?1 AND kind_id = ?2
        ORDER BY priority DESC, id LIMIT ?3";
    /// Reads the rows too: jobs that a lost runner had claimed ahead are few.
    hot JOBS_CLAIMABLE_AHEAD = "SELECT id, priority FROM jobq_job WHERE state = 2 AND queue_id = ?1 AND kind_id = ?2
        AND no_ahead = 0 ORDER BY priority DESC, id LIMIT ?3";
}

/// Maximum size of the payloads that wait in the channel, and of those in one claim.
pub(crate) const PREFETCH_BYTES: usize = 16 * 1024 * 1024;

/// What a job is claimed for. A crash counts only for jobs claimed for a free worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimFor {
    FreeWorker,
    Prefetch,
    /// To fail it at once, because this runner has no handler: it never runs, and no limit applies.
    NoWorker,
}

impl ClaimFor {
    pub(crate) const fn code(self) -> i64 {
        match self {
            ClaimFor::FreeWorker | ClaimFor::NoWorker => 0,
            ClaimFor::Prefetch => 1,
        }
    }
}

/// A kind to claim, and how many of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KindCapacity {
    pub(crate) kind: i64,
    pub(crate) jobs: usize,
}

impl KindCapacity {
    /// No limit.
    pub(crate) const fn any(kind: i64) -> KindCapacity {
        KindCapacity {
            kind,
            jobs: usize::MAX,
        }
    }
}

/// The jobs that a runner can take.
#[derive(Clone, Debug)]
pub(crate) struct ClaimRequest<'a> {
    pub(crate) runner: i64,
    /// The queues it serves; none: all.
    pub(crate) queues: Option<&'a [i64]>,
    /// The kinds it has handlers for.
    pub(crate) kinds: &'a [KindCapacity],
    pub(crate) claim_for: ClaimFor,
    pub(crate) jobs: usize,
    /// Parts that are set aside.
    pub(crate) aside: &'a Parts,
}

/// A job that this runner now holds.
#[derive(Debug)]
pub(crate) struct ClaimedJob {
    pub(crate) id: JobId,
    pub(crate) attempt: u32,
    pub(crate) queue: i64,
    pub(crate) kind: i64,
    pub(crate) budget: Budget,
    /// None if it cannot be read as text: then only this attempt fails.
    pub(crate) payload: Option<String>,
    pub(crate) flags: JobFlags,
    pub(crate) parent: Option<JobId>,
    /// The phase of a parent that is due.
    pub(crate) stage: Stage,
    /// How long it has been pending.
    pub(crate) waited: Duration,
    /// The schedule that enqueued it.
    pub(crate) origin: Option<Box<JobOrigin>>,
    /// What the hook is for that enqueued it.
    pub(crate) hook_of: Option<Box<HookEvent>>,
    pub(crate) traceparent: Option<Box<Traceparent>>,
}

impl ClaimedJob {
    pub(crate) fn token(&self, runner: i64) -> ClaimToken {
        ClaimToken {
            job: self.id,
            attempt: self.attempt,
            queue: self.queue,
            kind: self.kind,
            runner,
            flags: self.flags,
            parent: self.parent,
            waited: Some(self.waited),
        }
    }
}

/// Whether there is a job that the request could take now. Writes nothing.
pub(crate) fn has_claimable(
    conn: &Connection,
    request: &ClaimRequest<'_>,
    now_ms: i64,
) -> Result<bool> {
    for queue in queues(conn, request, &CountChanges::default())? {
        if queue.contender(conn, request, now_ms)?.room == 0 {
            continue;
        }
        for kind in request.kinds.iter().filter(|kind| kind.jobs > 0) {
            if is_any_of(conn, request.aside, (queue.id, kind.kind)).of(Part::Queue(queue.id))? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn is_any_of(conn: &Connection, aside: &Parts, (queue, kind): (i64, i64)) -> Result<bool> {
    let mut statement = conn.prepare_cached(JOBS_CLAIMABLE)?;
    let mut rows = statement.query(params![queue, kind, 1 + aside.len() as i64])?;
    while let Some(row) = rows.next()? {
        if !aside.has(Part::Job(JobId(row.get(0)?))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether there is a claimable job that the counters do not count: then they are wrong.
pub(crate) fn has_uncounted(
    conn: &Connection,
    request: &ClaimRequest<'_>,
    now_ms: i64,
) -> Result<bool> {
    let parts = request.aside.and(Part::Counters);
    Ok(has_claimable(conn, request, now_ms)?
        != has_claimable(
            conn,
            &ClaimRequest {
                aside: &parts,
                ..request.clone()
            },
            now_ms,
        )?)
}

/// Takes up to the requested number of jobs, as far as their queues' limits allow: by priority and age
/// within a queue, by weight between queues.
pub(crate) fn claim(
    tx: &mut Tx<'_>,
    request: &ClaimRequest<'_>,
    shares: &mut FairShares,
) -> Result<Vec<ClaimedJob>> {
    let queues = queues(tx.conn, request, &tx.counts)?;
    let mut contenders = Vec::with_capacity(queues.len());
    for queue in &queues {
        contenders.push(queue.contender(tx.conn, request, tx.now_ms)?);
    }
    let mut claiming = Claiming {
        request,
        taking: Taking::new(tx.conn, request)?,
        kinds: request.kinds.to_vec(),
        claimed: Vec::with_capacity(request.jobs.min(1024)),
        bytes: 0,
    };
    while !contenders.is_empty() && !claiming.is_full() {
        let split = shares.split(request.jobs - claiming.claimed.len(), &contenders);
        let mut taken = Vec::with_capacity(contenders.len());
        let mut left = Vec::with_capacity(contenders.len());
        for (contender, share) in contenders.into_iter().zip(split) {
            let jobs = claiming.take_from(tx, contender.queue, share)?;
            taken.push((contender, jobs));
            // A queue with fewer jobs than its share has no more; the others share the rest.
            let room = contender.room - jobs;
            if jobs == share && room > 0 {
                left.push(QueueShare { room, ..contender });
            }
        }
        shares.charge(&taken);
        contenders = left;
    }
    if request.claim_for == ClaimFor::FreeWorker && !claiming.is_full() {
        shares.rest();
    }
    let claimed = claiming.claimed;
    for ring in queues.iter().filter_map(|queue| queue.ring) {
        let starts = claimed.iter().filter(|job| job.queue == ring.queue);
        ring.note(tx, starts.count()).of(Part::Queue(ring.queue))?;
    }
    Ok(claimed)
}

/// Takes this job, whatever is before it; none if it is not pending.
pub(crate) fn claim_this(
    tx: &mut Tx<'_>,
    request: &ClaimRequest<'_>,
    id: JobId,
) -> Result<Option<ClaimedJob>> {
    let place = tx.optional(JOB_PLACE_IF_PENDING, [id.0], |row| {
        Ok(Candidates {
            first: id.0,
            jobs: 1,
            queue: row.get(0)?,
            kind: row.get(1)?,
            bytes: usize::MAX,
        })
    })?;
    match place {
        Some(candidate) => Ok(Taking::new(tx.conn, request)?.take(tx, candidate)?.pop()),
        None => Ok(None),
    }
}

/// A claim under way.
struct Claiming<'a, 'c> {
    request: &'a ClaimRequest<'a>,
    taking: Taking<'a, 'c>,
    /// How many more jobs of each kind it may take.
    kinds: Vec<KindCapacity>,
    claimed: Vec<ClaimedJob>,
    /// Of payloads.
    bytes: usize,
}

impl<'c> Claiming<'_, 'c> {
    fn is_full(&self) -> bool {
        let heavy = self.request.claim_for == ClaimFor::Prefetch && self.bytes >= PREFETCH_BYTES;
        heavy || self.claimed.len() >= self.request.jobs
    }

    /// Takes the next jobs of a queue; returns how many there were.
    fn take_from(&mut self, tx: &mut Tx<'c>, queue: i64, jobs: usize) -> Result<usize> {
        let mut taken = 0;
        let next = self.next_of(tx.conn, queue, jobs).of(Part::Queue(queue))?;
        let mut next = next.as_slice();
        while !self.is_full()
            && let Some(run) = self.first_run(tx, next)
        {
            let (first, kind) = run[0];
            // Of an error in a run of jobs the first is suspected; the next try is one by one, and names the right one.
            let part = Part::Job(JobId(first));
            let candidates = Candidates {
                first,
                jobs: run.len(),
                queue,
                kind,
                bytes: PREFETCH_BYTES.saturating_sub(self.bytes),
            };
            let jobs = self.taking.take(tx, candidates).of(part)?;
            if jobs.is_empty() {
                let error = "the index of what may run names it, and its row does not agree";
                return Err(Error::new(Kind::Sqlite, error).of(part));
            }
            taken += jobs.len();
            next = &next[jobs.len()..];
            let payloads = jobs.iter().filter_map(|job| job.payload.as_ref());
            self.bytes += payloads.map(String::len).sum::<usize>();
            if let Some(room) = self.kinds.iter_mut().find(|room| room.kind == kind) {
                room.jobs = room.jobs.saturating_sub(jobs.len());
            }
            self.claimed.extend(jobs);
        }
        Ok(taken)
    }

    /// The first jobs that can be taken together: neighbours of one kind.
    fn first_run<'n>(&self, tx: &Tx<'_>, next: &'n [(i64, i64)]) -> Option<&'n [(i64, i64)]> {
        // With parts set aside each row is looked at by itself.
        if tx.is_one_by_one || self.request.aside.len() > 0 {
            return next.chunks(1).next();
        }
        let is_next = |one: &(i64, i64), other: &(i64, i64)| *other == (one.0 + 1, one.1);
        next.chunk_by(is_next).next()
    }

    /// The next jobs of a queue over all kinds of the request; those of each kind are already in order.
    fn next_of(&self, conn: &Connection, queue: i64, jobs: usize) -> Result<Vec<(i64, i64)>> {
        if jobs == 0 {
            return Ok(Vec::new());
        }
        let sql = match self.request.claim_for {
            ClaimFor::Prefetch => JOBS_CLAIMABLE_AHEAD,
            ClaimFor::FreeWorker | ClaimFor::NoWorker => JOBS_CLAIMABLE,
        };
        let mut statement = conn.prepare_cached(sql)?;
        let mut found: Vec<(i64, i64, i64)> = Vec::with_capacity(jobs.min(1024));
        for room in self.kinds.iter().filter(|room| room.jobs > 0) {
            let aside = self.request.aside;
            let limit = room.jobs.min(jobs).saturating_add(aside.len()) as i64;
            let mut rows = statement.query(params![queue, room.kind, limit])?;
            while let Some(row) = rows.next()? {
                let id = row.get(0)?;
                if !aside.has(Part::Job(JobId(id))) {
                    found.push((-row.get::<_, i64>(1)?, id, room.kind));
                }
            }
        }
        if self.kinds.len() > 1 {
            found.sort_unstable();
        }
        found.truncate(jobs);
        Ok(found.into_iter().map(|(_, id, kind)| (id, kind)).collect())
    }
}

pub(crate) fn is_paused(conn: &Connection, queue: i64) -> Result<bool> {
    Ok(conn
        .optional(QUEUE_IS_PAUSED, [queue], |row| row.get(0))?
        .unwrap_or(false))
}
