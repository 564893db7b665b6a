//! Upkeep of the file as a whole: due jobs, schedules, runners, old jobs, health and copies.

pub(crate) mod backup;
pub(crate) mod batches;
pub(crate) mod clock_step;
pub(crate) mod doctor;
pub(crate) mod fire;
pub(crate) mod promote;
pub(crate) mod prune;
pub(crate) mod rollup;
pub(crate) mod runners;
pub(crate) mod schedules;
pub(crate) mod undo;
