//! Durations, times, rates and tags, as people write them.

use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::{Timestamp, Unit, Zoned};

use crate::api::clock;
use crate::{Rate, When};

/// A duration. The error completes "invalid value".
pub fn duration(text: &str) -> Result<Duration, String> {
    crate::parse_duration(text).map_err(|error| error.to_string())
}

/// `10/1m`: ten in a minute. A unit alone is one of it: `10/m`.
pub fn rate(text: &str) -> Result<Rate, String> {
    let form = || "rates look like 10/1m: at most 10 starts in any minute".to_owned();
    let (jobs, per) = text.split_once('/').ok_or_else(form)?;
    let jobs = jobs.trim().parse().map_err(|_| form())?;
    let per = per.trim();
    let per = match per.starts_with(|first: char| first.is_ascii_alphabetic()) {
        true => duration(&format!("1{per}")),
        false => duration(per),
    };
    Ok(Rate { jobs, per: per? })
}

/// RFC 3339, `HH:MM` (today, or tomorrow where that is over), or `YYYY-MM-DD HH:MM`; without a time
/// zone they are meant in the local one. The error completes "invalid value".
pub fn time(text: &str) -> Result<Timestamp, String> {
    time_after(text, &clock::local_now())
}

fn time_after(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(at) = text.parse::<Zoned>() {
        return Ok(at.timestamp());
    }
    let in_zone = |at: DateTime| at.to_zoned(now.time_zone().clone());
    let local = if let Some(time) = clock_time(text) {
        let today = in_zone(now.date().to_datetime(time));
        match today {
            Ok(today) if today > *now => Ok(today),
            _ => now
                .date()
                .tomorrow()
                .and_then(|tomorrow| in_zone(tomorrow.to_datetime(time))),
        }
    } else {
        text.parse::<DateTime>().and_then(in_zone)
    };
    local
        .map(|at| at.timestamp())
        .map_err(|_| "times look like 18:30, '2026-03-01 18:30' or 2026-03-01T18:30:00Z".to_owned())
}

/// `18:30` or `18:30:15`, and no date.
fn clock_time(text: &str) -> Option<Time> {
    let bytes = text.as_bytes();
    let digits = bytes
        .iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b':');
    let time: Time = text
        .parse()
        .ok()
        .filter(|_| digits && bytes.contains(&b':'))?;
    time.round(Unit::Second).ok()
}

/// By when a job must have begun: a time, or a duration from now. The error completes "invalid value".
pub fn deadline(text: &str) -> Result<When, String> {
    if let Ok(at) = time(text) {
        return Ok(When::At(at));
    }
    let wrong =
        "deadlines look like 18:30, '2026-03-01 18:30', 2026-03-01T18:30:00Z, or 90s from now";
    duration(text).map(When::In).map_err(|_| wrong.to_owned())
}

/// `NAME=VALUE`. The error completes "invalid value".
pub fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("tags look like NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let day = 24 * 3600;
        for (text, ms) in [
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2 days", 2 * day * 1000),
            ("1 week", 7 * day * 1000),
            ("1d12h", day * 1500),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("0s", 0),
            (" 5 minutes ", 300_000),
            ("PT5M", 300_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn a_bad_duration_is_told_why() {
        for (text, why) in [
            ("90", "90s"),
            ("", "look like"),
            ("soon", "look like"),
            ("-5s", "negative"),
            ("5s ago", "negative"),
            ("1 month", "days"),
            ("1y", "days"),
            ("1h 2months", "look like"),
        ] {
            let error = duration(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    fn at(text: &str) -> Result<String, String> {
        let now: Zoned = "2026-03-28T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        time_after(text, &now).map(|at| at.to_string())
    }

    #[test]
    fn times_without_a_zone_are_local() {
        for (text, utc) in [
            ("2026-03-01T18:30:00Z", "2026-03-01T18:30:00Z"),
            ("2026-03-01T18:30:00+02:00", "2026-03-01T16:30:00Z"),
            ("2026-03-01 18:30", "2026-03-01T17:30:00Z"),
            ("2026-07-01 18:30:15", "2026-07-01T16:30:15Z"),
            ("2026-07-01T18:30[America/New_York]", "2026-07-01T22:30:00Z"),
            ("13:00", "2026-03-28T12:00:00Z"),
            ("12:00:01", "2026-03-28T11:00:01Z"),
        ] {
            assert_eq!(at(text).as_deref(), Ok(utc), "{text}");
        }
    }

    #[test]
    fn a_time_that_is_over_today_is_meant_for_tomorrow() {
        // The clocks go forward that night: 02:30 does not exist and becomes 03:30.
        assert_eq!(at("12:00").as_deref(), Ok("2026-03-29T10:00:00Z"));
        assert_eq!(at("02:30").as_deref(), Ok("2026-03-29T01:30:00Z"));
    }

    #[test]
    fn a_bad_time_is_shown_good_ones() {
        for text in ["", "noon", "25:00", "1830", "2026-02-30 10:00", "12:00pm"] {
            assert!(at(text).unwrap_err().contains("18:30"), "{text}");
        }
    }

    #[test]
    fn a_deadline_is_a_time_or_a_duration_from_now() {
        let fixed = "2026-03-01T18:30:00Z";
        assert_eq!(deadline(fixed), Ok(When::At(fixed.parse().unwrap())));
        let left = Duration::from_secs(5400);
        assert_eq!(deadline("1h30m"), Ok(When::In(left)));
        for text in ["", "soon", "-5s", "90"] {
            assert!(deadline(text).unwrap_err().contains("18:30"), "{text}");
        }
    }

    #[test]
    fn a_tag_has_a_name_and_a_value() {
        let tag = |text| tag(text).map_err(|_| ());
        assert_eq!(tag("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(tag("a="), Ok(("a".to_owned(), String::new())));
        assert_eq!((tag("a"), tag("=b"), tag("")), (Err(()), Err(()), Err(())));
    }
}
