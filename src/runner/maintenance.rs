//! What a runner does for the file besides jobs: taking over from lost runners, steps of the clock,
//! old jobs, and bringing itself and the file together again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::error::Of;
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::outcome::CancelReason;
use crate::model::part::Part;
use crate::model::state::State;
use crate::runner::dispatcher::{Dispatcher, Settings};
use crate::runner::liveness::{DeadLock, started_at};
use crate::runner::registration;
use crate::runner::registration::Identity;
use crate::runner::shutdown::Phase;
use crate::runner::tick::{Lost, TickResult, end_leftovers};
use crate::store::{Alive, Keeps, Loss, PrunePass, Stepped, Store};
use crate::{Result, clock, store};

/// So long a process that was killed may take to let go of its lock.
const DYING: Duration = Duration::from_millis(500);

impl Dispatcher {
    /// Before a turn: which runners are lost, which jobs are old, whether the clock has stepped.
    pub(crate) fn prepare_upkeep(&mut self, now: Instant) -> Result<()> {
        let beat_due = now >= self.pending.next_heartbeat;
        self.relax(now);
        if self.aside.try_again(now) {
            self.pending.reconcile = true;
            self.pending.version = None;
            self.pending.more = true;
        }
        if std::mem::take(&mut self.pending.probe_locks) || beat_due {
            self.find_lost(now, beat_due)?;
            self.check_clock()?;
        } else if self.is_due() {
            // It may be the clock that has stepped, and nothing of it due.
            self.check_clock()?;
        }
        if now >= self.pending.next_prune && self.phase == Phase::Running {
            self.find_old()?;
        }
        Ok(())
    }

    /// The next step of the pass over old jobs, or a new pass. By a clock that was set since the last one
    /// was due nothing is old: should it be wrong, and be set right before the next, nothing is lost.
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

    fn find_lost(&mut self, now: Instant, beat_due: bool) -> Result<()> {
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
            let held = || store::attempts_of_runner(conn, runner.id);
            if let Some((lost, lock)) = find_dead(&self.store, runner, held)? {
                self.pending.tick.lost.push(lost);
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

    /// Whether a job that this runner could run is held by one that may be gone: without a lock file, as
    /// in a copy of the database, until it is seen to beat or found to hang; or with one at the beginning,
    /// as a process that was just killed holds its lock for some milliseconds more.
    pub(crate) fn awaits_verdict(&mut self) -> Result<bool> {
        let is_early = self.pending.began.elapsed() < DYING;
        let Identity { kinds, queues, .. } = &self.identity;
        let conn = self.lease.writer.conn()?;
        for other in store::alive_runners(conn)? {
            let is_known = other.id == self.identity.id
                || self.aside.parts().has(Part::Runner(other.id))
                || self.observer.has_seen_beat(other.id)
                || (store::has_lock_file(&self.folder, &other.name) && !is_early);
            let held = (kinds.as_slice(), queues.as_deref());
            if !is_known && store::holds_any_job(conn, other.id, held).of(Part::Runner(other.id))? {
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

    /// After a step of the retention: the next one soon where the pass goes on, or there is space yet
    /// to be given back.
    pub(crate) fn finish_prune(&mut self, stepped: Stepped) {
        let space_left = self.lease.writer.conn().and_then(store::give_back_space);
        let space_left = space_left.unwrap_or_else(|error| {
            log::warn!("the space of old jobs was not given back: {error}");
            false
        });
        self.pending.prune_left = stepped.next.or(space_left.then(PrunePass::default));
        if self.pending.prune_left.is_some() {
            self.pending.next_prune = clock::instant() + Duration::from_millis(20);
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
        self.pending.tick.returns.clear();
        self.pending.tick.finished.clear();
        self.pending.tick.workers.clear();
        let held = std::mem::take(&mut self.in_flight);
        self.orphans.extend(
            held.into_values()
                .filter(|attempt| attempt.running_on().is_some()),
        );
        let places = (self.folder.as_path(), &self.lock);
        self.identity = registration::register(
            &mut self.lease,
            &self.settings,
            self.identity.workers,
            places,
        )?;
        self.pending.tick.short_of = self.scarcity.reason().map(str::to_owned);
        self.pending.more = true;
        Ok(())
    }

    /// After a turn that failed, perhaps with its commit landed: what the file says is held here and
    /// is not goes back. Reports are settled once more; the fence makes that harmless.
    pub(crate) fn reconcile(&mut self) -> Result<()> {
        let held = store::held_by(self.lease.writer.conn()?, self.identity.id)?;
        let returns = self.pending.tick.returns.iter();
        let known: HashSet<(JobId, u32)> = returns
            .chain(self.in_flight.values())
            .map(|attempt| (attempt.job(), attempt.held.attempt))
            .collect();
        self.pending.tick.unknown_claims = held
            .into_iter()
            .map(|job| job.held)
            .filter(|held| !known.contains(&(held.job, held.attempt)))
            .filter(|held| !self.aside.parts().has(Part::Job(held.job)))
            .collect();
        Ok(())
    }
}

/// Where a runner is gone, its loss and that lock; what its commands left running is ended. `held` are its
/// attempts.
pub(super) fn find_dead(
    store: &Store,
    runner: &Alive,
    held: impl FnOnce() -> Result<Vec<AttemptRef>>,
) -> Result<Option<(Lost, DeadLock)>> {
    let Some(lock) = DeadLock::probe(&store.runners_folder(), runner) else {
        return Ok(None);
    };
    let lost = Lost {
        runner: runner.id,
        loss: Loss::Dead,
        started: lock.started_at(),
    };
    end_leftovers(store.path(), held()?, lost.started);
    Ok(Some((lost, lock)))
}

impl Settings {
    pub(super) fn keeps(&self, kind: &str) -> Keeps {
        let own = self.kinds.get(kind).and_then(|kind| kind.retention);
        let keep = own.unwrap_or(self.retention.into());
        [
            (State::Completed, keep.completed),
            (State::Failed, keep.failed),
            (State::Cancelled, keep.failed),
        ]
    }
}
