//! The domain: every public data type and every pure rule. No I/O; time and randomness come in as arguments.

#[macro_use]
pub(crate) mod codes;
#[cfg(feature = "exec")]
pub mod base64;
pub(crate) mod bulk;
pub mod digest;
pub(crate) mod duration;
pub(crate) mod error_group;
pub(crate) mod event;
pub(crate) mod family;
pub(crate) mod file_options;
pub(crate) mod filter;
pub(crate) mod flags;
pub(crate) mod graph;
#[cfg(feature = "built-in")]
#[allow(dead_code, reason = "not every kind tells digests")]
pub(crate) mod hex;
pub(crate) mod hook;
pub(crate) mod id;
pub(crate) mod job;
pub mod json;
pub(crate) mod limits;
pub(crate) mod lost_runner;
#[cfg(feature = "exec")]
pub mod mask;
pub(crate) mod metrics;
pub mod nearest;
pub(crate) mod outcome;
pub(crate) mod part;
pub mod plural;
pub(crate) mod queue;
pub(crate) mod remedy;
pub(crate) mod retry;
pub(crate) mod runner;
pub(crate) mod runner_hook;
pub(crate) mod runner_options;
pub(crate) mod schedule;
pub(crate) mod search;
pub(crate) mod state;
pub(crate) mod suggestion;
pub(crate) mod undone;
pub(crate) mod why;
