//! A job as JSON.

use std::collections::BTreeMap;

use jobq::{
    Backoff, Children, Jitter, JobId, JobRecord, Prerequisite, PrerequisiteRule, Priority,
    Progress, RunnerId, State, WorkerId,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Time;
use crate::cli::output::time::millis;

/// A job.
#[derive(Serialize)]
pub(crate) struct JobJson<'a> {
    id: JobId,
    kind: &'a str,
    queue: &'a str,
    tenant: Option<&'a str>,
    tags: Option<&'a BTreeMap<String, String>>,
    state: State,
    priority: Priority,
    payload: &'a RawValue,
    result: Option<&'a RawValue>,
    error: Option<&'a str>,
    progress: Option<&'a Progress>,
    attempt: u32,
    retries_left: u32,
    max_retries: u32,
    backoff: Backoff,
    jitter: bool,
    timeout_ms: Option<u64>,
    unique_key: Option<&'a str>,
    key: Option<&'a str>,
    parent_id: Option<JobId>,
    children: Option<Children>,
    depends_on: Option<Vec<JobId>>,
    run_at: Option<Time>,
    deadline: Option<Time>,
    created_at: Time,
    updated_at: Time,
    started_at: Option<Time>,
    finished_at: Option<Time>,
    runner: Option<RunnerId>,
    worker: Option<WorkerId>,
}

impl<'a> JobJson<'a> {
    pub(crate) fn new(job: &'a JobRecord) -> JobJson<'a> {
        let depends_on: Vec<JobId> = asked_for(job).map(|other| other.job).collect();
        JobJson {
            id: job.id,
            kind: &job.kind,
            queue: &job.queue,
            tenant: job.tenant.as_deref(),
            tags: Some(&job.tags).filter(|tags| !tags.is_empty()),
            state: job.state,
            priority: job.priority,
            payload: &job.payload,
            result: job.result.as_deref(),
            error: job.error.as_deref(),
            progress: job.progress.as_ref(),
            attempt: job.attempt,
            retries_left: job.retries_left(),
            max_retries: job.retry.max_retries,
            backoff: job.retry.backoff,
            jitter: job.retry.jitter == Jitter::Tenth,
            timeout_ms: job.timeout.map(millis),
            unique_key: job.unique_key.as_deref(),
            key: job.key.as_deref(),
            parent_id: job.parent,
            children: job.children,
            depends_on: Some(depends_on).filter(|others| !others.is_empty()),
            run_at: job.run_at.map(Time),
            deadline: job.deadline.map(Time),
            created_at: Time(job.created_at),
            updated_at: Time(job.updated_at),
            started_at: job.started_at.map(Time),
            finished_at: job.finished_at.map(Time),
            runner: job.runner,
            worker: job.worker,
        }
    }
}

/// The jobs that it was told to wait for; what binds a child to its parent is not among them.
pub(crate) fn asked_for(job: &JobRecord) -> impl Iterator<Item = &Prerequisite> {
    job.depends_on.iter().filter(|other| {
        matches!(
            other.rule,
            PrerequisiteRule::Completed | PrerequisiteRule::Final
        )
    })
}
