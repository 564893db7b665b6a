//! A job: what is asked for ([`NewJob`]), and what the file says of it ([`JobRecord`]).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::retry::{Backoff, Jitter, RetryPolicy};
use crate::state::{State, WaitReason};
use crate::{Error, Result};

/// The queue of jobs that name none.
pub const DEFAULT_QUEUE: &str = "default";

/// Names of kinds and queues are at most this long, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 200;

/// A job's number in its file. Numbers are never reused.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of the pending jobs of a queue goes first. Among equals the oldest does.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Priority {
    /// After everything else.
    Low = 0,
    /// The usual.
    #[default]
    Normal = 1,
    /// Before normal.
    High = 2,
    /// Before everything else.
    Urgent = 3,
}

impl Priority {
    /// Every priority, lowest first.
    pub const ALL: [Priority; 4] = [
        Priority::Low,
        Priority::Normal,
        Priority::High,
        Priority::Urgent,
    ];

    /// The lower-case name used in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Urgent => "urgent",
        }
    }

    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<Priority> {
        Priority::ALL
            .into_iter()
            .find(|priority| priority.code() == code)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = Error;

    fn from_str(name: &str) -> Result<Priority> {
        Priority::ALL
            .into_iter()
            .find(|priority| priority.as_str() == name)
            .ok_or_else(|| {
                Error::invalid(format!("unknown priority '{name}'"))
                    .hint("priorities are low, normal, high, urgent")
            })
    }
}

/// A typed job: a serde type is the payload, `KIND` finds its handler, `Output` is what it leaves behind.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Thumbnail { photo: String, width: u32 }
///
/// impl jobq::Job for Thumbnail {
///     const KIND: &'static str = "thumbnail";
///     type Output = String; // the path of the small picture
/// }
/// ```
pub trait Job: Serialize + DeserializeOwned {
    /// The name under which a handler is registered.
    const KIND: &'static str;
    /// What a successful attempt returns; read it back with [`Queue::output`](crate::Queue::output).
    type Output: Serialize + DeserializeOwned;
}

/// When a new job may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// As soon as a worker is free.
    #[default]
    Now,
    /// After this long, whatever the wall clock does meanwhile.
    In(Duration),
    /// From this moment of the wall clock on.
    At(Timestamp),
}

/// A job to be enqueued: kind, payload and options. What is not set takes its default.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub(crate) kind: String,
    pub(crate) payload: Result<String, String>,
    pub(crate) queue: String,
    pub(crate) priority: Priority,
    pub(crate) when: When,
    pub(crate) max_retries: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) retry_delay: Option<Duration>,
    pub(crate) jitter: Option<Jitter>,
    pub(crate) timeout: Option<Duration>,
}

impl NewJob {
    /// A job of this kind with the payload `null`.
    pub fn new(kind: impl Into<String>) -> NewJob {
        NewJob {
            kind: kind.into(),
            payload: Ok("null".to_owned()),
            queue: DEFAULT_QUEUE.to_owned(),
            priority: Priority::default(),
            when: When::default(),
            max_retries: None,
            backoff: None,
            retry_delay: None,
            jitter: None,
            timeout: None,
        }
    }

    /// A typed job. A payload that cannot be written as JSON is reported when the job is enqueued.
    pub fn of<J: Job>(job: &J) -> NewJob {
        NewJob::new(J::KIND).payload(job)
    }

    /// The payload, from anything that serde can write as JSON.
    #[must_use]
    pub fn payload(mut self, payload: &impl Serialize) -> NewJob {
        self.payload = serde_json::to_string(payload).map_err(|error| error.to_string());
        self
    }

    /// The payload as JSON text, kept letter for letter. Text that is no JSON is reported when the
    /// job is enqueued.
    #[must_use]
    pub fn payload_json(mut self, json: impl Into<String>) -> NewJob {
        let json = json.into();
        self.payload = match serde_json::from_str::<&RawValue>(&json) {
            Ok(_) => Ok(json),
            Err(error) => Err(error.to_string()),
        };
        self
    }

    /// The queue; `default` unless set.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> NewJob {
        self.queue = queue.into();
        self
    }

    /// The priority within the queue.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> NewJob {
        self.priority = priority;
        self
    }

    /// When it may run.
    #[must_use]
    pub fn when(mut self, when: When) -> NewJob {
        self.when = when;
        self
    }

    /// Not before `delay` has passed.
    #[must_use]
    pub fn delay(self, delay: Duration) -> NewJob {
        self.when(When::In(delay))
    }

    /// How many tries may follow the first; 3 unless set.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> NewJob {
        self.max_retries = Some(retries);
        self
    }

    /// How the wait between tries grows; exponential unless set.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> NewJob {
        self.backoff = Some(backoff);
        self
    }

    /// The first wait between tries; zero retries at once.
    #[must_use]
    pub fn retry_delay(mut self, delay: Duration) -> NewJob {
        self.retry_delay = Some(delay);
        self
    }

    /// Whether chance lengthens the waits a little.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> NewJob {
        self.jitter = Some(jitter);
        self
    }

    /// How long one attempt may take; without it the kind's or the runner's default holds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> NewJob {
        self.timeout = Some(timeout);
        self
    }
}

impl<J: Job> From<J> for NewJob {
    fn from(job: J) -> NewJob {
        NewJob::of(&job)
    }
}

/// Checks the name of a kind or a queue: 1 to [`MAX_NAME_BYTES`] bytes, no control characters.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("the {what} is empty")));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::invalid(format!(
            "the {what} is {} bytes long, at most {MAX_NAME_BYTES} are allowed",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "the {what} {name:?} holds a control character"
        )));
    }
    Ok(())
}

/// What enqueuing a job gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Enqueued {
    /// The job's number.
    pub id: JobId,
    /// `pending`, or `scheduled` where it is for later.
    pub state: State,
    /// Whether an equal job was there already and this is its number.
    pub duplicate: bool,
}

/// A job as the file has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobRecord {
    /// Its number.
    pub id: JobId,
    /// Which handler it is for.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Where it is now.
    pub state: State,
    /// Why it waits, while it is scheduled.
    pub wait_reason: Option<WaitReason>,
    /// Its priority within its queue.
    pub priority: Priority,
    /// The payload.
    pub payload: Box<RawValue>,
    /// What it left behind.
    pub result: Option<Box<RawValue>>,
    /// What its last failed attempt said.
    pub error: Option<String>,
    /// How far its handler says it is.
    pub progress: Option<Progress>,
    /// The number of its latest attempt; 0 before the first.
    pub attempt: u32,
    /// How many retries it has used.
    pub retries: u32,
    /// How many runners went down with it.
    pub crashes: u32,
    /// When and how often it is tried again.
    pub retry: RetryPolicy,
    /// How long one attempt may take, where the job says so itself.
    pub timeout: Option<Duration>,
    /// When it is due, while it is scheduled.
    pub run_at: Option<Timestamp>,
    /// Whether somebody has asked a running attempt to stop.
    pub cancel_requested: bool,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When anything of it last changed.
    pub updated_at: Timestamp,
    /// When its latest attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it became final.
    pub finished_at: Option<Timestamp>,
    /// The runner that holds it, or held it last.
    pub runner: Option<i64>,
    /// The worker that runs it, once that is known.
    pub worker: Option<u32>,
}

impl JobRecord {
    /// How many retries are left.
    pub fn retries_left(&self) -> u32 {
        self.retry.max_retries.saturating_sub(self.retries)
    }

    /// The payload as a typed job.
    ///
    /// # Errors
    /// The kind is another, or the payload does not fit the type.
    pub fn decode<J: Job>(&self) -> Result<J> {
        if self.kind != J::KIND {
            return Err(Error::invalid(format!(
                "job {} is of kind '{}', not '{}'",
                self.id,
                self.kind,
                J::KIND
            )));
        }
        serde_json::from_str(self.payload.get())
            .map_err(|error| Error::invalid(format!("the payload of job {}: {error}", self.id)))
    }
}

/// How far a running job is.
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
    /// A percentage, cut to 0..=100.
    pub fn percent(percent: f64) -> Progress {
        Progress {
            percent: Some(percent.clamp(0.0, 100.0)),
            ..Progress::default()
        }
    }

    /// So many units of so many; the percentage follows.
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

    /// Adds what the job is doing.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Progress {
        self.message = Some(message.into());
        self
    }
}
