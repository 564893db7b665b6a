//! jobq from outside: real processes, real signals, real files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod architecture;
mod at_once;
mod cancel;
#[cfg(feature = "cli")]
mod cli;
mod clock;
mod context;
mod crash;
mod disk;
mod due_run;
mod effects;
mod families;
#[cfg(feature = "fault-injection")]
mod faults;
mod handlers;
#[cfg(feature = "exec")]
mod leftovers;
mod many;
mod public_api;
mod regressions;
mod review;
mod schedules;
mod shutdown;
mod support;
mod sync_errors;
mod testing;
#[cfg(feature = "cli")]
mod upgrade;
mod wake;
mod zombie;
