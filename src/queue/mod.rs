//! The public face of a file, by what one wants of it: opening, enqueuing, changing, reading.

mod acting;
mod batch;
mod bulk;
mod change;
mod enqueue;
mod graph;
mod handle;
mod metrics;
mod open;
mod read;
mod report;
mod schedules;
mod transaction;

pub use batch::{BatchDedup, BatchProgress, BatchStart, ResumedBatch};
pub use change::{PruneFilter, Repaired};
pub use handle::{Enqueue, JobHandle};
pub use open::{Queue, QueueOptions};
pub use transaction::Transaction;

/// Handlers see databases of others through the queue.
#[cfg(any(feature = "backup", feature = "data-processing", feature = "report"))]
pub(crate) use crate::store::Database;
#[cfg(any(feature = "data-processing", feature = "report"))]
pub(crate) use crate::store::{RowSink, SqlValue};
