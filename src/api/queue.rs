//! A queue: its JSON, and its limits in words.

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::api::json::{Time, json_fields};
use crate::api::text::count;
use crate::api::time::{duration, millis};
use crate::{Counts, QueueLimits, QueueRecord, Rate, State};

/// Each state with its number of jobs.
pub struct CountsJson(pub Counts);

impl Serialize for CountsJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(State::ALL.len()))?;
        for (state, jobs) in self.0.iter() {
            map.serialize_entry(state.as_str(), &jobs)?;
        }
        map.end()
    }
}

json_fields! {
    /// A queue. It is paused by its name, or because all are since `all_paused`.
    pub QueueJson(queue: &'a QueueRecord, all_paused: Option<Timestamp>) {
        name: queue.name,
        paused: queue.paused_at.or(*all_paused).is_some(),
        paused_at: queue.paused_at.or(*all_paused).map(Time),
        counts: CountsJson(queue.counts),
        concurrency: queue.limits.concurrency,
        rate: queue.limits.rate.map(RateJson::new),
        max_size: queue.limits.max_size,
        weight: queue.limits.weight,
    }
}

#[derive(Serialize)]
struct RateJson {
    jobs: u32,
    per_ms: u64,
}

impl RateJson {
    fn new(rate: Rate) -> RateJson {
        RateJson {
            jobs: rate.jobs,
            per_ms: millis(rate.per),
        }
    }
}

/// A rate as it is written.
pub fn rate_text(rate: Rate) -> String {
    format!("{}/{}", rate.jobs, duration(rate.per).replace(' ', ""))
}

/// What a queue is limited to, in a few words; none where it is not.
pub fn limits_text(limits: &QueueLimits) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(limits.concurrency.map(|jobs| format!("{jobs} at once")));
    parts.extend(limits.rate.map(rate_text));
    let max_size = limits.max_size.map(|jobs| count(jobs, "job"));
    parts.extend(max_size.map(|jobs| format!("at most {jobs}")));
    if limits.weight != 1 {
        parts.push(format!("weight {}", limits.weight));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}
