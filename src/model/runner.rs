//! What is known of a runner.

use std::collections::BTreeMap;

use crate::model::id::{JobId, RunnerId, WorkerId};

/// Which runners are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunnerFilter {
    /// Those that have not ended, and those that are gone from which nobody has taken over yet:
    /// they are [`RunnerState::Offline`].
    Now,
    /// All that the file remembers.
    AllTimes,
}

/// A runner as the file has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunnerRecord {
    /// Its number in the file.
    pub id: RunnerId,
    /// What it does.
    pub state: RunnerState,
    /// Its process.
    pub pid: u32,
    /// The machine it is or was on.
    pub host: String,
    /// How many jobs it runs at once.
    pub worker_count: u32,
    /// The kinds it has handlers for.
    pub kinds: Vec<String>,
    /// How many jobs of a kind it runs at once; a kind that is not here: as many as it has workers.
    pub kind_limits: BTreeMap<String, u64>,
    /// The queues it serves; none: all.
    pub queues: Option<Vec<String>>,
    /// When it registered.
    pub started_at: jiff::Timestamp,
    /// When it last beat.
    pub heartbeat_at: jiff::Timestamp,
    /// What the system has too little of, so that it runs fewer jobs at a time than it has workers.
    pub short_of: Option<String>,
    /// What it holds.
    pub jobs: Vec<RunningJob>,
}

impl RunnerRecord {
    /// Whether it lives, as far as anybody can tell who looks at its lock.
    pub fn is_alive(&self) -> bool {
        self.state != RunnerState::Offline
    }
}

/// What a runner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunnerState {
    /// It lives and holds no job.
    Idle,
    /// It holds jobs.
    Busy,
    /// It has stopped claiming and waits for its running jobs.
    Stopping,
    /// It has ended or is lost. What it still holds is taken over by the next runner to start.
    Offline,
}

/// A job that a runner holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunningJob {
    /// The worker that runs it, once that is known.
    pub worker: Option<WorkerId>,
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// Since when.
    pub since: jiff::Timestamp,
}
