//! Running jobs: the dispatcher, the pool of workers, who lives, and how it all ends.

pub(crate) mod ahead;
pub(crate) mod attempt;
pub(crate) mod builder;
pub(crate) mod context;
pub(crate) mod dispatcher;
pub(crate) mod handle;
pub(crate) mod handler;
pub(crate) mod liveness;
pub(crate) mod pool;
mod registration;
mod shutdown;
mod turn;
mod watch;
