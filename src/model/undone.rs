//! What an undo has brought back.

use crate::model::id::JobId;
use crate::model::queue::QueueSelector;
use crate::model::state::State;

/// What [`Queue::undo`](crate::Queue::undo) has brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undone {
    /// A cancelled job.
    Cancel {
        /// The job.
        job: JobId,
        /// Its state now: what it was, unless what it waited for has come since.
        state: State,
        /// The number of other jobs that were cancelled because of it, and are back with it.
        others: u64,
    },
    /// The options that this job had before an edit.
    Edit(JobId),
    /// A queue, or all, that was paused goes on.
    QueuePause(QueueSelector),
    /// A queue, or all, that was resumed is paused again.
    QueueResume(QueueSelector),
    /// The limits that this queue had before.
    QueueLimits(String),
    /// The schedule that was paused goes on, with its next slot.
    SchedulePause(String),
    /// The schedule that was resumed is paused again.
    ScheduleResume(String),
}

impl Undone {
    /// The kind of the event that was undone, as [`EventKind`](crate::EventKind) names it.
    pub fn kind(&self) -> crate::EventKind {
        use crate::EventKind as Kind;
        match self {
            Undone::Cancel { .. } => Kind::Cancelled,
            Undone::Edit(_) => Kind::Edited,
            Undone::QueuePause(_) => Kind::QueuePaused,
            Undone::QueueResume(_) => Kind::QueueResumed,
            Undone::QueueLimits(_) => Kind::QueueLimited,
            Undone::SchedulePause(_) => Kind::SchedulePaused,
            Undone::ScheduleResume(_) => Kind::ScheduleResumed,
        }
    }
}
