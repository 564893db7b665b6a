//! Runners: their records, the end of a lost one's attempts, and the report of a run.

use std::collections::BTreeMap;

use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::model::outcome::Verdict;
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

/// A job whose runner was lost this many times fails.
pub const MAX_CRASHES: u32 = 3;

/// The verdict on an attempt that was lost with its runner, after `crashes` earlier ones. The excuse is a
/// cause other than the job, which is then charged nothing.
pub(crate) fn verdict(crashes: u32, excuse: Option<&'static str>) -> Verdict {
    if let Some(why) = excuse {
        return Verdict::GiveBack { why: why.into() };
    }
    let crashes = crashes + 1;
    if crashes >= MAX_CRASHES {
        return Verdict::Fail {
            error: format!(
                "its runner was lost {crashes} times while it ran; this job may be the cause"
            ),
        };
    }
    Verdict::Recover {
        error: format!("its runner was lost while it ran ({crashes} of {MAX_CRASHES})"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_crash_fails_the_job() {
        assert!(matches!(verdict(0, None), Verdict::Recover { .. }));
        assert!(matches!(verdict(1, None), Verdict::Recover { .. }));
        assert!(matches!(verdict(2, None), Verdict::Fail { .. }));
    }

    #[test]
    fn a_crash_with_another_cause_costs_nothing() {
        let excuse = Some("the machine was restarted while it ran");
        assert!(matches!(verdict(2, excuse), Verdict::GiveBack { .. }));
    }
}
