//! What an application chooses for a runner.

use std::time::Duration;

/// The number of workers unless set.
pub const DEFAULT_WORKERS: usize = 5;
/// The maximum duration of a stop unless set.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// What happens to jobs of a kind without a handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UnknownKinds {
    /// They stay pending for another runner.
    #[default]
    Keep,
    /// They fail.
    Fail,
}

words!(UnknownKinds, "treatment of unknown kinds", "treatments" {
    Keep = "keep",
    Fail = "fail",
});

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

/// How long final jobs are kept; none: forever.
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

/// How long final jobs of one kind are kept; none: forever.
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

/// Settings for the jobs of one kind in a runner: see [`RunnerBuilder::kind_options`](crate::RunnerBuilder::kind_options).
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
    /// For a limit over all runners give the jobs a queue and limit that: [`Queue::set_limits`](crate::Queue::set_limits).
    pub fn limit(mut self, jobs: usize) -> KindOptions {
        self.limit = Some(jobs);
        self
    }

    /// How long final jobs are kept, where that is not what [`RunnerBuilder::retention`](crate::RunnerBuilder::retention) says. All
    /// runners of a file should agree.
    pub fn retention(mut self, retention: KindRetention) -> KindOptions {
        self.retention = Some(retention);
        self
    }
}
