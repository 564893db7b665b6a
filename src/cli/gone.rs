//! Runners that are gone: what is said of them until another one takes over from them.

use std::collections::HashMap;

use jobq::{JobId, Queue, RunnerFilter, RunnerId, RunnerRecord};

/// `runner 1 is gone; the next runner to start takes over its 2 jobs`.
pub(super) fn said(runner: &RunnerRecord) -> String {
    let gone = format!("runner {} is gone", runner.id);
    match runner.jobs.len() {
        0 => gone,
        1 => format!("{gone}; the next runner to start takes over its job"),
        jobs => format!("{gone}; the next runner to start takes over its {jobs} jobs"),
    }
}

/// The jobs that are held by runners that are gone, and by which.
pub(super) fn holders(queue: &Queue) -> jobq::Result<HashMap<JobId, RunnerId>> {
    let mut runners = queue.runners(RunnerFilter::Now)?;
    runners.retain(|runner| !runner.is_alive());
    let held = runners
        .iter()
        .flat_map(|runner| runner.jobs.iter().map(|job| (job.job, runner.id)));
    Ok(held.collect())
}
