//! Working off what is due in the calling thread: a runner without threads of its own.
//!
//! It writes through the queue's writer and holds no writer while a handler runs, so that handlers may
//! enqueue through the same queue. Where it cannot go on it lets go of its lock and leaves its row:
//! whoever looks next takes over what the file says is held here, as from a runner that was killed.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::error::Kind;
use crate::model::id::JobId;
use crate::model::outcome::Verdict;
use crate::model::part::Parts;
use crate::model::remedy::Remedy;
use crate::runner::attempt::{Attempt, Report};
use crate::runner::builder::{RunnerBuilder, UnknownKinds};
use crate::runner::dispatcher::{FIRE, REPORTS, Settings};
use crate::runner::handle::RunStats;
use crate::runner::liveness::{DeadLock, OwnLock};
use crate::runner::maintenance::find_dead;
use crate::runner::pool::Shared;
use crate::runner::registration::Identity;
use crate::runner::set_aside::{Aside, Judgement};
use crate::runner::shutdown::write_end;
use crate::runner::tick::{FinishedAttempt, Grouping, Lost, PROMOTE, Tick, TickContext};
use crate::runner::{pool, registration};
use crate::store::{
    Beats, ClaimFor, ClaimRequest, ClaimedJob, FairShares, KindCapacity, Names, PrunePass,
    Schedules, Store, Tx,
};
use crate::{Error, Result, clock, store};

/// More runs than there are live jobs at the start, and this many, are taken for an endless chain.
const SPARE_RUNS: u64 = 100_000;
/// The one worker is the calling thread.
const WORKER: u32 = 1;

/// What bounds a run, and where its chance comes from.
#[derive(Clone, Copy)]
pub(crate) struct InlineBounds {
    /// So many runs beyond the live jobs at the start.
    pub(crate) spare_runs: u64,
    /// A number in `0.0..1.0` for the jitter of each retry.
    pub(crate) chance: fn() -> f64,
}

impl RunnerBuilder {
    /// Runs everything that is due now in the calling thread, and returns when nothing is left that
    /// is due: what handlers enqueue meanwhile runs too, unless it is for later, and so do retries
    /// without a wait. Takes over from runners that were killed, and removes old jobs at the end.
    ///
    /// For a program that is started by cron or a systemd timer, works off what there is and exits,
    /// and for tests, where nothing runs behind one's back: see [`testing`](crate::testing). It may
    /// be called while other runners work on the file, and from inside a handler.
    ///
    /// Each job is a transaction of its own here, and a wait is not waited for: for a long backlog, or
    /// to see retries through, start a runner [until it is drained](crate::Until::Drained).
    ///
    /// There is one worker, whatever [`workers`](RunnerBuilder::workers) says, and while a handler
    /// runs nobody looks after it: it is not told of its timeout or that somebody wants it
    /// cancelled. For jobs that must be stopped, [start](RunnerBuilder::start) a runner.
    ///
    /// ```
    /// # use jobq::{Failure, NewJob, Outcome, Queue};
    /// # struct Greet;
    /// # impl jobq::Handler for Greet {
    /// #     fn run(&self, _: &jobq::Context) -> Outcome { Outcome::Done(None) }
    /// # }
    /// # let folder = tempfile::tempdir()?;
    /// let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// queue.enqueue(NewJob::new("greet"))?;
    /// let stats = queue.runner().kind("greet", Greet).run_due()?;
    /// assert_eq!((stats.completed, stats.failed), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A setting is not usable, the file is read-only or cannot be written, or jobs follow each other
    /// without an end: more have run than were live at the start and a hundred thousand more. What
    /// has run until then is saved; a job whose outcome could not be is taken over by whoever looks
    /// next, as from a runner that was killed.
    pub fn run_due(self) -> Result<RunStats> {
        let usual = InlineBounds {
            spare_runs: SPARE_RUNS,
            chance: fastrand::f64,
        };
        run_due(self, usual)
    }
}

/// [`RunnerBuilder::run_due`] within bounds of the caller's.
pub(crate) fn run_due(builder: RunnerBuilder, bounds: InlineBounds) -> Result<RunStats> {
    let mut inline = Inline::register(builder, bounds.chance)?;
    let most = store::counts(&*inline.store.reader()?)?.live() + bounds.spare_runs;
    let is_endless = inline.work_off(most)?;
    // By a clock that has just been set nothing is old.
    let (clock, every) = (&inline.store.config.clock, inline.settings.retention.every);
    if !store::clock_was_set_within(&*inline.store.reader()?, clock, every)? {
        inline.prune()?;
    }
    let first_aside = inline.aside.told().iter().next();
    let first_aside = first_aside.map(|(part, why)| format!("{part} was set aside: {why}"));
    let stats = inline.end()?;
    if is_endless {
        return Err(Error::wrong_state(format!(
            "{most} jobs have run and there are always more due: they follow each other without an end"
        ))
        .with_hint("give follow-ups, snoozes and retries a wait; after a real backlog call it again"));
    }
    match first_aside {
        Some(error) => Err(Error::new(Kind::Sqlite, error).with_remedy(Remedy::Check)),
        None => Ok(stats),
    }
}

/// Runs this one pending job once, whatever comes before it.
pub(crate) fn perform(builder: RunnerBuilder, job: JobId, chance: fn() -> f64) -> Result<()> {
    let mut inline = Inline::register(builder, chance)?;
    let claimed = loop {
        let turned = inline.write(Step {
            claim: Claim::This(job),
            ..Step::default()
        })?;
        if !turned.late_left {
            break turned.claimed;
        }
    };
    let is_claimed = claimed.is_some();
    if let Some(attempt) = claimed {
        let ended = inline.run(attempt);
        inline.write(Step::of(Tick::of(ended)))?;
    }
    let store = Arc::clone(&inline.store);
    inline.end()?;
    if is_claimed {
        return Ok(());
    }
    let state =
        crate::store::job_state(&*store.reader()?, job)?.ok_or_else(|| Error::no_such_job(job))?;
    Err(Error::wrong_state(format!(
        "job {job} is {state}: only a pending job can be performed"
    )))
}

/// A runner in the calling thread.
struct Inline {
    store: Arc<Store>,
    settings: Arc<Settings>,
    identity: Arc<Identity>,
    lock: OwnLock,
    shared: Shared,
    chance: fn() -> f64,
    stats: RunStats,
    shares: FairShares,
    /// What the data of the file keep from being done.
    aside: Aside,
}

impl Inline {
    fn register(builder: RunnerBuilder, chance: fn() -> f64) -> Result<Inline> {
        builder.check()?;
        let queue = builder.queue.clone();
        let store = Arc::clone(&queue.store);
        let settings = Arc::new(Settings::of(builder));
        let lock = OwnLock::default();
        let folder = store.runners_folder();
        let identity = registration::register_by((&folder, &lock), |name| {
            let row = registration::registration(name, &settings, (1, Beats::Never));
            let limits = settings.kind_limits();
            store.write(move |tx| registration::insert(tx, &row, &limits))
        })?;
        let shared = Shared {
            queue,
            registry: Mutex::new(Arc::clone(&settings.registry)),
            bell: store.writer.bell(),
        };
        Ok(Inline {
            store,
            settings,
            identity: Arc::new(identity),
            lock,
            shared,
            chance,
            stats: RunStats::default(),
            shares: FairShares::default(),
            aside: Aside::default(),
        })
    }

    /// Runs one job after the other until none is due, or `most` have run; whether there were more.
    fn work_off(&mut self, most: u64) -> Result<bool> {
        let (lost, locks) = self.find_dead()?;
        let tick = Tick {
            lost,
            unowned: store::find_unowned(&*self.store.reader()?)?,
            ..Tick::default()
        };
        let claim = Claim::Next;
        let mut step = Step { tick, claim };
        let (mut runs, mut is_short) = (0, false);
        loop {
            let turned = self.write(step)?;
            step = match turned.claimed {
                Some(attempt) => {
                    runs += 1;
                    let finished = self.run(attempt);
                    is_short = matches!(finished.verdict, Verdict::GiveBack { .. });
                    Step::of(Tick::of(finished))
                }
                None if turned.more => Step::default(),
                None => break,
            };
            // Where the system has too little for one job now, it has for none.
            if runs < most && !is_short {
                step.claim = Claim::Next;
            } else if step.tick.finished.is_empty() {
                break;
            }
        }
        for lock in locks {
            lock.remove();
        }
        if runs < most {
            return Ok(false);
        }
        let kinds = any_of(&self.identity.kinds);
        let request = ClaimRequest {
            jobs: 1,
            ..self.identity.claim_request(&kinds, self.aside.parts())
        };
        store::has_claimable(
            &*self.store.reader()?,
            &request,
            self.store.config.clock.now_ms(),
        )
    }

    /// The runners that are gone, with their locks: held until their jobs are taken over.
    fn find_dead(&self) -> Result<(Vec<Lost>, Vec<DeadLock>)> {
        let conn = self.store.reader()?;
        let mut others = store::alive_runners(&conn)?;
        others.retain(|runner| runner.id != self.identity.id);
        let mut found = Vec::new();
        for runner in &others {
            let held = || store::attempts_of_runner(&conn, runner.id);
            found.extend(find_dead(&self.store, runner, held)?);
        }
        Ok(found.into_iter().unzip())
    }

    fn run(&self, attempt: Arc<Attempt>) -> FinishedAttempt {
        let began = clock::instant();
        attempt.begin(WORKER, began);
        let (ending, spawned) = pool::run(&attempt, &self.shared, WORKER);
        let report = Report {
            attempt,
            worker: WORKER,
            ending,
            took: began.elapsed(),
            spawned,
        };
        FinishedAttempt::of(report, (self.chance)())
    }

    fn prune(&mut self) -> Result<()> {
        let now_ms = self.store.config.clock.now_ms();
        let settings = Arc::clone(&self.settings);
        let keep = |kind: &str| settings.keeps(kind);
        let mut left = Some(PrunePass::over(
            &*self.store.reader()?,
            &mut Names::default(),
            now_ms,
            &keep,
        )?);
        while let Some(pass) = left {
            let tick = Tick {
                prune: Some(pass),
                ..Tick::default()
            };
            left = self.write(Step::of(tick))?.prune_left;
        }
        Ok(())
    }

    /// Writes a step, and once more with care where its outcome could not be saved.
    fn write(&mut self, step: Step) -> Result<Turned> {
        let step = Arc::new(step);
        let mut turned = self.transact(&step, Grouping::Together);
        if let Err(error) = &turned
            && !step.tick.finished.is_empty()
            && !error.is_unknown_outcome()
        {
            log::error!("a tick could not be saved, trying again: {error}");
            turned = self.transact(&step, Grouping::OneByOne);
        }
        // What the data keep from being done is left out, and the rest goes on.
        while let Err(error) = &turned
            && error.blames_data()
        {
            match self.aside.failed(error, clock::instant()) {
                Judgement::Again => {}
                Judgement::SetAside { .. } => {
                    let part = error
                        .part()
                        .map(|part| part.to_string())
                        .unwrap_or_default();
                    log::error!("{part} is set aside, everything else goes on: {error}");
                }
                Judgement::Unclear | Judgement::Hopeless => break,
            }
            turned = self.transact(&step, Grouping::OneByOne);
        }
        let mut turned = turned?;
        if let Some(shares) = turned.shares.take() {
            self.shares = shares;
        }
        self.stats.add(&turned.stats);
        if !turned.is_alive {
            if let Some(lock) = self.lock.change(None) {
                lock.remove();
            }
            return Err(Error::wrong_state(format!(
                "runner {} was taken for lost, and its job with it",
                self.identity.id
            )));
        }
        Ok(turned)
    }

    fn transact(&self, step: &Arc<Step>, grouping: Grouping) -> Result<Turned> {
        let (step, shares) = (Arc::clone(step), self.shares.clone());
        let aside = self.aside.parts().clone();
        let (settings, identity) = (Arc::clone(&self.settings), Arc::clone(&self.identity));
        let database = self.store.path().to_owned();
        self.store.write(move |tx| {
            let place = Place {
                database: &database,
                settings: &settings,
                identity: &identity,
                shares: &shares,
                aside: &aside,
            };
            step.write(tx, &place, grouping)
        })
    }

    /// Marks the runner stopped and removes its lock.
    fn end(self) -> Result<RunStats> {
        let runner = self.identity.id;
        self.store.write(move |tx| write_end(tx, runner))?;
        if let Some(lock) = self.lock.change(None) {
            lock.remove();
        }
        Ok(self.stats)
    }
}

/// What is claimed at the end of a step.
#[derive(Clone, Copy, Default)]
enum Claim {
    #[default]
    Nothing,
    /// The next job in order.
    Next,
    This(JobId),
}

/// What one transaction of an inline runner does.
#[derive(Default)]
struct Step {
    tick: Tick,
    claim: Claim,
}

/// Whose step it is, and when.
struct Place<'a> {
    database: &'a Path,
    settings: &'a Settings,
    identity: &'a Identity,
    shares: &'a FairShares,
    aside: &'a Parts,
}

/// What a step has written.
struct Turned {
    claimed: Option<Arc<Attempt>>,
    stats: RunStats,
    prune_left: Option<PrunePass>,
    shares: Option<FairShares>,
    /// As in [`Written`](crate::runner::tick::TickResult).
    late_left: bool,
    /// More is due than one step takes, and this one has moved some of it.
    more: bool,
    is_alive: bool,
}

impl Step {
    fn of(tick: Tick) -> Step {
        Step {
            tick,
            ..Step::default()
        }
    }

    fn write(&self, tx: &mut Tx<'_>, place: &Place<'_>, grouping: Grouping) -> Result<Turned> {
        // There is one at a time: the limit of a kind leaves room for it.
        let kinds = any_of(&place.identity.kinds);
        let request = ClaimRequest {
            jobs: usize::from(matches!(self.claim, Claim::Next)),
            ..place.identity.claim_request(&kinds, place.aside)
        };
        let unknown = self.unknown_kinds(tx, place)?;
        let context = TickContext {
            database: place.database,
            runner: place.identity.id,
            grouping,
            aside: place.aside,
            promote: PROMOTE,
            schedules: Schedules::Fire,
            fire: FIRE,
            quota: place.settings.quota,
            requests: std::slice::from_ref(&request),
            shares: place.shares,
            fail_kinds: unknown.as_deref().map(|kinds| ClaimRequest {
                kinds,
                claim_for: ClaimFor::NoWorker,
                jobs: REPORTS,
                ..request.clone()
            }),
        };
        let mut written = self.tick.write(tx, &context)?;
        let stats = written.stats(&self.tick.finished);
        let job = match self.claim {
            Claim::This(job) if written.alive && !written.late_left => {
                store::claim_this(tx, &request, job)?
            }
            _ => written.claimed.pop(),
        };
        let claimed = job.map(|job| attempt(tx, place, job)).transpose()?;
        let is_due = written
            .next_due_ms
            .is_some_and(|due_ms| due_ms <= tx.now_ms);
        Ok(Turned {
            claimed,
            stats,
            prune_left: written.pruned.next,
            shares: written.shares,
            late_left: written.late_left,
            more: written.late_left || written.has_moved && (is_due || written.failed_unknown > 0),
            is_alive: written.alive,
        })
    }

    /// The kinds whose jobs are to fail, where that is wanted.
    fn unknown_kinds(&self, tx: &Tx<'_>, place: &Place<'_>) -> Result<Option<Vec<KindCapacity>>> {
        if place.settings.unknown_kinds == UnknownKinds::Keep || !matches!(self.claim, Claim::Next)
        {
            return Ok(None);
        }
        let mut kinds = store::kind_ids(tx.conn)?;
        kinds.retain(|kind| !place.identity.kinds.contains(kind));
        Ok(Some(any_of(&kinds)))
    }
}

fn any_of(kinds: &[i64]) -> Vec<KindCapacity> {
    kinds.iter().copied().map(KindCapacity::any).collect()
}

fn attempt(tx: &mut Tx<'_>, place: &Place<'_>, job: ClaimedJob) -> Result<Arc<Attempt>> {
    let kind = tx.names.kind_name(tx.conn, job.kind)?;
    let queue = tx.names.queue_name(tx.conn, job.queue)?;
    let whose = (place.identity.id, clock::instant());
    Ok(Arc::new(place.settings.attempt(job, (kind, queue), whose)))
}
