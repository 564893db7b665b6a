//! Runs what is due in the calling thread: a runner without threads of its own.
//!
//! It writes through the queue's writer and does not hold the writer while a handler runs, so that
//! handlers may enqueue through the same queue. If it cannot go on, it releases its lock and leaves its
//! row: the next active runner takes over its jobs, as from a runner that was killed.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::error::Kind;
use crate::model::id::JobId;
use crate::model::outcome::{Ending, Outcome};
use crate::model::part::Parts;
use crate::model::remedy::Remedy;
use crate::model::runner::RunStats;
use crate::runner::attempt::{Attempt, Report};
use crate::runner::builder::RunnerBuilder;
use crate::runner::context::SharedContext;
use crate::runner::kind_pauses::KindPauses;
use crate::runner::liveness::{DeadLock, OwnLock};
use crate::runner::maintenance::find_dead;
use crate::runner::registration::RunnerIdentity;
use crate::runner::set_aside::{Aside, Judgement};
use crate::runner::settings::Settings;
use crate::runner::shutdown::write_end;
use crate::runner::tick::{FinishedAttempt, Grouping, Lost, REPORTS, Tick, TickContext};
use crate::runner::{pool, registration};
use crate::store::{
    ClaimRequest, ClaimedJob, FairShares, HeartbeatMode, KindCapacity, Names, PrunePass, Schedules,
    Store, Tx,
};
use crate::{Error, Result, clock, store};

/// A run is taken for an endless chain after as many jobs as were live at the start, and this many
/// more.
const SPARE_RUNS: u64 = 100_000;
/// The one worker is the calling thread.
const WORKER: u32 = 1;

/// The bounds of a run, and its source of randomness.
#[derive(Clone, Copy)]
pub(crate) struct InlineBounds {
    /// Maximum number of runs beyond the jobs that were live at the start.
    pub(crate) spare_runs: u64,
    /// Returns a number in `0.0..1.0` for the jitter of each retry.
    pub(crate) chance: fn() -> f64,
}

impl RunnerBuilder {
    /// Runs all due jobs in the calling thread and returns when none is left. Jobs that handlers
    /// enqueue meanwhile run too, unless they are for later, and so do retries without a delay. It
    /// takes over from runners that were killed, and removes old jobs at the end.
    ///
    /// Use it in a program that cron or a systemd timer starts, and in tests, where nothing should run
    /// in the background: see [`testing`](crate::testing). It may be called while other runners use the
    /// file, and from inside a handler.
    ///
    /// Each job is a transaction of its own here, and delays are not waited for: for a long backlog, or
    /// to see retries through, start a runner [until it is drained](crate::Until::Drained).
    ///
    /// There is one worker, whatever [`workers`](RunnerBuilder::workers) says, and nothing supervises a
    /// running handler: it does not learn of its timeout or of a request to cancel it. For jobs that must
    /// be stopped, [start](RunnerBuilder::start) a runner.
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
    /// without an end: as many jobs have run as were live at the start and a hundred thousand more.
    /// What has run until then is saved; a job whose outcome could not be saved is taken over by the
    /// next active runner, as from a runner that was killed.
    pub fn run_due(self) -> Result<RunStats> {
        let usual = InlineBounds {
            spare_runs: SPARE_RUNS,
            chance: fastrand::f64,
        };
        run_due(self, usual)
    }
}

/// Runs [`RunnerBuilder::run_due`] within the given bounds.
pub(crate) fn run_due(builder: RunnerBuilder, bounds: InlineBounds) -> Result<RunStats> {
    let mut inline = Inline::register(builder, bounds.chance)?;
    let most = store::counts(&*inline.store.reader()?)?.live() + bounds.spare_runs;
    let is_endless = inline.work_off(most)?;
    // After the clock was set, the age of jobs is not known.
    let (clock, every) = (&inline.store.config.clock, inline.settings.retention.every);
    if !store::clock_was_set_within(&*inline.store.reader()?, clock, every)? {
        inline.prune()?;
    }
    let first_aside = inline.aside.reasons().iter().next();
    let first_aside = first_aside.map(|(part, why)| format!("{part} was set aside: {why}"));
    let registry = Arc::clone(&inline.settings.registry);
    let stats = inline.end()?;
    registry.close();
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
        let written = inline.write(Step {
            claim: Claim::This(job),
            ..Step::default()
        })?;
        if !written.late_left {
            break written.claimed;
        }
    };
    let is_claimed = claimed.is_some();
    if let Some(attempt) = claimed {
        let ended = inline.run(attempt);
        inline.write(inline.end_of(ended))?;
    }
    let store = Arc::clone(&inline.store);
    let registry = Arc::clone(&inline.settings.registry);
    inline.end()?;
    registry.close();
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
    identity: Arc<RunnerIdentity>,
    lock: OwnLock,
    shared: SharedContext,
    chance: fn() -> f64,
    stats: RunStats,
    shares: FairShares,
    /// Parts of the file that are left alone because their data cannot be read or written.
    aside: Aside,
    /// Kinds whose handlers can run no job at the moment.
    kind_pauses: KindPauses,
}

impl Inline {
    fn register(builder: RunnerBuilder, chance: fn() -> f64) -> Result<Inline> {
        builder.check()?;
        let queue = builder.queue.clone();
        let store = Arc::clone(&queue.store);
        let settings = Arc::new(builder.settings()?);
        let lock = OwnLock::default();
        let folder = store.runners_folder();
        let identity = registration::register_by((&folder, &lock), |name| {
            let row = registration::registration(name, &settings, (1, HeartbeatMode::None));
            let limits = settings.kind_limits();
            store.write(move |tx| registration::insert(tx, &row, &limits))
        })?;
        let shared = SharedContext {
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
            kind_pauses: KindPauses::default(),
        })
    }

    /// Runs one job after the other until none is due, or `most` have run; returns whether there were
    /// more.
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
            let written = self.write(step)?;
            step = match written.claimed {
                Some(attempt) => {
                    runs += 1;
                    let report = self.run(attempt);
                    is_short = matches!(
                        report.ending,
                        Ending::Returned {
                            outcome: Outcome::OutOfResources { .. },
                            ..
                        }
                    );
                    self.kind_pauses.heed(&report);
                    self.kind_pauses.relax(clock::instant());
                    self.end_of(report)
                }
                None if written.more => Step::default(),
                None => break,
            };
            // If the system lacks the resources for one job, it lacks them for all.
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
        let kinds = self.kinds();
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

    /// Finds the dead runners, with their locks: held until their jobs are taken over.
    fn find_dead(&self) -> Result<(Vec<Lost>, Vec<DeadLock>)> {
        let conn = self.store.reader()?;
        let mut others = store::alive_runners(&conn)?;
        others.retain(|runner| runner.id != self.identity.id);
        let mut found = Vec::new();
        for runner in &others {
            let attempts = || store::attempts_of_runner(&conn, runner.id);
            found.extend(find_dead(&self.store, runner, attempts)?);
        }
        Ok(found.into_iter().unzip())
    }

    fn run(&self, attempt: Arc<Attempt>) -> Report {
        let began = clock::instant();
        attempt.begin(WORKER, began);
        let (ending, spawned) = pool::run(&attempt, &self.shared, WORKER);
        Report {
            attempt,
            worker: WORKER,
            ending,
            took: began.elapsed(),
            spawned,
        }
    }

    /// The step that writes how an attempt has ended.
    fn end_of(&self, report: Report) -> Step {
        Step::of(Tick::of(FinishedAttempt::of(report, (self.chance)())))
    }

    /// Its kinds, but those that are paused, or still could not run after some pauses.
    fn kinds(&self) -> Vec<KindCapacity> {
        let (now, pauses) = (clock::instant(), &self.kind_pauses);
        let mut kinds = self.identity.any_of_its_kinds();
        kinds.retain(|KindCapacity { kind, .. }| {
            !pauses.holds(*kind, now) && !pauses.is_given_up(*kind)
        });
        kinds
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

    /// Writes a step; once more one by one if its outcome could not be saved.
    fn write(&mut self, step: Step) -> Result<StepResult> {
        let step = Arc::new(step);
        let mut written = self.transact(&step, Grouping::Together);
        if let Err(error) = &written
            && !step.tick.finished.is_empty()
            && !error.is_unknown_outcome()
        {
            log::error!("a tick could not be saved, trying again: {error}");
            written = self.transact(&step, Grouping::OneByOne);
        }
        // Parts whose data cannot be read or written are left alone, and the rest goes on.
        while let Err(error) = &written
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
            written = self.transact(&step, Grouping::OneByOne);
        }
        let mut written = written?;
        if let Some(shares) = written.shares.take() {
            self.shares = shares;
        }
        self.stats.add(&written.stats);
        if !written.is_alive {
            if let Some(lock) = self.lock.change(None) {
                lock.remove();
            }
            return Err(Error::wrong_state(format!(
                "runner {} was taken for lost, and its job with it",
                self.identity.id
            )));
        }
        Ok(written)
    }

    fn transact(&self, step: &Arc<Step>, grouping: Grouping) -> Result<StepResult> {
        let (step, shares) = (Arc::clone(step), self.shares.clone());
        let (aside, kinds) = (self.aside.parts().clone(), self.kinds());
        let (settings, identity) = (Arc::clone(&self.settings), Arc::clone(&self.identity));
        let database = self.store.path().to_owned();
        self.store.write(move |tx| {
            let place = Place {
                database: &database,
                settings: &settings,
                identity: &identity,
                kinds: &kinds,
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

/// What to claim at the end of a step.
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

/// The runner that a step is for, and its conditions.
struct Place<'a> {
    database: &'a Path,
    settings: &'a Settings,
    identity: &'a RunnerIdentity,
    /// Only one job runs at a time, so the limit of a kind always permits it.
    kinds: &'a [KindCapacity],
    shares: &'a FairShares,
    aside: &'a Parts,
}

/// The result of a step.
struct StepResult {
    claimed: Option<Arc<Attempt>>,
    stats: RunStats,
    prune_left: Option<PrunePass>,
    shares: Option<FairShares>,
    /// As in [`TickResult`](crate::runner::tick::TickResult).
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

    fn write(&self, tx: &mut Tx<'_>, place: &Place<'_>, grouping: Grouping) -> Result<StepResult> {
        let request = ClaimRequest {
            jobs: usize::from(matches!(self.claim, Claim::Next)),
            ..place.identity.claim_request(place.kinds, place.aside)
        };
        let unknown = match self.claim {
            Claim::Next => place
                .identity
                .failing_kinds(place.settings.unknown_kinds, || store::kind_ids(tx.conn))?,
            Claim::Nothing | Claim::This(_) => None,
        };
        let context = TickContext {
            database: place.database,
            runner: place.identity.id,
            grouping,
            aside: place.aside,
            is_due: true,
            schedules: Schedules::Fire,
            quota: place.settings.quota,
            hooks: &place.settings.hooks,
            requests: std::slice::from_ref(&request),
            shares: place.shares,
            fail_kinds: unknown
                .as_deref()
                .map(|kinds| request.for_no_worker(kinds, REPORTS)),
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
        Ok(StepResult {
            claimed,
            stats,
            prune_left: written.pruned.next,
            shares: written.shares,
            late_left: written.late_left,
            more: written.late_left || written.has_moved && (is_due || written.failed_unknown > 0),
            is_alive: written.alive,
        })
    }
}

fn attempt(tx: &mut Tx<'_>, place: &Place<'_>, job: ClaimedJob) -> Result<Arc<Attempt>> {
    let kind = tx.names.kind_name(tx.conn, job.kind)?;
    let queue = tx.names.queue_name(tx.conn, job.queue)?;
    let whose = (place.identity.id, clock::instant());
    Ok(Arc::new(place.settings.attempt(job, (kind, queue), whose)))
}
