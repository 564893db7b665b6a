//! Schedules: a named rule and the job that it enqueues at each of its slots.

mod fields;
pub(crate) mod firing;
pub(crate) mod rule;
#[cfg(test)]
mod tests;
mod wall;

use std::fmt;
use std::str::FromStr;

use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::schedule::rule::Rule;
use crate::{Error, Result, clock};

/// Where a job of a schedule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobOrigin {
    /// The schedule's name.
    pub(crate) schedule: String,
    /// The slot that the job is for, in milliseconds since 1970; none where somebody asked the schedule for a
    /// job.
    pub(crate) slot_ms: Option<i64>,
}

/// What becomes of slots that passed while no runner was there: those that are more than a minute
/// late, and those that a later one has overtaken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
#[non_exhaustive]
pub enum Missed {
    /// They are let pass.
    Skip = 0,
    /// One job makes up for all of them, in the name of the last.
    #[default]
    Once = 1,
    /// Each gets its job, but no more than the last 100.
    All = 2,
}

/// What happens at a slot while the schedule's last job is not final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
#[non_exhaustive]
pub enum Overlap {
    /// The next one is enqueued all the same.
    #[default]
    Allow = 0,
    /// The slot is let pass.
    Skip = 1,
}

impl Missed {
    /// Every policy.
    pub const ALL: [Missed; 3] = [Missed::Skip, Missed::Once, Missed::All];

    /// The lower-case name used in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Missed::Skip => "skip",
            Missed::Once => "once",
            Missed::All => "all",
        }
    }

    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<Missed> {
        Missed::ALL.into_iter().find(|missed| missed.code() == code)
    }
}

impl Overlap {
    /// Every policy.
    pub const ALL: [Overlap; 2] = [Overlap::Allow, Overlap::Skip];

    /// The lower-case name used in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Overlap::Allow => "allow",
            Overlap::Skip => "skip",
        }
    }

    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<Overlap> {
        Overlap::ALL
            .into_iter()
            .find(|overlap| overlap.code() == code)
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Missed {
    type Err = Error;

    fn from_str(name: &str) -> Result<Missed> {
        let found = Missed::ALL
            .into_iter()
            .find(|missed| missed.as_str() == name);
        found.ok_or_else(|| {
            Error::invalid(format!("unknown policy for missed slots '{name}'"))
                .with_hint("there are skip, once and all")
        })
    }
}

impl FromStr for Overlap {
    type Err = Error;

    fn from_str(name: &str) -> Result<Overlap> {
        let found = Overlap::ALL
            .into_iter()
            .find(|overlap| overlap.as_str() == name);
        found.ok_or_else(|| {
            Error::invalid(format!("unknown policy for overlaps '{name}'"))
                .with_hint("there are allow and skip")
        })
    }
}

/// A schedule to be added: a name, a rule, and the job that each slot of the rule enqueues.
///
/// The rule has five fields (minute, hour, day of the month, month, weekday) or six (a second in
/// front), with names (`MON-FRI`), lists, ranges and steps, `L` (the last day, or `FRIL` the last
/// Friday), `15W` (the weekday nearest to the 15th) and `MON#2` (the second Monday). Where both a day
/// of the month and a weekday are given, either will do. Or it is one of `@yearly`, `@monthly`,
/// `@weekly`, `@daily`, `@midnight` and `@hourly`, or an interval from one second to ten years:
/// `@every 10m`.
///
/// **Where clocks are changed.** A rule with one second, one minute and one hour is a fixed time:
/// where the hour is left out, it comes at the first moment after it, if that is a day that the rule
/// names; where the hour comes twice, it comes the first time. Any other rule follows the clock on the wall: what is left out it leaves
/// out, what comes twice comes twice. Intervals know no time zone.
///
/// **When the clock is set.** Forward: the slots between were missed. Back: a slot that has come does
/// not come again, unless the schedule would be silent for more than two of its slots; then it goes
/// on from the new time.
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
    /// A schedule in the system's time zone, or UTC where that has no name.
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

    /// The time zone in which the rule is meant, by its IANA name, like `Europe/Berlin`.
    #[must_use]
    pub fn timezone(mut self, name: impl Into<String>) -> Schedule {
        self.timezone = Some(name.into());
        self
    }

    /// What becomes of slots that passed while no runner was there; one job for all unless set.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Schedule {
        self.missed = missed;
        self
    }

    /// What happens at a slot while the last job is not final; allowed unless set.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Schedule {
        self.overlap = overlap;
        self
    }
}

/// The next `n` slots of a rule after `from`, in the zone's own time; fewer where the rule ends. For
/// `timezone` none means what it does for a [`Schedule`].
///
/// # Errors
/// The rule cannot be read or never comes, or there is no such zone; the message says which.
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

/// Who says what a schedule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum ScheduleOrigin {
    /// It was added by hand or by a program.
    Added = 0,
    /// A configuration file: it goes when that file no longer names it.
    Config = 1,
}

impl ScheduleOrigin {
    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<ScheduleOrigin> {
        [ScheduleOrigin::Added, ScheduleOrigin::Config]
            .into_iter()
            .find(|origin| origin.code() == code)
    }
}

/// A schedule as the file has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScheduleRecord {
    /// Its name.
    pub name: String,
    /// Its rule.
    pub rule: String,
    /// The zone in which the rule is meant.
    pub timezone: String,
    /// What becomes of missed slots.
    pub missed: Missed,
    /// What happens while its last job is not final.
    pub overlap: Overlap,
    /// What it enqueues: an object with `kind`, `payload` and the options, durations as `…_ms`.
    pub job: Box<RawValue>,
    /// Who says what it is.
    pub origin: ScheduleOrigin,
    /// The configuration file that declares it, where [`origin`](Self::origin) says that one does. None:
    /// it was declared before jobq noted the file.
    pub declared_by: Option<String>,
    /// Its next slot. None: there is no further one, or the rule can no longer be read.
    pub next_at: Option<Timestamp>,
    /// The last slot that was enqueued or let pass.
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
    /// Its next `n` slots, in its own zone's time; fewer where the rule ends.
    ///
    /// # Errors
    /// The rule can no longer be read.
    pub fn next_slots(&self, n: usize) -> Result<Vec<Zoned>> {
        let rule = Rule::parse(&self.rule, &self.timezone)?;
        Ok(slots(&rule, self.next_at.map(Timestamp::as_millisecond), n))
    }
}

/// What adding a schedule came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleChange {
    /// It is new.
    Added,
    /// There was one of this name, and it was another.
    Changed,
    /// It is there already, as it is.
    Unchanged,
}

/// What bringing the schedules of a configuration file into a queue's file came to, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchedulesSynced {
    /// Those that were not there.
    pub added: Vec<String>,
    /// Those that were there and are another now.
    pub changed: Vec<String>,
    /// Those that the configuration no longer names.
    pub removed: Vec<String>,
    /// Those that another configuration file had declared, with its name: they belong to this one now.
    pub taken_over: Vec<(String, String)>,
}
