//! Attempts over time, for charts: the metrics of minutes and hours, added up by steps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::Result;
use crate::clock::{millis, timestamp};
use crate::error::Error;
use crate::model::event::EventKind;
use crate::model::metrics::{AttemptTotals, Histogram, KEEP_MINUTES, MetricSpan};

/// Maximum number of points of [`Stats`], of all series together.
pub(crate) const MAX_POINTS: usize = 5000;

/// A question to [`Queue::stats`](crate::Queue::stats).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsQuery {
    /// The beginning of the first point.
    pub from: Timestamp,
    /// The end of the last point.
    pub to: Timestamp,
    /// The time between two points: it is rounded up to whole minutes, and to whole hours where `from` is more than
    /// 72 hours ago.
    pub step: Duration,
    /// Which series there are.
    pub by: StatsBy,
}

/// The series of [`Stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatsBy {
    /// One for all attempts.
    #[default]
    None,
    /// One for each kind.
    Kind,
    /// One for each queue.
    Queue,
}

words!(StatsBy, "series", "series" {
    None = "none",
    Kind = "kind",
    Queue = "queue",
});

/// Attempts over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The beginning of the first point. It is later than asked for if reading further back would have taken too long.
    #[serde(serialize_with = "rfc3339")]
    pub from: Timestamp,
    /// The end of the last point.
    #[serde(serialize_with = "rfc3339")]
    pub to: Timestamp,
    /// The time between two points.
    #[serde(rename = "step_ms", serialize_with = "as_millis")]
    pub step: Duration,
    /// Whether `from` is as asked for.
    pub complete: bool,
    /// The series, in the order of their names.
    pub series: Vec<StatsSeries>,
}

/// Attempts over time, of a kind, a queue or all.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StatsSeries {
    /// The kind or the queue; none: all attempts.
    pub name: Option<String>,
    /// The points, oldest first; those without attempts are left out.
    pub points: Vec<StatsPoint>,
}

/// The attempts that ended in a step of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StatsPoint {
    /// The beginning of the step, a multiple of its length.
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// The attempts that completed their jobs.
    pub completed: u64,
    /// Those with which their jobs failed.
    pub failed: u64,
    /// Those that failed and were retried.
    pub retried: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// How long the handlers of all attempts ran.
    #[serde(rename = "run_ms")]
    pub run: Quantiles,
    /// How long their jobs had been pending before.
    #[serde(rename = "wait_ms")]
    pub wait: Quantiles,
}

/// How long most of some durations are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quantiles {
    /// Half of them are not longer; none: there are none.
    pub p50: Option<Duration>,
    /// 95 % of them are not longer.
    pub p95: Option<Duration>,
    /// 99 % of them are not longer.
    pub p99: Option<Duration>,
}

impl From<&Histogram> for Quantiles {
    fn from(durations: &Histogram) -> Quantiles {
        Quantiles {
            p50: durations.quantile(0.5),
            p95: durations.quantile(0.95),
            p99: durations.quantile(0.99),
        }
    }
}

/// In milliseconds, to a microsecond.
impl Serialize for Quantiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ms = |duration: Option<Duration>| duration.map(|of| of.as_micros() as f64 / 1000.0);
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("p50", &ms(self.p50))?;
        map.serialize_entry("p95", &ms(self.p95))?;
        map.serialize_entry("p99", &ms(self.p99))?;
        map.end()
    }
}

fn rfc3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

fn as_millis<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(millis(*span))
}

/// The attempts of a step as they are added up.
#[derive(Debug, Default)]
struct StepTotals {
    completed: u64,
    failed: u64,
    retried: u64,
    cancelled: u64,
    took: Histogram,
    waited: Histogram,
}

impl StepTotals {
    fn add(&mut self, outcome: EventKind, totals: &AttemptTotals) {
        let counter = match outcome {
            EventKind::Completed => Some(&mut self.completed),
            EventKind::Failed => Some(&mut self.failed),
            EventKind::Retry => Some(&mut self.retried),
            EventKind::Cancelled => Some(&mut self.cancelled),
            _ => None,
        };
        if let Some(counter) = counter {
            *counter = counter.saturating_add(totals.attempts);
        }
        self.took.merge(&totals.took);
        self.waited.merge(&totals.waited);
    }

    fn point(&self, at_ms: i64) -> StatsPoint {
        StatsPoint {
            at: timestamp(at_ms),
            completed: self.completed,
            failed: self.failed,
            retried: self.retried,
            cancelled: self.cancelled,
            run: Quantiles::from(&self.took),
            wait: Quantiles::from(&self.waited),
        }
    }
}

/// Adds up metrics of minutes and hours by steps. A series is the id of a kind or a queue, or 0.
#[derive(Debug)]
pub(crate) struct StepSums {
    step_ms: i64,
    from_ms: i64,
    to_ms: i64,
    /// By series and the beginning of the step.
    sums: BTreeMap<(i64, i64), StepTotals>,
}

impl StepSums {
    /// # Errors
    /// `from` is not before `to`, or there would be more than [`MAX_POINTS`] points.
    pub(crate) fn new(query: &StatsQuery, now_ms: i64) -> Result<StepSums> {
        let (from_ms, to_ms) = (query.from.as_millisecond(), query.to.as_millisecond());
        if from_ms >= to_ms {
            return Err(Error::invalid(
                "the beginning of the time is not before its end",
            ));
        }
        let is_old = from_ms < now_ms.saturating_sub(millis(KEEP_MINUTES));
        let unit = match is_old {
            true => MetricSpan::Hour,
            false => MetricSpan::Minute,
        };
        let unit_ms = millis(unit.length());
        let units = millis(query.step).max(1).saturating_add(unit_ms - 1) / unit_ms;
        let step_ms = units.saturating_mul(unit_ms);
        let first_ms = from_ms - from_ms.rem_euclid(step_ms);
        let points = (to_ms - first_ms - 1) / step_ms + 1;
        if points > MAX_POINTS as i64 {
            return Err(too_many(points as usize));
        }
        Ok(StepSums {
            step_ms,
            from_ms: first_ms,
            to_ms,
            sums: BTreeMap::new(),
        })
    }

    /// The metrics that are to be added: those that begin from the first of these times on and before the second.
    pub(crate) fn times_ms(&self) -> (i64, i64) {
        (self.from_ms, self.to_ms)
    }

    pub(crate) fn add(
        &mut self,
        (series, at_ms): (i64, i64),
        outcome: EventKind,
        totals: &AttemptTotals,
    ) {
        let at_ms = at_ms - at_ms.rem_euclid(self.step_ms);
        let sum = self.sums.entry((series, at_ms)).or_default();
        sum.add(outcome, totals);
    }

    /// The series that there are.
    pub(crate) fn series(&self) -> BTreeSet<i64> {
        self.sums.keys().map(|(series, _)| *series).collect()
    }

    /// The points, where all metrics were added that begin after `read_to_ms`; none: all were.
    ///
    /// # Errors
    /// There are more than [`MAX_POINTS`] points.
    pub(crate) fn finish(
        mut self,
        read_to_ms: Option<i64>,
        names: &HashMap<i64, String>,
    ) -> Result<Stats> {
        let from_ms = match read_to_ms {
            // The step of the last one that was read lacks some.
            Some(at_ms) => at_ms - at_ms.rem_euclid(self.step_ms) + self.step_ms,
            None => self.from_ms,
        };
        self.sums.retain(|(_, at_ms), _| *at_ms >= from_ms);
        if self.sums.len() > MAX_POINTS {
            return Err(too_many(self.sums.len()));
        }
        let mut series: BTreeMap<i64, Vec<StatsPoint>> = BTreeMap::new();
        for ((of, at_ms), sum) in &self.sums {
            series.entry(*of).or_default().push(sum.point(*at_ms));
        }
        let mut series: Vec<StatsSeries> = series
            .into_iter()
            .map(|(of, points)| StatsSeries {
                name: names.get(&of).cloned(),
                points,
            })
            .collect();
        series.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Stats {
            from: timestamp(from_ms),
            to: timestamp(self.to_ms),
            step: Duration::from_millis(self.step_ms.unsigned_abs()),
            complete: read_to_ms.is_none(),
            series,
        })
    }
}

fn too_many(points: usize) -> Error {
    Error::invalid(format!(
        "these are {points} points, at most {MAX_POINTS} are allowed"
    ))
    .with_hint("take a longer step or less time")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    fn query((from_ms, to_ms): (i64, i64), step_ms: i64) -> StatsQuery {
        StatsQuery {
            from: timestamp(from_ms),
            to: timestamp(to_ms),
            step: Duration::from_millis(step_ms.unsigned_abs()),
            by: StatsBy::None,
        }
    }

    fn one(took_ms: u64) -> AttemptTotals {
        let mut totals = AttemptTotals {
            attempts: 1,
            ..AttemptTotals::default()
        };
        totals.took.add(Duration::from_millis(took_ms));
        totals
    }

    fn step_of(times: (i64, i64), step_ms: i64, now_ms: i64) -> i64 {
        StepSums::new(&query(times, step_ms), now_ms)
            .unwrap()
            .step_ms
    }

    #[test]
    fn a_step_is_whole_minutes_and_old_ones_whole_hours() {
        let now = 1000 * HOUR;
        let recent = (now - HOUR, now);
        assert_eq!(step_of(recent, 1, now), MINUTE);
        assert_eq!(step_of(recent, MINUTE, now), MINUTE);
        assert_eq!(step_of(recent, MINUTE + 1, now), 2 * MINUTE);
        let old = (now - 73 * HOUR, now);
        assert_eq!(step_of(old, MINUTE, now), HOUR);
        assert_eq!(step_of(old, HOUR + 1, now), 2 * HOUR);
    }

    #[test]
    fn too_many_points_are_refused_with_their_number() {
        let new = |step_ms| StepSums::new(&query((0, 5001 * MINUTE), step_ms), 5001 * MINUTE);
        let error = StepSums::new(&query((0, 5001 * MINUTE), MINUTE), 0).unwrap_err();
        assert!(error.to_string().contains("5001 points"), "{error}");
        assert!(new(HOUR).is_ok());
        assert!(StepSums::new(&query((5, 5), MINUTE), 0).is_err());
    }

    #[test]
    fn a_step_that_was_read_in_part_is_left_out() {
        let mut sums = StepSums::new(&query((0, 10 * MINUTE), 2 * MINUTE), 0).unwrap();
        for at in [9, 5, 3] {
            sums.add((0, at * MINUTE), EventKind::Completed, &one(1));
        }
        let stats = sums.finish(Some(3 * MINUTE), &HashMap::new()).unwrap();
        assert_eq!(stats.from.as_millisecond(), 4 * MINUTE);
        assert!(!stats.complete);
        let points = stats.series[0].points.iter();
        let at: Vec<i64> = points.map(|point| point.at.as_millisecond()).collect();
        assert_eq!(at, [4 * MINUTE, 8 * MINUTE]);
    }

    proptest! {
        #[test]
        fn every_attempt_is_in_the_step_that_holds_its_minute(
            minutes in prop::collection::vec(0..600_i64, 0..100), step in 1..50_i64
        ) {
            let mut sums = StepSums::new(&query((0, 600 * MINUTE), step * MINUTE), 0).unwrap();
            for minute in &minutes {
                sums.add((0, minute * MINUTE), EventKind::Failed, &one(1));
            }
            let stats = sums.finish(None, &HashMap::new()).unwrap();
            for point in stats.series.iter().flat_map(|series| &series.points) {
                let at = point.at.as_millisecond() / MINUTE;
                let expected = minutes.iter().filter(|minute| (at..at + step).contains(minute));
                prop_assert_eq!(point.failed, expected.count() as u64);
            }
            let found: u64 = stats.series.iter().flat_map(|of| &of.points).map(|point| point.failed).sum();
            prop_assert_eq!(found, minutes.len() as u64);
        }
    }
}
