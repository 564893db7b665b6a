//! The queues with jobs to claim, and how many their limits allow.

use crate::error::{Kind, Of};
use crate::model::part::Part;
use crate::model::remedy::Remedy;
use crate::model::state::State;
use crate::store::jobs::claim::{ClaimFor, ClaimRequest};
use crate::store::jobs::fair_share::QueueShare;
use crate::store::jobs::queues::is_all_paused;
use crate::store::jobs::rate::Ring;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::CountChanges;
use crate::store::sqlite::{Connection, OptionalExtension, Row};
use crate::{Error, Result};

statements! {
    /// Only queues with pending jobs have a number of them. The running jobs of a queue are counted only if
    /// its concurrency is limited.
    hot QUEUES_CLAIMABLE = "SELECT q.id, q.weight, q.concurrency, CASE WHEN q.concurrency IS NOT NULL
                THEN (SELECT r.value FROM jobq_number r WHERE r.what = 3 AND r.id = q.id) END,
            q.rate_jobs, q.rate_ms, q.rate_at
        FROM jobq_number n JOIN jobq_queue q ON q.id = n.id
        WHERE n.what = 2 AND n.value > 0 AND q.paused_at IS NULL";
    /// The same of one queue, whose counters are not written yet.
    hot QUEUE_CLAIMABLE = "SELECT q.id, q.weight, q.concurrency, CASE WHEN q.concurrency IS NOT NULL
                THEN (SELECT r.value FROM jobq_number r WHERE r.what = 3 AND r.id = q.id) END,
            q.rate_jobs, q.rate_ms, q.rate_at
        FROM jobq_queue q WHERE q.id = ?1 AND q.paused_at IS NULL";
    /// Without the counters, a step in the index for each queue.
    hot QUEUE_PENDING_AFTER = "SELECT queue_id FROM jobq_job WHERE state = 2 AND queue_id > ?1
        ORDER BY queue_id LIMIT 1";
    /// By the index of what runs: as many rows as there are workers, and some ahead.
    cold QUEUE_RUNS_LESS = "SELECT 1 FROM jobq_number n WHERE n.what = 3 AND n.id = ?1
        AND n.value > (SELECT count(*) FROM jobq_job INDEXED BY jobq_job_running WHERE state = 3 AND queue_id = ?1)";
}

/// Whether a queue with pending jobs has free capacity, so that only its rate holds them back. For a
/// queue without any, the counters must agree with the jobs.
pub(crate) fn has_capacity(conn: &Connection, request: &ClaimRequest<'_>) -> Result<bool> {
    let limited = ClaimRequest {
        claim_for: ClaimFor::FreeWorker,
        ..request.clone()
    };
    let mut has_capacity = false;
    for queue in queues(conn, &limited, &CountChanges::default())? {
        if queue.places > 0 {
            has_capacity = true;
            continue;
        }
        let part = Part::Queue(queue.id);
        let mut statement = conn.prepare_cached(QUEUE_RUNS_LESS)?;
        let mut rows = statement.query([queue.id]).of(part)?;
        if rows.next().of(part)?.is_some() {
            let error = "more of its jobs run by the state counters than by themselves";
            return Err(Error::new(Kind::Sqlite, error)
                .with_remedy(Remedy::Repair)
                .of(part));
        }
    }
    Ok(has_capacity)
}

/// A queue with pending jobs, and its limits.
#[derive(Clone, Debug)]
pub(super) struct Claimable {
    pub(super) id: i64,
    weight: u32,
    /// How many more of its jobs may run at once, over all runners.
    pub(super) places: usize,
    /// None: no rate.
    pub(super) ring: Option<Ring>,
}

impl Claimable {
    /// `changes` are those of this transaction, which are not in the counters yet. Running jobs are counted
    /// by their rows, so no slot can leak.
    fn read(row: &Row<'_>, changes: &CountChanges) -> Result<Claimable> {
        let id = row.get(0)?;
        let weight: i64 = row.get(1)?;
        let concurrency: Option<i64> = row.get(2)?;
        let running: Option<i64> = row.get(3)?;
        let places = concurrency.map(|limit| {
            let running = running
                .unwrap_or(0)
                .saturating_add(changes.change_in(id, State::Running));
            usize::try_from(limit.saturating_sub(running)).unwrap_or(0)
        });
        let rate: Option<(i64, i64)> = row.get::<_, Option<_>>(4)?.zip(row.get(5)?);
        let at = row.get(6)?;
        if rate.is_some_and(|(jobs, span_ms)| jobs < 1 || span_ms < 1) {
            return Err(Error::invalid("its rate is no rate"));
        }
        if concurrency.is_some_and(|limit| limit < 1) {
            return Err(Error::invalid("its limit is no limit"));
        }
        Ok(Claimable {
            id,
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
            places: places.unwrap_or(usize::MAX),
            ring: rate.map(|(jobs, span_ms)| Ring {
                queue: id,
                jobs,
                span_ms,
                at,
            }),
        })
    }

    pub(super) fn contender(
        &self,
        conn: &Connection,
        request: &ClaimRequest<'_>,
        now_ms: i64,
    ) -> Result<QueueShare> {
        let places = self.places.min(request.jobs);
        let room = match self.ring {
            Some(ring) => ring.room(conn, now_ms, places),
            None => Ok(places),
        };
        Ok(QueueShare {
            queue: self.id,
            weight: self.weight,
            room: room.of(Part::Queue(self.id))?,
        })
    }
}

/// The queues with pending jobs, including those in which this transaction made jobs pending: their
/// counters are not written yet.
pub(super) fn queues(
    conn: &Connection,
    request: &ClaimRequest<'_>,
    changes: &CountChanges,
) -> Result<Vec<Claimable>> {
    let mut found: Vec<Claimable> = Vec::new();
    if request.jobs == 0 || is_all_paused(conn)? {
        return Ok(found);
    }
    if !request.aside.has(Part::Counters) {
        let mut statement = conn.prepare_cached(QUEUES_CLAIMABLE)?;
        let mut rows = statement.query([]).of(Part::Counters)?;
        while let Some(row) = rows.next().of(Part::Counters)? {
            let part = Part::Queue(row.get(0)?);
            if !request.aside.has(part) {
                found.push(Claimable::read(row, changes).of(part)?);
            }
        }
    }
    let mut others = changes.grown(State::Pending);
    if request.aside.has(Part::Counters) {
        others.extend(uncounted(conn)?);
    }
    for other in others {
        let part = Part::Queue(other);
        if request.aside.has(part) || found.iter().any(|queue| queue.id == other) {
            continue;
        }
        let mut statement = conn.prepare_cached(QUEUE_CLAIMABLE)?;
        let mut rows = statement.query([other])?;
        while let Some(row) = rows.next().of(part)? {
            found.push(Claimable::read(row, changes).of(part)?);
        }
    }
    found.retain(|queue| {
        request
            .queues
            .is_none_or(|served| served.contains(&queue.id))
    });
    match request.claim_for {
        ClaimFor::FreeWorker => {}
        // Jobs in the channel start later than they were claimed, and the rate counts starts.
        ClaimFor::Prefetch => found.retain(|queue| queue.ring.is_none()),
        ClaimFor::NoWorker => found.iter_mut().for_each(|queue| {
            queue.places = usize::MAX;
            queue.ring = None;
        }),
    }
    Ok(found)
}

/// The queues with pending jobs, by the jobs themselves.
fn uncounted(conn: &Connection) -> Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(QUEUE_PENDING_AFTER)?;
    let mut queues = Vec::new();
    let mut last = i64::MIN;
    while let Some(next) = statement.query_row([last], |row| row.get(0)).optional()? {
        queues.push(next);
        last = next;
    }
    Ok(queues)
}
