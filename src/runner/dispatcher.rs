//! The dispatcher: the runner's one thread that claims, hands out, takes reports back and writes.
//!
//! A turn looks first. With nothing to write it opens no write transaction, or runners would wake
//! each other for ever. Otherwise everything it has to write is one transaction; what was claimed is
//! sent after its COMMIT. Then it sleeps until something happens.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ahead::Pace;
use super::attempt::{Attempt, ClaimedParts, Report};
use super::builder::{Pulse, Retention, RunnerBuilder, UnknownKinds, Until};
use super::handle::{Ended, Signals, Tally};
use super::handler::Registry;
use super::liveness::{DeadLock, Marks, Observer};
use super::pool::{Pool, Shared};
use super::registration::{self, Identity};
use super::shutdown::Phase;
use super::turn::{Care, Settlement, Turn, Written};
use crate::error::Kind;
use crate::job::JobId;
use crate::outcome::{Verdict, judge};
use crate::queue::Queue;
use crate::state::State;
use crate::store::Store;
use crate::store::change::{FileWatch, data_version};
use crate::store::claim::{self, ClaimFor, ClaimedJob, Wish};
use crate::store::prune::Old;
use crate::store::runners::{self, Loss};
use crate::store::schedule::{self, ClockReading};
use crate::store::seat::{GROUP, Message, SeatLease};
use crate::store::settle::{Held, Measured};
use crate::store::writer::Command;
use crate::{Error, Result, clock};

/// So many reports are settled in one transaction.
const REPORTS: usize = 4096;
/// So many due jobs are made pending in one transaction.
const PROMOTE: usize = 1000;
/// After a write that failed the next try waits so long, growing to 5 s.
const WRITE_AGAIN: Duration = Duration::from_millis(100);

/// What a runner was told, for all its life.
pub(crate) struct Settings {
    pub(crate) queues: Option<Vec<String>>,
    pub(crate) unknown_kinds: UnknownKinds,
    pub(crate) until: Until,
    pub(crate) default_timeout: Option<Duration>,
    pub(crate) retention: Retention,
    pub(crate) pulse: Pulse,
    pub(crate) registry: Arc<Registry>,
}

pub(crate) struct Dispatcher {
    pub(crate) store: Arc<Store>,
    pub(crate) lease: SeatLease,
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    pub(crate) folder: PathBuf,
    pub(crate) marks: Arc<Marks>,
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
    claims: usize,
}

/// What is to be written in the next transaction, and when to look for what.
pub(crate) struct Agenda {
    pub(crate) settlements: Vec<Settlement>,
    pub(crate) commands: Vec<Box<dyn Command>>,
    pub(crate) returns: Vec<Arc<Attempt>>,
    pub(crate) strays: Vec<Held>,
    pub(crate) workers: Vec<(Arc<Attempt>, u32)>,
    pub(crate) lost: Vec<(i64, Loss)>,
    pub(crate) prune: Vec<Old>,
    pub(crate) clock: Option<ClockReading>,
    pub(crate) mark_stopping: bool,
    /// The turn under way carried commands of other threads.
    pub(crate) had_commands: bool,
    /// There may be something to claim.
    pub(crate) more: bool,
    /// The file's version when it was last looked at; none: look whatever it is.
    pub(crate) version: Option<i64>,
    pub(crate) probe_locks: bool,
    pub(crate) next_due_ms: Option<i64>,
    pub(crate) next_beat: Instant,
    pub(crate) next_prune: Instant,
    /// After a write that failed: not before.
    pub(crate) not_before: Option<Instant>,
    pub(crate) failures: u32,
    /// Where we are in looking again after an event on the log.
    pub(crate) looks: usize,
}

impl Dispatcher {
    pub(crate) fn new(
        builder: RunnerBuilder,
        mut lease: SeatLease,
        signals: Arc<Signals>,
    ) -> Result<Dispatcher> {
        let store = Arc::clone(&builder.queue.store);
        match Dispatcher::prepare(builder, &mut lease) {
            Ok(prepared) => Ok(prepared.with(lease, signals)),
            Err(error) => {
                store.seat.give_back(lease);
                Err(error)
            }
        }
    }

    fn prepare(builder: RunnerBuilder, lease: &mut SeatLease) -> Result<Prepared> {
        let store = Arc::clone(&builder.queue.store);
        let queue: Queue = builder.queue.clone();
        let folder = store.runners_folder();
        let marks = Arc::new(Marks::default());
        let settings = Settings {
            queues: builder.queues,
            unknown_kinds: builder.unknown_kinds,
            until: builder.until,
            default_timeout: builder.default_timeout,
            retention: builder.retention,
            pulse: builder.pulse,
            registry: Arc::new(builder.registry),
        };
        let identity =
            registration::register(lease, &settings, builder.workers, (&folder, &marks))?;
        let watch = watch(&store, &folder);
        let shared = Shared {
            queue,
            registry: Arc::clone(&settings.registry),
            bell: Arc::clone(&lease.bell),
            marks: Arc::clone(&marks),
        };
        let pool = Pool::start(builder.workers, shared)?;
        Ok(Prepared {
            store,
            settings,
            identity,
            folder,
            marks,
            watch,
            pool,
        })
    }

    pub(crate) fn id(&self) -> i64 {
        self.identity.id
    }

    /// Makes turns until the runner has ended.
    pub(crate) fn run(&mut self) -> Result<Ended> {
        while !self.phase.is_over() {
            self.signals.turned(self.store.config.clock.boot_ms());
            self.collect();
            if let Err(error) = self.turn() {
                self.failed(error)?;
            }
            self.signals.set_running(self.in_flight.len());
            if !self.phase.is_over() {
                self.sleep();
            }
        }
        Ok(Ended {
            tally: self.signals.tally(),
            left: self.left()?,
        })
    }

    fn turn(&mut self) -> Result<()> {
        self.look()?;
        self.enforce();
        self.write()?;
        self.follow_phase()
    }

    /// Takes what has come in. Reports first: what a worker wrote before its report is in the inbox
    /// then, and goes into the same transaction before it.
    pub(crate) fn collect(&mut self) {
        let room = REPORTS.saturating_sub(self.agenda.settlements.len());
        let reports: Vec<Report> = self.pool.reports().try_iter().take(room).collect();
        for report in reports {
            self.judge(report);
        }
        let room = GROUP.saturating_sub(self.agenda.commands.len());
        for message in self.lease.outbox.try_iter().take(room) {
            match message {
                Message::Write(command) => self.agenda.commands.push(command),
                // Only an idle seat's thread is ever asked to; the asker sees its channel closed.
                Message::HandOver(_) => {}
            }
        }
        self.agenda.more |= !self.agenda.commands.is_empty();
    }

    fn judge(&mut self, report: Report) {
        let attempt = &report.attempt;
        self.pace.saw(attempt.kind_id, report.took);
        let verdict = judge(report.ending, &attempt.budget, fastrand::f64());
        let usage = attempt.usage();
        let measured = Measured {
            worker: Some(report.worker),
            took: Some(report.took),
            exit_code: usage.exit_code,
            cpu_ms: usage.cpu_ms,
            max_rss_bytes: usage.max_rss_bytes,
        };
        if self.holds(attempt) {
            self.agenda.settlements.push(Settlement {
                attempt: report.attempt,
                verdict,
                measured,
            });
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
        let runner = self.identity.id;
        let conn = self.lease.writer.conn()?;
        let version = data_version(conn)?;
        let own_news = !self.agenda.commands.is_empty() || !self.agenda.settlements.is_empty();
        if self.agenda.version != Some(version) || own_news {
            self.agenda.more |= self.agenda.version != Some(version);
            self.agenda.version = Some(version);
            self.agenda.looks = usize::MAX;
            self.agenda.next_due_ms = schedule::next_due(conn)?;
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
        let due = self
            .agenda
            .next_due_ms
            .is_some_and(|due| due <= self.store.config.clock.now_ms());
        if !(self.agenda.has_writes() || beat || due || self.finds_work(capacity)?) {
            return Ok(());
        }
        self.claims = self.claims.wrapping_add(1);
        let short = self.short_kinds();
        let unknown = self.unknown_kinds()?;
        let wish = wish(&self.identity, self.claims);
        let wishes = wish.both(capacity, &short);
        let agenda = &mut self.agenda;
        agenda.had_commands = !agenda.commands.is_empty();
        let turn = Turn {
            runner: self.identity.id,
            settlements: &agenda.settlements,
            care: if agenda.failures == 0 {
                Care::Usual
            } else {
                Care::OneByOne
            },
            returns: &agenda.returns,
            strays: &agenda.strays,
            workers: &agenda.workers,
            lost: &agenda.lost,
            beat,
            stopping: agenda.mark_stopping,
            clock: agenda.clock.as_ref(),
            prune: &agenda.prune,
            promote: if due { PROMOTE } else { 0 },
            wishes: &wishes,
            fail_kinds: unknown.as_deref().map(|kinds| Wish {
                kinds,
                jobs: REPORTS,
                ..wish.clone()
            }),
        };
        let written = self
            .lease
            .writer
            .transact(&mut agenda.commands, &mut |tx| turn.write(tx))?;
        self.follow(written, beat)
    }

    /// What follows from a committed turn.
    fn follow(&mut self, written: Written, beat: bool) -> Result<()> {
        self.agenda.failures = 0;
        if self.agenda.had_commands {
            // A command of this process may have changed what is looked at, and its own commits do
            // not move the version.
            self.agenda.version = None;
        }
        self.agenda.not_before = None;
        self.tally(&written);
        self.agenda.returns.clear();
        self.agenda.strays.clear();
        self.agenda.workers.clear();
        self.agenda.mark_stopping = false;
        self.agenda.clock = None;
        self.agenda.more = written.more || written.failed_unknown > 0;
        self.agenda.next_due_ms = written.next_due_ms;
        self.finish_takeovers(&written);
        self.finish_prune(written.pruned);
        if beat {
            self.agenda.next_beat = clock::instant() + self.settings.pulse.every;
            self.observer.beaten();
        }
        self.hand_out(written.claimed)?;
        if !written.alive {
            self.start_over()?;
        }
        Ok(())
    }

    fn tally(&mut self, written: &Written) {
        let mut tally = Tally {
            failed: written.failed_unknown as u64,
            ..Tally::default()
        };
        for (settlement, state) in self.agenda.settlements.drain(..).zip(&written.settled) {
            self.in_flight.remove(&settlement.attempt.job());
            match state {
                Some(State::Completed) => tally.completed += 1,
                Some(State::Failed) => tally.failed += 1,
                Some(State::Cancelled) => tally.cancelled += 1,
                Some(State::Scheduled) if matches!(settlement.verdict, Verdict::Retry { .. }) => {
                    tally.retried += 1
                }
                _ => {}
            }
        }
        self.signals.add(&tally);
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
        let kind = names.kind_name(conn, job.kind)?;
        let queue = names.queue_name(conn, job.queue)?;
        let held = Held {
            job: job.id,
            attempt: job.attempt,
            queue: job.queue,
            runner: self.identity.id,
        };
        let mut budget = job.budget;
        let of_kind = self.settings.registry.timeouts.get(&*kind).copied();
        budget.timeout = budget.timeout.or(of_kind).or(self.settings.default_timeout);
        let parts = ClaimedParts {
            kind_id: job.kind,
            budget,
            payload: job.payload,
            claimed_at: now,
        };
        Ok(Attempt::new(held, (kind, queue), parts))
    }

    /// A turn could not be written. Nothing is lost: what it had to write waits for the next try.
    fn failed(&mut self, error: Error) -> Result<()> {
        if matches!(
            error.kind(),
            Kind::NewerSchema | Kind::NotADatabase | Kind::Corrupt
        ) {
            self.cancel_all(crate::outcome::CancelReason::Shutdown);
            return Err(error);
        }
        if error.is_unknown_outcome() {
            self.reconcile();
        }
        let wait =
            (WRITE_AGAIN * 2u32.pow(self.agenda.failures.min(6))).min(Duration::from_secs(5));
        if self.agenda.failures == 0 {
            log::error!("a turn could not be saved, trying again: {error}");
        }
        self.agenda.failures = self.agenda.failures.saturating_add(1);
        self.agenda.not_before = Some(clock::instant() + wait);
        Ok(())
    }

    fn short_kinds(&self) -> Vec<i64> {
        self.identity
            .kinds
            .iter()
            .copied()
            .filter(|kind| self.pace.is_short(*kind))
            .collect()
    }

    /// How many jobs there is room for once what was reported is settled.
    fn capacity(&mut self) -> Capacity {
        if self.phase != Phase::Running {
            return Capacity { free: 0, ahead: 0 };
        }
        let workers = self.pool.workers();
        let held = (self.in_flight.len() + self.orphans.len())
            .saturating_sub(self.agenda.settlements.len());
        let room = self.pool.room();
        let free = workers.saturating_sub(held).min(room);
        let ahead = (workers + self.pace.allowance(workers))
            .saturating_sub(held + free)
            .min(room - free);
        Capacity { free, ahead }
    }

    /// Looks, before a transaction is opened for nothing else, whether there is anything to claim.
    fn finds_work(&mut self, capacity: Capacity) -> Result<bool> {
        if !self.agenda.more || capacity.free + capacity.ahead == 0 {
            return Ok(false);
        }
        let unknown = self.unknown_kinds()?;
        let short = self.short_kinds();
        let wish = wish(&self.identity, 0);
        let conn = self.lease.writer.conn()?;
        let mut found = false;
        for wish in wish.both(capacity, &short) {
            found |= claim::anything(conn, &wish)?;
        }
        if let Some(kinds) = &unknown {
            found |= claim::anything(
                conn,
                &Wish {
                    kinds,
                    jobs: 1,
                    ..wish
                },
            )?;
        }
        self.agenda.more = found;
        Ok(found)
    }

    /// The kinds whose jobs are to fail, where that is wanted and something may be claimed.
    fn unknown_kinds(&mut self) -> Result<Option<Vec<i64>>> {
        if self.settings.unknown_kinds == UnknownKinds::Keep || self.phase != Phase::Running {
            return Ok(None);
        }
        let kinds = crate::store::names::kind_ids(self.lease.writer.conn()?)?;
        Ok(Some(
            kinds
                .into_iter()
                .filter(|kind| !self.identity.kinds.contains(kind))
                .collect(),
        ))
    }
}

/// What this runner could take, for a free worker; the number of jobs is yet to be said.
fn wish(identity: &Identity, turn: usize) -> Wish<'_> {
    Wish {
        runner: identity.id,
        queues: identity.queues.as_deref(),
        kinds: &identity.kinds,
        claim_for: ClaimFor::FreeWorker,
        jobs: 0,
        turn,
    }
}

impl<'a> Wish<'a> {
    /// For the free workers any kind, ahead of them only short ones.
    fn both(&self, capacity: Capacity, short: &'a [i64]) -> [Wish<'a>; 2] {
        let free = Wish {
            jobs: capacity.free,
            ..self.clone()
        };
        let ahead = Wish {
            jobs: capacity.ahead,
            kinds: short,
            claim_for: ClaimFor::Ahead,
            ..self.clone()
        };
        [free, ahead]
    }
}

#[derive(Clone, Copy, Debug)]
struct Capacity {
    free: usize,
    ahead: usize,
}

impl Agenda {
    pub(crate) fn has_writes(&self) -> bool {
        !(self.settlements.is_empty()
            && self.commands.is_empty()
            && self.returns.is_empty()
            && self.strays.is_empty()
            && self.workers.is_empty()
            && self.lost.is_empty()
            && self.prune.is_empty()
            && self.clock.is_none()
            && !self.mark_stopping)
    }
}

/// A dispatcher that lacks only the writer.
struct Prepared {
    store: Arc<Store>,
    settings: Settings,
    identity: Identity,
    folder: PathBuf,
    marks: Arc<Marks>,
    watch: Option<FileWatch>,
    pool: Pool,
}

impl Prepared {
    fn with(self, lease: SeatLease, signals: Arc<Signals>) -> Dispatcher {
        let now = clock::instant();
        let agenda = Agenda {
            settlements: Vec::new(),
            commands: Vec::new(),
            returns: Vec::new(),
            strays: Vec::new(),
            workers: Vec::new(),
            lost: Vec::new(),
            prune: Vec::new(),
            clock: None,
            mark_stopping: false,
            had_commands: false,
            more: true,
            version: None,
            probe_locks: true,
            next_due_ms: None,
            next_beat: now + self.settings.pulse.every,
            next_prune: now,
            not_before: None,
            failures: 0,
            looks: usize::MAX,
        };
        Dispatcher {
            store: self.store,
            lease,
            settings: self.settings,
            identity: self.identity,
            folder: self.folder,
            marks: self.marks,
            pool: self.pool,
            watch: self.watch,
            signals,
            in_flight: HashMap::new(),
            orphans: Vec::new(),
            dead_locks: Vec::new(),
            enforced_at: None,
            pace: Pace::default(),
            observer: Observer::default(),
            phase: Phase::Running,
            agenda,
            claims: 0,
        }
    }
}

/// Where the file cannot be watched the safety poll alone notices changes.
fn watch(store: &Store, folder: &std::path::Path) -> Option<FileWatch> {
    let watch =
        FileWatch::new(store.path()).and_then(|watch| watch.add_folder(folder).map(|()| watch));
    watch
        .inspect_err(|error| log::warn!("{error}; looking every few seconds instead"))
        .ok()
}
