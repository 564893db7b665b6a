//! Reading: jobs, attempts, events, queues and runners, and why a job does not run.

pub(crate) mod attempts;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod jobs;
pub(crate) mod runners;
pub(crate) mod why;
