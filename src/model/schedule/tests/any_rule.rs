//! Any rule, in zones of all habits, near the changes of their clocks.

use super::*;

/// Zones of all habits: none, whole and half hours, at midnight, in the other hemisphere, two hours.
const ZONES: [&str; 16] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "America/Nuuk",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Pacific/Chatham",
    "Antarctica/Troll",
];

fn field(range: std::ops::RangeInclusive<u32>) -> BoxedStrategy<String> {
    let (low, high) = (*range.start(), *range.end());
    prop_oneof![
        3 => Just("*".to_owned()),
        4 => range.clone().prop_map(|value| value.to_string()),
        1 => (2..=(high / 2).max(3)).prop_map(|step| format!("*/{step}")),
        1 => (range.clone(), range.clone()).prop_map(|(a, b)| format!("{a},{b}")),
        1 => (range.clone(), range).prop_map(move |(a, b)| format!("{}-{}", a.min(b).max(low), a.max(b))),
    ]
    .boxed()
}

fn time_of_day() -> impl Strategy<Value = String> {
    // Most changes of the clock are at these hours.
    let hour = prop_oneof![2 => field(0..=3), 1 => field(0..=23), 1 => Just("*".to_owned())];
    let second = prop_oneof![3 => Just("0".to_owned()), 1 => field(0..=59)];
    (second, field(0..=59), hour).prop_map(|(s, m, h)| format!("{s} {m} {h}"))
}

fn days() -> impl Strategy<Value = String> {
    let day = prop_oneof![
        4 => Just("*".to_owned()), 2 => field(1..=31), 1 => Just("L".to_owned()),
        1 => (1..=28).prop_map(|day| format!("{day}W")), 1 => Just("LW".to_owned())
    ];
    let month = prop_oneof![4 => Just("*".to_owned()), 1 => field(1..=12)];
    let weekday = prop_oneof![
        4 => Just("*".to_owned()), 2 => field(0..=6), 1 => (0..=6).prop_map(|day| format!("{day}L")),
        1 => (0..=6, 1..=4).prop_map(|(day, nth)| format!("{day}#{nth}"))
    ];
    (day, month, weekday).prop_map(|(d, m, w)| format!("{d} {m} {w}"))
}

fn zone() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&ZONES[..])
}

/// A moment near a change of the zone's clock in one of the years, or any moment.
fn near_a_change(zone: &str, year: i16, seed: i64) -> i64 {
    let tz = TimeZone::get(zone).unwrap();
    let from: Timestamp = format!("{year}-01-01T00:00:00Z").parse().unwrap();
    let changes: Vec<i64> = tz
        .following(from)
        .take(2)
        .map(|change| change.timestamp().as_millisecond())
        .collect();
    let near = match changes.get(seed.rem_euclid(3) as usize) {
        Some(change) => *change,
        None => from.as_millisecond() + seed.rem_euclid(365 * 86_400) * 1000,
    };
    near - 86_400_000 * 3 / 2 + seed.rem_euclid(86_400_000)
}

/// Whether a field holds a value, worked out by hand: for plain fields only.
fn holds(field: &str, value: i64, high: i64) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (0, high),
            (_, Some((from, to))) => (from.parse().unwrap(), to.parse().unwrap()),
            (one, None) => (one.parse().unwrap(), one.parse().unwrap()),
        };
        (from..=to).contains(&value) && (value - from) % step.parse::<i64>().unwrap() == 0
    })
}

/// Whether a wall clock time matches the first three fields.
fn matches(text: &str, at: DateTime) -> bool {
    let fields: Vec<&str> = text.split(' ').collect();
    holds(fields[0], at.second().into(), 59)
        && holds(fields[1], at.minute().into(), 59)
        && holds(fields[2], at.hour().into(), 23)
}

/// Whether the rule names its times of day: no wildcard in the minute or the hour.
fn is_fixed(text: &str) -> bool {
    text.split(' ')
        .skip(1)
        .take(2)
        .all(|field| !field.starts_with('*'))
}

/// Some values, as a list, a range, or a range with a step; no wildcard.
fn named(range: std::ops::RangeInclusive<u32>) -> BoxedStrategy<String> {
    let high = *range.end();
    prop_oneof![
        2 => range.clone().prop_map(|value| value.to_string()),
        2 => (range.clone(), range.clone()).prop_map(|(a, b)| format!("{a},{b}")),
        1 => (range.clone(), range.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (range, 2..=9u32).prop_map(move |(a, step)| format!("{a}-{high}/{step}")),
    ]
    .boxed()
}

/// When a time of day is, by hand: the first of two moments, or the first after the gap.
fn moment_of(tz: &TimeZone, time: DateTime) -> i64 {
    let ambiguous = tz.to_ambiguous_timestamp(time);
    let moment = match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => {
            let earlier = ambiguous.earlier().unwrap();
            tz.following(earlier).next().unwrap().timestamp()
        }
        _ => ambiguous.earlier().unwrap(),
    };
    moment.as_millisecond()
}

fn civil(rule: &Rule, slot: i64) -> DateTime {
    let at = Timestamp::from_millisecond(slot).unwrap();
    at.to_zoned(rule.time_zone()).datetime()
}

proptest! {
    #[test]
    fn slots_grow_and_the_way_back_meets_them_all(
        (time, days, zone, year, seed) in (time_of_day(), days(), zone(), 2012i16..2037, 0i64..1 << 40)
    ) {
        let text = format!("{time} {days}");
        let Ok(rule) = Rule::parse(&text, zone) else { return Ok(()) };
        let start = near_a_change(zone, year, seed);
        let found = slots(&rule, start, 24);
        prop_assert_eq!(found.len(), 24);
        prop_assert!(found[0] > start);
        for pair in found.windows(2) {
            let [before, after] = [pair[0], pair[1]];
            prop_assert!(before < after, "{} in {}: {} {}", text, zone, utc(before), utc(after));
            prop_assert_eq!(rule.at_or_before(after - 1, 0), Some(before),
                "{} in {}: before {}, not {}", text, zone, utc(after), utc(before));
            prop_assert_eq!(rule.at_or_before(before, 0), Some(before));
            prop_assert_eq!(rule.after(after - 1, 0), Some(after));
            // From anywhere between two slots, the way leads to the same two.
            let between = before + (after - before) / 2;
            prop_assert_eq!(rule.at_or_before(between, 0), Some(before));
            prop_assert_eq!(rule.after(between, 0), Some(after));
        }
    }

    #[test]
    fn every_slot_matches_the_fields_or_comes_right_after_a_gap(
        (time, zone, year, seed) in (time_of_day(), zone(), 2012i16..2037, 0i64..1 << 40)
    ) {
        let text = format!("{time} * * *");
        let rule = rule(&text, zone);
        for slot in slots(&rule, near_a_change(zone, year, seed), 50) {
            let at = civil(&rule, slot);
            if matches(&text, at) {
                continue;
            }
            prop_assert!(is_fixed(&text), "{} in {}: {}", text, zone, at);
            let just_before = civil(&rule, slot - 1000);
            prop_assert!(at.duration_since(just_before).as_secs() > 1, "{} in {}: {}", text, zone, at);
        }
    }

    #[test]
    fn a_wildcard_comes_at_every_moment_that_matches(
        (minute, zone, year, seed) in (field(0..=59), zone(), 2012i16..2037, 0i64..1 << 40)
    ) {
        let text = format!("0 {minute} * * * *");
        let rule = rule(&text, zone);
        let start = near_a_change(zone, year, seed).div_euclid(60_000) * 60_000;
        let end = start + 2 * 86_400_000;
        let expected: Vec<i64> = (1..=2 * 1440)
            .map(|minute| start + minute * 60_000)
            .filter(|moment| matches(&text, civil(&rule, *moment)))
            .collect();
        let first = rule.first(start);
        let found: Vec<i64> = std::iter::successors(first, |slot| rule.after(*slot, *slot))
            .take_while(|slot| *slot <= end)
            .collect();
        prop_assert_eq!(found, expected, "{} in {}", text, zone);
    }

    #[test]
    fn an_interval_keeps_its_step_in_both_directions(
        (step, slot, moment) in (1i64..100_000, 0i64..1 << 42, 0i64..1 << 42)
    ) {
        let rule = rule(&format!("@every {step}s"), "UTC");
        let before = rule.at_or_before(moment, slot).unwrap();
        let after = rule.after(moment, slot).unwrap();
        prop_assert!(before <= moment && moment < after);
        prop_assert_eq!(after - before, step * 1000);
        prop_assert_eq!((before - slot) % (step * 1000), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_named_time_comes_once_for_every_day(
        (minute, hour, zone, year, seed) in (named(0..=59), named(0..=23), zone(), 2012i16..2037, 0i64..1 << 40)
    ) {
        let text = format!("0 {minute} {hour} * * *");
        let rule = rule(&text, zone);
        let tz = rule.time_zone();
        let start = near_a_change(zone, year, seed);
        let end = start + 4 * 86_400_000;
        let found: Vec<i64> = std::iter::successors(rule.first(start), |slot| rule.after(*slot, *slot))
            .take_while(|slot| *slot <= end)
            .collect();
        let day = civil(&rule, start).date();
        let minutes = (-2i64..7).flat_map(|offset| {
            let day = (day + offset.days()).at(0, 0, 0, 0);
            (0..1440i64).map(move |minute| day + minute.minutes())
        });
        let mut expected: Vec<i64> = minutes
            .filter(|time| matches(&text, *time))
            .map(|time| moment_of(&tz, time))
            .filter(|moment| (start + 1..=end).contains(moment))
            .collect();
        expected.dedup();
        prop_assert_eq!(found, expected, "{} in {}", text, zone);
    }

    #[test]
    fn a_wildcard_in_the_minute_follows_the_clock(
        (minute, hour, zone, year, seed) in
            (prop_oneof![Just("*".to_owned()), Just("*/20".to_owned())], named(0..=23), zone(), 2012i16..2037, 0i64..1 << 40)
    ) {
        let text = format!("0 {minute} {hour} * * *");
        let rule = rule(&text, zone);
        let start = near_a_change(zone, year, seed).div_euclid(60_000) * 60_000;
        let end = start + 2 * 86_400_000;
        let expected: Vec<i64> = (1..=2 * 1440)
            .map(|minute| start + minute * 60_000)
            .filter(|moment| matches(&text, civil(&rule, *moment)))
            .collect();
        let found: Vec<i64> = std::iter::successors(rule.first(start), |slot| rule.after(*slot, *slot))
            .take_while(|slot| *slot <= end)
            .collect();
        prop_assert_eq!(found, expected, "{} in {}", text, zone);
    }
}
