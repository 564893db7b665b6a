//! The settings of a runner.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::id::Batch;
use crate::model::runner_hook::RunnerHooks;
use crate::model::runner_options::{KindOptions, Retention, UnknownKinds, Until};
use crate::model::state::State;
use crate::runner::attempt::Attempt;
use crate::runner::handler::Registry;
use crate::store::{ClaimedJob, Keeps, QuotaLimits};

/// The settings that a runner was started or reloaded with.
pub(crate) struct Settings {
    pub(crate) queues: Option<Vec<String>>,
    pub(crate) unknown_kinds: UnknownKinds,
    pub(crate) until: Until,
    pub(crate) default_timeout: Option<Duration>,
    pub(crate) retention: Retention,
    pub(crate) kinds: HashMap<String, KindOptions>,
    pub(crate) heartbeat: HeartbeatSettings,
    /// A stop is over after this long, whatever still runs.
    pub(crate) stop_timeout: Duration,
    /// How long a job that was told to stop may take to do so.
    pub(crate) grace: Duration,
    /// A draining runner stays while a job of this batch runs anywhere.
    pub(crate) batch: Option<Batch>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) hooks: RunnerHooks,
    /// How large the queues and the file may become by jobs of schedules.
    pub(crate) quota: QuotaLimits,
}

impl Settings {
    /// An attempt at a job that this runner has claimed, with the names of its kind and queue.
    pub(crate) fn attempt(
        &self,
        mut job: ClaimedJob,
        names: (Arc<str>, Arc<str>),
        (runner, now): (i64, Instant),
    ) -> Attempt {
        let of_kind = self.kinds.get(&*names.0).and_then(|kind| kind.timeout);
        let timeout = job.budget.timeout.or(of_kind).or(self.default_timeout);
        job.budget.timeout = timeout;
        let begin_by = clock::after(now, self.heartbeat.begin_within());
        let mut attempt = Attempt::new((job, runner), names, (now, begin_by));
        attempt.runner_hooks.clone_from(&self.hooks);
        attempt
    }

    /// How many jobs of a kind may run at once, for kinds with a limit.
    pub(super) fn kind_limits(&self) -> HashMap<String, usize> {
        let limited = self.kinds.iter();
        limited
            .filter_map(|(kind, options)| Some((kind.clone(), options.limit?)))
            .collect()
    }

    pub(super) fn keeps(&self, kind: &str) -> Keeps {
        let own = self.kinds.get(kind).and_then(|kind| kind.retention);
        let keep = own.unwrap_or(self.retention.into());
        [
            (State::Completed, keep.completed),
            (State::Failed, keep.failed),
            (State::Cancelled, keep.failed),
        ]
    }
}

/// The intervals of heartbeats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeartbeatSettings {
    pub(crate) every: Duration,
    pub(crate) hung_after: Duration,
}

impl HeartbeatSettings {
    /// A job that was claimed longer ago is not begun any more: others may have taken it over. A claim
    /// is at most one heartbeat interval younger than the last heartbeat that they have seen; half of
    /// the rest allows for a claim that waited for the write lock. The time is that of the process's
    /// monotonic clock, which the others use as well.
    pub(crate) fn begin_within(&self) -> Duration {
        match self.hung_after.saturating_sub(self.every) {
            Duration::ZERO => self.hung_after,
            left => left / 2,
        }
    }
}
