//! The dispatcher: the runner's one thread that claims, hands out, takes reports back and writes.
//!
//! A turn looks first. With nothing to write it opens no write transaction, or runners would wake
//! each other for ever. Otherwise everything it has to write is one transaction; what was claimed is
//! sent after its COMMIT. Then it sleeps until something happens.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Of;
use crate::model::batch::Batch;
use crate::model::id::JobId;
use crate::model::part::Part;
use crate::runner::attempt::{Attempt, ClaimedParts, Report};
use crate::runner::builder::{KindOptions, Pulse, Retention, UnknownKinds, Until};
use crate::runner::handle::{RunReport, Signals};
use crate::runner::handler::Registry;
use crate::runner::liveness::{DeadLock, Observer, OwnLock};
use crate::runner::pending_work::PendingWork;
use crate::runner::pool::Pool;
use crate::runner::prefetch::Pace;
use crate::runner::registration::Identity;
use crate::runner::scarcity::Scarcity;
use crate::runner::set_aside::Aside;
use crate::runner::shutdown::Phase;
use crate::runner::tick::{FinishedAttempt, Grouping, PROMOTE, Tick, TickContext, TickResult};
use crate::store::{
    ClaimFor, ClaimRequest, ClaimedJob, FairShares, FileWatch, GROUP, Message, QuotaLimits,
    RUNNER_CHECKPOINT_PAGES, Schedules, Store, WriterLease,
};
use crate::{Result, clock, store};

/// So many reports are settled in one transaction.
pub(super) const REPORTS: usize = 4096;
/// So many schedules fire in one transaction.
pub(super) const FIRE: usize = 100;
/// What is due and did not move is looked at again after so long.
const STALLED_MS: i64 = 500;

/// What a runner was told, for all its life.
pub(crate) struct Settings {
    pub(crate) queues: Option<Vec<String>>,
    pub(crate) unknown_kinds: UnknownKinds,
    pub(crate) until: Until,
    pub(crate) default_timeout: Option<Duration>,
    pub(crate) retention: Retention,
    pub(crate) kinds: HashMap<String, KindOptions>,
    pub(crate) pulse: Pulse,
    /// A drain stays while a job of it runs anywhere.
    pub(crate) batch: Option<Batch>,
    pub(crate) registry: Arc<Registry>,
    /// How large queues and the file may become by what schedules enqueue.
    pub(crate) quota: QuotaLimits,
}

impl Settings {
    /// A job as this runner has claimed it, with the names of its kind and queue.
    pub(crate) fn attempt(
        &self,
        job: ClaimedJob,
        names: (Arc<str>, Arc<str>),
        (runner, now): (i64, Instant),
    ) -> Attempt {
        let held = job.held(runner);
        let mut budget = job.budget;
        let of_kind = self.kinds.get(&*names.0).and_then(|kind| kind.timeout);
        budget.timeout = budget.timeout.or(of_kind).or(self.default_timeout);
        let parts = ClaimedParts {
            kind_id: job.kind,
            budget,
            payload: job.payload,
            stage: job.stage,
            origin: job.origin,
            claimed_at: now,
            begin_by: clock::after(now, self.pulse.begin_within()),
        };
        Attempt::new(held, names, parts)
    }
}

pub(crate) struct Dispatcher {
    pub(crate) store: Arc<Store>,
    pub(crate) lease: WriterLease,
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    pub(crate) folder: PathBuf,
    pub(crate) lock: OwnLock,
    pub(crate) pool: Pool,
    pub(crate) watch: Option<FileWatch>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) in_flight: HashMap<JobId, Arc<Attempt>>,
    /// Handlers that still run although another runner has taken their jobs over.
    pub(crate) orphans: Vec<Arc<Attempt>>,
    /// The locks of dead runners, held until their jobs are taken over.
    pub(crate) dead_locks: Vec<(i64, DeadLock)>,
    pub(crate) pace: Pace,
    pub(crate) observer: Observer,
    pub(crate) phase: Phase,
    pub(crate) pending: PendingWork,
    /// When the held jobs were last looked at for timeouts.
    pub(crate) enforced_at: Option<Instant>,
    /// What the queues have had of this runner.
    pub(crate) shares: FairShares,
    /// What the data of the file keep from being done.
    pub(crate) aside: Aside,
    /// What the system has too little of.
    pub(crate) scarcity: Scarcity,
}

impl Dispatcher {
    pub(crate) fn id(&self) -> i64 {
        self.identity.id
    }

    /// Makes turns until the runner has ended.
    pub(crate) fn run(&mut self) -> Result<RunReport> {
        while !self.phase.is_over() {
            self.signals.turned(self.store.config.clock.boot_ms());
            self.collect();
            if let Err(error) = self.take_reload().and_then(|()| self.turn()) {
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
            set_aside: self.told_aside(),
        })
    }

    fn turn(&mut self) -> Result<()> {
        let looked = self.look();
        self.enforce();
        let written = looked.and_then(|()| self.write());
        // Whatever came of it: a runner that can save nothing must hear of a stop, too.
        let followed = self.follow_phase();
        written.and(followed)
    }

    /// Takes what has come in. Reports first: what a worker wrote before its report is in the inbox
    /// then, and goes into the same transaction before it.
    pub(crate) fn collect(&mut self) {
        let room = REPORTS.saturating_sub(self.pending.tick.finished.len());
        let reports: Vec<Report> = self.pool.reports().try_iter().take(room).collect();
        // Counted after the reports were taken: whatever their workers wrote is among these.
        let owed = match reports.is_empty() {
            true => 0,
            false => self.lease.outbox.len(),
        };
        for report in reports {
            self.judge(report);
        }
        let room = self.room_for_commands().max(owed);
        for message in self.lease.outbox.try_iter().take(room) {
            match message {
                Message::Write(command) => self.pending.commands.push(command),
                // Only an idle writer's thread is ever asked to; the asker sees its channel closed.
                Message::HandOver(_) => {}
            }
        }
        self.pending.more |= !self.pending.commands.is_empty();
    }

    /// How many more commands are taken from the inbox: as many as go into the next transaction. While
    /// nothing can be written all of them are, or workers would wait for room in the inbox and could not
    /// be told to stop; what may wait is bounded by the backlog.
    pub(crate) fn room_for_commands(&self) -> usize {
        match self.pending.failures {
            0 => GROUP.saturating_sub(self.pending.commands.len()),
            _ => GROUP,
        }
    }

    fn judge(&mut self, report: Report) {
        let attempt = &report.attempt;
        self.pace.saw(attempt.kind_id, report.took);
        if let Some(state) = attempt.settled() {
            return self.let_go(attempt, state);
        }
        self.heed_resources(&report);
        if self.holds(attempt) {
            let settlement = FinishedAttempt::of(report, fastrand::f64());
            self.pending.tick.finished.push(settlement);
        } else {
            self.orphans.retain(|orphan| !Arc::ptr_eq(orphan, attempt));
            log::warn!(
                "job {}: attempt {} reported after it had lost the job; dropped",
                attempt.job(),
                attempt.held.attempt
            );
        }
    }

    /// Whether the attempt is the one that this runner holds the job with.
    pub(crate) fn holds(&self, attempt: &Attempt) -> bool {
        self.in_flight
            .get(&attempt.job())
            .is_some_and(|held| held.held.attempt == attempt.held.attempt)
    }

    /// Looks whether others have changed anything, without a transaction.
    fn look(&mut self) -> Result<()> {
        self.store.file.check_lately()?;
        if self.pending.reconcile {
            self.reconcile()?;
            self.pending.reconcile = false;
        }
        let runner = self.identity.id;
        let schedules = self.schedules();
        let conn = self.lease.writer.conn()?;
        let version = store::data_version(conn)?;
        let own_news = !self.pending.commands.is_empty() || !self.pending.tick.finished.is_empty();
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
                    .filter(|attempt| attempt.held.attempt == number)
                {
                    attempt
                        .cancellation
                        .cancel(crate::model::outcome::CancelReason::Requested);
                }
            }
        }
        Ok(())
    }

    /// Writes the turn, where there is something to write, and hands out what it claimed.
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
        if !(self.pending.has_writes() || heartbeat || due || self.finds_work(capacity)?) {
            return Ok(());
        }
        self.write_piled_up()?;
        let (kinds, short) = (self.kind_rooms(), self.short_kinds());
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
            promote: if due { PROMOTE } else { 0 },
            schedules: self.schedules(),
            fire: if due { FIRE } else { 0 },
            quota: self.settings.quota,
            requests: &requests,
            shares: &self.shares,
            fail_kinds: unknown.as_deref().map(|kinds| ClaimRequest {
                kinds,
                claim_for: ClaimFor::NoWorker,
                jobs: REPORTS,
                ..request.clone()
            }),
        };
        let mut tick = std::mem::take(&mut self.pending.tick);
        tick.heartbeat = heartbeat;
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
        // Without free capacity it did not look for work, so there may be some.
        written.more |= !capacity.is_some();
        self.follow(tick, written)?;
        self.lease.writer.tidy_log(RUNNER_CHECKPOINT_PAGES);
        Ok(())
    }

    /// What has piled up while nothing could be written goes first, in groups, so that nobody else waits
    /// long for the lock.
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

    /// One that drains is to come to an end.
    fn schedules(&self) -> Schedules {
        match self.settings.until {
            Until::Drained => Schedules::Leave,
            Until::Stopped => Schedules::Fire,
        }
    }

    /// Whether the time of a job or a schedule has come, as far as is known.
    pub(crate) fn is_due(&self) -> bool {
        let now_ms = self.store.config.clock.now_ms();
        self.pending
            .next_due_ms
            .is_some_and(|due_ms| due_ms <= now_ms)
    }

    /// What follows from a committed tick.
    fn follow(&mut self, tick: Tick, mut written: TickResult) -> Result<()> {
        log::debug!(
            "tick written: {} finished, {} given back, {} claimed, {} held",
            tick.finished.len(),
            tick.returns.len(),
            written.claimed.len(),
            self.in_flight.len()
        );
        self.pending.failures = 0;
        self.pending.kept_of.clear();
        self.store.writer.backlog().set_stuck(false);
        if self.pending.had_commands || written.asked_to_stop {
            // A command of this process, or a rule, may have changed what is looked at, and its own
            // commits do not move the version.
            self.pending.version = None;
        }
        self.pending.not_before = None;
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
            self.pending.next_heartbeat = clock::after(clock::instant(), self.settings.pulse.every);
            self.observer.beaten();
        }
        self.hand_out(written.claimed)?;
        if !written.alive {
            self.start_over()?;
        }
        Ok(())
    }

    /// When something is due next. What is due and does not move is looked at again a little later:
    /// it is set aside, or its index does not agree with its row.
    fn not_stalled(&self, written: &TickResult) -> Option<i64> {
        let now_ms = self.store.config.clock.now_ms();
        let is_stalled = |due_ms: &i64| *due_ms <= now_ms && written.saw_due && !written.has_moved;
        match written.next_due_ms.filter(is_stalled) {
            Some(_) => Some(now_ms + STALLED_MS),
            None => written.next_due_ms,
        }
    }

    /// Sends what was claimed to the workers.
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
