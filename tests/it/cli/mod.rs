//! The `jobq` binary as its users meet it: what it prints, how it exits, what it leaves behind.

#[cfg(feature = "backup")]
mod backup;
mod bad_config;
mod bad_files;
mod batch;
#[cfg(feature = "browser")]
mod browser;
mod built_in;
mod change_jobs;
#[cfg(feature = "cleanup")]
mod cleanup;
mod closed_streams;
mod config_ownership;
mod config_schedules;
mod container;
mod damage;
#[cfg(feature = "data-processing")]
mod data_processing;
mod database_creation;
mod default_paths;
mod each;
mod edits;
#[cfg(feature = "email")]
mod email;
mod enqueue;
mod environment;
mod exec;
mod exec_end;
mod exit_codes;
mod golden;
mod graph;
mod hooks;
mod host_environment;
mod hostile_files;
mod id_lists;
#[cfg(feature = "image-process")]
mod image_process;
mod input;
mod inside_a_job;
mod job_descriptions;
mod json;
mod kept_output;
mod killed_runner;
mod leftover_files;
mod limits;
mod long_histories;
mod metrics;
#[cfg(any(feature = "cleanup", feature = "image-process"))]
mod mounts;
mod output;
mod output_limit;
mod output_of_many;
mod packaging;
mod payloads;
mod persistent;
mod read_verbs;
mod reload;
mod replaced_file;
#[cfg(feature = "report")]
mod report;
mod reruns;
mod resource_shortage;
mod restore;
mod retry_delays;
mod rules;
mod rules_in_batches;
mod run;
mod run_batch;
mod run_kinds;
mod schedule;
mod search;
mod secrets;
mod serve;
mod shared_file;
mod signals;
mod stop_costs;
mod stop_reasons;
pub(crate) mod support;
mod terminal;
mod top;
mod traceparent;
mod undo;
mod upkeep;
mod warnings;
#[cfg(feature = "webhook")]
mod webhook;
mod wording;
