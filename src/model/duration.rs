//! Durations as people write them.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

use crate::{Error, Result};

/// Reads a duration as people write it: `90s`, `1h30m`, `2 days`, `500ms`. A day has 24 hours.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(jobq::parse_duration("1h30m")?, Duration::from_secs(5400));
/// # Ok::<(), jobq::Error>(())
/// ```
///
/// # Errors
/// It has no unit, is negative, or has months or years, which differ in length.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        let why = format!("it lacks a unit: {text}s, {text}m, {text}h");
        return Err(Error::invalid(why));
    }
    let span: Span = text
        .parse()
        .map_err(|_| Error::invalid("durations look like 90s, 1h30m or '2 days'"))?;
    if span.is_negative() {
        return Err(Error::invalid("it is negative"));
    }
    if span.get_years() != 0 || span.get_months() != 0 {
        let why = "months and years differ in length; say it in days";
        return Err(Error::invalid(why));
    }
    span.to_duration(SpanRelativeTo::days_are_24_hours())
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| Error::invalid("it is too long"))
}
