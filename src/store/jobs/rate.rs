//! Rate limits: at most N jobs of a queue start in any span of a given length.
//!
//! A queue with a rate of N jobs keeps a ring of its last N starts. The next start replaces the oldest, and
//! is allowed when that one is at least the span ago: so no span holds more than N.

use crate::Result;
use crate::store::sqlite::statement::{Statements, moment, statements};
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{Connection, OptionalExtension, params};

statements! {
    hot RATE_SLOT = "SELECT started_at FROM jobq_rate WHERE queue_id = ?1 AND slot = ?2";
    hot RATE_SLOT_SET = "INSERT INTO jobq_rate (queue_id, slot, started_at) VALUES (?1, ?2, ?3)
        ON CONFLICT (queue_id, slot) DO UPDATE SET started_at = excluded.started_at";
    hot QUEUE_RATE_MOVE_ON = "UPDATE jobq_queue SET rate_at = rate_at + ?2 WHERE id = ?1";
    /// The queues with pending jobs and a rate, each with its oldest start: one row of the ring each.
    hot RATES_WAITED_FOR = "SELECT r.started_at, q.rate_ms FROM jobq_number n JOIN jobq_queue q ON q.id = n.id
        JOIN jobq_rate r ON r.queue_id = q.id AND r.slot = q.rate_at % q.rate_jobs
        WHERE n.what = 2 AND n.value > 0 AND q.rate_jobs IS NOT NULL AND q.rate_ms IS NOT NULL AND q.paused_at IS NULL";
    hot RATE_FORGET = "DELETE FROM jobq_rate WHERE queue_id = ?1";
    /// Rare, after a step of the clock: as many rows as the rates of all queues allow starts. A start in the
    /// future, by a clock that was ahead, would hold back its queue until then.
    cold RATES_FOLLOW = "UPDATE jobq_rate SET started_at = min(started_at + ?1, ?2)";
}

/// A queue's rate, and the position of its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    pub(crate) queue: i64,
    pub(crate) jobs: i64,
    pub(crate) span_ms: i64,
    /// How many have started under the rate.
    pub(crate) at: i64,
}

impl Ring {
    fn slot(&self, ahead: i64) -> i64 {
        self.at.wrapping_add(ahead) % self.jobs.max(1)
    }

    /// How many may start now; reads at most `at_most` entries of the ring.
    pub(crate) fn room(&self, conn: &Connection, now_ms: i64, at_most: usize) -> Result<usize> {
        let at_most = at_most.min(usize::try_from(self.jobs).unwrap_or(usize::MAX));
        let mut statement = conn.prepare_cached(RATE_SLOT)?;
        for ahead in 0..at_most {
            let started_at: Option<i64> = statement
                .query_row(params![self.queue, self.slot(ahead as i64)], |row| {
                    row.get(0)
                })
                .optional()?;
            if started_at.is_some_and(|at| next_after(at, self.span_ms, now_ms) > now_ms) {
                return Ok(ahead);
            }
        }
        Ok(at_most)
    }

    /// Records starts at this moment.
    pub(crate) fn note(&self, tx: &Tx<'_>, starts: usize) -> Result<()> {
        if starts == 0 {
            return Ok(());
        }
        let mut statement = tx.conn.prepare_cached(RATE_SLOT_SET)?;
        for ahead in 0..starts as i64 {
            statement.execute(params![self.queue, self.slot(ahead), tx.now_ms])?;
        }
        tx.run(QUEUE_RATE_MOVE_ON, params![self.queue, starts as i64])?;
        Ok(())
    }

    /// When the next one may start, unless it may start now.
    pub(crate) fn next_start(&self, conn: &Connection, now_ms: i64) -> Result<Option<i64>> {
        let started_at: Option<i64> =
            conn.optional(RATE_SLOT, params![self.queue, self.slot(0)], |row| {
                row.get(0)
            })?;
        let next = started_at.map(|at| next_after(at, self.span_ms, now_ms));
        Ok(next.filter(|next| *next > now_ms))
    }
}

/// A start in the future, before a step back of the clock, counts as one of now until the step is followed.
fn next_after(started_at: i64, span_ms: i64, now_ms: i64) -> i64 {
    started_at.min(now_ms).saturating_add(span_ms)
}

/// When the next job that waits for a rate may start; none if it may start now: then it is claimed as soon
/// as there is capacity.
pub(crate) fn next_start(conn: &Connection, now_ms: i64) -> Result<Option<i64>> {
    let mut statement = conn.prepare_cached(RATES_WAITED_FOR)?;
    let mut rows = statement.query([])?;
    let mut soonest: Option<i64> = None;
    while let Some(row) = rows.next()? {
        let (Some(started_at), Some(span_ms)) = (moment(row, 0)?, moment(row, 1)?) else {
            continue;
        };
        let next = next_after(started_at, span_ms, now_ms);
        if next > now_ms {
            soonest = Some(soonest.map_or(next, |soonest| soonest.min(next)));
        }
    }
    Ok(soonest)
}

/// Forgets the queue's starts.
pub(crate) fn forget(tx: &Tx<'_>, queue: i64) -> Result<()> {
    tx.run(RATE_FORGET, [queue])?;
    Ok(())
}

/// After a step of the wall clock or a restart: past starts stay as long ago as they are, and starts in the
/// future count as starts of now.
pub(crate) fn follow_clock(conn: &Connection, step_ms: i64, now_ms: i64) -> Result<()> {
    conn.run(RATES_FOLLOW, [step_ms, now_ms])?;
    Ok(())
}
