//! Runners: their records, and the report of a run.

use std::collections::BTreeMap;

use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::model::state::State;

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
    /// The kinds whose handlers can run no job at the moment, with the reasons.
    pub unavailable_kinds: BTreeMap<String, String>,
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

/// How many attempts of a runner ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunStats {
    /// Jobs that completed.
    pub completed: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Attempts that failed and will be retried.
    pub retried: u64,
    /// Jobs in flight now.
    pub running: u64,
}

impl RunStats {
    /// Adds the results of a tick.
    pub(crate) fn add(&mut self, more: &RunStats) {
        self.completed += more.completed;
        self.failed += more.failed;
        self.cancelled += more.cancelled;
        self.retried += more.retried;
    }

    /// Counts a job that has ended in this state; other states are not counted.
    pub(crate) fn count(&mut self, state: State) {
        match state {
            State::Completed => self.completed += 1,
            State::Failed => self.failed += 1,
            State::Cancelled => self.cancelled += 1,
            _ => {}
        }
    }
}

/// The result of a runner that has ended.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RunReport {
    /// What it did.
    pub stats: RunStats,
    /// Jobs that a draining runner has left.
    pub left: Vec<Remaining>,
    /// Parts of the file that it left alone because their data could not be read or written.
    pub set_aside: Vec<SetAside>,
}

/// A job, a queue, a schedule or another part of a damaged file that a runner has left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// Its name: "job 3", "queue 'mail'".
    pub what: String,
    /// What went wrong with it.
    pub why: String,
}

/// Jobs that a drain has left, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remaining {
    /// How many.
    pub jobs: u64,
    /// Why they were left.
    pub why: String,
}
