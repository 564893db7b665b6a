//! How a runner ends: one function that is read from top to bottom.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::error::{Kind, Of};
use crate::model::id::JobId;
use crate::model::outcome::CancelReason;
use crate::model::part::Part;
use crate::model::plural::count;
use crate::runner::builder::Until;
use crate::runner::dispatcher::Dispatcher;
use crate::runner::handle::{SetAside, StopAsked};
use crate::store::{ClaimFor, ClaimRequest, KindCapacity, PrefetchAgain, Tx};
use crate::{Error, Result, clock, store};

/// Between two looks at handlers that are to end.
const LOOK_WHILE_ENDING: Duration = Duration::from_millis(100);

/// How far a runner is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It claims and runs.
    Running,
    /// It claims no more and waits for what runs until it is told to stop; the whole is over by `end`.
    Stopping { until: Instant, end: Instant },
    /// What runs has been told to stop, and is given up then.
    Cancelling { until: Instant, end: Instant },
    /// Nothing runs any more, and the file says so.
    Ended,
    /// Nothing could be saved to the end: the lock goes, and others take over what the file still
    /// says is held here.
    GaveUp,
}

/// So many jobs are named in one message.
const NAMED: usize = 20;

/// How a stop that begins now is divided.
struct StopPlan {
    /// Running jobs are left alone for so long.
    patience: Duration,
    /// From being told to stop to the end of it all: half of the whole, or less.
    rest: Duration,
}

/// What a stop with much time leaves for ending what did not end by itself.
const REST: Duration = Duration::from_secs(12);

impl StopPlan {
    fn of(whole: Duration) -> StopPlan {
        let rest = (whole / 2).min(REST);
        StopPlan {
            patience: whole - rest,
            rest,
        }
    }

    /// From being told to stop until a command is killed: 10 s of 12.
    fn to_kill(&self) -> Duration {
        self.rest - (self.rest / 3).min(Duration::from_secs(2))
    }

    /// From being told to stop until an attempt is given up; what is left is for saving that.
    fn to_give_up(&self) -> Duration {
        self.rest - (self.rest / 6).min(Duration::from_secs(1))
    }
}

impl Phase {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Phase::Ended | Phase::GaveUp)
    }
}

impl Dispatcher {
    /// Moves on towards the end, where that was asked for.
    ///
    /// Stop claiming and give back what has not begun; wait for the running until the deadline; tell
    /// them to stop and wait the grace time; give the rest back; mark the runner stopped.
    pub(crate) fn follow_phase(&mut self) -> Result<()> {
        let now = clock::instant();
        let asked = self.signals.stop_asked();
        let plan = StopPlan::of(self.settings.pulse.stop_timeout);
        if self.phase == Phase::Running && (asked >= StopAsked::Gracefully || self.is_drained()?) {
            self.withdraw_unbegun(Duration::ZERO);
            self.pending.tick.stopping = true;
            self.phase = Phase::Stopping {
                until: clock::after(now, plan.patience),
                end: clock::after(now, self.settings.pulse.stop_timeout),
            };
        }
        if let Phase::Stopping { until, end } = self.phase
            && (asked == StopAsked::Hurriedly || now >= until)
        {
            if !self.in_flight.is_empty() {
                let jobs = count(self.in_flight.len() as u64, "job");
                log::warn!("{jobs} still running; telling them to stop");
            }
            for attempt in self.in_flight.values().chain(&self.orphans) {
                let kill_at = clock::after(now, plan.to_kill());
                attempt
                    .cancellation
                    .cancel_by(CancelReason::Shutdown, kill_at);
            }
            self.phase = Phase::Cancelling {
                until: clock::after(now, plan.to_give_up()),
                end: end.min(clock::after(now, plan.rest)),
            };
        }
        if let Phase::Cancelling { until, .. } = self.phase
            && now >= until
        {
            self.abandon_all();
        }
        if self.phase != Phase::Running
            && self.in_flight.is_empty()
            && self.pending.tick.returns.is_empty()
            && self.pending.tick.finished.is_empty()
        {
            return match self.mark_stopped() {
                Err(_) if self.is_over_time(now) => {
                    self.phase = Phase::GaveUp;
                    Ok(())
                }
                marked => {
                    marked?;
                    self.phase = Phase::Ended;
                    Ok(())
                }
            };
        }
        // What was given up just now is to be saved once at least.
        if self.is_over_time(now)
            && (self.pending.failures > 0 || self.pending.tick.finished.is_empty())
        {
            self.phase = Phase::GaveUp;
        }
        Ok(())
    }

    fn is_over_time(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Cancelling { end, .. } if now >= end)
    }

    /// What it means for its owner that a runner has ended without saving what its jobs came to.
    pub(crate) fn unsaved(&self) -> Option<Error> {
        if self.phase != Phase::GaveUp || self.in_flight.is_empty() {
            return None;
        }
        let mut jobs: Vec<JobId> = self.in_flight.keys().copied().collect();
        jobs.sort_unstable();
        let named: Vec<String> = jobs.iter().take(NAMED).map(JobId::to_string).collect();
        let more = match jobs.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let why = self.pending.last_error.as_deref().unwrap_or("no time left");
        let s = if jobs.len() == 1 { "" } else { "s" };
        let error = format!(
            "the runner ended before it could save what became of job{s} {}{more}: {why}",
            named.join(", ")
        );
        Some(Error::new(Kind::Io, error).with_hint("the next runner runs them again"))
    }

    /// Whether nothing is left that this runner could run, now or after a retry. What another live
    /// runner runs is that runner's, unless it is of the batch that is drained.
    fn is_drained(&mut self) -> Result<bool> {
        if self.settings.until == Until::Stopped
            || self.pending.more
            || !self.in_flight.is_empty()
            || self.pending.probe_locks
            || self.pending.reconcile
            || self.pending.has_writes()
            || self.is_due()
        {
            return Ok(false);
        }
        let identity = &self.identity;
        let kinds: Vec<KindCapacity> = identity
            .kinds
            .iter()
            .copied()
            .map(KindCapacity::any)
            .collect();
        // What only a limit keeps from running is left to run.
        let held_up = ClaimRequest {
            claim_for: ClaimFor::NoWorker,
            jobs: 1,
            ..identity.claim_request(&kinds, self.aside.parts())
        };
        let now_ms = self.store.config.clock.now_ms();
        let conn = self.lease.writer.conn()?;
        if store::has_claimable(conn, &held_up, now_ms)? {
            // Jobs that are set aside while they ran keep their places.
            let has_places = store::has_capacity(conn, &held_up)?;
            return Ok(!has_places && self.aside.has_jobs());
        }
        if store::has_uncounted(conn, &held_up, now_ms)? {
            let error = "jobs may run that the state counters do not tell of";
            return Err(Error::new(Kind::Sqlite, error).of(Part::Counters));
        }
        if let Some(batch) = self.settings.batch
            && store::is_batch_running(conn, batch, self.aside.parts())?
        {
            return Ok(false);
        }
        let left = (identity.queues.as_deref(), self.aside.parts());
        let waits = store::retries_left(conn, &identity.kinds, left)?;
        Ok(!waits && !self.awaits_verdict()?)
    }

    /// What the drain has left, and why.
    pub(crate) fn left(&mut self) -> Result<Vec<crate::runner::handle::Remaining>> {
        if self.settings.until == Until::Stopped {
            return Ok(Vec::new());
        }
        let identity = &self.identity;
        let conn = self.lease.writer.conn()?;
        let left = store::jobs_left(conn, &identity.kinds, identity.queues.as_deref());
        let left = match left {
            // What is left of a damaged file need not be known.
            Err(error) if error.blames_data() && self.aside.is_any() => Vec::new(),
            left => left?,
        };
        Ok(left
            .into_iter()
            .map(|(jobs, why)| crate::runner::handle::Remaining { jobs, why })
            .collect())
    }

    /// What was set aside, with the reasons.
    pub(crate) fn told_aside(&mut self) -> Vec<SetAside> {
        let told: Vec<_> = self.aside.told().clone().into_iter().collect();
        let mut told: Vec<SetAside> = told
            .into_iter()
            .map(|(part, why)| SetAside {
                what: self.called(part),
                why,
            })
            .collect();
        let nameless = self.lease.writer.conn().and_then(store::job_without_name);
        if let Ok(Some(job)) = nameless
            && self.settings.until == Until::Drained
        {
            told.push(SetAside {
                what: format!("job {job}"),
                why: "the file does not say what its kind or its queue is".to_owned(),
            });
        }
        told
    }

    /// A part by its name, where that can be read.
    pub(crate) fn called(&mut self, part: Part) -> String {
        let conn = self.lease.writer.conn();
        let name = match (part, conn) {
            (Part::Queue(id), Ok(conn)) => store::queue_name(conn, id),
            (Part::Schedule(id), Ok(conn)) => store::schedule_name(conn, id),
            _ => None,
        };
        match (part, name) {
            (Part::Queue(_), Some(name)) => format!("queue '{name}'"),
            (Part::Schedule(_), Some(name)) => format!("schedule '{name}'"),
            (part, _) => part.to_string(),
        }
    }

    fn mark_stopped(&mut self) -> Result<()> {
        let runner = self.identity.id;
        let aside = self.aside.parts();
        self.lease
            .writer
            .transact(&mut self.pending.commands, &mut |tx| {
                tx.aside = aside.clone();
                write_end(tx, runner)
            })
    }

    /// The file can no longer be written: what runs is told to stop and waited for, so that nothing of it
    /// goes on while others run it again. What it came to is dropped, and `why` is the answer to whoever
    /// wants something written meanwhile.
    pub(crate) fn end_unsaved(&mut self, why: &Error) {
        self.withdraw_unbegun(Duration::ZERO);
        self.cancel_all(CancelReason::Shutdown);
        let until = clock::after(clock::instant(), self.settings.pulse.grace * 2);
        loop {
            self.collect();
            store::lose_commands(&mut self.pending.commands, why);
            for settlement in self.pending.tick.finished.drain(..) {
                self.in_flight.remove(&settlement.attempt.job());
            }
            let left = until.saturating_duration_since(clock::instant());
            if self.busy_workers().is_empty() || left.is_zero() {
                return;
            }
            self.lease.bell.fall_asleep();
            if self.pool.reports().is_empty() && self.lease.outbox.is_empty() {
                store::sleep_on(&[self.lease.bell.as_fd()], left.min(LOOK_WHILE_ENDING));
            }
            self.lease.bell.wake_up();
        }
    }

    /// Ends the workers, releases the lock and hands the writer back.
    pub(crate) fn close(mut self) {
        // What has not begun is others' from now on; before the look at who is busy, or a worker that
        // has just begun would be waited for here while it waits for a commit.
        self.cancel_all(CancelReason::Shutdown);
        for attempt in self.in_flight.values() {
            attempt.withdraw();
        }
        let busy = self.busy_workers();
        self.pool.close(|worker| busy.contains(&worker));
        self.lose_posted();
        if let Some(lock) = self.lock.change(None)
            && self.phase == Phase::Ended
        {
            lock.remove();
        }
        self.store.writer.give_back(self.lease);
    }
}

/// Marks a runner stopped. Anything that the file says it holds, and it does not, goes back first.
pub(super) fn write_end(tx: &mut Tx<'_>, runner: i64) -> Result<()> {
    for stray in store::held_by(tx.conn, runner)? {
        let part = Part::Job(stray.held.job);
        if !tx.is_aside(part) {
            store::return_unbegun(tx, &stray.held, PrefetchAgain::Yes).of(part)?;
        }
    }
    store::mark_stopped(tx, runner)
}
