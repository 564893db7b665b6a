//! `[schedules.NAME]` of `jobq.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use jobq::{Backoff, Missed, OnDuplicate, Overlap, Priority};
use serde::Deserialize;

use super::duration;

/// A schedule with its job, as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleTable {
    pub(crate) cron: String,
    pub(crate) timezone: Option<String>,
    #[serde(default)]
    pub(crate) missed: Missed,
    #[serde(default)]
    pub(crate) overlap: Overlap,
    /// One of these three says what the job is.
    pub(crate) kind: Option<String>,
    pub(crate) command: Option<Vec<String>>,
    pub(crate) shell: Option<String>,
    /// Of a kind's job; null where nothing is said.
    pub(crate) payload: Option<serde_json::Value>,
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<Priority>,
    pub(crate) retries: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) retry_delay: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) timeout: Option<Duration>,
    /// Each job is cancelled unless it has begun so long after it was enqueued.
    #[serde(default, deserialize_with = "duration")]
    pub(crate) deadline: Option<Duration>,
    pub(crate) unique: Option<String>,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) unique_for: Option<Duration>,
    pub(crate) on_duplicate: Option<OnDuplicate>,
    pub(crate) key: Option<String>,
    pub(crate) places: Option<u32>,
    pub(crate) tenant: Option<String>,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}
