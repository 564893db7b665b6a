//! The append-only history: events and their kinds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::model::id::{JobId, RunnerId, WorkerId};

/// The id of an event. Ids grow and are never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct EventId(pub i64);

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum EventKind {
    /// A job was enqueued.
    Enqueued = 1,
    /// A runner claimed it: an attempt began.
    Started = 2,
    /// Its handler reported progress.
    Progress = 3,
    /// It succeeded.
    Completed = 4,
    /// It failed for good, or its retries were used up.
    Failed = 5,
    /// An attempt failed and will be retried.
    Retry = 6,
    /// It was cancelled.
    Cancelled = 7,
    /// Its handler snoozed it.
    Snoozed = 8,
    /// An attempt was returned before it began, or interrupted by a shutdown; it costs no retry.
    Returned = 9,
    /// Its runner was lost; it is pending again.
    Recovered = 10,
    /// A running attempt was asked to stop.
    CancelRequested = 11,
    /// A final job was retried by hand.
    Requeued = 12,
    /// Its options were changed.
    Edited = 13,
    /// A report of an attempt that no longer held the job was ignored.
    ReportDropped = 14,
    /// It no longer waits for other jobs or for a slot: it is pending or scheduled now.
    Released = 15,
    /// Its run phase is done; it waits for its children.
    Waiting = 16,
    /// A log entry of a handler.
    Log = 20,
    /// Standard output of a command.
    Stdout = 21,
    /// Standard error of a command.
    Stderr = 22,
    /// A queue was paused.
    QueuePaused = 30,
    /// A queue was resumed.
    QueueResumed = 31,
    /// A queue's limits were set.
    QueueLimited = 32,
    /// A runner registered.
    RunnerStarted = 40,
    /// A runner stopped normally.
    RunnerStopped = 41,
    /// A runner was dead or hung, and its jobs were taken over.
    RunnerLost = 42,
    /// A schedule enqueued the job of a slot.
    ScheduleFired = 50,
    /// A schedule skipped a slot.
    ScheduleSkipped = 51,
    /// A schedule was added or changed.
    ScheduleAdded = 52,
    /// A schedule was removed.
    ScheduleRemoved = 53,
    /// A schedule was paused.
    SchedulePaused = 54,
    /// A schedule was resumed.
    ScheduleResumed = 55,
}

words!(EventKind, "event kind", "event kinds" {
    Enqueued = "job_enqueued",
    Started = "job_started",
    Progress = "job_progress",
    Completed = "job_completed",
    Failed = "job_failed",
    Retry = "job_retry",
    Cancelled = "job_cancelled",
    Snoozed = "job_snoozed",
    Returned = "job_returned",
    Recovered = "job_recovered",
    CancelRequested = "job_cancel_requested",
    Requeued = "job_requeued",
    Edited = "job_edited",
    ReportDropped = "job_report_dropped",
    Released = "job_released",
    Waiting = "job_waiting",
    Log = "job_log",
    Stdout = "job_stdout",
    Stderr = "job_stderr",
    QueuePaused = "queue_paused",
    QueueResumed = "queue_resumed",
    QueueLimited = "queue_limited",
    RunnerStarted = "runner_started",
    RunnerStopped = "runner_stopped",
    RunnerLost = "runner_lost",
    ScheduleFired = "schedule_fired",
    ScheduleSkipped = "schedule_skipped",
    ScheduleAdded = "schedule_added",
    ScheduleRemoved = "schedule_removed",
    SchedulePaused = "schedule_paused",
    ScheduleResumed = "schedule_resumed",
});
codes!(EventKind);

impl EventKind {
    /// Whether it is output or a log entry, as `logs` shows them.
    pub const fn is_output(self) -> bool {
        matches!(self, EventKind::Log | EventKind::Stdout | EventKind::Stderr)
    }

    /// Whether it ends an attempt.
    pub const fn ends_attempt(self) -> bool {
        use EventKind::*;
        matches!(
            self,
            Completed | Failed | Retry | Cancelled | Snoozed | Returned | Recovered | Waiting
        )
    }
}

impl Serialize for EventKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An event of the history. Of a job that was removed, only `id`, `at`, `kind`, `job` and `attempt` are left.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// Its kind.
    pub kind: EventKind,
    /// The job it is about.
    pub job: Option<JobId>,
    /// The job's attempt.
    pub attempt: Option<u32>,
    /// The runner involved.
    pub runner: Option<RunnerId>,
    /// The worker of that runner.
    pub worker: Option<WorkerId>,
    /// How long the attempt took, if the event ended it.
    pub took: Option<Duration>,
    /// The rest: JSON for most kinds, the bytes themselves for stdout and stderr.
    pub data: Option<EventData>,
}

impl Event {
    /// Who made a change by hand, where somebody said so: see [`Queue::acting_as`](crate::Queue::acting_as).
    pub fn by(&self) -> Option<String> {
        self.change()?.by
    }

    /// The event that this one has undone: see [`Queue::undo`](crate::Queue::undo).
    pub fn undo(&self) -> Option<EventId> {
        self.change()?.undo
    }

    fn change(&self) -> Option<ChangeDetails> {
        // What a job prints or logs is its own.
        let EventData::Text(json) = self.data.as_ref().filter(|_| !self.kind.is_output())? else {
            return None;
        };
        serde_json::from_str(json).ok()
    }
}

/// What the data of any change by hand may say.
#[derive(Deserialize)]
struct ChangeDetails {
    by: Option<String>,
    undo: Option<EventId>,
}

/// The data of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventData {
    /// JSON or output text.
    Text(String),
    /// Output that is not UTF-8.
    Bytes(Vec<u8>),
}

impl EventData {
    /// The bytes as they were written.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            EventData::Text(text) => text.as_bytes(),
            EventData::Bytes(bytes) => bytes,
        }
    }
}

/// How important a log entry is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Details for developers.
    Debug,
    /// Normal operation.
    #[default]
    Info,
    /// Something that may need attention.
    Warn,
    /// Something went wrong.
    Error,
}

words!(Level, "level", "levels" {
    Debug = "debug",
    Info = "info",
    Warn = "warn",
    Error = "error",
});

/// An entry of a job's log, as the `data` of a [`EventKind::Log`] event holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogEntry {
    /// How important it is.
    pub level: Level,
    /// Its text.
    pub message: String,
    /// Fields that the handler set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<serde_json::Value>,
}

/// What the end of an attempt records in an event's data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AttemptEnd {
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The exit code of a command, unless a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Processor time, user and system, from the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Peak memory, from the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rss_bytes: Option<u64>,
    /// Until when the job waits, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at_ms: Option<i64>,
}

impl AttemptEnd {
    /// The JSON text, or none where there is nothing to say.
    pub(crate) fn to_json(&self) -> Option<String> {
        if *self == AttemptEnd::default() {
            return None;
        }
        serde_json::to_string(self).ok()
    }
}

/// A selection of events.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only events after this one.
    pub since: EventId,
    /// Only events of this job.
    pub job: Option<JobId>,
    /// Only these kinds; empty means all but log entries and output.
    pub kinds: Vec<EventKind>,
    /// Only events of this tenant's jobs, except removed jobs.
    pub tenant: Option<String>,
    /// Only events of jobs with all of these tags (name and value), except removed jobs.
    pub tags: Vec<(String, String)>,
    /// Maximum number of events; none: 1,000.
    pub limit: Option<usize>,
}

/// A page of the history.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EventPage {
    /// The selected events, oldest first.
    pub events: Vec<Event>,
    /// Where to continue: the last event that was read, selected or not.
    pub next: EventId,
    /// Whether the end of the history was reached.
    pub at_end: bool,
}

/// A page of the history without the details of its events.
#[cfg(feature = "web")]
#[derive(Clone, Debug)]
pub(crate) struct FeedPage {
    /// The kind and the job of each event, oldest first; no kind if it is of a later jobq.
    pub(crate) events: Vec<(Option<EventKind>, Option<JobId>)>,
    /// Where to continue: the last event that was read.
    pub(crate) next: EventId,
    /// Whether the end of the history was reached.
    pub(crate) at_end: bool,
}
