//! Records of jobs as the file has them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::family::{Children, PrerequisiteRule};
use crate::model::hook::{HookEvent, HookTrigger};
use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::model::job::Traceparent;
use crate::model::job::options::Priority;
use crate::model::retry::RetryPolicy;
use crate::model::state::{State, WaitReason};

/// The result of enqueuing a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Enqueued {
    /// The job's id.
    pub id: JobId,
    /// Its state after the call: usually `pending`, or `scheduled` if it is delayed.
    pub state: State,
    /// Whether the unique key was taken; `id` is then the job that has it.
    pub duplicate: bool,
    /// Whether that job has got the payload and options of this one, by
    /// [`OnDuplicate::Replace`](crate::OnDuplicate::Replace). Omitted in JSON if false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
    /// The running job after which this one runs, by [`OnDuplicate::Rerun`](crate::OnDuplicate::Rerun).
    /// `id` is then the waiting job, which is new unless it was `replaced`. Omitted in JSON if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<JobId>,
}

impl Enqueued {
    /// Whether the call added a job.
    pub fn is_new(&self) -> bool {
        !self.duplicate || (self.rerun_of.is_some() && !self.replaced)
    }
}

/// A job as the file has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Which handler it is for.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Its state.
    pub state: State,
    /// Why it is scheduled.
    pub wait_reason: Option<WaitReason>,
    /// Its priority within its queue.
    pub priority: Priority,
    /// The payload.
    pub payload: Box<RawValue>,
    /// Its result.
    pub result: Option<Box<RawValue>>,
    /// The error of its last failed attempt.
    pub error: Option<String>,
    /// The progress that its handler reported.
    pub progress: Option<Progress>,
    /// The number of its latest attempt; 0 before the first.
    pub attempt: u32,
    /// How many retries it has used.
    pub retries: u32,
    /// How many runners crashed while they ran it.
    pub crashes: u32,
    /// When and how often it is retried.
    pub retry: RetryPolicy,
    /// Maximum duration of one attempt, if the job sets one.
    pub timeout: Option<Duration>,
    /// When it is due, while it is scheduled.
    pub run_at: Option<Timestamp>,
    /// Whether the running attempt was asked to stop.
    pub cancel_requested: bool,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When its latest attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// The runner that holds it, or held it last.
    pub runner: Option<RunnerId>,
    /// The worker that runs it, once that is known.
    pub worker: Option<WorkerId>,
    /// The tenant that owns the job.
    pub tenant: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its unique key.
    pub unique_key: Option<String>,
    /// Its concurrency key.
    pub key: Option<String>,
    /// By when an attempt must have begun.
    pub deadline: Option<Timestamp>,
    /// Its parent.
    pub parent: Option<JobId>,
    /// Its children, if it has or had any.
    pub children: Option<Children>,
    /// The jobs that it waits or waited for.
    pub depends_on: Vec<Prerequisite>,
    /// The schedule that enqueued it.
    pub schedule: Option<String>,
    /// The slot of the schedule that it is for; none where somebody asked the schedule for a job.
    pub slot: Option<Timestamp>,
    /// Its hooks.
    pub hooks: Vec<HookTrigger>,
    /// The jobs that hooks have enqueued because it has ended, its own hooks and those of runners.
    pub hook_jobs: Vec<JobId>,
    /// What it is for, if a hook has enqueued it.
    pub hook_of: Option<HookEvent>,
    /// The trace that it belongs to.
    pub traceparent: Option<Traceparent>,
}

impl JobRecord {
    /// How many retries are left.
    pub fn retries_left(&self) -> u32 {
        self.retry.max_retries.saturating_sub(self.retries)
    }
}

/// The identity of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptRef {
    /// The job.
    pub job: JobId,
    /// The number of the attempt.
    pub attempt: u32,
}

/// A job that another waits or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prerequisite {
    /// The job.
    pub job: JobId,
    /// The end that it must come to.
    pub rule: PrerequisiteRule,
    /// Whether it has come to that end.
    pub met: bool,
}

/// The progress of a running job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: Option<f64>,
    /// Units done.
    pub processed: Option<u64>,
    /// Units in all.
    pub total: Option<u64>,
    /// What it is doing.
    pub message: Option<String>,
}

impl Progress {
    /// A percentage, clamped to 0..=100.
    pub fn percent(percent: f64) -> Progress {
        Progress {
            percent: Some(percent.clamp(0.0, 100.0)),
            ..Progress::default()
        }
    }

    /// `processed` of `total` units; the percentage is computed.
    pub fn of(processed: u64, total: u64) -> Progress {
        let percent = if total == 0 {
            100.0
        } else {
            processed as f64 * 100.0 / total as f64
        };
        Progress {
            processed: Some(processed),
            total: Some(total),
            ..Progress::percent(percent)
        }
    }

    /// Adds a message: what the job is doing.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Progress {
        self.message = Some(message.into());
        self
    }
}
