//! Times and durations as programs and as people read them.

use std::time::Duration;

use jiff::Timestamp;

/// `2026-03-01T12:00:00.000Z`.
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// `18:30:05`, where the person is.
pub fn time_of_day(at: Timestamp) -> String {
    let local = at.to_zoned(jiff::tz::TimeZone::system());
    local.strftime("%H:%M:%S").to_string()
}

/// `3s ago`, `in 5m`, `now`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let ms = at.as_millisecond().saturating_sub(now.as_millisecond());
    let apart = coarse(Duration::from_millis(ms.unsigned_abs()));
    match ms {
        -999..=999 => "now".to_owned(),
        1000.. => format!("in {apart}"),
        _ => format!("{apart} ago"),
    }
}

/// In its one or two largest units, cut: `45s`, `4m 10s`, `12m`, `3h 20m`, `2d 5h`, `120d`.
pub fn coarse(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..600 if !seconds.is_multiple_of(60) => format!("{minutes}m {}s", seconds % 60),
        60..3600 => format!("{minutes}m"),
        3600..86_400 if minutes == 0 => format!("{hours}h"),
        3600..86_400 => format!("{hours}h {minutes}m"),
        86_400..864_000 if hours > 0 => format!("{days}d {hours}h"),
        _ => format!("{days}d"),
    }
}

/// How long something took or may take: `40ms`, `2.5s`, `1m 30s`.
pub fn duration(span: Duration) -> String {
    let ms = span.as_millis();
    match ms {
        0..1000 => return format!("{ms}ms"),
        1000..60_000 => {
            let tenths = ms / 100;
            return match tenths % 10 {
                0 => format!("{}s", tenths / 10),
                tenth => format!("{}.{tenth}s", tenths / 10),
            };
        }
        _ => {}
    }
    let seconds = span.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let spelled: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    spelled.join(" ")
}

/// A duration in the milliseconds of a JSON field.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn machine_times_are_utc_with_milliseconds() {
        assert_eq!(rfc3339(at(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(at(1_772_366_400_007)), "2026-03-01T12:00:00.007Z");
    }

    #[test]
    fn near_times_are_fine_and_far_ones_coarse() {
        let now = at(1_772_366_400_000);
        for (ms, text) in [
            (0, "now"),
            (-999, "now"),
            (-3000, "3s ago"),
            (59_999, "in 59s"),
            (300_000, "in 5m"),
            (299_999, "in 4m 59s"),
            (-725_000, "12m ago"),
            (-3_600_000, "1h ago"),
            (-12_000_000, "3h 20m ago"),
            (-190_800_000, "2d 5h ago"),
            (-86_400_000 * 120, "120d ago"),
        ] {
            assert_eq!(relative(at(1_772_366_400_000 + ms), now), text);
        }
    }

    #[test]
    fn durations_are_spelled_as_people_write_them() {
        for (ms, text) in [
            (0, "0ms"),
            (40, "40ms"),
            (2500, "2.5s"),
            (59_999, "59.9s"),
            (60_000, "1m"),
            (90_000, "1m 30s"),
            (3_600_000, "1h"),
            (3_605_000, "1h 5s"),
            (90_061_000, "1d 1h 1m 1s"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }
}
