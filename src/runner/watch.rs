//! What the dispatcher sees to between transactions: timeouts, jobs that have waited too long in the
//! channel, other runners, old jobs, steps of the clock.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::Attempt;
use super::dispatcher::Dispatcher;
use super::liveness::{DeadLock, marks_of};
use super::registration;
use super::shutdown::Phase;
use super::turn::{Settlement, Written};
use crate::Result;
use crate::clock;
use crate::outcome::{CancelReason, Ending, judge};
use crate::state::State;
use crate::store::change::{LOOK_AGAIN, SAFETY_POLL, sleep_on};
use crate::store::prune::{Old, STEP};
use crate::store::runners::{self, Loss};
use crate::store::schedule::{self, ClockReading, has_stepped};
use crate::store::settle::Measured;

/// What has sat in the channel for this long goes back, for runners that are free.
const STALE: Duration = Duration::from_secs(1);
/// With a thousand jobs in the channel a look at each costs as much as a small transaction.
const ENFORCE_EVERY: Duration = Duration::from_millis(5);
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
                .is_some_and(|timeout| now >= began + timeout)
            {
                attempt.cancellation.cancel(CancelReason::Timeout);
            }
            if attempt.is_past_grace(now, self.settings.pulse.grace) {
                hung.push((Arc::clone(attempt), worker));
            }
            let long = now.duration_since(began) >= NOTE_WORKER_AFTER;
            if long && attempt.note_once() {
                self.agenda.workers.push((Arc::clone(attempt), worker));
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
            self.agenda.returns.push(attempt);
        }
    }

    /// A handler was told to stop and did not: its slot goes to a fresh thread, its job on its way.
    fn abandon(&mut self, attempt: &Arc<Attempt>, worker: u32) {
        if self
            .agenda
            .settlements
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
        let took = attempt
            .running_on()
            .map(|(_, began)| clock::instant().duration_since(began));
        let verdict = judge(Ending::Abandoned { told }, &attempt.budget, fastrand::f64());
        let measured = Measured {
            worker: Some(worker),
            took,
            ..Measured::default()
        };
        self.agenda.settlements.push(Settlement {
            attempt: Arc::clone(attempt),
            verdict,
            measured,
        });
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

    /// Before a turn: which runners are lost, which jobs are old, whether the clock has stepped.
    pub(crate) fn prepare_upkeep(&mut self, now: Instant) -> Result<()> {
        let beat_due = now >= self.agenda.next_beat;
        if std::mem::take(&mut self.agenda.probe_locks) || beat_due {
            self.find_lost(now, beat_due)?;
            self.check_clock()?;
        }
        if now >= self.agenda.next_prune && self.phase == Phase::Running {
            self.find_old();
        }
        Ok(())
    }

    fn find_lost(&mut self, now: Instant, beat_due: bool) -> Result<()> {
        let own = self.identity.id;
        let mut others = runners::alive(self.lease.writer.conn()?)?;
        others.retain(|runner| runner.id != own);
        for runner in &others {
            if self.dead_locks.iter().any(|(id, _)| *id == runner.id) {
                continue;
            }
            if let Some(lock) = DeadLock::probe(&self.folder, &runner.name) {
                self.end_leftovers(&lock.marks());
                self.agenda.lost.push((runner.id, Loss::Dead));
                self.dead_locks.push((runner.id, lock));
            }
        }
        if !beat_due {
            return Ok(());
        }
        for (id, loss) in self
            .observer
            .hung(&others, now, self.settings.pulse.hung_after)
        {
            if self.agenda.lost.iter().any(|(lost, _)| *lost == id) {
                continue;
            }
            if let Some(runner) = others.iter().find(|runner| runner.id == id) {
                self.end_leftovers(&marks_of(&self.folder, &runner.name));
            }
            self.agenda.lost.push((id, loss));
        }
        Ok(())
    }

    /// Ends what a lost runner's commands left running, before they run again.
    #[cfg_attr(
        not(feature = "exec"),
        allow(clippy::unused_self, reason = "commands are a feature")
    )]
    fn end_leftovers(&self, marks: &[String]) {
        for mark in marks {
            #[cfg(feature = "exec")]
            crate::handlers::exec::end_leftover(mark);
            #[cfg(not(feature = "exec"))]
            log::debug!("a lost runner had noted {mark}");
        }
    }

    pub(crate) fn finish_takeovers(&mut self, written: &Written) {
        self.agenda.lost.clear();
        for (id, jobs) in &written.taken_over {
            log::warn!("runner {id} is lost; took over its {jobs} jobs");
        }
        for (_, lock) in self.dead_locks.drain(..) {
            lock.remove();
        }
    }

    fn check_clock(&mut self) -> Result<()> {
        let source = &self.store.config.clock;
        let now = ClockReading {
            boot: boot_id(),
            offset_ms: source.now_ms() - source.boot_ms(),
        };
        let known = schedule::clock_reading(self.lease.writer.conn()?)?;
        if has_stepped(known.as_ref(), &now) {
            if known.is_some_and(|known| known.boot == now.boot) {
                log::warn!(
                    "the wall clock has stepped; waits for a duration keep what is left of them"
                );
            }
            self.agenda.clock = Some(now);
        }
        Ok(())
    }

    fn find_old(&mut self) {
        let retention = self.settings.retention;
        let now_ms = self.store.config.clock.now_ms();
        let keep = [
            (State::Completed, retention.completed),
            (State::Failed, retention.failed),
            (State::Cancelled, retention.failed),
        ];
        self.agenda.prune = keep
            .into_iter()
            .filter_map(|(state, keep)| {
                Some(Old {
                    state,
                    before_ms: now_ms.saturating_sub(clock::millis(keep?)),
                })
            })
            .collect();
        self.agenda.next_prune = clock::instant() + retention.every;
    }

    /// After a step of the retention: the next one at once where there was enough for it.
    pub(crate) fn finish_prune(&mut self, pruned: usize) {
        if std::mem::take(&mut self.agenda.prune).is_empty() {
            return;
        }
        if pruned >= STEP {
            self.agenda.next_prune = clock::instant() + Duration::from_millis(20);
        }
        if pruned > 0
            && let Ok(conn) = self.lease.writer.conn()
            && let Err(error) = crate::store::prune::give_back_space(conn)
        {
            log::warn!("the space of old jobs was not given back: {error}");
        }
    }

    /// Another runner has taken this one for lost: nothing it holds is its own any more. It cancels
    /// that work, which the fence keeps harmless, and registers anew.
    pub(crate) fn start_over(&mut self) -> Result<()> {
        log::error!(
            "runner {} was taken for lost while it hung; its jobs are others' now, it registers anew",
            self.identity.id
        );
        self.cancel_all(CancelReason::ClaimLost);
        self.withdraw_unbegun(Duration::ZERO);
        self.agenda.returns.clear();
        self.agenda.settlements.clear();
        self.agenda.workers.clear();
        let held = std::mem::take(&mut self.in_flight);
        self.orphans.extend(
            held.into_values()
                .filter(|attempt| attempt.running_on().is_some()),
        );
        let places = (self.folder.as_path(), &*self.marks);
        self.identity = registration::register(
            &mut self.lease,
            &self.settings,
            self.identity.workers,
            places,
        )?;
        self.agenda.more = true;
        Ok(())
    }

    /// After a commit of unknown outcome: what the file says is held here and what is held here are
    /// brought together. Reports are settled once more; the fence makes that harmless.
    pub(crate) fn reconcile(&mut self) {
        let runner = self.identity.id;
        let held = self
            .lease
            .writer
            .conn()
            .and_then(|conn| runners::held_by(conn, runner));
        match held {
            Ok(held) => {
                let known = |job: &runners::HeldJob| {
                    self.in_flight
                        .get(&job.held.job)
                        .is_some_and(|own| own.held.attempt == job.held.attempt)
                };
                self.agenda.strays = held
                    .iter()
                    .filter(|job| !known(job))
                    .map(|job| job.held)
                    .collect();
            }
            Err(error) => log::error!("what this runner holds cannot be read: {error}"),
        }
    }

    /// Sleeps until a report, a command, another process's change, a lost runner or a moment of the
    /// agenda.
    pub(crate) fn sleep(&mut self) {
        let timeout = self.time_to_next();
        self.lease.bell.fall_asleep();
        if self.pool.reports().is_empty()
            && self.lease.outbox.is_empty()
            && !timeout.is_zero()
            && !self.stop_is_news()
        {
            let mut on = vec![self.lease.bell.as_fd()];
            on.extend(self.watch.iter().map(AsFd::as_fd));
            sleep_on(&on, timeout);
        }
        self.lease.bell.wake_up();
        self.agenda.looks = self.agenda.looks.saturating_add(1);
        if let Some(happened) = self
            .watch
            .as_ref()
            .map(super::super::store::change::FileWatch::drain)
        {
            self.agenda.probe_locks |= happened.lock_closed;
            if happened.log_written {
                self.agenda.looks = 0;
            }
        } else {
            self.agenda.probe_locks = true;
        }
    }

    fn stop_is_news(&self) -> bool {
        use super::handle::StopAsked;
        match self.phase {
            Phase::Running => self.signals.stop_asked() != StopAsked::No,
            Phase::Stopping { .. } => self.signals.stop_asked() == StopAsked::Hurriedly,
            _ => false,
        }
    }

    /// How long there is nothing to do unless something happens.
    fn time_to_next(&self) -> Duration {
        let now = clock::instant();
        let mut next = now
            + LOOK_AGAIN
                .get(self.agenda.looks)
                .copied()
                .unwrap_or(SAFETY_POLL);
        let mut at = |moment: Instant| next = next.min(moment);
        if let Some(not_before) = self.agenda.not_before {
            at(not_before);
        } else if self.agenda.version.is_none()
            || self.agenda.has_writes()
            || self.agenda.more && self.has_room()
        {
            return Duration::ZERO;
        }
        at(self.agenda.next_beat);
        if self.phase == Phase::Running {
            at(self.agenda.next_prune);
        }
        if let Phase::Stopping { until } | Phase::Cancelling { until } = self.phase {
            at(if now < until {
                until
            } else {
                until + self.settings.pulse.grace
            });
        }
        if let Some(due_ms) = self
            .agenda
            .next_due_ms
            .filter(|_| self.agenda.not_before.is_none())
        {
            let left_ms = due_ms - self.store.config.clock.now_ms();
            at(now + Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)));
        }
        let looked_at = self.enforced_at.unwrap_or(now);
        for attempt in self.in_flight.values().chain(&self.orphans) {
            at(self
                .next_moment(attempt, now)
                .max(looked_at + ENFORCE_EVERY));
        }
        next.saturating_duration_since(now)
    }
}

impl Dispatcher {
    fn has_room(&self) -> bool {
        self.phase == Phase::Running
            && self.in_flight.len() + self.orphans.len() < self.pool.workers() + self.pace.allowed()
    }

    /// When an attempt needs to be looked at next.
    fn next_moment(&self, attempt: &Attempt, now: Instant) -> Instant {
        let Some((_, began)) = attempt.running_on() else {
            // It may begin at any moment, and its time counts from then.
            let soonest = attempt
                .budget
                .timeout
                .map_or(STALE, |timeout| timeout.min(STALE));
            return (attempt.claimed_at + STALE).min(now + soonest);
        };
        if let Some(told_at) = attempt.cancellation.told_at() {
            return told_at + self.settings.pulse.grace;
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
            .map_or(noted, |timeout| noted.min(began + timeout))
    }
}

/// Which start of the machine this is.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned())
}
