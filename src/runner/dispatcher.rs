//! The dispatcher: the runner's one thread that claims, hands out, takes reports back and writes.
//!
//! Each tick looks first. With nothing to write it opens no write transaction; otherwise runners would
//! wake each other forever. Everything it has to write goes into one transaction, and claimed jobs are
//! sent to the workers after its COMMIT. Then the dispatcher sleeps until something happens.

use crate::model::outcome::CancelReason;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::error::Of;
use crate::model::id::JobId;
use crate::model::part::Part;
use crate::model::runner::RunReport;
use crate::model::runner_options::Until;
use crate::runner::attempt::{Attempt, Report};
use crate::runner::handler::Handler;
use crate::runner::kind_pauses::KindPauses;
use crate::runner::liveness::{DeadLock, LivenessMonitor, OwnLock};
use crate::runner::pending_work::PendingWork;
use crate::runner::pool::Pool;
use crate::runner::prefetch::RunTimeEstimate;
use crate::runner::registration::RunnerIdentity;
use crate::runner::scarcity::Scarcity;
use crate::runner::set_aside::Aside;
use crate::runner::settings::Settings;
use crate::runner::signals::Signals;
use crate::runner::tick::{FinishedAttempt, Grouping, REPORTS, Tick, TickContext, TickResult};
use crate::store::{
    ClaimedJob, FairShares, FileWatch, GROUP, LogCopies, Schedules, Store, Tx, WriterLease,
};
use crate::{Result, clock, store};

/// Due work that did not move is looked at again after this long.
const STALLED_MS: i64 = 500;

/// How far a runner is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopPhase {
    /// It claims and runs.
    Running,
    /// It claims no more and waits for running jobs until it is told to stop; the whole stop is over by
    /// `end`.
    Stopping { until: Instant, end: Instant },
    /// Running jobs have been told to stop; they are abandoned at `until`.
    Cancelling { until: Instant, end: Instant },
    /// Nothing runs any more, and the file says so.
    Ended,
    /// Nothing could be saved until the end: the lock is released, and other runners take over what the
    /// file still lists as in flight here.
    GaveUp,
}

impl StopPhase {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, StopPhase::Ended | StopPhase::GaveUp)
    }
}

pub(crate) struct Dispatcher {
    pub(crate) store: Arc<Store>,
    pub(crate) lease: WriterLease,
    pub(crate) log_copies: LogCopies,
    pub(crate) settings: Settings,
    pub(crate) identity: RunnerIdentity,
    pub(crate) folder: PathBuf,
    pub(crate) lock: OwnLock,
    pub(crate) pool: Pool,
    pub(crate) watch: Option<FileWatch>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) in_flight: HashMap<JobId, Arc<Attempt>>,
    /// Handlers that still run although another runner has taken over their jobs.
    pub(crate) abandoned: Vec<Arc<Attempt>>,
    /// The locks of dead runners, held until their jobs are taken over.
    pub(crate) dead_locks: Vec<(i64, DeadLock)>,
    pub(crate) run_times: RunTimeEstimate,
    pub(crate) liveness: LivenessMonitor,
    pub(crate) phase: StopPhase,
    pub(crate) pending: PendingWork,
    /// When the jobs in flight were last checked for timeouts.
    pub(crate) enforced_at: Option<Instant>,
    /// What this runner has claimed from each queue.
    pub(crate) shares: FairShares,
    /// Parts of the file that are left alone because their data cannot be read or written.
    pub(crate) aside: Aside,
    /// How far the runner limits itself because the system lacks resources.
    pub(crate) scarcity: Scarcity,
    /// Kinds whose handlers can run no job at the moment.
    pub(crate) kind_pauses: KindPauses,
    /// Handlers that reloads have replaced, to be closed at the end.
    pub(crate) replaced: Vec<Arc<dyn Handler>>,
}

impl Dispatcher {
    pub(crate) fn id(&self) -> i64 {
        self.identity.id
    }

    /// Runs ticks until the runner has ended.
    pub(crate) fn run(&mut self) -> Result<RunReport> {
        while !self.phase.is_over() {
            self.signals.ticked(self.store.config.clock.boot_ms());
            self.collect();
            if let Err(error) = self.take_reload().and_then(|()| self.tick()) {
                self.failed(error)?;
            }
            self.signals.set_running(self.in_flight.len());
            if !self.phase.is_over() {
                self.sleep();
            }
        }
        if let Some(error) = self.unsaved() {
            return Err(error);
        }
        Ok(RunReport {
            stats: self.signals.stats(),
            left: self.left()?,
            set_aside: self.parts_set_aside(),
        })
    }

    fn tick(&mut self) -> Result<()> {
        self.take_events();
        let looked = self.look();
        self.enforce();
        let written = looked.and_then(|()| self.write());
        // Independent of the result: a runner that can save nothing must still notice a stop.
        let followed = self.follow_phase();
        written.and(followed)
    }

    /// Takes reports and commands. Reports first: what a worker wrote before its report is in the inbox
    /// by then and goes into the same transaction, before the report.
    pub(crate) fn collect(&mut self) {
        let room = REPORTS.saturating_sub(self.pending.tick.finished.len());
        let reports: Vec<Report> = self.pool.reports().try_iter().take(room).collect();
        // Counted after the reports were taken: everything that their workers wrote is included.
        let owed = match reports.is_empty() {
            true => 0,
            false => self.lease.inbox.len(),
        };
        for report in reports {
            self.judge(report);
        }
        let room = self.command_capacity().max(owed);
        self.lease.inbox.take(room, &mut self.pending.commands);
        self.pending.more |= !self.pending.commands.is_empty();
    }

    /// How many more commands to take from the inbox: as many as fit into the next transaction. While
    /// nothing can be written, all are taken: otherwise workers would wait for space in the inbox and
    /// could not be told to stop. The backlog bounds what may wait.
    pub(crate) fn command_capacity(&self) -> usize {
        match self.pending.failures {
            0 => GROUP.saturating_sub(self.pending.commands.len()),
            _ => GROUP,
        }
    }

    fn judge(&mut self, report: Report) {
        let attempt = &report.attempt;
        self.run_times.saw(attempt.kind_id, report.took);
        if let Some(state) = attempt.finished() {
            return self.let_go(attempt, state);
        }
        self.heed_resources(&report);
        self.heed_unavailable(&report);
        if self.holds(attempt) {
            let finished = FinishedAttempt::of(report, fastrand::f64());
            self.pending.tick.finished.push(finished);
        } else {
            self.abandoned.retain(|other| !Arc::ptr_eq(other, attempt));
            log::warn!(
                "job {}: attempt {} reported after it had lost the job; dropped",
                attempt.job(),
                attempt.claim.attempt
            );
        }
    }

    /// Whether the job is in flight with this very attempt.
    pub(crate) fn holds(&self, attempt: &Attempt) -> bool {
        self.in_flight
            .get(&attempt.job())
            .is_some_and(|current| current.claim.attempt == attempt.claim.attempt)
    }

    /// Checks without a transaction whether other processes have changed anything.
    fn look(&mut self) -> Result<()> {
        self.store.file.check_lately()?;
        if self.pending.reconcile {
            self.reconcile()?;
            self.pending.reconcile = false;
        }
        let runner = self.identity.id;
        let schedules = self.schedules();
        let conn = self.lease.writer.conn()?;
        let own_news = !self.pending.commands.is_empty() || !self.pending.tick.finished.is_empty();
        let version = match own_news {
            // The write that follows takes the lock.
            true => store::data_version(conn)?,
            false => self.pending.commits.version(conn)?,
        };
        if self.pending.version != Some(version) || own_news {
            self.pending.more |= self.pending.version != Some(version);
            self.pending.version = Some(version);
            let now_ms = self.store.config.clock.now_ms();
            let moments = (schedules, self.aside.parts());
            self.pending.next_due_ms = store::next_moment(conn, now_ms, moments)?;
            for (job, number) in store::attempts_to_cancel(conn, runner)? {
                if let Some(attempt) = self
                    .in_flight
                    .get(&job)
                    .filter(|attempt| attempt.claim.attempt == number)
                {
                    attempt.cancellation.cancel(CancelReason::Requested);
                }
            }
        }
        Ok(())
    }

    /// Writes the tick, if there is anything to write, and hands out the claimed jobs.
    fn write(&mut self) -> Result<()> {
        let now = clock::instant();
        if self
            .pending
            .not_before
            .is_some_and(|not_before| now < not_before)
        {
            return Ok(());
        }
        self.prepare_upkeep(now)?;
        let capacity = self.capacity();
        let heartbeat = now >= self.pending.next_heartbeat;
        let due = self.is_due();
        let is_busy = self.pending.has_writes() || due || self.finds_work(capacity)?;
        if !is_busy {
            return match heartbeat {
                true => self.beat(),
                false => Ok(()),
            };
        }
        self.write_piled_up()?;
        let (kinds, short) = (self.kind_capacities(), self.prefetch_kinds());
        let unknown = self.unknown_kinds()?;
        let aside = self.aside.parts().clone();
        let request = self.identity.claim_request(&kinds, &aside);
        let requests = request.both(capacity, &short);
        self.pending.had_commands = !self.pending.commands.is_empty();
        let context = TickContext {
            database: self.store.path(),
            runner: self.identity.id,
            grouping: match self.pending.failures {
                0 => Grouping::Together,
                _ => Grouping::OneByOne,
            },
            aside: &aside,
            is_due: due,
            schedules: self.schedules(),
            quota: self.settings.quota,
            hooks: &self.settings.hooks,
            requests: &requests,
            shares: &self.shares,
            fail_kinds: unknown
                .as_deref()
                .map(|kinds| request.for_no_worker(kinds, REPORTS)),
        };
        let mut tick = std::mem::take(&mut self.pending.tick);
        tick.heartbeat = heartbeat;
        // In the order of their rows, which are on the same pages, and a range of jobs is short in the feed.
        tick.finished.sort_by_key(|finished| finished.attempt.job());
        let writer = &mut self.lease.writer;
        let written = writer.transact(&mut self.pending.commands, &mut |tx| {
            tick.write(tx, &context)
        });
        let mut written = match written {
            Ok(written) => written,
            Err(error) => {
                self.pending.tick = tick;
                return Err(error);
            }
        };
        // Without capacity the dispatcher did not look for work, so there may be some.
        written.more |= !capacity.is_some();
        self.pending.looked_for = capacity.free;
        self.follow(tick, written)?;
        self.tidy_log();
        self.has_committed();
        Ok(())
    }

    /// Writes a heartbeat alone. It may be lost with the power, so the disk need not wake for it.
    fn beat(&mut self) -> Result<()> {
        let runner = self.identity.id;
        let mut heartbeat = |tx: &mut Tx<'_>| store::write_heartbeat(tx, runner);
        let is_alive = self.lease.writer.transact_unsynced(&mut heartbeat)?;
        self.can_write();
        self.has_beaten();
        self.tidy_log();
        if !is_alive {
            self.start_over()?;
        }
        self.has_committed_heartbeat()
    }

    fn tidy_log(&mut self) {
        let is_busy = self.in_flight.len() >= self.pool.workers();
        let writer = &mut self.lease.writer;
        self.log_copies.tidy(&self.store.readers, writer, is_busy);
    }

    /// Forgets that a write has failed, as one has succeeded.
    fn can_write(&mut self) {
        self.pending.failures = 0;
        self.pending.not_before = None;
        self.pending.kept_of.clear();
        self.store.writer.backlog().set_stuck(false);
    }

    pub(crate) fn has_beaten(&mut self) {
        let every = self.settings.heartbeat.every;
        self.pending.next_heartbeat = clock::after(clock::instant(), every);
        self.liveness.heartbeat_written();
    }

    /// Writes accumulated commands first, in groups, so that no other process waits long for the lock.
    fn write_piled_up(&mut self) -> Result<()> {
        while self.pending.commands.len() > GROUP {
            let rest = self.pending.commands.split_off(GROUP);
            let commands = &mut self.pending.commands;
            let written = self.lease.writer.transact(commands, &mut |_| Ok(()));
            commands.extend(rest);
            written?;
        }
        Ok(())
    }

    /// A draining runner fires no schedules: it has to come to an end.
    fn schedules(&self) -> Schedules {
        match self.settings.until {
            Until::Drained => Schedules::Leave,
            Until::Stopped => Schedules::Fire,
        }
    }

    /// Whether a job or a schedule is due, as far as is known.
    pub(crate) fn is_due(&self) -> bool {
        let now_ms = self.store.config.clock.now_ms();
        self.pending
            .next_due_ms
            .is_some_and(|due_ms| due_ms <= now_ms)
    }

    /// Applies the results of a committed tick.
    fn follow(&mut self, tick: Tick, mut written: TickResult) -> Result<()> {
        log::debug!(
            "tick written: {} finished, {} given back, {} claimed, {} in flight",
            tick.finished.len(),
            tick.returns.len(),
            written.claimed.len(),
            self.in_flight.len()
        );
        self.can_write();
        if self.pending.had_commands || written.asked_to_stop {
            // A command of this process, or a rule, may have changed what `look` reads; commits of this
            // connection do not change the version.
            self.pending.version = None;
        }
        self.signals.add(&written.stats(&tick.finished));
        for finished in &tick.finished {
            self.in_flight.remove(&finished.attempt.job());
        }
        self.pending.more = written.more || written.failed_unknown > 0;
        self.pending.next_due_ms = self.not_stalled(&written);
        self.finish_takeovers(&written);
        if tick.prune.is_some() {
            self.finish_prune(std::mem::take(&mut written.pruned));
        }
        if let Some(shares) = written.shares.take() {
            self.shares = shares;
        }
        if tick.heartbeat {
            self.has_beaten();
        }
        self.hand_out(written.claimed)?;
        if !written.alive {
            self.start_over()?;
        }
        Ok(())
    }

    /// When something is due next. Due work that does not move is looked at again a little later: it is
    /// set aside, or its index does not agree with its row.
    fn not_stalled(&self, written: &TickResult) -> Option<i64> {
        let now_ms = self.store.config.clock.now_ms();
        let is_stalled = |due_ms: &i64| *due_ms <= now_ms && written.saw_due && !written.has_moved;
        match written.next_due_ms.filter(is_stalled) {
            Some(_) => Some(now_ms + STALLED_MS),
            None => written.next_due_ms,
        }
    }

    /// Sends the claimed jobs to the workers.
    fn hand_out(&mut self, claimed: Vec<ClaimedJob>) -> Result<()> {
        let now = clock::instant();
        for job in claimed {
            let attempt = Arc::new(self.attempt(job, now)?);
            self.in_flight.insert(attempt.job(), Arc::clone(&attempt));
            if let Err(refused) = self.pool.send(attempt) {
                log::error!("the channel is full: job {} goes back", refused.job());
                refused.withdraw();
                self.in_flight.remove(&refused.job());
                self.pending.tick.returns.push(refused);
            }
        }
        Ok(())
    }

    fn attempt(&mut self, job: ClaimedJob, now: Instant) -> Result<Attempt> {
        let (conn, names) = self.lease.writer.split()?;
        let kind = names.kind_name(conn, job.kind).of(Part::Job(job.id))?;
        let queue = names.queue_name(conn, job.queue);
        let queue = queue.of(Part::Queue(job.queue))?;
        Ok(self
            .settings
            .attempt(job, (kind, queue), (self.identity.id, now)))
    }
}
