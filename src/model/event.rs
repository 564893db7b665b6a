//! The append-only history: events and their kinds.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::{Error, Result};

/// The id of an event. Ids grow and are never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct EventId(pub i64);

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// The kind of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum EventKind { $($(#[$doc])* $variant = $code,)* }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$variant),*];

            /// The name used in JSON, on the command line and in the views.
            pub const fn as_str(self) -> &'static str {
                match self { $(EventKind::$variant => $name),* }
            }
        }
    };
}

event_kinds! {
    /// A job was enqueued.
    Enqueued = 1, "job_enqueued";
    /// A runner claimed it: an attempt began.
    Started = 2, "job_started";
    /// Its handler reported progress.
    Progress = 3, "job_progress";
    /// It succeeded.
    Completed = 4, "job_completed";
    /// It failed for good, or its retries were used up.
    Failed = 5, "job_failed";
    /// An attempt failed and will be retried.
    Retry = 6, "job_retry";
    /// It was cancelled.
    Cancelled = 7, "job_cancelled";
    /// Its handler snoozed it.
    Snoozed = 8, "job_snoozed";
    /// An attempt was returned before it began, or interrupted by a shutdown; it costs no retry.
    Returned = 9, "job_returned";
    /// Its runner was lost; it is pending again.
    Recovered = 10, "job_recovered";
    /// A running attempt was asked to stop.
    CancelRequested = 11, "job_cancel_requested";
    /// A final job was retried by hand.
    Requeued = 12, "job_requeued";
    /// Its options were changed.
    Edited = 13, "job_edited";
    /// A report of an attempt that no longer held the job was ignored.
    ReportDropped = 14, "job_report_dropped";
    /// It no longer waits for other jobs or for a slot: it is pending or scheduled now.
    Released = 15, "job_released";
    /// Its own part is done; it waits for its children.
    Waiting = 16, "job_waiting";
    /// A log entry of a handler.
    Log = 20, "job_log";
    /// Standard output of a command.
    Stdout = 21, "job_stdout";
    /// Standard error of a command.
    Stderr = 22, "job_stderr";
    /// A queue was paused.
    QueuePaused = 30, "queue_paused";
    /// A queue was resumed.
    QueueResumed = 31, "queue_resumed";
    /// A queue's limits were set.
    QueueLimited = 32, "queue_limited";
    /// A runner registered.
    RunnerStarted = 40, "runner_started";
    /// A runner stopped normally.
    RunnerStopped = 41, "runner_stopped";
    /// A runner was dead or hung, and its jobs were taken over.
    RunnerLost = 42, "runner_lost";
    /// A schedule enqueued the job of a slot.
    ScheduleFired = 50, "schedule_fired";
    /// A schedule skipped a slot.
    ScheduleSkipped = 51, "schedule_skipped";
    /// A schedule was added or changed.
    ScheduleAdded = 52, "schedule_added";
    /// A schedule was removed.
    ScheduleRemoved = 53, "schedule_removed";
    /// A schedule was paused.
    SchedulePaused = 54, "schedule_paused";
    /// A schedule was resumed.
    ScheduleResumed = 55, "schedule_resumed";
}

impl EventKind {
    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<EventKind> {
        EventKind::ALL
            .iter()
            .copied()
            .find(|kind| kind.code() == code)
    }

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

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for EventKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<EventKind> {
        EventKind::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| {
                let names: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
                Error::invalid(format!("unknown event kind '{name}'"))
                    .with_hint(format!("event kinds are {}", names.join(", ")))
            })
    }
}

/// An event of the history.
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
    pub took: Option<std::time::Duration>,
    /// The rest: JSON for most kinds, the bytes themselves for stdout and stderr.
    pub data: Option<EventData>,
}

/// The data of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl Level {
    /// The lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(name: &str) -> Result<Level> {
        [Level::Debug, Level::Info, Level::Warn, Level::Error]
            .into_iter()
            .find(|level| level.as_str() == name)
            .ok_or_else(|| {
                Error::invalid(format!("unknown level '{name}'"))
                    .with_hint("levels are debug, info, warn, error")
            })
    }
}

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
    /// Maximum number of events; 0 means 1,000.
    pub limit: usize,
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
