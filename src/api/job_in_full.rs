//! A job with its attempts and what keeps it from running.

use serde::Serialize;

use crate::api::job::JobJson;
use crate::api::json::{Time, json_fields};
use crate::api::time::millis;
use crate::api::why::WhyJson;
use crate::{AttemptRecord, EventKind};

/// A job in full: what `status ID` shows.
#[derive(Serialize)]
pub struct JobInFullJson<'a> {
    #[serde(flatten)]
    pub job: JobJson<'a>,
    pub attempts: Vec<AttemptJson<'a>>,
    pub why: WhyJson<'a>,
}

json_fields! {
    /// One attempt of a job.
    pub AttemptJson(attempt: &'a AttemptRecord) {
        attempt: attempt.attempt,
        outcome: attempt.outcome.map(outcome),
        error: attempt.end.error.as_deref(),
        started_at: attempt.started_at.map(Time),
        finished_at: attempt.finished_at.map(Time),
        duration_ms: attempt.took.map(millis),
        cpu_ms: attempt.end.cpu_ms,
        max_rss_bytes: attempt.end.max_rss_bytes,
        exit_code: attempt.end.exit_code,
        runner: attempt.runner,
        worker: attempt.worker,
    }
}

/// How an attempt ended, in one word: `completed`, `failed`, `retry`, `cancelled`, `snoozed`,
/// `returned`, `recovered`.
pub fn outcome(end: EventKind) -> &'static str {
    let name = end.as_str();
    name.strip_prefix("job_").unwrap_or(name)
}
