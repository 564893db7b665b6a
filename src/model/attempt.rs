//! What is known of one attempt of a job.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::event::{AttemptEnd, EventKind};
use crate::model::id::{RunnerId, WorkerId};

/// One attempt of a job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// Its number, from 1.
    pub attempt: u32,
    /// How it ended; none while it runs.
    pub outcome: Option<EventKind>,
    /// What it said when it failed, and how its process did.
    pub end: AttemptEnd,
    /// When it was claimed, or, once it has ended, when its handler began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How long its handler took.
    pub took: Option<Duration>,
    /// The runner that claimed it.
    pub runner: Option<RunnerId>,
    /// The worker that ran it.
    pub worker: Option<WorkerId>,
}

/// What the kernel says an attempt's process used, and how it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The exit code, where the process was not ended by a signal.
    pub exit_code: Option<i32>,
    /// Processor time, user and system.
    pub cpu_ms: Option<u64>,
    /// Peak memory.
    pub max_rss_bytes: Option<u64>,
}
