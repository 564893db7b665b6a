//! Records of queues.

use crate::model::counts::Counts;
use crate::model::limits::Rate;

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
