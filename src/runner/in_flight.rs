//! What this runner holds: ending what takes too long, taking back what has not begun.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::outcome::{CancelReason, Ending, judge};
use crate::model::state::State;
use crate::runner::attempt::Attempt;
use crate::runner::dispatcher::Dispatcher;
use crate::runner::handle::RunStats;
use crate::runner::tick::FinishedAttempt;
use crate::store::{AttemptMeasures, SAFETY_POLL};

/// What has sat in the channel for this long goes back, for runners that are free.
const STALE: Duration = Duration::from_secs(1);
/// With a thousand jobs in the channel a look at each costs as much as a small transaction.
pub(crate) const ENFORCE_EVERY: Duration = Duration::from_millis(5);
/// A job that still runs after this long has its worker noted in the file.
const NOTE_WORKER_AFTER: Duration = Duration::from_millis(100);

impl Dispatcher {
    /// Looks at what this runner holds: ends what takes too long, takes back what has not begun.
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
            if attempt.is_past_grace(now, self.settings.pulse.grace) {
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
        self.free_orphans_slots(now);
        self.withdraw_unbegun(STALE);
    }

    /// Takes back what has waited in the channel for at least `waited`.
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
            self.pace.stalled();
            self.in_flight.remove(&attempt.job());
            self.pending.tick.returns.push(attempt);
        }
    }

    /// A handler was told to stop and did not: its slot goes to a fresh thread, its job on its way.
    fn abandon(&mut self, attempt: &Arc<Attempt>, worker: u32) {
        if self
            .pending
            .tick
            .finished
            .iter()
            .any(|settlement| Arc::ptr_eq(&settlement.attempt, attempt))
        {
            return;
        }
        let Some(told) = attempt.cancellation.reason() else {
            return;
        };
        log::error!(
            "job {} does not stop although it was told to ({told:?}); worker {worker} goes on with a fresh thread",
            attempt.job()
        );
        self.pool.replace(worker);
        if let Some(state) = attempt.settled() {
            return self.let_go(attempt, state);
        }
        let took = attempt
            .running_on()
            .map(|(_, began)| clock::instant().duration_since(began));
        let verdict = judge(Ending::Abandoned { told }, &attempt.budget, fastrand::f64());
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

    /// Frees the slot of an attempt whose handler has settled it: there is nothing to write.
    pub(crate) fn let_go(&mut self, attempt: &Arc<Attempt>, state: State) {
        self.orphans.retain(|orphan| !Arc::ptr_eq(orphan, attempt));
        if !self.holds(attempt) {
            return;
        }
        self.in_flight.remove(&attempt.job());
        // It may have been given up just before.
        self.pending
            .tick
            .finished
            .retain(|settlement| !Arc::ptr_eq(&settlement.attempt, attempt));
        let mut stats = RunStats::default();
        stats.count(state);
        self.signals.add(&stats);
    }

    /// Handlers whose jobs are others' now have their grace time as well.
    fn free_orphans_slots(&mut self, now: Instant) {
        let grace = self.settings.pulse.grace;
        for orphan in self
            .orphans
            .extract_if(.., |orphan| orphan.is_past_grace(now, grace))
        {
            if let Some((worker, _)) = orphan.running_on() {
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
        let running = self.in_flight.values().chain(&self.orphans);
        running
            .filter_map(|attempt| attempt.running_on())
            .map(|(worker, _)| worker)
            .collect()
    }

    /// When an attempt needs to be looked at next.
    pub(crate) fn next_moment(&self, attempt: &Attempt, now: Instant) -> Instant {
        let Some((_, began)) = attempt.running_on() else {
            // It may begin at any moment, and its time counts from then.
            let soonest = attempt
                .budget
                .timeout
                .map_or(STALE, |timeout| timeout.min(STALE));
            return (attempt.claimed_at + STALE).min(now + soonest);
        };
        if let Some(told_at) = attempt.cancellation.told_at() {
            return clock::after(told_at, self.settings.pulse.grace);
        }
        let never = now + SAFETY_POLL;
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
