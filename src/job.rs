//! A job: what is asked for ([`NewJob`]), and what the file says of it ([`JobRecord`]).

mod label;
mod new;
mod record;
pub(crate) mod template;

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use label::{LabelRefs, Labels};
pub use new::{NewJob, OnDuplicate, When};
#[allow(unused_imports)]
pub(crate) use new::{Parent, UniqueKey};
pub use record::{AttemptRef, Children, Enqueued, JobRecord, Prerequisite, Progress};

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
                    .with_hint("priorities are low, normal, high, urgent")
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

    /// The options that a job of this type has unless whoever enqueues it says otherwise: how it is
    /// retried, its timeout, its queue, whose it is. None unless this is written.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use jobq::{Job, NewJob};
    /// # use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Export { shop: String }
    ///
    /// impl Job for Export {
    ///     const KIND: &'static str = "export";
    ///     type Output = String;
    ///
    ///     fn options(&self, job: NewJob) -> NewJob {
    ///         let job = job.timeout(Duration::from_secs(120)).max_retries(2);
    ///         job.tenant(&self.shop).unique(format!("export-{}", self.shop))
    ///     }
    /// }
    /// ```
    fn options(&self, job: NewJob) -> NewJob {
        job
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
