//! `[schedules.NAME]` of `jobq.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use jobq::{Backoff, Missed, OnDuplicate, Overlap, Priority};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{duration, output_limit};
use crate::cli::environ::EnvItem;

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
    /// What the command reads from stdin.
    pub(crate) input: Option<String>,
    /// Variables for the command, from the environment of the runner that declares the schedule.
    #[serde(default)]
    pub(crate) env: Vec<EnvItem>,
    /// How much of the command's output is kept.
    #[serde(default, deserialize_with = "output_limit")]
    pub(crate) output_limit: Option<u64>,
    /// Of a kind's job; null where nothing is said.
    #[serde(default, deserialize_with = "payload")]
    pub(crate) payload: Option<serde_json::Value>,
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<Priority>,
    pub(crate) retries: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) jitter: Option<bool>,
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
    pub(crate) key_limit: Option<u32>,
    pub(crate) tenant: Option<String>,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

fn payload<'de, D: Deserializer<'de>>(value: D) -> Result<Option<serde_json::Value>, D::Error> {
    let value = toml::Value::deserialize(value)?;
    json(value, "payload").map(Some).map_err(D::Error::custom)
}

/// A value as a handler gets it. JSON has no dates, which become text, and knows finite numbers only.
fn json(value: toml::Value, at: &str) -> Result<serde_json::Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) if number.is_finite() => number.into(),
        toml::Value::Float(number) => {
            return Err(format!("{at}: {number} is not a number in JSON"));
        }
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(values) => {
            let values = values.into_iter().enumerate();
            let values = values.map(|(number, value)| json(value, &format!("{at}[{number}]")));
            values.collect::<Result<Vec<_>, _>>()?.into()
        }
        toml::Value::Table(table) => {
            let fields = table.into_iter().map(|(key, value)| {
                let value = json(value, &format!("{at}.{key}"))?;
                Ok((key, value))
            });
            serde_json::Value::Object(fields.collect::<Result<_, String>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(payload: &str) -> Result<Option<serde_json::Value>, toml::de::Error> {
        let table = format!("cron = '@daily'\nkind = 'k'\npayload = {payload}");
        toml::from_str::<ScheduleTable>(&table).map(|table| table.payload)
    }

    #[test]
    fn a_date_in_a_payload_is_text() {
        for (date, text) in [
            ("2026-01-01", "2026-01-01"),
            ("07:32:00", "07:32:00"),
            ("2026-01-01T07:32:00Z", "2026-01-01T07:32:00Z"),
        ] {
            assert_eq!(read(date).unwrap(), Some(json!(text)));
        }
        assert_eq!(
            read("{ from = 2026-01-01, days = [1, 2.5, true, 'x'] }").unwrap(),
            Some(json!({ "from": "2026-01-01", "days": [1, 2.5, true, "x"] }))
        );
    }

    #[test]
    fn a_number_that_json_has_not_is_named_by_its_key() {
        for (payload, why) in [
            ("nan", "payload: NaN is not a number"),
            (
                "{ most = [1.0, inf] }",
                "payload.most[1]: inf is not a number",
            ),
            ("{ a = { b = -inf } }", "payload.a.b: -inf is not a number"),
        ] {
            let error = read(payload).unwrap_err();
            assert!(error.message().contains(why), "{}", error.message());
        }
    }
}
