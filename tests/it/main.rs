//! jobq from outside: real processes, real signals, real files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod acting;
mod architecture;
#[cfg(feature = "backup")]
mod backup;
#[cfg(feature = "browser")]
mod browser;
mod bulk_changes;
mod cancel;
#[cfg(feature = "cleanup")]
mod cleanup;
#[cfg(feature = "cli")]
mod cli;
mod clock;
mod complete_in;
mod context;
mod crash;
#[cfg(feature = "data-processing")]
mod data_processing;
mod disk;
#[cfg(feature = "email")]
mod email;
mod families;
mod graph;
mod handlers;
mod hooks;
#[cfg(feature = "image-process")]
mod image_process;
#[cfg(feature = "exec")]
mod leftovers;
mod many_processes;
#[cfg(feature = "fault-injection")]
mod negative_controls;
#[cfg(feature = "exec")]
mod persistent;
mod public_api;
mod regressions;
#[cfg(feature = "report")]
mod report;
mod review;
mod run_due;
mod schedules;
mod shutdown;
mod support;
mod sync_errors;
mod testing;
mod undo;
#[cfg(feature = "cli")]
mod upgrade;
mod wakeups;
#[cfg(feature = "web")]
mod web;
#[cfg(feature = "webhook")]
mod webhook;
mod zombie_runners;
