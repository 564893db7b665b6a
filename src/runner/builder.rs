//! How a runner is set up.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::model::id::Batch;
use crate::model::job::Job;
use crate::model::queue::check_name;
use crate::model::runner_hook::{Hook, RunnerHooks};
use crate::model::runner_options::{
    DEFAULT_STOP_TIMEOUT, DEFAULT_WORKERS, KindOptions, Retention, UnknownKinds, Until,
};
use crate::queue::Queue;
use crate::runner::context::Context;
use crate::runner::handler::{Failure, Handler, Registry, Typed};
use crate::runner::settings::{HeartbeatSettings, Settings};
use crate::store::QuotaLimits;
use crate::{Error, Result, store};

/// More workers than this are a mistake.
const MAX_WORKERS: usize = 1024;

/// How often a runner writes a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A runner without a new heartbeat for this long hangs.
const HUNG_AFTER: Duration = Duration::from_secs(30);
/// Commands have 10 s between TERM and KILL; their slot is given up a little later.
const GRACE: Duration = Duration::from_secs(12);

/// Sets up a runner: its workers, its handlers, its queues. Made by [`Queue::runner`].
#[must_use]
pub struct RunnerBuilder {
    pub(crate) queue: Queue,
    pub(crate) workers: usize,
    pub(crate) registry: Registry,
    hooks: Vec<Hook>,
    /// All but the registry and the hooks.
    pub(crate) settings: Settings,
}

impl Queue {
    /// Sets up a runner for this queue. One runner per open queue: a second one needs the file opened
    /// a second time.
    pub fn runner(&self) -> RunnerBuilder {
        RunnerBuilder {
            queue: self.clone(),
            workers: DEFAULT_WORKERS,
            registry: Registry::with_built_in(),
            hooks: Vec::new(),
            settings: Settings {
                queues: None,
                unknown_kinds: UnknownKinds::default(),
                until: Until::default(),
                default_timeout: None,
                retention: Retention::default(),
                kinds: HashMap::new(),
                heartbeat: HeartbeatSettings {
                    every: HEARTBEAT,
                    hung_after: HUNG_AFTER,
                },
                stop_timeout: DEFAULT_STOP_TIMEOUT,
                grace: GRACE,
                batch: None,
                quota: QuotaLimits::of(&self.limits),
                registry: Arc::default(),
                hooks: None,
            },
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
        self.settings.queues = Some(names.into_iter().map(Into::into).collect());
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
        self.settings.unknown_kinds = unknown_kinds;
        self
    }

    /// When it ends; when it is stopped unless set.
    pub fn until(mut self, until: Until) -> RunnerBuilder {
        self.settings.until = until;
        self
    }

    /// A runner that [drains](Until::Drained) stays until no runner runs a job of this batch any more,
    /// so that it can take over their retries and knows the result of the batch at its end.
    pub fn drain_batch(mut self, batch: Batch) -> RunnerBuilder {
        self.settings.batch = Some(batch);
        self
    }

    /// How long an attempt may take if neither the job nor its kind says so; no limit unless set.
    pub fn default_timeout(mut self, timeout: Duration) -> RunnerBuilder {
        self.settings.default_timeout = Some(timeout);
        self
    }

    /// Settings for the jobs of this kind; they replace earlier ones.
    pub fn kind_options(mut self, kind: impl Into<String>, options: KindOptions) -> RunnerBuilder {
        self.settings.kinds.insert(kind.into(), options);
        self
    }

    /// Adds a hook: a job that is enqueued each time a job ends so in this runner, in the transaction of its end. That are
    /// the ends of its own attempts and those that it brings about: jobs of lost runners that it fails, jobs past their
    /// deadline, parents of its jobs. Where somebody else cancels a job it fires none; a job's own hooks
    /// ([`NewJob::on_end`](crate::NewJob::on_end)) are fired whoever ends it.
    pub fn hook(mut self, hook: Hook) -> RunnerBuilder {
        self.hooks.push(hook);
        self
    }

    /// How long final jobs are kept; a day, and a week if they failed, unless set.
    pub fn retention(mut self, retention: Retention) -> RunnerBuilder {
        self.settings.retention = retention;
        self
    }

    /// The maximum duration of a stop; 60 s unless set. A supervisor kills a process that has not ended
    /// in time (Docker after 10 s, Kubernetes after 30 s, systemd after 90 s): choose a little less
    /// than that.
    ///
    /// Running jobs may go on until the last 12 s, or the last half if that is less. Then they are told
    /// to stop: a command gets SIGTERM, and SIGKILL in time before the end. Jobs that have not ended by
    /// then go back free of charge.
    pub fn stop_timeout(mut self, timeout: Duration) -> RunnerBuilder {
        self.settings.stop_timeout = timeout;
        self
    }

    /// How long a handler that was told to stop may take before a fresh thread replaces its own; 12 s
    /// unless set, so that a command has its 10 s between TERM and KILL.
    pub fn grace(mut self, grace: Duration) -> RunnerBuilder {
        self.settings.grace = grace;
        self
    }

    /// Writes heartbeats this often, and declares runners hung that have written none for so long. All
    /// runners of a file must agree; 10 s and 30 s unless set.
    #[doc(hidden)]
    pub fn heartbeat(mut self, every: Duration, hung_after: Duration) -> RunnerBuilder {
        self.settings.heartbeat.every = every;
        self.settings.heartbeat.hung_after = hung_after;
        self
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
        if let Some(kind) = self.settings.kinds.iter().find(is_0) {
            return Err(Error::invalid(format!(
                "kind '{}' cannot be limited to 0 jobs at once",
                kind.0
            ))
            .with_hint("leave its handler out, or pause its queue"));
        }
        if self.settings.retention.every < Duration::from_millis(1) {
            return Err(
                Error::invalid("a runner cannot look for old jobs without a pause")
                    .with_hint("let it look every hour, or at least every millisecond"),
            );
        }
        for queue in self.settings.queues.iter().flatten() {
            check_name("queue's name", queue)?;
        }
        self.runner_hooks().map(drop)
    }

    /// The settings of the runner.
    pub(super) fn settings(self) -> Result<Settings> {
        Ok(Settings {
            hooks: self.runner_hooks()?,
            registry: Arc::new(self.registry),
            ..self.settings
        })
    }

    fn runner_hooks(&self) -> Result<RunnerHooks> {
        let mut hooks = Vec::new();
        for Hook { filter, job } in &self.hooks {
            let job = store::hook_job(job, filter.trigger, &self.queue.limits)?;
            hooks.push((filter.clone(), job));
        }
        Ok((!hooks.is_empty()).then(|| hooks.into()))
    }
}
