//! A schedule's timetable: a cron expression in a time zone, or an interval.
//!
//! What happens where clocks are changed is `croner`'s rule, which is that of Vixie cron. A rule with
//! one second, one minute and one hour is a *fixed time*; every other is a *wildcard*.
//!
//! | | the hour is left out | the hour comes twice |
//! |---|---|---|
//! | fixed time, in that hour | once, at the first moment after the gap | once, the first time |
//! | wildcard | what lies in the gap is left out | both times |
//!
//! So `0 * * * *` fires every hour that passes, and a daily job once for each day. The one exception:
//! where the first moment after the gap is another day that the rule does not name (the gap is at
//! midnight), the slot falls away.

use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, Weekday};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

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
    Cron { cron: Box<Cron>, zone: TimeZone },
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
     (with seconds in front), @daily, or '@every 10m'; `jobq schedule next RULE` shows what one means";

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

    /// A rule that was checked when it was added: what an interval's zone is does not matter.
    pub(crate) fn stored(text: &str, zone: &str) -> Result<Rule> {
        Rule::parse(text, if is_interval(text) { "UTC" } else { zone })
    }

    /// As it was written, with single blanks.
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
            Timetable::Cron { cron, zone } => search(moment_ms, 1, |second| {
                let from = second.to_zoned(zone.clone());
                cron.find_next_occurrence(&from, false).ok()
            }),
        }
    }

    /// The last slot that is not after `moment_ms`; of an interval, as [`Rule::after`] counts them.
    pub(crate) fn at_or_before(&self, moment_ms: i64, slot_ms: i64) -> Option<i64> {
        match &self.timetable {
            Timetable::Every { step_ms } => latest_step(moment_ms, slot_ms, *step_ms),
            Timetable::Cron { cron, zone } => search(moment_ms, -1, |second| {
                let from = second.to_zoned(zone.clone());
                cron.find_previous_occurrence(&from, true).ok()
            }),
        }
    }

    /// The zone itself; none for an interval.
    pub(crate) fn time_zone(&self) -> TimeZone {
        match &self.timetable {
            Timetable::Cron { zone, .. } => zone.clone(),
            Timetable::Every { .. } => TimeZone::get(&self.zone).unwrap_or(TimeZone::UTC),
        }
    }
}

/// Looks from the second that `moment_ms` lies in. Where zones once left out whole days `croner` gives
/// up within them: then from a day further on.
fn search(
    moment_ms: i64,
    direction: i64,
    find: impl Fn(Timestamp) -> Option<jiff::Zoned>,
) -> Option<i64> {
    const DAY_S: i64 = 24 * 60 * 60;
    let second = moment_ms.div_euclid(1000);
    (0..=2).find_map(|days| {
        let from = Timestamp::from_second(second + days * direction * DAY_S).ok()?;
        Some(find(from)?.timestamp().as_millisecond())
    })
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
                "the time zone '{name}' cannot be read: this machine has no database of time zones"
            ))
            .hint("install it (the package tzdata, or the folder /usr/share/zoneinfo); UTC works without it");
        }
        Error::invalid(format!("there is no time zone '{name}'")).hint(
            "zones are named like Europe/Berlin or UTC; \
             `jobq schedule next '0 2 * * *' --tz ZONE` tries one",
        )
    })
}

fn unknown_nickname(text: &str) -> Error {
    let names = NICKNAMES.map(|(name, _)| name).join(", ");
    Error::invalid(format!("unknown rule '{text}'"))
        .hint(format!("there are {names} and '@every DURATION'"))
}

fn step_ms(text: &str) -> Result<i64> {
    let invalid = |why: &str| {
        Error::invalid(format!("'@every {text}': {why}"))
            .hint("intervals look like '@every 90s', '@every 1h30m' or '@every 2 days'")
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
    let invalid =
        |why: String| Error::invalid(format!("'{text}' is not a rule: {why}")).hint(LOOKS_LIKE);
    let fields: Vec<&str> = text.split(' ').filter(|field| !field.is_empty()).collect();
    if !(5..=6).contains(&fields.len()) {
        let has = match fields.len() {
            1 => "1 field".to_owned(),
            number => format!("{number} fields"),
        };
        return Err(invalid(format!("it has {has}, and 5 or 6 are needed")));
    }
    check_letters(&fields).map_err(invalid)?;
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build();
    let cron = parser
        .parse(text)
        .map_err(|error| invalid(error.to_string()))?;
    if !has_a_day(&cron) {
        return Err(
            Error::invalid(format!("'{text}' never comes: no year has such a day"))
                .hint("no month has a 32nd, and February no 30th; L is the last day of a month"),
        );
    }
    Ok(Timetable::Cron {
        cron: Box::new(cron),
        zone,
    })
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Names stand only in the fields that have them, and alone: the parser would put their numbers
/// anywhere, and read `1JAN` as 11.
fn check_letters(fields: &[&str]) -> Result<(), String> {
    const TITLES: [&str; 6] = ["second", "minute", "hour", "day", "month", "weekday"];
    for (field, title) in fields.iter().rev().zip(TITLES.iter().rev()) {
        for word in field.to_ascii_uppercase().split([',', '-', '/', '#']) {
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let known = match *title {
                "day" => word == "L" || digits(word.trim_end_matches('W')) || word == "LW",
                "month" => MONTHS.contains(&word) || digits(word),
                "weekday" => {
                    let day = word.strip_suffix('L').unwrap_or(word);
                    WEEKDAYS.contains(&day) || digits(day)
                }
                _ => digits(word),
            };
            if !(known || word == "*" || word == "?") {
                return Err(format!("'{word}' in the field of the {title}"));
            }
        }
    }
    Ok(())
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
