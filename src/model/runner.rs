//! Records of runners.

use std::collections::BTreeMap;

use crate::model::id::{JobId, RunnerId, WorkerId};

/// A selection of runners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunnerFilter {
    /// Those that have not ended, and dead ones whose jobs were not taken over yet
    /// ([`RunnerState::Offline`]).
    Now,
    /// All that the file records.
    AllTimes,
}

/// A runner as stored in the file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunnerRecord {
    /// Its id.
    pub id: RunnerId,
    /// Its state.
    pub state: RunnerState,
    /// The id of its process.
    pub pid: u32,
    /// The name of its machine.
    pub host: String,
    /// How many jobs it runs at once.
    pub worker_count: u32,
    /// The kinds it has handlers for.
    pub kinds: Vec<String>,
    /// Maximum number of jobs of a kind that it runs at once; a kind that is missing has no limit.
    pub kind_limits: BTreeMap<String, u64>,
    /// The queues it serves; none: all.
    pub queues: Option<Vec<String>>,
    /// When it registered.
    pub started_at: jiff::Timestamp,
    /// When it last wrote its heartbeat.
    pub heartbeat_at: jiff::Timestamp,
    /// The resource that the system lacks, so that the runner runs fewer jobs at once than it has workers.
    pub short_of: Option<String>,
    /// The jobs that it holds.
    pub jobs: Vec<RunningJob>,
}

impl RunnerRecord {
    /// Whether it is alive, judged by its lock.
    pub fn is_alive(&self) -> bool {
        self.state != RunnerState::Offline
    }
}

/// The state of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunnerState {
    /// It is alive and holds no job.
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
    /// Since when it holds it.
    pub since: jiff::Timestamp,
}
