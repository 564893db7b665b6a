//! What is to be changed of a job.

use std::time::Duration;

use crate::model::job::When;
use crate::model::limits::Update;
use crate::model::priority::Priority;
use crate::model::retry::{Backoff, Jitter};

/// What is to be changed of a job; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct JobUpdate {
    /// Another queue.
    pub queue: Option<String>,
    /// Another priority.
    pub priority: Option<Priority>,
    /// Another time, for a scheduled job.
    pub when: Option<When>,
    /// Another number of retries.
    pub max_retries: Option<u32>,
    /// Another backoff.
    pub backoff: Option<Backoff>,
    /// Another first wait between tries.
    pub retry_delay: Option<Duration>,
    /// Whether chance lengthens the waits a little.
    pub jitter: Option<Jitter>,
    /// Another limit for one attempt.
    pub timeout: Update<Duration>,
    /// Another deadline, for a job that has not begun.
    pub deadline: Update<When>,
    /// Another tenant.
    pub tenant: Update<String>,
    /// Tags to set, or to take away; the others stay.
    pub tags: Vec<(String, Option<String>)>,
    /// Another concurrency key.
    pub key: Update<String>,
    /// How many jobs of its concurrency key run at a time from now on.
    pub key_limit: Option<u32>,
    /// Another unique key, which must be free. One that was derived from the payload follows it by itself.
    pub unique: Update<String>,
    /// How long the unique key stays taken after the job has ended.
    pub unique_for: Update<Duration>,
    /// Another payload: JSON text.
    pub payload: Option<String>,
    /// Fields of a payload that is an object: each is set to JSON text or left out, and all others stay as
    /// they are. A longer path names a field of an object in it.
    pub payload_fields: Vec<(Vec<String>, Option<String>)>,
}
