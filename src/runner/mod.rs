//! Running jobs: dispatcher, worker pool, liveness and shutdown.

pub(crate) mod attempt;
pub(crate) mod builder;
pub(crate) mod cancellation;
mod capacity;
mod complete_in;
pub(crate) mod context;
pub(crate) mod dispatcher;
pub(crate) mod handle;
pub(crate) mod handler;
#[cfg(feature = "browser")]
pub(crate) mod handler_thread;
mod in_flight;
pub(crate) mod inline;
mod kind_pauses;
#[cfg(feature = "exec")]
pub(crate) mod leftovers;
pub(crate) mod liveness;
mod maintenance;
pub(crate) mod pending_work;
pub(crate) mod pool;
pub(crate) mod prefetch;
#[cfg(feature = "exec")]
pub(crate) mod processes;
mod registration;
mod scarcity;
pub(crate) mod set_aside;
pub(crate) mod settings;
mod setup;
mod shutdown;
pub(crate) mod signals;
pub(crate) mod spawn;
mod tick;
mod wakeup;
mod write_failure;
