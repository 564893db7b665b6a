//! Which backups stay: as `restic forget` decides it, a backup stays if any of the rules keeps it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::duration::parse_duration;

/// Which backups stay; each rule keeps some, and none takes away what another keeps. Without rules all stay.
///
/// In JSON a duration alone, as `"30 days"`, is `keep_within`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupRetention {
    /// So many of the newest.
    pub keep_last: u32,
    /// The newest of each of so many hours that have one.
    pub keep_hourly: u32,
    /// The newest of each of so many days that have one.
    pub keep_daily: u32,
    /// The newest of each of so many weeks that have one.
    pub keep_weekly: u32,
    /// The newest of each of so many months that have one.
    pub keep_monthly: u32,
    /// The newest of each of so many years that have one.
    pub keep_yearly: u32,
    /// All that were made so long before the new one, or later.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "write_duration"
    )]
    pub keep_within: Option<Duration>,
}

fn write_duration<S: serde::Serializer>(
    value: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let ms = value.unwrap_or_default().as_millis();
    to.collect_str(&format_args!("{ms}ms"))
}

impl<'de> Deserialize<'de> for BackupRetention {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<BackupRetention, D::Error> {
        from.deserialize_any(DurationOrRules)
    }
}

/// The rules by name.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetentionRules {
    #[serde(alias = "keepLast")]
    keep_last: u32,
    #[serde(alias = "keepHourly")]
    keep_hourly: u32,
    #[serde(alias = "keepDaily")]
    keep_daily: u32,
    #[serde(alias = "keepWeekly")]
    keep_weekly: u32,
    #[serde(alias = "keepMonthly")]
    keep_monthly: u32,
    #[serde(alias = "keepYearly")]
    keep_yearly: u32,
    #[serde(alias = "keepWithin")]
    keep_within: Option<String>,
}

struct DurationOrRules;

impl<'de> Visitor<'de> for DurationOrRules {
    type Value = BackupRetention;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration or rules as {\"keep_last\":3,\"keep_daily\":7}")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<BackupRetention, E> {
        let within = parse_duration(text)
            .map_err(|why| E::custom(format_args!("invalid duration '{text}': {why}")))?;
        Ok(BackupRetention {
            keep_within: Some(within),
            ..BackupRetention::default()
        })
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<BackupRetention, M::Error> {
        let rules = RetentionRules::deserialize(MapAccessDeserializer::new(map))?;
        let within = match rules.keep_within {
            None => None,
            Some(text) => Some(parse_duration(&text).map_err(|why| {
                M::Error::custom(format_args!("invalid duration '{text}': {why}"))
            })?),
        };
        Ok(BackupRetention {
            keep_last: rules.keep_last,
            keep_hourly: rules.keep_hourly,
            keep_daily: rules.keep_daily,
            keep_weekly: rules.keep_weekly,
            keep_monthly: rules.keep_monthly,
            keep_yearly: rules.keep_yearly,
            keep_within: within,
        })
    }
}

/// A rule that keeps the newest of each period.
struct PeriodRule {
    name: &'static str,
    left: u32,
    period: fn(DateTime) -> [i64; 4],
    last: Option<[i64; 4]>,
}

impl BackupRetention {
    fn period_rules(&self) -> [PeriodRule; 5] {
        let rule = |name, left, period| PeriodRule {
            name,
            left,
            period,
            last: None,
        };
        [
            rule("keep_hourly", self.keep_hourly, |at| {
                [
                    at.year().into(),
                    at.month().into(),
                    at.day().into(),
                    at.hour().into(),
                ]
            }),
            rule("keep_daily", self.keep_daily, |at| {
                [at.year().into(), at.month().into(), at.day().into(), 0]
            }),
            rule("keep_weekly", self.keep_weekly, |at| {
                let week = at.date().iso_week_date();
                [week.year().into(), week.week().into(), 0, 0]
            }),
            rule("keep_monthly", self.keep_monthly, |at| {
                [at.year().into(), at.month().into(), 0, 0]
            }),
            rule("keep_yearly", self.keep_yearly, |at| {
                [at.year().into(), 0, 0, 0]
            }),
        ]
    }

    fn is_empty(&self) -> bool {
        *self == BackupRetention::default()
    }

    /// Why each of the backups stays, by the names of the rules; one that no rule keeps has none. The times
    /// are ordered from the newest to the oldest, and `now` is that of the new one.
    pub(super) fn reasons(
        &self,
        times: &[Timestamp],
        now: Timestamp,
        zone: &TimeZone,
    ) -> Vec<Vec<&'static str>> {
        let mut rules = self.period_rules();
        let reasons = times.iter().enumerate().map(|(at, time)| {
            let mut why = Vec::new();
            if self.is_empty() {
                why.push("no rules");
            }
            if at < usize::try_from(self.keep_last).unwrap_or(usize::MAX) {
                why.push("keep_last");
            }
            let within = self.keep_within;
            if within.is_some_and(|within| {
                now.duration_since(*time).unsigned_abs() < within || *time > now
            }) {
                why.push("keep_within");
            }
            let is_oldest = at + 1 == times.len();
            let local = time.to_zoned(zone.clone()).datetime();
            for rule in rules.iter_mut().filter(|rule| rule.left > 0) {
                let period = (rule.period)(local);
                // The oldest stays for a rule that has not kept its number yet.
                if rule.last != Some(period) || is_oldest {
                    why.push(rule.name);
                    rule.last = Some(period);
                    rule.left -= 1;
                }
            }
            why
        });
        reasons.collect()
    }
}
