//! What the status of a response means.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

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
            let at = rfc2822::parse(header).ok()?.timestamp();
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.clamp(SHORTEST, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_class() {
        use StatusClass::*;

        let temporary = [408, 423, 425, 429, 500, 502, 503, 504, 507, 509, 529, 530];
        let of = |statuses: &[u16], class| {
            for status in statuses {
                assert_eq!(StatusClass::of(*status), class, "{status}");
            }
        };
        of(&[200, 201, 202, 204, 206, 299], Success);
        of(&temporary, Temporary);
        of(&[520, 521, 522, 523, 524, 525, 526, 527, 599], Temporary);
        of(&[300, 301, 302, 303, 304, 307, 308, 399], Final);
        of(&[400, 401, 402, 403, 404, 405, 406, 407, 409, 410], Final);
        of(&[411, 412, 413, 414, 415, 416, 417, 421, 422, 426], Final);
        of(&[428, 431, 451, 501, 505, 511, 600, 999, 100], Final);
    }

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
            ("Fri, 01 Jan 2027 00:00:00 GMT", 86_400),
        ] {
            assert_eq!(asked(header), Some(seconds), "{header}");
        }
        for header in ["", "-1", "soon", "1.5", "2026-11-28T12:05:00Z"] {
            assert_eq!(asked(header), None, "{header}");
        }
    }
}
