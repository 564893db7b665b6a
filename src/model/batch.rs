//! A batch: jobs that were enqueued together and are recognised by their content.

use crate::model::id::JobId;

/// The jobs of a batch: they were added in one transaction and have consecutive ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The first job.
    pub first: JobId,
    /// The last job.
    pub last: JobId,
}

impl Batch {
    /// The number of its jobs when it was added.
    pub fn len(&self) -> u64 {
        u64::try_from(self.last.0 - self.first.0 + 1).unwrap_or(0)
    }

    /// Always false: an empty batch is not stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
