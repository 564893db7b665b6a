//! jobq: a durable job queue in one SQLite file.

mod cancel;
mod clock;
mod doorbell;
mod error;
mod event;
mod fault;
pub mod handlers;
mod job;
mod outcome;
mod queue;
mod retry;
mod runner;
mod state;
mod store;

pub use cancel::Cancellation;
pub use clock::Clock;
pub use error::{Error, Result};
pub use event::{AttemptEnd, Event, EventData, EventId, EventKind, Level, LogEntry};
pub use job::{DEFAULT_QUEUE, Enqueued, Job, JobId, JobRecord, NewJob, Priority, Progress, When};
pub use outcome::{CancelReason, MAX_CRASHES, Outcome, Snooze};
pub use queue::{BatchProgress, BatchSource, Queue, QueueOptions};
pub use retry::{Backoff, Jitter, MAX_DELAY, RetryPolicy};
pub use runner::attempt::Usage;
pub use runner::builder::{DEFAULT_WORKERS, Retention, RunnerBuilder, UnknownKinds, Until};
pub use runner::context::Context;
pub use runner::handle::{Ended, Left, Runner, Stopper, Tally};
pub use runner::handler::{Failure, Handler};
pub use rusqlite;
pub use state::{State, WaitReason};
pub use store::attempt_writes::AttemptRef;
pub use store::attempts::AttemptRecord;
pub use store::batches::Batch;
pub use store::change::Changes;
pub use store::connection::Durability;
pub use store::counts::Counts;
pub use store::edit::{Cancelled, Edit};
pub use store::enqueue::{Limits, MAX_PAYLOAD_BYTES};
pub use store::events::{EventFilter, EventPage};
pub use store::file::NetworkFs;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub use store::floor::Floor;
pub use store::queues::{QueueRecord, Which};
pub use store::records::{Filter, Sort};
pub use store::runners::{RunnerRecord, RunnerState, RunnersOf, RunningJob};
pub use store::upkeep::{Finding, Severity};
pub use store::why::Why;
