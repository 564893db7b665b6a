//! How a runner is set up.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::model::batch::Batch;
use crate::model::job::Job;
use crate::model::name::check_name;
use crate::queue::Queue;
use crate::runner::context::Context;
use crate::runner::handle::Runner;
use crate::runner::handler::{Failure, Handler, Registry, Typed};
use crate::runner::liveness::{HEARTBEAT, HUNG_AFTER};
use crate::{Error, Result};

/// Workers of a runner that is not told otherwise.
pub const DEFAULT_WORKERS: usize = 5;
/// More workers than this are a mistake.
const MAX_WORKERS: usize = 1024;

/// What happens to jobs of a kind without a handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownKinds {
    /// They stay pending for another runner.
    #[default]
    Keep,
    /// They fail.
    Fail,
}

/// When a runner ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Until {
    /// When it is stopped.
    #[default]
    Stopped,
    /// When nothing is left that it could run, now or after a retry.
    Drained,
}

/// How long final jobs are kept. None keeps them for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Completed jobs.
    pub completed: Option<Duration>,
    /// Failed and cancelled jobs.
    pub failed: Option<Duration>,
    /// How often a runner looks for old ones.
    pub every: Duration,
}

impl Default for Retention {
    fn default() -> Retention {
        const HOUR: u64 = 60 * 60;
        Retention {
            completed: Some(Duration::from_secs(24 * HOUR)),
            failed: Some(Duration::from_secs(7 * 24 * HOUR)),
            every: Duration::from_secs(HOUR),
        }
    }
}

/// How long final jobs of one kind are kept. None keeps them for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindRetention {
    /// Completed jobs.
    pub completed: Option<Duration>,
    /// Failed and cancelled jobs.
    pub failed: Option<Duration>,
}

impl From<Retention> for KindRetention {
    fn from(retention: Retention) -> KindRetention {
        KindRetention {
            completed: retention.completed,
            failed: retention.failed,
        }
    }
}

impl Default for KindRetention {
    fn default() -> KindRetention {
        Retention::default().into()
    }
}

/// Settings for the jobs of one kind in a runner: see [`RunnerBuilder::kind_options`].
///
/// ```
/// use std::time::Duration;
/// use jobq::{KindOptions, Queue};
///
/// # let folder = tempfile::tempdir()?;
/// let queue = Queue::open(folder.path().join("jobs.db"))?;
/// let export = KindOptions::new().timeout(Duration::from_secs(120)).limit(2);
/// let runner = queue.runner().kind_options("export", export).start()?;
/// # runner.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct KindOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) limit: Option<usize>,
    pub(crate) retention: Option<KindRetention>,
}

impl KindOptions {
    /// What the runner has for all kinds.
    pub fn new() -> KindOptions {
        KindOptions::default()
    }

    /// How long an attempt may take where the job does not say so.
    pub fn timeout(mut self, timeout: Duration) -> KindOptions {
        self.timeout = Some(timeout);
        self
    }

    /// Maximum number of jobs of this kind at once in this runner; as many as it has workers unless set.
    /// For a limit over all runners give the jobs a queue and limit that: [`Queue::set_limits`].
    pub fn limit(mut self, jobs: usize) -> KindOptions {
        self.limit = Some(jobs);
        self
    }

    /// How long final jobs are kept, where that is not what [`RunnerBuilder::retention`] says. All
    /// runners of a file should agree.
    pub fn retention(mut self, retention: KindRetention) -> KindOptions {
        self.retention = Some(retention);
        self
    }
}

/// How a runner hears of the others, and how long it waits when it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    pub(crate) every: Duration,
    pub(crate) hung_after: Duration,
    /// After so long a stop is over, whatever still runs.
    pub(crate) stop_timeout: Duration,
    /// How long a job that was told to stop may take to do so.
    pub(crate) grace: Duration,
}

impl Pulse {
    /// What was claimed longer ago is not begun any more: others may have taken it over. A claim is at
    /// most one heartbeat younger than the last beat that they have seen; the half of what is left
    /// makes up for a claim that waited for the write lock. The time is that of the process's own clock,
    /// by which the others judge as well.
    pub(crate) fn begin_within(&self) -> Duration {
        match self.hung_after.saturating_sub(self.every) {
            Duration::ZERO => self.hung_after,
            left => left / 2,
        }
    }
}

/// How long a stop may take that is not told otherwise.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Commands have 10 s between TERM and KILL; a slot is given up a little later.
const GRACE: Duration = Duration::from_secs(12);

/// Sets up a runner: its workers, its handlers, its queues. Made by [`Queue::runner`].
#[must_use]
pub struct RunnerBuilder {
    pub(crate) queue: Queue,
    pub(crate) workers: usize,
    pub(crate) queues: Option<Vec<String>>,
    pub(crate) registry: Registry,
    pub(crate) unknown_kinds: UnknownKinds,
    pub(crate) until: Until,
    pub(crate) default_timeout: Option<Duration>,
    pub(crate) retention: Retention,
    pub(crate) kinds: HashMap<String, KindOptions>,
    pub(crate) pulse: Pulse,
    pub(crate) batch: Option<Batch>,
}

impl Queue {
    /// Sets up a runner for this queue. One runner per open queue: a second one needs the file opened
    /// a second time.
    pub fn runner(&self) -> RunnerBuilder {
        RunnerBuilder {
            queue: self.clone(),
            workers: DEFAULT_WORKERS,
            queues: None,
            registry: Registry::with_built_in(),
            unknown_kinds: UnknownKinds::default(),
            until: Until::default(),
            default_timeout: None,
            retention: Retention::default(),
            kinds: HashMap::new(),
            pulse: Pulse {
                every: HEARTBEAT,
                hung_after: HUNG_AFTER,
                stop_timeout: DEFAULT_STOP_TIMEOUT,
                grace: GRACE,
            },
            batch: None,
        }
    }
}

impl RunnerBuilder {
    /// How many jobs run at once; five unless set.
    pub fn workers(mut self, workers: usize) -> RunnerBuilder {
        self.workers = workers;
        self
    }

    /// Only jobs of these queues; all unless set.
    pub fn queues(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> RunnerBuilder {
        self.queues = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The code for a kind, as a [`Handler`].
    pub fn kind(mut self, kind: impl Into<String>, handler: impl Handler) -> RunnerBuilder {
        self.registry
            .handlers
            .insert(kind.into(), Arc::new(handler));
        self
    }

    /// The code for a typed job.
    ///
    /// What it returns becomes the job's result. An error by `?` is tried again under the job's
    /// retry policy; see [`Failure`] for other ends.
    pub fn job<J: Job + 'static>(
        self,
        run: impl Fn(J, &Context) -> Result<J::Output, Failure> + Send + Sync + 'static,
    ) -> RunnerBuilder {
        self.kind(
            J::KIND,
            Typed {
                run,
                job: PhantomData,
            },
        )
    }

    /// State of the application that handlers find by its type: see [`Context::data`].
    pub fn data<T: Send + Sync + 'static>(mut self, data: T) -> RunnerBuilder {
        let data: Arc<dyn Any + Send + Sync> = Arc::new(data);
        self.registry.data.insert(TypeId::of::<T>(), data);
        self
    }

    /// What happens to jobs of a kind without a handler; they stay pending unless set.
    pub fn unknown_kinds(mut self, unknown_kinds: UnknownKinds) -> RunnerBuilder {
        self.unknown_kinds = unknown_kinds;
        self
    }

    /// When it ends; when it is stopped unless set.
    pub fn until(mut self, until: Until) -> RunnerBuilder {
        self.until = until;
        self
    }

    /// A runner that [drains](Until::Drained) stays until no job of this batch runs, by whatever runner: so
    /// it can take over their retries, and knows at its end how the batch went.
    pub fn drain_batch(mut self, batch: Batch) -> RunnerBuilder {
        self.batch = Some(batch);
        self
    }

    /// How long an attempt may take where neither the job nor its kind says so; no limit unless set.
    pub fn default_timeout(mut self, timeout: Duration) -> RunnerBuilder {
        self.default_timeout = Some(timeout);
        self
    }

    /// Settings for the jobs of this kind, in place of earlier ones.
    pub fn kind_options(mut self, kind: impl Into<String>, options: KindOptions) -> RunnerBuilder {
        self.kinds.insert(kind.into(), options);
        self
    }

    /// How long final jobs are kept; a day, and a week where they failed, unless set.
    pub fn retention(mut self, retention: Retention) -> RunnerBuilder {
        self.retention = retention;
        self
    }

    /// After so long a stop is over, whatever still runs; 60 s unless set. Whoever starts the runner and
    /// kills it when it has not ended in time (Docker after 10 s, Kubernetes after 30 s, systemd after
    /// 90 s) wants a little less here.
    ///
    /// Until the last 12 s, or the last half where that is less, running jobs may go on. Then they are
    /// told to stop: a command gets SIGTERM, and SIGKILL in time before the end. What did not end by then
    /// goes back free of charge.
    pub fn stop_timeout(mut self, timeout: Duration) -> RunnerBuilder {
        self.pulse.stop_timeout = timeout;
        self
    }

    /// How long a handler that was told to stop may take before its slot is given to a fresh thread;
    /// 12 s unless set, so that a command has its 10 s between TERM and KILL.
    pub fn grace(mut self, grace: Duration) -> RunnerBuilder {
        self.pulse.grace = grace;
        self
    }

    /// Beats this often, and takes runners for hung that have not beaten for so long. All runners of
    /// a file must agree; 10 s and 30 s unless set.
    #[doc(hidden)]
    pub fn heartbeat(mut self, every: Duration, hung_after: Duration) -> RunnerBuilder {
        self.pulse.every = every;
        self.pulse.hung_after = hung_after;
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// A setting is not usable, a runner is already started on this queue, the file is read-only or
    /// cannot be written, or the system has no more threads.
    pub fn start(self) -> Result<Runner> {
        self.check()?;
        Runner::start(self)
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.workers == 0 || self.workers > MAX_WORKERS {
            return Err(Error::invalid(format!(
                "workers must be 1 to {MAX_WORKERS}, not {}",
                self.workers
            )));
        }
        for kind in self.registry.handlers.keys() {
            check_name("kind", kind)?;
        }
        let is_0 = |(_, options): &(_, &KindOptions)| options.limit == Some(0);
        if let Some(kind) = self.kinds.iter().find(is_0) {
            return Err(Error::invalid(format!(
                "kind '{}' cannot be limited to 0 jobs at once",
                kind.0
            ))
            .with_hint("leave its handler out, or pause its queue"));
        }
        if self.retention.every < Duration::from_millis(1) {
            return Err(
                Error::invalid("a runner cannot look for old jobs without a pause")
                    .with_hint("let it look every hour, or at least every millisecond"),
            );
        }
        for queue in self.queues.iter().flatten() {
            check_name("queue's name", queue)?;
        }
        Ok(())
    }
}
