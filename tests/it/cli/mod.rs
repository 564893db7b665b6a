//! The `jobq` binary as its users meet it: what it prints, how it exits, what it leaves behind.

mod bad_config;
mod bad_files;
mod batch;
mod change;
mod enqueue;
mod exec;
mod exec_end;
mod exit_codes;
mod histories;
mod inside;
mod json;
mod limits;
mod look;
mod output;
mod packaging;
mod places;
mod rules;
mod rules_many;
mod run;
mod run_batch;
mod run_kinds;
mod schedule;
mod signals;
mod support;
mod upkeep;
