//! Reading: jobs, attempts, events and runners, and why a job is not running.

pub(crate) mod attempts;
pub(crate) mod conditions;
pub(crate) mod drain;
pub(crate) mod drivers;
pub(crate) mod events;
pub(crate) mod graph;
pub(crate) mod jobs;
pub(crate) mod listing;
pub(crate) mod matching;
pub(crate) mod metrics;
pub(crate) mod runners;
pub(crate) mod suggestions;
pub(crate) mod summaries;
pub(crate) mod walk;
pub(crate) mod why;
pub(crate) mod why_queue;
