//! A schedule's timetable: a cron expression in a time zone, or an interval. What a change of the clock
//! does to the first is [`wall`](crate::model::schedule::wall)'s.

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, Weekday};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

use crate::model::remedy::Remedy;
use crate::model::schedule::fields;
use crate::model::schedule::wall::Wall;
use crate::{Error, Result};

/// A timetable that has been checked.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    text: String,
    zone: String,
    timetable: Timetable,
}

#[derive(Clone, Debug)]
enum Timetable {
    Cron(Wall),
    Every { step_ms: i64 },
}

/// The shortest interval; cron cannot say less either.
const SHORTEST_MS: i64 = 1000;
/// The longest interval: ten years.
const LONGEST_MS: i64 = 3653 * 24 * 60 * 60 * 1000;

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const LOOKS_LIKE: &str = "rules look like '0 2 * * *' (minute hour day month weekday), '*/10 * * * * *' \
     (with seconds in front), @daily, or '@every 10m'";

impl Rule {
    /// Reads a rule: five or six fields, a nickname, or `@every` with a duration. The zone is an IANA
    /// name.
    pub(crate) fn parse(text: &str, zone: &str) -> Result<Rule> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let time_zone = time_zone(zone)?;
        let zone = time_zone.iana_name().unwrap_or(zone).to_owned();
        let lower = text.to_ascii_lowercase();
        let timetable = if let Some(step) = lower.strip_prefix("@every ") {
            Timetable::Every {
                step_ms: step_ms(step)?,
            }
        } else if lower.starts_with('@') {
            let (_, fields) = NICKNAMES
                .iter()
                .find(|(name, _)| *name == lower)
                .ok_or_else(|| unknown_nickname(&text))?;
            cron(fields, time_zone)?
        } else {
            cron(&text, time_zone)?
        };
        Ok(Rule {
            text,
            zone,
            timetable,
        })
    }

    /// A rule that was checked when it was added. The zone of an interval does not matter.
    pub(crate) fn stored(text: &str, zone: &str) -> Result<Rule> {
        Rule::parse(text, if is_interval(text) { "UTC" } else { zone })
    }

    /// As it was written, with single spaces.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The zone's name as the database of zones spells it.
    pub(crate) fn zone(&self) -> &str {
        &self.zone
    }

    /// Whether it is an interval, which is measured by time that passes and not by the wall clock.
    pub(crate) fn is_interval(&self) -> bool {
        matches!(self.timetable, Timetable::Every { .. })
    }

    /// The first slot of a schedule that begins now.
    pub(crate) fn first(&self, now_ms: i64) -> Option<i64> {
        self.after(now_ms, now_ms)
    }

    /// The first slot after `moment_ms`. An interval's slots are those a whole number of steps from
    /// `slot_ms`.
    pub(crate) fn after(&self, moment_ms: i64, slot_ms: i64) -> Option<i64> {
        match &self.timetable {
            Timetable::Every { step_ms } => {
                latest_step(moment_ms, slot_ms, *step_ms)?.checked_add(*step_ms)
            }
            Timetable::Cron(wall) => Some(wall.after(second_of(moment_ms)?)?.as_millisecond()),
        }
    }

    /// The last slot that is not after `moment_ms`; of an interval, as [`Rule::after`] counts them.
    pub(crate) fn at_or_before(&self, moment_ms: i64, slot_ms: i64) -> Option<i64> {
        match &self.timetable {
            Timetable::Every { step_ms } => latest_step(moment_ms, slot_ms, *step_ms),
            Timetable::Cron(wall) => {
                Some(wall.at_or_before(second_of(moment_ms)?)?.as_millisecond())
            }
        }
    }

    /// The zone itself; none for an interval.
    pub(crate) fn time_zone(&self) -> TimeZone {
        match &self.timetable {
            Timetable::Cron(wall) => wall.zone().clone(),
            Timetable::Every { .. } => TimeZone::get(&self.zone).unwrap_or(TimeZone::UTC),
        }
    }
}

/// The second that a moment lies in.
fn second_of(moment_ms: i64) -> Option<Timestamp> {
    Timestamp::from_second(moment_ms.div_euclid(1000)).ok()
}

fn latest_step(moment_ms: i64, slot_ms: i64, step_ms: i64) -> Option<i64> {
    let since = moment_ms.checked_sub(slot_ms)?;
    slot_ms.checked_add(since.div_euclid(step_ms).checked_mul(step_ms)?)
}

/// Whether a rule that was stored can be read on this machine. Its zone was known where it was added;
/// a small container may have no database of zones. Intervals need none.
pub(crate) fn is_readable_here(text: &str, zone: &str) -> bool {
    is_interval(text) || time_zone(zone).is_ok()
}

fn is_interval(text: &str) -> bool {
    let word = text.trim_start().get(..6);
    word.is_some_and(|word| word.eq_ignore_ascii_case("@every"))
}

/// UTC is known without a database of zones.
fn time_zone(name: &str) -> Result<TimeZone> {
    if name.eq_ignore_ascii_case("UTC") {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| {
        if jiff::tz::db().available().next().is_none() {
            return Error::invalid(format!(
                "the time zone '{name}' cannot be read: this machine has no time zone data"
            ))
            .with_hint("install it (the package tzdata, or the folder /usr/share/zoneinfo); UTC works without it");
        }
        Error::invalid(format!("there is no time zone '{name}'"))
            .with_hint("zones are named like Europe/Berlin or UTC")
            .with_remedy(Remedy::PreviewRule)
    })
}

fn unknown_nickname(text: &str) -> Error {
    let names = NICKNAMES.map(|(name, _)| name).join(", ");
    Error::invalid(format!("unknown rule '{text}'"))
        .with_hint(format!("there are {names} and '@every DURATION'"))
}

fn step_ms(text: &str) -> Result<i64> {
    let invalid = |why: &str| {
        Error::invalid(format!("'@every {text}': {why}"))
            .with_hint("intervals look like '@every 90s', '@every 1h30m' or '@every 2 days'")
    };
    let span: Span = text.parse().map_err(|_| invalid("it is not a duration"))?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(invalid(
            "months and years differ in length; say it in days, or as a cron expression",
        ));
    }
    let step_ms = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .ok()
        .and_then(|step| i64::try_from(step.as_millis()).ok())
        .ok_or_else(|| invalid("it is too long"))?;
    match step_ms {
        ..SHORTEST_MS => Err(invalid("the shortest interval is 1s")),
        SHORTEST_MS..=LONGEST_MS => Ok(step_ms),
        _ => Err(invalid("the longest interval is ten years")),
    }
}

fn cron(text: &str, zone: TimeZone) -> Result<Timetable> {
    let invalid = |why: String| {
        Error::invalid(format!("'{text}' is not a rule: {why}"))
            .with_hint(LOOKS_LIKE)
            .with_remedy(Remedy::PreviewRule)
    };
    fields::check(text).map_err(invalid)?;
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build();
    let cron = parser.parse(text).map_err(|error| invalid(plain(&error)))?;
    if !has_a_day(&cron) {
        return Err(
            Error::invalid(format!("'{text}' never fires: no year has such a day")).with_hint(
                "no month has a 32nd, and February no 30th; L is the last day of a month",
            ),
        );
    }
    Ok(Timetable::Cron(Wall::new(
        cron,
        zone,
        fields::follows(text),
    )))
}

/// What the parser says, without the name of what it says it of.
fn plain(error: &CronError) -> String {
    match error {
        CronError::ComponentError(why)
        | CronError::InvalidPattern(why)
        | CronError::IllegalCharacters(why) => why.clone(),
        other => other.to_string(),
    }
}

/// Whether any date matches. The calendar repeats every 400 years, weekdays included.
fn has_a_day(cron: &Cron) -> bool {
    let pattern = &cron.pattern;
    let months: Vec<i8> = (1..=12)
        .filter(|month| pattern.month_match(*month as u32).unwrap_or(false))
        .collect();
    let first_days = (2000..2400).flat_map(|year| {
        months
            .iter()
            .filter_map(move |month| Date::new(year, *month, 1).ok())
    });
    first_days
        .flat_map(|first| {
            first
                .series(jiff::ToSpan::days(1))
                .take(first.days_in_month() as usize)
        })
        .any(|date| {
            let weekday = Weekday::from_days_from_sunday(
                date.weekday().to_sunday_zero_offset().unsigned_abs().into(),
            );
            let (year, month, day) = (date.year(), date.month(), date.day());
            pattern
                .day_match(year.into(), month as u32, day as u32, weekday)
                .unwrap_or(false)
        })
}
