//! Schedules: a named rule and the job that it enqueues at each of its slots.

mod fields;
pub(crate) mod firing;
pub(crate) mod rule;
#[cfg(test)]
mod tests;
mod wall;

use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::schedule::rule::Rule;
use crate::{Result, clock};

/// Where a job of a schedule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobOrigin {
    /// The schedule's name.
    pub(crate) schedule: String,
    /// The slot that the job is for, in milliseconds since 1970; none where somebody asked the schedule for a
    /// job.
    pub(crate) slot_ms: Option<i64>,
}

/// What happens to missed slots: those more than a minute late because no runner was active, and those
/// before a later slot that has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
#[non_exhaustive]
pub enum Missed {
    /// They are skipped.
    Skip = 0,
    /// One job is enqueued for all of them, at the last one.
    #[default]
    Once = 1,
    /// Each gets a job, at most the last 100.
    All = 2,
}

/// What happens at a slot while the schedule's last job is not final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
#[non_exhaustive]
pub enum Overlap {
    /// The next job is enqueued all the same.
    #[default]
    Allow = 0,
    /// The slot is skipped.
    Skip = 1,
}

words!(Missed, "policy for missed slots", "policies for missed slots" {
    Skip = "skip",
    Once = "once",
    All = "all",
});
codes!(Missed);

words!(Overlap, "policy for overlaps", "policies for overlaps" {
    Allow = "allow",
    Skip = "skip",
});
codes!(Overlap);

/// A schedule to be added: a name, a rule, and the job that each slot of the rule enqueues.
///
/// The rule has five fields (minute, hour, day of the month, month, weekday) or six (a second in
/// front), with names (`MON-FRI`), lists, ranges and steps, `L` (the last day, or `FRIL` the last
/// Friday), `15W` (the weekday nearest to the 15th) and `MON#2` (the second Monday). If both a day
/// of the month and a weekday are given, either matches. Or it is one of `@yearly`, `@monthly`,
/// `@weekly`, `@daily`, `@midnight` and `@hourly`, or an interval from one second to ten years:
/// `@every 10m`.
///
/// **Summer time.** A rule with a wildcard (`*`, `*/n`) in its minute or hour follows the wall clock: it
/// skips times that the clock skips, and fires twice at times that occur twice. Any other rule names
/// fixed times, also by lists and ranges: a skipped time fires at the first moment after the gap, and a
/// time that occurs twice fires the first time. Intervals have no time zone.
///
/// **When the clock is set.** Forward: the slots between were missed. Back: slots do not fire again,
/// unless the schedule would be silent for more than two of its slots; then it continues from the new
/// time.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub(crate) name: String,
    pub(crate) rule: String,
    pub(crate) timezone: Option<String>,
    pub(crate) missed: Missed,
    pub(crate) overlap: Overlap,
    pub(crate) job: NewJob,
}

impl Schedule {
    /// A schedule in the system's time zone, or in UTC if that has no name.
    pub fn new(
        name: impl Into<String>,
        rule: impl Into<String>,
        job: impl Into<NewJob>,
    ) -> Schedule {
        Schedule {
            name: name.into(),
            rule: rule.into(),
            timezone: None,
            missed: Missed::default(),
            overlap: Overlap::default(),
            job: job.into(),
        }
    }

    /// The time zone of the rule, by its IANA name, like `Europe/Berlin`.
    #[must_use]
    pub fn timezone(mut self, name: impl Into<String>) -> Schedule {
        self.timezone = Some(name.into());
        self
    }

    /// What happens to missed slots; default: one job for all of them.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Schedule {
        self.missed = missed;
        self
    }

    /// What happens at a slot while the last job is not final; default: the next job is enqueued.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Schedule {
        self.overlap = overlap;
        self
    }
}

/// The next `n` slots of a rule after `from`, in the zone's own time; fewer if the rule ends. Without a
/// `timezone` the zone is the default of a [`Schedule`].
///
/// # Errors
/// The rule is invalid or never fires, or the zone is unknown; the message says which.
pub fn next_slots(
    rule: &str,
    timezone: Option<&str>,
    from: Timestamp,
    n: usize,
) -> Result<Vec<Zoned>> {
    let rule = Rule::parse(rule, &zone_or_local(timezone))?;
    let first = rule.first(from.as_millisecond());
    Ok(slots(&rule, first, n))
}

fn slots(rule: &Rule, first: Option<i64>, n: usize) -> Vec<Zoned> {
    std::iter::successors(first, |slot| rule.after(*slot, *slot))
        .take(n)
        .map(|slot| clock::timestamp(slot).to_zoned(rule.time_zone()))
        .collect()
}

pub(crate) fn zone_or_local(timezone: Option<&str>) -> String {
    timezone.map_or_else(clock::local_zone, str::to_owned)
}

/// Where a schedule is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum ScheduleOrigin {
    /// By hand or by a program.
    Added = 0,
    /// In a configuration file: it is removed when the file no longer names it.
    Config = 1,
}

codes!(ScheduleOrigin);

impl ScheduleOrigin {
    const ALL: [ScheduleOrigin; 2] = [ScheduleOrigin::Added, ScheduleOrigin::Config];
}

/// A schedule as the file has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScheduleRecord {
    /// Its name.
    pub name: String,
    /// Its rule.
    pub rule: String,
    /// The time zone of the rule.
    pub timezone: String,
    /// What happens to missed slots.
    pub missed: Missed,
    /// What happens at a slot while its last job is not final.
    pub overlap: Overlap,
    /// The job that it enqueues: an object with `kind`, `payload` and the options, durations as `…_ms`.
    pub job: Box<RawValue>,
    /// Where it is defined.
    pub origin: ScheduleOrigin,
    /// The configuration file that declares it, if [`origin`](Self::origin) is one. None if it was declared
    /// before jobq recorded the file.
    pub declared_by: Option<String>,
    /// Its next slot. None: the rule has no further one, or can no longer be read.
    pub next_at: Option<Timestamp>,
    /// The last slot that was enqueued or skipped.
    pub last_at: Option<Timestamp>,
    /// The last job that it enqueued.
    pub last_job: Option<JobId>,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed, paused or resumed.
    pub updated_at: Timestamp,
}

impl ScheduleRecord {
    /// Its next `n` slots, in its own zone's time; fewer if the rule ends.
    ///
    /// # Errors
    /// The rule can no longer be read.
    pub fn next_slots(&self, n: usize) -> Result<Vec<Zoned>> {
        let rule = Rule::parse(&self.rule, &self.timezone)?;
        Ok(slots(&rule, self.next_at.map(Timestamp::as_millisecond), n))
    }
}

/// The result of adding a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleChange {
    /// It is new.
    Added,
    /// A schedule of this name existed and was changed.
    Changed,
    /// The same schedule existed already.
    Unchanged,
}

/// The result of applying a configuration file's schedules to the database, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchedulesSynced {
    /// New schedules.
    pub added: Vec<String>,
    /// Schedules that existed and were changed.
    pub changed: Vec<String>,
    /// Schedules that the configuration no longer names.
    pub removed: Vec<String>,
    /// Schedules that another configuration file had declared, with its name; they now belong to this file.
    pub taken_over: Vec<(String, String)>,
}
