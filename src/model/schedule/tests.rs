//! What a rule means: against an independent implementation, and at changes of the clock.

mod any_rule;
mod missed;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;

use crate::model::remedy::Remedy;
use crate::model::schedule::firing::{MOST_MISSED, Stand};
use crate::model::schedule::rule::Rule;
use crate::model::schedule::{Missed, firing};

fn rule(text: &str, zone: &str) -> Rule {
    Rule::parse(text, zone).unwrap()
}

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn utc(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap().to_string()
}

/// The next so many slots after a moment.
fn slots(rule: &Rule, after_ms: i64, n: usize) -> Vec<i64> {
    let first = rule.first(after_ms);
    std::iter::successors(first, |slot| rule.after(*slot, *slot))
        .take(n)
        .collect()
}

fn wall(rule: &Rule, after: &str, n: usize) -> Vec<String> {
    let zone = rule.time_zone();
    let show = |slot: i64| {
        let local = Timestamp::from_millisecond(slot)
            .unwrap()
            .to_zoned(zone.clone());
        local.strftime("%d %H:%M %:z").to_string()
    };
    slots(rule, ms(after), n).into_iter().map(show).collect()
}

#[test]
fn slots_are_those_of_an_independent_implementation() {
    let table = include_str!("../../../tests/data/cron.tsv");
    let mut compared = 0;
    let mut wrong = Vec::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [text, zone, start, expected @ ..] = &fields[..] else {
            panic!("{line}");
        };
        let rule = rule(text, zone);
        let found: Vec<String> = slots(&rule, ms(start), expected.len())
            .into_iter()
            .map(utc)
            .collect();
        if found != expected {
            wrong.push(format!(
                "{text} {zone} {start}: {found:?}, not {expected:?}"
            ));
        }
        compared += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {compared}: {:#?}",
        wrong.len(),
        wrong
    );
    assert!(compared > 500, "{compared}");
}

#[test]
fn cron_letters_mean_last_day_nearest_weekday_and_nth_weekday() {
    for (text, expected) in [
        // 2025-11-01 is a Saturday, 2025-11-30 a Sunday.
        ("0 0 1W * *", "2025-11-03T00:00:00Z"),
        ("0 0 15W * *", "2025-11-14T00:00:00Z"),
        ("0 0 30W 11 *", "2025-11-28T00:00:00Z"),
        ("0 0 LW * *", "2025-11-28T00:00:00Z"),
        ("0 0 L * *", "2025-11-30T00:00:00Z"),
        ("0 0 * * monl", "2025-11-24T00:00:00Z"),
        ("0 0 * * TUE#3", "2025-11-18T00:00:00Z"),
        ("0 0 0 L-0 11 *", ""),
        ("@midnight", "2025-11-02T00:00:00Z"),
        ("@Hourly", "2025-11-01T13:00:00Z"),
        ("@every 36h", "2025-11-03T00:00:00Z"),
        ("@every 1h 30m", "2025-11-01T13:30:00Z"),
        ("  0   0  *  *  *  ", "2025-11-02T00:00:00Z"),
    ] {
        let after = ms("2025-11-01T12:00:00Z");
        match Rule::parse(text, "UTC") {
            Ok(rule) => assert_eq!(
                rule.first(after).map(utc).as_deref(),
                Some(expected),
                "{text}"
            ),
            Err(error) => assert_eq!(expected, "", "{text}: {error}"),
        }
    }
}

#[test]
fn a_rule_that_cannot_be_read_is_told_why() {
    for (text, why) in [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * * *", "7 fields"),
        ("60 * * * *", "60"),
        ("* 24 * * *", "24"),
        ("* * 0 * *", "0"),
        ("* * * 13 *", "13"),
        ("* * * * 8", "8"),
        ("1JAN * * * *", "1JAN"),
        ("0 0 1JAN * *", "1JAN"),
        ("0 0 * MON *", "MON"),
        ("0 0 * * SUNDAY", "SUNDAY"),
        ("every day", "2 fields"),
        ("@dialy", "@dialy"),
        ("@every", "@every"),
        ("@every soon", "not a duration"),
        ("@every 0s", "shortest"),
        ("@every 999ms", "shortest"),
        ("@every -5m", "shortest"),
        ("@every 2 months", "days"),
        ("@every 4000 days", "ten years"),
        ("@every 10000000 weeks", "@every"),
    ] {
        let error = Rule::parse(text, "UTC").unwrap_err();
        assert!(error.is_invalid_input(), "{text}");
        assert!(error.to_string().contains(why), "{text}: {error}");
        assert!(error.hint().is_some(), "{text}");
    }
    let error = Rule::parse("0 0 * * *", "Europe/Berln").unwrap_err();
    assert!(error.to_string().contains("Europe/Berln"), "{error}");
    assert_eq!(error.remedy(), Some(&Remedy::PreviewRule));
}

#[test]
fn a_date_that_no_year_has_is_refused_at_once() {
    let began = crate::clock::instant();
    for text in [
        "0 0 31 2 *",
        "0 0 30 FEB *",
        "0 0 0 31 4,6,9,11 *",
        "0 0 31 2-2 ?",
    ] {
        let error = Rule::parse(text, "UTC").unwrap_err();
        assert!(error.to_string().contains("never fires"), "{text}: {error}");
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    // Rare is not never; and either a day or a weekday will do.
    for (text, expected) in [
        ("0 0 29 2 *", "2096-02-29T00:00:00Z"),
        ("0 0 31 2 MON", "2095-02-07T00:00:00Z"),
    ] {
        let first = rule(text, "UTC").first(ms("2095-01-31T00:00:00Z"));
        assert_eq!(first.map(utc).as_deref(), Some(expected), "{text}");
    }
    // 2100 is no leap year.
    let first = rule("0 0 29 2 *", "UTC").first(ms("2096-03-01T00:00:00Z"));
    assert_eq!(first.map(utc).as_deref(), Some("2104-02-29T00:00:00Z"));
}

#[test]
fn zones_are_known_by_the_name_that_the_database_gives_them() {
    assert_eq!(rule("@daily", "europe/berlin").zone(), "Europe/Berlin");
    assert_eq!(rule("@every 5m", "utc").zone(), "UTC");
}

/// Berlin: on 2024-03-31 the clock goes from 02:00 to 03:00.
#[test]
fn where_an_hour_is_left_out_a_fixed_time_comes_right_after_it() {
    let after = "2024-03-30T12:00:00Z";
    assert_eq!(
        wall(&rule("30 2 * * *", "Europe/Berlin"), after, 2),
        ["31 03:00 +02:00", "01 02:30 +02:00"]
    );
    assert_eq!(
        wall(
            &rule("0 * * * *", "Europe/Berlin"),
            "2024-03-31T00:30:00Z",
            2
        ),
        ["31 03:00 +02:00", "31 04:00 +02:00"]
    );
    assert_eq!(
        wall(&rule("*/20 2 * * *", "Europe/Berlin"), after, 2),
        ["01 02:00 +02:00", "01 02:20 +02:00"]
    );
    assert_eq!(
        wall(&rule("0 2,14 * * *", "Europe/Berlin"), after, 3),
        ["30 14:00 +01:00", "31 03:00 +02:00", "31 14:00 +02:00"]
    );
    // Times of one gap come together, also with the one that follows it.
    assert_eq!(
        wall(&rule("0,30 2-3 * * *", "Europe/Berlin"), after, 3),
        ["31 03:00 +02:00", "31 03:30 +02:00", "01 02:00 +02:00"]
    );
}

/// The report: a list of hours on the day of the change. Berlin: 2027-03-28, 2027-10-31.
#[test]
fn a_list_of_hours_comes_once_each_on_the_days_of_the_change() {
    assert_eq!(
        wall(
            &rule("0 2,14 28 3 *", "Europe/Berlin"),
            "2027-01-01T00:00:00Z",
            2
        ),
        ["28 03:00 +02:00", "28 14:00 +02:00"]
    );
    assert_eq!(
        wall(
            &rule("0 2,14 31 10 *", "Europe/Berlin"),
            "2027-01-01T00:00:00Z",
            2
        ),
        ["31 02:00 +02:00", "31 14:00 +01:00"]
    );
    assert_eq!(
        wall(
            &rule("0 0-23 31 10 *", "Europe/Berlin"),
            "2027-10-30T23:30:00Z",
            3
        ),
        ["31 02:00 +02:00", "31 03:00 +01:00", "31 04:00 +01:00"]
    );
    assert_eq!(
        wall(
            &rule("0 */2 31 10 *", "Europe/Berlin"),
            "2027-10-30T23:30:00Z",
            3
        ),
        ["31 02:00 +02:00", "31 02:00 +01:00", "31 04:00 +01:00"]
    );
}

/// Berlin: on 2024-10-27 the clock goes from 03:00 back to 02:00.
#[test]
fn a_repeated_hour_fires_fixed_times_once_and_wildcards_twice() {
    assert_eq!(
        wall(
            &rule("30 2 * * *", "Europe/Berlin"),
            "2024-10-26T12:00:00Z",
            2
        ),
        ["27 02:30 +02:00", "28 02:30 +01:00"]
    );
    assert_eq!(
        wall(
            &rule("0 * * * *", "Europe/Berlin"),
            "2024-10-26T23:30:00Z",
            3
        ),
        ["27 02:00 +02:00", "27 02:00 +01:00", "27 03:00 +01:00"]
    );
    assert_eq!(
        wall(
            &rule("0,30 2 * * *", "Europe/Berlin"),
            "2024-10-26T12:00:00Z",
            3
        ),
        ["27 02:00 +02:00", "27 02:30 +02:00", "28 02:00 +01:00"]
    );
    assert_eq!(
        wall(
            &rule("*/30 2 * * *", "Europe/Berlin"),
            "2024-10-26T12:00:00Z",
            5
        ),
        [
            "27 02:00 +02:00",
            "27 02:30 +02:00",
            "27 02:00 +01:00",
            "27 02:30 +01:00",
            "28 02:00 +01:00"
        ]
    );
}

/// Nuuk: on 2024-03-30 at 23:00 the clock goes to midnight, and the day that follows is no Saturday.
#[test]
fn a_time_that_the_clock_skips_comes_on_the_next_day() {
    let after = "2024-03-30T12:00:00Z";
    assert_eq!(
        wall(&rule("30 23 * * SAT", "America/Nuuk"), after, 2),
        ["31 00:00 -01:00", "06 23:30 -01:00"]
    );
    assert_eq!(
        wall(&rule("30 23 * * *", "America/Nuuk"), after, 2),
        ["31 00:00 -01:00", "31 23:30 -01:00"]
    );
}

#[test]
fn a_day_that_a_zone_left_out_does_not_end_a_schedule() {
    // Samoa had no 30 December 2011.
    let apia = rule("0 12 * * *", "Pacific/Apia");
    let days: Vec<String> = wall(&apia, "2011-12-29T00:00:00Z", 4);
    assert_eq!(days[0], "29 12:00 -10:00");
    assert!(
        days[1..].contains(&"01 12:00 +14:00".to_owned()),
        "{days:?}"
    );
    let back = apia.at_or_before(ms("2012-01-02T12:00:00Z"), 0);
    assert!(back.is_some_and(|slot| slot > ms("2012-01-01T00:00:00Z")));
}
