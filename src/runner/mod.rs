//! Running jobs: the dispatcher, the pool of workers, who lives, and how it all ends.

pub(crate) mod agenda;
pub(crate) mod ahead;
mod appetite;
pub(crate) mod aside;
pub(crate) mod attempt;
pub(crate) mod builder;
pub(crate) mod context;
pub(crate) mod dispatcher;
mod effects;
mod failure;
pub(crate) mod family;
pub(crate) mod handle;
pub(crate) mod handler;
mod held;
pub(crate) mod inline;
pub(crate) mod liveness;
pub(crate) mod pool;
mod registration;
pub(crate) mod reload;
mod scarcity;
mod setup;
mod shutdown;
mod sleep;
mod turn;
mod upkeep;
