//! The dispatcher: the runner's one thread that claims, hands out, takes reports back and writes.
//!
//! A turn looks first. With nothing to write it opens no write transaction, or runners would wake
//! each other for ever. Otherwise everything it has to write is one transaction; what was claimed is
//! sent after its COMMIT. Then it sleeps until something happens.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use super::ahead::Pace;
use super::appetite::wish;
use super::aside::Aside;
use super::attempt::{Attempt, ClaimedParts, Report};
use super::builder::{KindRetention, Pulse, Retention, UnknownKinds, Until};
use super::handle::{RunReport, Signals};
use super::handler::Registry;
use super::liveness::{DeadLock, Observer, OwnLock};
use super::pool::Pool;
use super::registration::Identity;
use super::scarcity::Scarcity;
use super::shutdown::Phase;
use super::turn::{Care, Settlement, Turn, Written};
use crate::job::JobId;
use crate::part::{Of, Part};
use crate::store::Store;
use crate::store::batches::Batch;
use crate::store::change::{FileWatch, data_version};
use crate::store::claim::{ClaimFor, ClaimedJob, Wish};
use crate::store::promote::{self, Schedules};
use crate::store::room::Bounds;
use crate::store::runners;
use crate::store::seat::{GROUP, Message, SeatLease};
use crate::store::shares::Shares;
use crate::store::writer::RUNNER_CHECKPOINT_PAGES;
use crate::{Result, clock};

/// So many reports are settled in one transaction.
pub(super) const REPORTS: usize = 4096;
/// So many due jobs are made pending in one transaction.
pub(super) const PROMOTE: usize = 1000;
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
    pub(crate) kind_retention: HashMap<String, KindRetention>,
    pub(crate) pulse: Pulse,
    /// A drain stays while a job of it runs anywhere.
    pub(crate) batch: Option<Batch>,
    pub(crate) registry: Arc<Registry>,
    /// How large queues and the file may become by what schedules enqueue.
    pub(crate) bounds: Bounds,
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
        let of_kind = self.registry.timeouts.get(&*names.0).copied();
        budget.timeout = budget.timeout.or(of_kind).or(self.default_timeout);
        let parts = ClaimedParts {
            kind_id: job.kind,
            budget,
            payload: job.payload,
            stage: job.stage,
            claimed_at: now,
            begin_by: clock::after(now, self.pulse.begin_within()),
        };
        Attempt::new(held, names, parts)
    }
}

pub(crate) struct Dispatcher {
    pub(crate) store: Arc<Store>,
    pub(crate) lease: SeatLease,
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
    pub(crate) agenda: Agenda,
    /// When the held jobs were last looked at for timeouts.
    pub(crate) enforced_at: Option<Instant>,
    /// What the queues have had of this runner.
    pub(crate) shares: Shares,
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
        let room = REPORTS.saturating_sub(self.agenda.settlements.len());
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
                Message::Write(command) => self.agenda.commands.push(command),
                // Only an idle seat's thread is ever asked to; the asker sees its channel closed.
                Message::HandOver(_) => {}
            }
        }
        self.agenda.more |= !self.agenda.commands.is_empty();
    }

    /// How many more commands are taken from the inbox: as many as go into the next transaction. While
    /// nothing can be written all of them are, or workers would wait for room in the inbox and could not
    /// be told to stop; what may wait is bounded by the backlog.
    pub(crate) fn room_for_commands(&self) -> usize {
        match self.agenda.failures {
            0 => GROUP.saturating_sub(self.agenda.commands.len()),
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
            let settlement = Settlement::of(report, fastrand::f64());
            self.agenda.settlements.push(settlement);
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
        if self.agenda.reconcile {
            self.reconcile()?;
            self.agenda.reconcile = false;
        }
        let runner = self.identity.id;
        let schedules = self.schedules();
        let conn = self.lease.writer.conn()?;
        let version = data_version(conn)?;
        let own_news = !self.agenda.commands.is_empty() || !self.agenda.settlements.is_empty();
        if self.agenda.version != Some(version) || own_news {
            self.agenda.more |= self.agenda.version != Some(version);
            self.agenda.version = Some(version);
            let now_ms = self.store.config.clock.now_ms();
            let moments = (schedules, self.aside.parts());
            self.agenda.next_due_ms = promote::next_moment(conn, now_ms, moments)?;
            for (job, number) in runners::to_cancel(conn, runner)? {
                if let Some(attempt) = self
                    .in_flight
                    .get(&job)
                    .filter(|attempt| attempt.held.attempt == number)
                {
                    attempt
                        .cancellation
                        .cancel(crate::outcome::CancelReason::Requested);
                }
            }
        }
        Ok(())
    }

    /// Writes the turn, where there is something to write, and hands out what it claimed.
    fn write(&mut self) -> Result<()> {
        let now = clock::instant();
        if self
            .agenda
            .not_before
            .is_some_and(|not_before| now < not_before)
        {
            return Ok(());
        }
        self.prepare_upkeep(now)?;
        let capacity = self.capacity();
        let beat = now >= self.agenda.next_beat;
        let due = self.is_due();
        if !(self.agenda.has_writes() || beat || due || self.finds_work(capacity)?) {
            return Ok(());
        }
        self.write_piled_up()?;
        let (kinds, short) = (self.kind_rooms(), self.short_kinds());
        let unknown = self.unknown_kinds()?;
        let aside = self.aside.parts().clone();
        let wish = wish(&self.identity, &kinds, &aside);
        let wishes = wish.both(capacity, &short);
        let schedules = self.schedules();
        let agenda = &mut self.agenda;
        agenda.had_commands = !agenda.commands.is_empty();
        let turn = Turn {
            database: self.store.path(),
            runner: self.identity.id,
            settlements: &agenda.settlements,
            care: if agenda.failures == 0 {
                Care::Usual
            } else {
                Care::OneByOne
            },
            aside: &aside,
            returns: &agenda.returns,
            strays: &agenda.strays,
            workers: &agenda.workers,
            lost: &agenda.lost,
            unowned: &agenda.unowned,
            beat,
            stopping: agenda.mark_stopping,
            short_of: agenda.short_of.as_ref(),
            prune: agenda.prune.as_ref(),
            promote: if due { PROMOTE } else { 0 },
            schedules,
            fire: if due { FIRE } else { 0 },
            bounds: self.settings.bounds,
            wishes: &wishes,
            shares: &self.shares,
            fail_kinds: unknown.as_deref().map(|kinds| Wish {
                kinds,
                claim_for: ClaimFor::NoWorker,
                jobs: REPORTS,
                ..wish.clone()
            }),
        };
        let mut written = self
            .lease
            .writer
            .transact(&mut agenda.commands, &mut |tx| turn.write(tx))?;
        // Who had no room has not seen whether there is more.
        written.more |= !capacity.is_some();
        self.follow(written, beat)?;
        self.lease.writer.tidy_log(RUNNER_CHECKPOINT_PAGES);
        Ok(())
    }

    /// What has piled up while nothing could be written goes first, in groups, so that nobody else waits
    /// long for the lock.
    fn write_piled_up(&mut self) -> Result<()> {
        while self.agenda.commands.len() > GROUP {
            let rest = self.agenda.commands.split_off(GROUP);
            let commands = &mut self.agenda.commands;
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
        self.agenda
            .next_due_ms
            .is_some_and(|due_ms| due_ms <= now_ms)
    }

    /// What follows from a committed turn.
    fn follow(&mut self, mut written: Written, beat: bool) -> Result<()> {
        log::debug!(
            "turn written: {} settled, {} given back, {} claimed, {} held",
            self.agenda.settlements.len(),
            self.agenda.returns.len(),
            written.claimed.len(),
            self.in_flight.len()
        );
        self.agenda.failures = 0;
        self.agenda.kept_of.clear();
        self.store.seat.backlog().set_stuck(false);
        if self.agenda.had_commands || written.asked_to_stop {
            // A command of this process, or a rule, may have changed what is looked at, and its own
            // commits do not move the version.
            self.agenda.version = None;
        }
        self.agenda.not_before = None;
        self.count_ended(&written);
        self.agenda.returns.clear();
        self.agenda.strays.clear();
        self.agenda.workers.clear();
        self.agenda.mark_stopping = false;
        self.agenda.short_of = None;
        self.agenda.clock_stepped = false;
        self.agenda.more = written.more || written.failed_unknown > 0;
        self.agenda.next_due_ms = self.not_stalled(&written);
        self.finish_takeovers(&written);
        self.finish_prune(std::mem::take(&mut written.pruned));
        if let Some(shares) = written.shares.take() {
            self.shares = shares;
        }
        if beat {
            self.agenda.next_beat = clock::after(clock::instant(), self.settings.pulse.every);
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
    fn not_stalled(&self, written: &Written) -> Option<i64> {
        let now_ms = self.store.config.clock.now_ms();
        let is_stalled = |due_ms: &i64| *due_ms <= now_ms && written.saw_due && !written.has_moved;
        match written.next_due_ms.filter(is_stalled) {
            Some(_) => Some(now_ms + STALLED_MS),
            None => written.next_due_ms,
        }
    }

    fn count_ended(&mut self, written: &Written) {
        let stats = written.stats(&self.agenda.settlements);
        for settlement in self.agenda.settlements.drain(..) {
            self.in_flight.remove(&settlement.attempt.job());
        }
        self.signals.add(&stats);
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
                self.agenda.returns.push(refused);
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
