//! The append-only history: what can happen, and how it is called.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::{Error, Result};

/// The number of an event. Numbers grow and are never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct EventId(pub i64);

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// What happened.
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
    /// Its handler told how far it is.
    Progress = 3, "job_progress";
    /// It succeeded.
    Completed = 4, "job_completed";
    /// It gave up.
    Failed = 5, "job_failed";
    /// An attempt failed, another will follow.
    Retry = 6, "job_retry";
    /// It was called off.
    Cancelled = 7, "job_cancelled";
    /// Its handler asked to be called again later.
    Snoozed = 8, "job_snoozed";
    /// An attempt was given back unused or was interrupted by a shutdown; it costs nothing.
    Returned = 9, "job_returned";
    /// Its runner was lost; it is pending again.
    Recovered = 10, "job_recovered";
    /// Somebody asked a running attempt to stop.
    CancelRequested = 11, "job_cancel_requested";
    /// A final job was retried by hand.
    Requeued = 12, "job_requeued";
    /// Its options were changed.
    Edited = 13, "job_edited";
    /// An attempt that no longer held the job reported; nothing else happened.
    ReportDropped = 14, "job_report_dropped";
    /// What it waited for is over: it is pending or scheduled now.
    Released = 15, "job_released";
    /// Its own part is done; it waits for its children.
    Waiting = 16, "job_waiting";
    /// A log entry of a handler.
    Log = 20, "job_log";
    /// What a command wrote to its standard output.
    Stdout = 21, "job_stdout";
    /// What a command wrote to its standard error.
    Stderr = 22, "job_stderr";
    /// A queue was paused.
    QueuePaused = 30, "queue_paused";
    /// A queue was resumed.
    QueueResumed = 31, "queue_resumed";
    /// A queue's limits were set.
    QueueLimited = 32, "queue_limited";
    /// A runner registered.
    RunnerStarted = 40, "runner_started";
    /// A runner ended as it should.
    RunnerStopped = 41, "runner_stopped";
    /// A runner was found dead or hung and its jobs were taken over.
    RunnerLost = 42, "runner_lost";
    /// A schedule enqueued the job of a slot.
    ScheduleFired = 50, "schedule_fired";
    /// A schedule let a slot pass.
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

    /// Whether it is a line that a handler or its command wrote, as `logs` shows them.
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

/// One line of the history.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// The job it is about.
    pub job: Option<JobId>,
    /// The job's attempt.
    pub attempt: Option<u32>,
    /// The runner that was there.
    pub runner: Option<RunnerId>,
    /// The worker of that runner.
    pub worker: Option<WorkerId>,
    /// How long the attempt took, where this ended it.
    pub took: Option<std::time::Duration>,
    /// The rest: JSON for most kinds, the bytes themselves for stdout and stderr.
    pub data: Option<EventData>,
}

/// What an event carries besides its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventData {
    /// JSON or output text.
    Text(String),
    /// Output that is no UTF-8.
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
    /// For the developer.
    Debug,
    /// What happened.
    #[default]
    Info,
    /// Something to look at.
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
    /// What it says.
    pub message: String,
    /// Fields of the handler's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<serde_json::Value>,
}

/// What the end of an attempt records besides the event's columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AttemptEnd {
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How a command ended, where it was not by a signal.
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

/// Which events are asked for.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only events after this one.
    pub since: EventId,
    /// Only events of this job.
    pub job: Option<JobId>,
    /// Only these kinds; empty means all but log entries and output.
    pub kinds: Vec<EventKind>,
    /// Only events of this tenant's jobs, as far as those have not been removed.
    pub tenant: Option<String>,
    /// Only events of jobs with all of these tags (name and value), as far as those have not been
    /// removed.
    pub tags: Vec<(String, String)>,
    /// At most so many are read; 1,000 where it is zero.
    pub limit: usize,
}

/// What a read of the history gave.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EventPage {
    /// The events asked for, oldest first.
    pub events: Vec<Event>,
    /// Where to go on: the last event that was looked at, asked for or not.
    pub next: EventId,
    /// Whether there was nothing more to look at.
    pub at_end: bool,
}
