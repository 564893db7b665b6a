//! What a runner has done.

use crate::model::state::State;

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
