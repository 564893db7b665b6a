//! How attempts end, and what that means for the job: one pure function for all endings.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::event::{AttemptEnd, EventKind};
use crate::model::id::{RunnerId, WorkerId};
use crate::model::lost_runner;
use crate::model::retry::RetryPolicy;

/// The outcome of a handler's attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// It succeeded; the JSON text is the job's result.
    Done(Option<String>),
    /// It failed and may be retried. `after` overrides the job's own backoff.
    Retry {
        /// What went wrong.
        error: String,
        /// The delay before the retry.
        after: Option<Duration>,
    },
    /// It failed for good.
    Fail {
        /// What went wrong.
        error: String,
    },
    /// Run again later. Costs no retry.
    Snooze(Snooze),
    /// It stopped because it was cancelled.
    Cancelled,
    /// The handler can run no job of this kind at the moment. The job becomes pending again without a retry, and
    /// its runner takes no job of the kind for a while.
    Unavailable {
        /// What is wrong, as `the mail server does not answer`.
        error: String,
        /// For how long.
        pause: Duration,
    },
    /// The system lacks descriptors, processes or memory at the moment. The job becomes pending again
    /// without a retry, and its runner runs fewer jobs at once for a while.
    OutOfResources {
        /// What is lacking.
        error: String,
    },
}

/// How long a job is snoozed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Snooze {
    /// For this long, whatever the wall clock does meanwhile.
    For(Duration),
    /// Until this moment of the wall clock.
    Until(Timestamp),
}

/// Why a running attempt is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum CancelReason {
    /// The job was cancelled.
    Requested = 1,
    /// The attempt exceeded its timeout.
    Timeout = 2,
    /// The runner shuts down.
    Shutdown = 3,
    /// Another runner has taken the job over; reports of this attempt are ignored.
    ClaimLost = 4,
}

impl CancelReason {
    pub(crate) fn from_code(code: u8) -> Option<CancelReason> {
        use CancelReason::*;
        [Requested, Timeout, Shutdown, ClaimLost]
            .into_iter()
            .find(|reason| *reason as u8 == code)
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ending {
    /// The handler returned, by itself or after it was asked to stop.
    Returned {
        outcome: Outcome,
        reason: Option<CancelReason>,
    },
    /// The handler panicked.
    Panicked {
        message: String,
        reason: Option<CancelReason>,
    },
    /// The handler did not return within the grace time after it was asked to stop.
    Abandoned { reason: CancelReason },
    /// The runner was lost while the attempt ran; the excuse is a cause other than the job.
    RunnerLost { excuse: Option<&'static str> },
}

impl Ending {
    /// How the attempt ended, for the log of its runner: `failed: exit code 3`.
    pub(crate) fn said(&self) -> String {
        let (what, reason) = match self {
            Ending::Returned { outcome, reason } => (outcome.said(), *reason),
            Ending::Panicked { message, reason } => (format!("panicked: {message}"), *reason),
            Ending::Abandoned { reason } => ("did not stop".to_owned(), Some(*reason)),
            Ending::RunnerLost { .. } => ("was lost with its runner".to_owned(), None),
        };
        match reason {
            Some(reason) => format!("was told to stop ({reason:?}) and {what}"),
            None => what,
        }
    }
}

impl Outcome {
    fn said(&self) -> String {
        match self {
            Outcome::Done(_) => "completed".to_owned(),
            Outcome::Retry { error, .. } => format!("failed: {error}"),
            Outcome::Fail { error } => format!("failed for good: {error}"),
            Outcome::Snooze(_) => "was snoozed".to_owned(),
            Outcome::Cancelled => "stopped as it was asked to".to_owned(),
            Outcome::OutOfResources { error } | Outcome::Unavailable { error, .. } => {
                format!("was given back: {error}")
            }
        }
    }
}

/// The retries and crashes that a job has left.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub(crate) policy: RetryPolicy,
    pub(crate) retries: u32,
    pub(crate) crashes: u32,
    pub(crate) timeout: Option<Duration>,
}

/// What happens to the job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Complete {
        result: Option<String>,
    },
    Fail {
        error: String,
    },
    /// Retry after the delay; costs a retry.
    Retry {
        error: String,
        after: Duration,
    },
    Snooze(Snooze),
    Cancel,
    /// Pending again, as if it had not been claimed. Costs no retry.
    GiveBack {
        why: Cow<'static, str>,
    },
    /// Pending again after its runner was lost; costs a crash.
    Recover {
        error: String,
    },
}

impl Verdict {
    /// The event of the attempt's end, unless the job turns out otherwise.
    pub(crate) fn event(&self) -> EventKind {
        match self {
            Verdict::Complete { .. } => EventKind::Completed,
            Verdict::Fail { .. } => EventKind::Failed,
            Verdict::Cancel => EventKind::Cancelled,
            Verdict::Retry { .. } => EventKind::Retry,
            Verdict::Snooze(_) => EventKind::Snoozed,
            Verdict::GiveBack { .. } => EventKind::Returned,
            Verdict::Recover { .. } => EventKind::Recovered,
        }
    }

    /// What went wrong, or why the job goes back.
    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Verdict::Fail { error } | Verdict::Retry { error, .. } | Verdict::Recover { error } => {
                Some(error)
            }
            Verdict::GiveBack { why } => Some(why),
            Verdict::Complete { .. } | Verdict::Cancel | Verdict::Snooze(_) => None,
        }
    }
}

/// Decides what happens to a job whose attempt has ended. `chance` is a random number in `0.0..1.0`.
pub(crate) fn judge(ending: Ending, budget: &Budget, chance: f64) -> Verdict {
    match ending {
        Ending::Returned {
            outcome: Outcome::Done(result),
            ..
        } => Verdict::Complete { result },
        Ending::Returned {
            outcome: Outcome::Fail { error },
            reason,
        } => match reason {
            Some(CancelReason::Requested) => Verdict::Cancel,
            _ => Verdict::Fail { error },
        },
        Ending::Returned {
            outcome: Outcome::Snooze(snooze),
            reason,
        } => match reason {
            Some(CancelReason::Requested) => Verdict::Cancel,
            _ => Verdict::Snooze(snooze),
        },
        Ending::Returned {
            outcome: Outcome::Retry { error, after },
            reason,
        } => match stopped(reason, budget, chance) {
            // What it says for itself helps to see why it took so long.
            Some(Verdict::Retry { error: late, after }) => Verdict::Retry {
                error: format!("{late}: {error}"),
                after,
            },
            Some(Verdict::Fail { error: late }) => Verdict::Fail {
                error: format!("{late}: {error}"),
            },
            Some(verdict) => verdict,
            None => retry(error, after, budget, chance),
        },
        Ending::Returned {
            outcome: Outcome::Cancelled,
            reason,
        } => stopped(reason, budget, chance).unwrap_or(Verdict::Cancel),
        Ending::Panicked { message, reason } => stopped(reason, budget, chance)
            .unwrap_or_else(|| retry(format!("panicked: {message}"), None, budget, chance)),
        Ending::Abandoned { reason } => {
            stopped(Some(reason), budget, chance).unwrap_or(Verdict::Cancel)
        }
        Ending::Returned {
            // Its timeout passed while its handler could not run it.
            outcome: Outcome::Unavailable { error, .. },
            reason: Some(CancelReason::Timeout),
        } => Verdict::GiveBack { why: error.into() },
        Ending::Returned {
            outcome: Outcome::OutOfResources { error } | Outcome::Unavailable { error, .. },
            reason,
        } => stopped(reason, budget, chance).unwrap_or(Verdict::GiveBack { why: error.into() }),
        Ending::RunnerLost { excuse } => lost_runner::verdict(budget.crashes, excuse),
    }
}

/// The verdict on an attempt that ended because it was asked to stop.
fn stopped(reason: Option<CancelReason>, budget: &Budget, chance: f64) -> Option<Verdict> {
    Some(match reason? {
        CancelReason::Requested => Verdict::Cancel,
        CancelReason::Timeout => {
            let limit = budget.timeout.unwrap_or_default();
            retry(
                format!("timed out after {}", Spelled(limit)),
                None,
                budget,
                chance,
            )
        }
        CancelReason::Shutdown => Verdict::GiveBack {
            why: "the runner was shut down".into(),
        },
        CancelReason::ClaimLost => Verdict::GiveBack {
            why: "the claim was lost".into(),
        },
    })
}

fn retry(error: String, after: Option<Duration>, budget: &Budget, chance: f64) -> Verdict {
    if budget.retries >= budget.policy.max_retries {
        return Verdict::Fail { error };
    }
    let after = after.unwrap_or_else(|| budget.policy.delay(budget.retries + 1, chance));
    Verdict::Retry { error, after }
}

/// A duration as people write it: `1h 30m`, `2.5s`, `40ms`.
pub(crate) struct Spelled(pub(crate) Duration);

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let (days, hours, minutes) = (ms / 86_400_000, ms / 3_600_000 % 24, ms / 60_000 % 60);
        let seconds = (ms % 60_000) as f64 / 1000.0;
        let mut parts = Vec::new();
        for (count, unit) in [(days, "d"), (hours, "h"), (minutes, "m")] {
            if count > 0 {
                parts.push(format!("{count}{unit}"));
            }
        }
        if ms < 1000 {
            parts.push(format!("{ms}ms"));
        } else if seconds > 0.0 {
            parts.push(format!("{seconds}s"));
        }
        f.pad(&parts.join(" "))
    }
}

/// The result of cancelling a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It was not running and is cancelled.
    Now,
    /// It is running: its attempt was asked to stop.
    Requested,
}

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

#[cfg(test)]
mod tests;
