//! What the status of a response means.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;

/// What follows from a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusClass {
    /// The request was served.
    Success,
    /// It may be served another time.
    Temporary,
    /// The same request will never be served.
    Final,
}

impl StatusClass {
    pub(crate) fn of(status: u16) -> StatusClass {
        match status {
            200..300 => StatusClass::Success,
            // The server has no code for what is asked of it, or a login page stands in between.
            501 | 505 | 511 => StatusClass::Final,
            408 | 423 | 425 | 429 | 500..600 => StatusClass::Temporary,
            _ => StatusClass::Final,
        }
    }
}

/// When a server asks to come back.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How long a server asks to wait, by its header `retry-after`: seconds, or a date. At least a second and at most
/// a day.
pub(crate) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    let wait = match header.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) => LONGEST,
        Err(_) => {
            let at = date(header)?;
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.clamp(SHORTEST, LONGEST))
}

/// A date in one of the three forms that HTTP has had (RFC 9110, section 5.6.7).
fn date(text: &str) -> Option<Timestamp> {
    if let Ok(at) = rfc2822::parse(text) {
        return Some(at.timestamp());
    }
    let old = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let at = old
        .iter()
        .find_map(|form| DateTime::strptime(form, text).ok())?;
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_ask_for_seconds_or_a_date() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let asked = |header: &str| retry_after(header, now).map(|wait| wait.as_secs());
        for (header, seconds) in [
            ("0", 1),
            ("1", 1),
            (" 120 ", 120),
            ("86400", 86_400),
            ("86401", 86_400),
            ("99999999999999999999", 86_400),
            ("Sat, 28 Nov 2026 12:05:00 GMT", 300),
            ("Sat, 28 Nov 2026 11:00:00 GMT", 1),
            ("Saturday, 28-Nov-26 12:05:00 GMT", 300),
            ("Sat Nov 28 12:05:00 2026", 300),
            ("Sun Nov  1 12:05:00 2026", 1),
            ("Fri, 01 Jan 2027 00:00:00 GMT", 86_400),
        ] {
            assert_eq!(asked(header), Some(seconds), "{header}");
        }
        for header in ["", "-1", "soon", "1.5", "2026-11-28T12:05:00Z"] {
            assert_eq!(asked(header), None, "{header}");
        }
    }
}
