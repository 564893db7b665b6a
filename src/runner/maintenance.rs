//! What a runner does for the file besides running jobs: taking over from lost runners, following steps
//! of the clock, removing old jobs, and reconciling what is in flight with the file.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::error::Of;
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::outcome::CancelReason;
use crate::model::part::Part;
use crate::runner::dispatcher::{Dispatcher, StopPhase};
use crate::runner::liveness::{DeadLock, started_at};
use crate::runner::registration;
use crate::runner::registration::RunnerIdentity;
use crate::runner::tick::{Lost, TickResult, end_leftovers};
use crate::store::{Alive, Loss, PrunePass, Stepped, Store};
use crate::{Result, clock, store};

/// A killed process may take this long to release its lock.
const DYING: Duration = Duration::from_millis(500);

impl Dispatcher {
    /// Before a tick: finds lost runners, old jobs and steps of the clock.
    pub(crate) fn prepare_upkeep(&mut self, now: Instant) -> Result<()> {
        let heartbeat_due = now >= self.pending.next_heartbeat;
        self.relax(now);
        if self.aside.try_again(now) {
            self.pending.reconcile = true;
            self.pending.version = None;
            self.pending.more = true;
        }
        if std::mem::take(&mut self.pending.probe_locks) || heartbeat_due {
            self.find_lost(now, heartbeat_due)?;
            self.check_clock()?;
        } else if self.is_due() {
            // The clock may have stepped, and nothing may be due.
            self.check_clock()?;
        }
        if now >= self.pending.next_prune && self.phase == StopPhase::Running {
            self.find_old()?;
        }
        Ok(())
    }

    /// Prepares the next step of the retention pass, or a new pass. If the clock was set since the last
    /// pass was due, nothing counts as old: should the clock be wrong and be corrected before the next
    /// pass, no job is lost.
    fn find_old(&mut self) -> Result<()> {
        let every = self.settings.retention.every;
        self.pending.next_prune = clock::after(clock::instant(), every);
        if self.aside.parts().has(Part::Retention) {
            return Ok(());
        }
        if let Some(left) = self.pending.prune_left.take() {
            self.pending.tick.prune = Some(left);
            return Ok(());
        }
        let conn = self.lease.writer.conn()?;
        if !store::clock_was_set_within(conn, &self.store.config.clock, every)
            .of(Part::Retention)?
        {
            self.pending.tick.prune = Some(self.new_pass().of(Part::Retention)?);
        }
        Ok(())
    }

    fn find_lost(&mut self, now: Instant, heartbeat_due: bool) -> Result<()> {
        let own = self.identity.id;
        let parts = self.aside.parts();
        self.pending.tick.unowned = store::find_unowned(self.lease.writer.conn()?)?;
        self.pending
            .tick
            .unowned
            .retain(|job| !parts.has(Part::Job(*job)));
        let mut others = store::alive_runners(self.lease.writer.conn()?)?;
        others.retain(|runner| runner.id != own);
        for runner in &others {
            if self.dead_locks.iter().any(|(id, _)| *id == runner.id)
                || self.aside.parts().has(Part::Runner(runner.id))
            {
                continue;
            }
            let conn = self.lease.writer.conn()?;
            let attempts = || store::attempts_of_runner(conn, runner.id);
            if let Some((lost, lock)) = find_dead(&self.store, runner, attempts)? {
                self.pending.tick.lost.push(lost);
                self.dead_locks.push((runner.id, lock));
            }
        }
        if !heartbeat_due {
            return Ok(());
        }
        for (id, loss) in self
            .liveness
            .hung(&others, now, self.settings.heartbeat.hung_after)
        {
            if self.pending.tick.lost.iter().any(|lost| lost.runner == id)
                || self.aside.parts().has(Part::Runner(id))
            {
                continue;
            }
            let hung = others.iter().find(|runner| runner.id == id);
            let started = hung.and_then(|runner| started_at(&self.folder, &runner.name));
            self.pending.tick.lost.push(Lost {
                runner: id,
                loss,
                started,
            });
        }
        Ok(())
    }

    /// Whether a job that this runner could run is held by a runner that may be dead. Without a lock
    /// file, as in a copy of the database, that is open until a heartbeat is seen or the runner is
    /// found to hang; with one, during the first moments, as a process that was just killed holds its
    /// lock for some milliseconds more.
    pub(crate) fn awaits_verdict(&mut self) -> Result<bool> {
        let is_early = self.pending.began.elapsed() < DYING;
        let RunnerIdentity { kinds, queues, .. } = &self.identity;
        let conn = self.lease.writer.conn()?;
        for other in store::alive_runners(conn)? {
            let is_known = other.id == self.identity.id
                || self.aside.parts().has(Part::Runner(other.id))
                || self.liveness.has_seen_heartbeat(other.id)
                || (store::has_lock_file(&self.folder, &other.name) && !is_early);
            let served = (kinds.as_slice(), queues.as_deref());
            if !is_known
                && store::holds_any_job(conn, other.id, served).of(Part::Runner(other.id))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn finish_takeovers(&mut self, written: &TickResult) {
        for job in &written.owned_again {
            log::warn!("runner of job {job} has ended without it; took over the job");
        }
        for (id, jobs) in &written.taken_over {
            match jobs {
                0 => log::warn!("runner {id} is lost; it held no job"),
                1 => log::warn!("runner {id} is lost; took over its job"),
                jobs => log::warn!("runner {id} is lost; took over its {jobs} jobs"),
            }
        }
        for (_, lock) in self.dead_locks.drain(..) {
            lock.remove();
        }
    }

    fn check_clock(&mut self) -> Result<()> {
        if self.aside.parts().has(Part::Clock) {
            return Ok(());
        }
        let known = store::KnownClock::read(self.lease.writer.conn()?).of(Part::Clock)?;
        let known = known.as_ref().map(store::KnownClock::reading);
        let now = self.store.config.clock.reading();
        if now.has_stepped_since(known) {
            if known.is_some_and(|known| now.step_since(known).is_some()) {
                log::warn!(
                    "the wall clock has stepped; waits for a duration keep what is left of them"
                );
            }
            self.pending.tick.clock_stepped = true;
        }
        Ok(())
    }

    fn new_pass(&mut self) -> Result<PrunePass> {
        let now_ms = self.store.config.clock.now_ms();
        let (conn, names) = self.lease.writer.split()?;
        PrunePass::over(conn, names, now_ms, &|kind| self.settings.keeps(kind))
    }

    /// After a step of retention: the next one follows soon if the pass goes on. Once it is over, its space is given
    /// back, in steps of the same length.
    pub(crate) fn finish_prune(&mut self, stepped: Stepped) {
        self.pending.prune_left = match stepped.next {
            None => self.give_back_space().then(PrunePass::default),
            next => next,
        };
        if self.pending.prune_left.is_some() {
            self.pending.next_prune = clock::instant() + Duration::from_millis(20);
        }
    }

    /// Returns whether there is more.
    fn give_back_space(&mut self) -> bool {
        let until = store::end_of_prune_step();
        let conn = self.lease.writer.conn();
        let given_back = conn.and_then(|conn| store::give_back_space(conn, until));
        given_back.unwrap_or_else(|error| {
            log::warn!("the space of old jobs was not given back: {error}");
            false
        })
    }

    /// Another runner has declared this one lost: it no longer holds any job. It cancels its running
    /// attempts, whose reports the fence refuses, and registers anew.
    pub(crate) fn start_over(&mut self) -> Result<()> {
        log::error!(
            "runner {} was taken for lost while it hung; its jobs are others' now, it registers anew",
            self.identity.id
        );
        self.cancel_all(CancelReason::ClaimLost);
        self.withdraw_unbegun(Duration::ZERO);
        self.pending.tick.returns.clear();
        self.pending.tick.finished.clear();
        self.pending.tick.workers.clear();
        let in_flight = std::mem::take(&mut self.in_flight);
        self.abandoned.extend(
            in_flight
                .into_values()
                .filter(|attempt| attempt.running_on().is_some()),
        );
        let lock_files = (self.folder.as_path(), &self.lock);
        self.identity = registration::register(
            &mut self.lease,
            &self.settings,
            self.identity.workers,
            lock_files,
        )?;
        self.pending.tick.short_of = self.scarcity.reason().map(str::to_owned);
        self.pending.tick.unavailable = Some(self.kind_pauses.reasons());
        self.pending.more = true;
        Ok(())
    }

    /// After a failed tick, whose commit may have landed: claims in the file that are not in flight go
    /// back. Reports are written once more; the fence makes that harmless.
    pub(crate) fn reconcile(&mut self) -> Result<()> {
        let claims = store::claims_of_runner(self.lease.writer.conn()?, self.identity.id)?;
        let returns = self.pending.tick.returns.iter();
        let known: HashSet<(JobId, u32)> = returns
            .chain(self.in_flight.values())
            .map(|attempt| (attempt.job(), attempt.claim.attempt))
            .collect();
        self.pending.tick.unknown_claims = claims
            .into_iter()
            .map(|job| job.claim)
            .filter(|claim| !known.contains(&(claim.job, claim.attempt)))
            .filter(|claim| !self.aside.parts().has(Part::Job(claim.job)))
            .collect();
        Ok(())
    }
}

/// If a runner is dead: ends what its commands left, and returns its loss and its lock. `attempts` reads
/// those that it has claimed.
pub(super) fn find_dead(
    store: &Store,
    runner: &Alive,
    attempts: impl FnOnce() -> Result<Vec<AttemptRef>>,
) -> Result<Option<(Lost, DeadLock)>> {
    let Some(lock) = DeadLock::probe(&store.runners_folder(), runner) else {
        return Ok(None);
    };
    let lost = Lost {
        runner: runner.id,
        loss: Loss::Dead,
        started: lock.started_at(),
    };
    end_leftovers(store.path(), (lost.runner, attempts()?), lost.started);
    Ok(Some((lost, lock)))
}
