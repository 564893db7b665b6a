//! How a runner ends: one function that is read from top to bottom.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::error::{Kind, Of};
use crate::model::id::JobId;
use crate::model::outcome::CancelReason;
use crate::model::part::Part;
use crate::model::plural::count;
use crate::model::runner::{Remaining, SetAside};
use crate::model::runner_options::Until;
use crate::runner::dispatcher::{Dispatcher, StopPhase};
use crate::runner::signals::StopAsked;
use crate::store::{PrefetchAgain, Tx};
use crate::{Error, Result, clock, store};

/// The interval between two checks of handlers that are to end.
const LOOK_WHILE_ENDING: Duration = Duration::from_millis(100);

/// Maximum number of jobs named in one message.
const NAMED: usize = 20;

/// How the time of a stop is divided.
struct StopPlan {
    /// Running jobs are left alone for this long.
    patience: Duration,
    /// From telling jobs to stop until the end: half of the whole, or less.
    rest: Duration,
}

/// Maximum time from telling jobs to stop until the end.
const REST: Duration = Duration::from_secs(12);

impl StopPlan {
    fn of(whole: Duration) -> StopPlan {
        let rest = (whole / 2).min(REST);
        StopPlan {
            patience: whole - rest,
            rest,
        }
    }

    /// From telling jobs to stop until a command is killed: 10 s of 12.
    fn to_kill(&self) -> Duration {
        self.rest - (self.rest / 3).min(Duration::from_secs(2))
    }

    /// From telling jobs to stop until an attempt is abandoned; the rest is for saving that.
    fn to_give_up(&self) -> Duration {
        self.rest - (self.rest / 6).min(Duration::from_secs(1))
    }
}

impl Dispatcher {
    /// Moves on towards the end, if that was asked for.
    ///
    /// Stops claiming and gives back jobs that have not begun; waits for running jobs until the
    /// deadline; tells them to stop and waits for the grace time; gives the rest back; marks the runner
    /// stopped.
    pub(crate) fn follow_phase(&mut self) -> Result<()> {
        let now = clock::instant();
        let asked = self.signals.stop_asked();
        let plan = StopPlan::of(self.settings.stop_timeout);
        if self.phase == StopPhase::Running
            && (asked >= StopAsked::Gracefully || self.is_drained()?)
        {
            self.withdraw_unbegun(Duration::ZERO);
            self.pending.tick.stopping = true;
            self.phase = StopPhase::Stopping {
                until: clock::after(now, plan.patience),
                end: clock::after(now, self.settings.stop_timeout),
            };
        }
        if let StopPhase::Stopping { until, end } = self.phase
            && (asked == StopAsked::Hurriedly || now >= until)
        {
            if !self.in_flight.is_empty() {
                let jobs = count(self.in_flight.len() as u64, "job");
                log::warn!("{jobs} still running; telling them to stop");
            }
            for attempt in self.in_flight.values().chain(&self.abandoned) {
                let kill_at = clock::after(now, plan.to_kill());
                attempt
                    .cancellation
                    .cancel_by(CancelReason::Shutdown, kill_at);
            }
            self.phase = StopPhase::Cancelling {
                until: clock::after(now, plan.to_give_up()),
                end: end.min(clock::after(now, plan.rest)),
            };
        }
        if let StopPhase::Cancelling { until, .. } = self.phase
            && now >= until
        {
            self.abandon_all();
        }
        if self.phase != StopPhase::Running
            && self.in_flight.is_empty()
            && self.pending.tick.returns.is_empty()
            && self.pending.tick.finished.is_empty()
        {
            return match self.mark_stopped() {
                Err(_) if self.is_over_time(now) => {
                    self.phase = StopPhase::GaveUp;
                    Ok(())
                }
                marked => {
                    marked?;
                    self.phase = StopPhase::Ended;
                    Ok(())
                }
            };
        }
        // Attempts abandoned just now are to be saved, with at least one try.
        if self.is_over_time(now)
            && (self.pending.failures > 0 || self.pending.tick.finished.is_empty())
        {
            self.phase = StopPhase::GaveUp;
        }
        Ok(())
    }

    fn is_over_time(&self, now: Instant) -> bool {
        matches!(self.phase, StopPhase::Cancelling { end, .. } if now >= end)
    }

    /// The error of a runner that has ended without saving the outcomes of its jobs.
    pub(crate) fn unsaved(&self) -> Option<Error> {
        if self.phase != StopPhase::GaveUp || self.in_flight.is_empty() {
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

    /// Whether nothing is left that this runner could run, now or after a retry. Jobs that another live
    /// runner runs do not count, unless they are of the batch that is drained.
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
        let mut kinds = identity.any_of_its_kinds();
        kinds.retain(|capacity| !self.kind_pauses.is_given_up(capacity.kind));
        // Jobs that only a limit holds back are still to be run.
        let request = identity.claim_request(&kinds, self.aside.parts());
        let held_up = request.for_no_worker(&kinds, 1);
        let now_ms = self.store.config.clock.now_ms();
        let conn = self.lease.writer.conn()?;
        if store::has_claimable(conn, &held_up, now_ms)? {
            // Jobs that were set aside while they ran still count against the limits.
            let has_capacity = store::has_capacity(conn, &held_up)?;
            return Ok(!has_capacity && self.aside.has_jobs());
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
        let kinds: Vec<i64> = kinds.iter().map(|capacity| capacity.kind).collect();
        let waits = store::retries_left(conn, &kinds, left)?;
        Ok(!waits && !self.awaits_verdict()?)
    }

    /// The jobs that the drain has left, with the reasons.
    pub(crate) fn left(&mut self) -> Result<Vec<Remaining>> {
        if self.settings.until == Until::Stopped {
            return Ok(Vec::new());
        }
        let identity = &self.identity;
        let conn = self.lease.writer.conn()?;
        let kinds = (&*identity.kinds, &self.kind_pauses.reasons());
        let left = store::jobs_left(conn, kinds, identity.queues.as_deref());
        let left = match left {
            // The rest of a damaged file need not be known.
            Err(error) if error.blames_data() && self.aside.is_any() => Vec::new(),
            left => left?,
        };
        Ok(left
            .into_iter()
            .map(|(jobs, why)| Remaining { jobs, why })
            .collect())
    }

    /// The parts that were set aside, with the reasons.
    pub(crate) fn parts_set_aside(&mut self) -> Vec<SetAside> {
        let reasons = self.aside.reasons().clone();
        let mut set_aside: Vec<SetAside> = reasons
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
            set_aside.push(SetAside {
                what: format!("job {job}"),
                why: "the file does not say what its kind or its queue is".to_owned(),
            });
        }
        set_aside
    }

    /// A part by its name, if that can be read.
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

    /// The file can no longer be written: running jobs are told to stop and waited for, so that they do
    /// not go on while others run them again. Their outcomes are dropped, and commands that arrive
    /// meanwhile fail with `why`.
    pub(crate) fn end_unsaved(&mut self, why: &Error) {
        self.withdraw_unbegun(Duration::ZERO);
        self.cancel_all(CancelReason::Shutdown);
        let until = clock::after(clock::instant(), self.settings.grace * 2);
        loop {
            self.collect();
            store::lose_commands(&mut self.pending.commands, why);
            for finished in self.pending.tick.finished.drain(..) {
                self.in_flight.remove(&finished.attempt.job());
            }
            let left = until.saturating_duration_since(clock::instant());
            if self.busy_workers().is_empty() || left.is_zero() {
                return;
            }
            self.lease.bell.fall_asleep();
            if self.pool.reports().is_empty() && self.lease.inbox.is_empty() {
                store::sleep_on(&[self.lease.bell.as_fd()], left.min(LOOK_WHILE_ENDING));
            }
            self.lease.bell.wake_up();
        }
    }

    /// Ends the workers, releases the lock and gives the writer back.
    pub(crate) fn close(mut self) {
        // Withdraws jobs that have not begun before checking which workers are busy: otherwise a worker
        // that has just begun would be waited for here while it waits for a commit.
        self.cancel_all(CancelReason::Shutdown);
        for attempt in self.in_flight.values() {
            attempt.withdraw();
        }
        let busy = self.busy_workers();
        self.pool.close(|worker| busy.contains(&worker));
        self.lose_posted();
        if let Some(lock) = self.lock.change(None)
            && self.phase == StopPhase::Ended
        {
            lock.remove();
        }
        self.store.writer.give_back(self.lease);
    }
}

/// Marks a runner stopped. Claims that the file still lists for it go back first.
pub(super) fn write_end(tx: &mut Tx<'_>, runner: i64) -> Result<()> {
    for job in store::claims_of_runner(tx.conn, runner)? {
        let part = Part::Job(job.claim.job);
        if !tx.is_aside(part) {
            store::return_unbegun(tx, &job.claim, PrefetchAgain::Yes).of(part)?;
        }
    }
    store::mark_stopped(tx, runner)
}
