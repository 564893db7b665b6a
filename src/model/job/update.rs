//! Changes to a job.

use std::time::Duration;

use crate::model::job::When;
use crate::model::limits::Update;
use crate::model::priority::Priority;
use crate::model::retry::{Backoff, Jitter};

/// Changes to a job; fields that are none stay as they are.
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
    /// Another first delay between retries.
    pub retry_delay: Option<Duration>,
    /// Whether delays between retries are lengthened at random.
    pub jitter: Option<Jitter>,
    /// Another maximum duration of one attempt.
    pub timeout: Update<Duration>,
    /// Another deadline, for a job that has not begun.
    pub deadline: Update<When>,
    /// Another tenant.
    pub tenant: Update<String>,
    /// Tags to set, or to remove if the value is none; others stay.
    pub tags: Vec<(String, Option<String>)>,
    /// Another concurrency key.
    pub key: Update<String>,
    /// How many jobs of its concurrency key run at a time from now on.
    pub key_limit: Option<u32>,
    /// Another unique key, which must be free. A key derived from the payload follows the payload.
    pub unique: Update<String>,
    /// How long the unique key stays taken after the job has ended.
    pub unique_for: Update<Duration>,
    /// Another payload: JSON text.
    pub payload: Option<String>,
    /// Fields of an object payload: each is set to JSON text, or removed if none; others stay. A longer
    /// path names a field of a nested object.
    pub payload_fields: Vec<(Vec<String>, Option<String>)>,
}
