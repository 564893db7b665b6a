//! A runner as JSON, and one that is dead in words.

use serde::Serialize;

use crate::api::json::Time;
use crate::{JobId, RunnerId, RunnerRecord, RunnerState, WorkerId};

/// A runner and what its workers do.
#[derive(Serialize)]
pub struct RunnerJson<'a> {
    id: RunnerId,
    state: RunnerState,
    pid: u32,
    host: &'a str,
    started_at: Time,
    heartbeat_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    short_of: Option<&'a str>,
    workers: Vec<WorkerJson<'a>>,
}

#[derive(Serialize)]
struct WorkerJson<'a> {
    worker: Option<WorkerId>,
    job: Option<JobId>,
    kind: Option<&'a str>,
    since: Option<Time>,
}

impl<'a> RunnerJson<'a> {
    pub fn new(runner: &'a RunnerRecord) -> RunnerJson<'a> {
        RunnerJson {
            id: runner.id,
            state: runner.state,
            pid: runner.pid,
            host: &runner.host,
            started_at: Time(runner.started_at),
            heartbeat_at: Time(runner.heartbeat_at),
            short_of: runner.short_of.as_deref(),
            workers: workers(runner),
        }
    }
}

/// Each worker, busy or idle; after them the jobs that are on their way to a worker.
fn workers(runner: &RunnerRecord) -> Vec<WorkerJson<'_>> {
    let busy = |worker| runner.jobs.iter().any(|job| job.worker == Some(worker));
    let idle = (1..=runner.worker_count)
        .map(WorkerId)
        .filter(|worker| !busy(*worker));
    let mut workers: Vec<WorkerJson<'_>> = idle
        .map(|worker| WorkerJson {
            worker: Some(worker),
            job: None,
            kind: None,
            since: None,
        })
        .collect();
    workers.extend(runner.jobs.iter().map(|job| WorkerJson {
        worker: job.worker,
        job: Some(job.job),
        kind: Some(&job.kind),
        since: Some(Time(job.since)),
    }));
    workers.sort_by_key(|entry| (entry.worker.is_none(), entry.worker, entry.job));
    workers
}

/// `runner 1 is dead; the next runner to start takes over its 2 jobs`.
pub fn gone_runner_text(runner: &RunnerRecord) -> String {
    let gone = format!("runner {} is dead", runner.id);
    match runner.jobs.len() {
        0 => gone,
        1 => format!("{gone}; the next runner to start takes over its job"),
        jobs => format!("{gone}; the next runner to start takes over its {jobs} jobs"),
    }
}
