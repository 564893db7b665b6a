//! Queues: their names, their records, and the numbers of their jobs by state.

use crate::model::limits::Rate;
use crate::model::state::State;
use crate::{Error, Result};

/// A queue as stored in the file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueueRecord {
    /// Its name.
    pub name: String,
    /// Since when it is paused; none: it is not paused.
    pub paused_at: Option<jiff::Timestamp>,
    /// Its jobs by state.
    pub counts: Counts,
    /// Its limits, over all runners.
    pub limits: QueueLimits,
}

/// A selection of queues to pause or resume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueSelector {
    /// Every queue, including future ones.
    All,
    /// The queue of this name.
    Named(String),
}

/// The limits of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Maximum number of its jobs that run at once; none: no limit.
    pub concurrency: Option<u32>,
    /// Maximum number of its jobs that start within a span; none: no limit.
    pub rate: Option<Rate>,
    /// Maximum number of its jobs that are not final; none: that of [`EnqueueLimits`](crate::EnqueueLimits).
    pub max_size: Option<u64>,
    /// Its share of a runner among the queues with work.
    pub weight: u32,
}

/// The number of jobs in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; State::ALL.len()]);

impl Counts {
    /// The jobs in `state`.
    pub fn get(&self, state: State) -> u64 {
        self.0[state as usize]
    }

    /// Each state with its number of jobs.
    pub fn iter(&self) -> impl Iterator<Item = (State, u64)> + '_ {
        State::ALL.into_iter().map(|state| (state, self.get(state)))
    }

    /// All jobs in the file.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The jobs that are not final.
    pub fn live(&self) -> u64 {
        self.iter()
            .filter(|(state, _)| !state.is_final())
            .map(|(_, jobs)| jobs)
            .sum()
    }

    pub(crate) fn add(&mut self, state: State, jobs: i64) {
        let count = &mut self.0[state as usize];
        *count = count.saturating_add_signed(jobs);
    }
}

/// The queue of jobs that do not name one.
pub const DEFAULT_QUEUE: &str = "default";

/// Maximum length of the name of a kind or a queue, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 200;

/// Checks the name of a kind or a queue: 1 to [`MAX_NAME_BYTES`] bytes, no control characters.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("the {what} is empty")));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::invalid(format!(
            "the {what} is {} bytes long, at most {MAX_NAME_BYTES} are allowed",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "the {what} {name:?} holds a control character"
        )));
    }
    Ok(())
}
