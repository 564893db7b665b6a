//! What is known of a queue.

use crate::model::counts::Counts;
use crate::model::limits::Rate;

/// A queue as the file has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueueRecord {
    /// Its name.
    pub name: String,
    /// Since when nothing of it is claimed.
    pub paused_at: Option<jiff::Timestamp>,
    /// Its jobs by state.
    pub counts: Counts,
    /// Its limits, over all runners.
    pub limits: QueueLimits,
}

/// Which queues are to be paused or resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueSelector {
    /// Every queue, also those that are yet to come.
    All,
    /// The queue of this name.
    Named(String),
}

/// The limits that a queue has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// So many of its jobs run at once; none: any number.
    pub concurrency: Option<u32>,
    /// So many of its jobs start in any span; none: any number.
    pub rate: Option<Rate>,
    /// So many jobs that have not ended it takes; none: as many as [`EnqueueLimits`](crate::EnqueueLimits) says.
    pub max_size: Option<u64>,
    /// Its share of a runner among the queues with work.
    pub weight: u32,
}
