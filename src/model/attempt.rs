//! The record of one attempt of a job.

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
    /// Its error if it failed, and how its process ended.
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

/// Resource usage of an attempt's process as the kernel reports it, and how it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The exit code, unless a signal ended the process.
    pub exit_code: Option<i32>,
    /// Processor time, user and system.
    pub cpu_ms: Option<u64>,
    /// Peak memory.
    pub max_rss_bytes: Option<u64>,
}
