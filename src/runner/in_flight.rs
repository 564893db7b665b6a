//! The jobs in flight: ending those that take too long, taking back those that have not begun.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::outcome::{CancelReason, Ending, judge};
use crate::model::runner::RunStats;
use crate::model::state::State;
use crate::runner::attempt::Attempt;
use crate::runner::dispatcher::Dispatcher;
use crate::runner::tick::FinishedAttempt;
use crate::store::AttemptMeasures;

/// A job that has waited in the channel for this long goes back, for runners that are free.
const STALE: Duration = Duration::from_secs(1);
/// With a thousand jobs in the channel, checking each costs as much as a small transaction.
pub(crate) const ENFORCE_EVERY: Duration = Duration::from_millis(5);
/// A job that still runs after this long has its worker recorded in the file.
const NOTE_WORKER_AFTER: Duration = Duration::from_millis(100);
/// For an attempt that needs no check until it reports.
const NEVER: Duration = Duration::from_secs(3600);

impl Dispatcher {
    /// Checks the jobs in flight: ends those that take too long, takes back those that have not begun.
    pub(crate) fn enforce(&mut self) {
        let now = clock::instant();
        if self
            .enforced_at
            .is_some_and(|at| now.duration_since(at) < ENFORCE_EVERY)
        {
            return;
        }
        self.enforced_at = Some(now);
        let mut hung = Vec::new();
        for attempt in self.in_flight.values() {
            let Some((worker, began)) = attempt.running_on() else {
                continue;
            };
            if attempt
                .budget
                .timeout
                .is_some_and(|timeout| now >= clock::after(began, timeout))
            {
                attempt.cancellation.cancel(CancelReason::Timeout);
            }
            if attempt.is_past_grace(now, self.settings.grace) {
                hung.push((Arc::clone(attempt), worker));
            }
            let long = now.duration_since(began) >= NOTE_WORKER_AFTER;
            if long && attempt.note_once() {
                self.pending
                    .tick
                    .workers
                    .push((Arc::clone(attempt), worker));
            }
        }
        for (attempt, worker) in hung {
            self.abandon(&attempt, worker);
        }
        self.free_abandoned_slots(now);
        self.withdraw_unbegun(STALE);
    }

    /// Takes back jobs that have waited in the channel for at least `waited`.
    pub(crate) fn withdraw_unbegun(&mut self, waited: Duration) {
        let now = clock::instant();
        let stale: Vec<Arc<Attempt>> = self
            .in_flight
            .values()
            .filter(|attempt| {
                attempt.running_on().is_none() && now.duration_since(attempt.claimed_at) >= waited
            })
            .filter(|attempt| attempt.withdraw())
            .cloned()
            .collect();
        for attempt in stale {
            self.run_times.stalled();
            self.in_flight.remove(&attempt.job());
            self.pending.tick.returns.push(attempt);
        }
    }

    /// Abandons a handler that ignored cancellation: replaces its thread and finishes its attempt.
    fn abandon(&mut self, attempt: &Arc<Attempt>, worker: u32) {
        if self
            .pending
            .tick
            .finished
            .iter()
            .any(|finished| Arc::ptr_eq(&finished.attempt, attempt))
        {
            return;
        }
        let Some(reason) = attempt.cancellation.reason() else {
            return;
        };
        log::error!(
            "job {} does not stop although it was told to ({reason:?}); worker {worker} goes on with a fresh thread",
            attempt.job()
        );
        self.pool.replace(worker);
        if let Some(state) = attempt.finished() {
            return self.let_go(attempt, state);
        }
        let took = attempt
            .running_on()
            .map(|(_, began)| clock::instant().duration_since(began));
        let verdict = judge(
            Ending::Abandoned { reason },
            &attempt.budget,
            fastrand::f64(),
        );
        let measured = AttemptMeasures {
            worker: Some(worker),
            took,
            ..AttemptMeasures::default()
        };
        self.pending.tick.finished.push(FinishedAttempt {
            attempt: Arc::clone(attempt),
            verdict,
            measured,
            spawned: None,
        });
    }

    /// Frees the slot of an attempt whose handler has finished it: there is nothing to write.
    pub(crate) fn let_go(&mut self, attempt: &Arc<Attempt>, state: State) {
        self.abandoned.retain(|other| !Arc::ptr_eq(other, attempt));
        if !self.holds(attempt) {
            return;
        }
        self.in_flight.remove(&attempt.job());
        // The attempt may have been abandoned just before.
        self.pending
            .tick
            .finished
            .retain(|finished| !Arc::ptr_eq(&finished.attempt, attempt));
        let mut stats = RunStats::default();
        stats.count(state);
        self.signals.add(&stats);
    }

    /// Replaces the threads of handlers that lost their jobs and ignored cancellation for the grace
    /// time.
    fn free_abandoned_slots(&mut self, now: Instant) {
        let grace = self.settings.grace;
        for other in self
            .abandoned
            .extract_if(.., |other| other.is_past_grace(now, grace))
        {
            if let Some((worker, _)) = other.running_on() {
                self.pool.replace(worker);
            }
        }
    }

    pub(crate) fn abandon_all(&mut self) {
        let running: Vec<_> = self.in_flight.values().cloned().collect();
        for attempt in running {
            if let Some((worker, _)) = attempt.running_on() {
                self.abandon(&attempt, worker);
            }
        }
    }

    pub(crate) fn cancel_all(&mut self, reason: CancelReason) {
        for attempt in self.in_flight.values() {
            attempt.cancellation.cancel(reason);
        }
    }

    /// The workers whose handlers still run.
    pub(crate) fn busy_workers(&self) -> Vec<u32> {
        let running = self.in_flight.values().chain(&self.abandoned);
        running
            .filter_map(|attempt| attempt.running_on())
            .map(|(worker, _)| worker)
            .collect()
    }

    /// When an attempt needs to be checked next.
    pub(crate) fn next_moment(&self, attempt: &Attempt, now: Instant) -> Instant {
        let Some((_, began)) = attempt.running_on() else {
            // It may begin at any moment, and its timeout counts from then.
            let soonest = attempt
                .budget
                .timeout
                .map_or(STALE, |timeout| timeout.min(STALE));
            return (attempt.claimed_at + STALE).min(now + soonest);
        };
        if let Some(cancelled_at) = attempt.cancellation.cancelled_at() {
            return clock::after(cancelled_at, self.settings.grace);
        }
        let never = now + NEVER;
        let noted = if attempt.is_noted() {
            never
        } else {
            began + NOTE_WORKER_AFTER
        };
        attempt
            .budget
            .timeout
            .map_or(noted, |timeout| noted.min(clock::after(began, timeout)))
    }
}
