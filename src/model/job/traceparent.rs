//! The trace that a job belongs to: the `traceparent` of W3C Trace Context.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// The trace that a job belongs to, and the span that has enqueued it: a `traceparent` of
/// [W3C Trace Context](https://www.w3.org/TR/trace-context/), version 00.
///
/// ```
/// use jobq::{NewJob, Traceparent};
///
/// let traceparent: Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// let job = NewJob::new("resize").traceparent(traceparent);
/// # let _ = job;
/// # Ok::<(), jobq::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Traceparent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl Traceparent {
    /// The id of the whole trace, never 0.
    pub fn trace_id(self) -> u128 {
        self.trace
    }

    /// The id of the span that has enqueued the job, never 0.
    pub fn parent_id(self) -> u64 {
        self.span
    }

    /// The flags; the lowest bit says that the caller may have recorded its span.
    pub fn flags(self) -> u8 {
        self.flags
    }
}

impl FromStr for Traceparent {
    type Err = Error;

    fn from_str(text: &str) -> Result<Traceparent> {
        parse(text).ok_or_else(|| {
            Error::invalid(format!("'{}' is no traceparent", text.escape_debug())).with_hint(
                "one looks like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, in lower case",
            )
        })
    }
}

/// None if it is no `traceparent` of version 00.
fn parse(text: &str) -> Option<Traceparent> {
    let mut parts = text.split('-');
    let mut part = |digits: usize| {
        let part = parts.next()?;
        let are_hex = part
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(part, 16).ok()?;
        (part.len() == digits && are_hex).then_some(number)
    };
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    // All zeros is no id.
    let is_valid = version == 0 && trace != 0 && span != 0 && parts.next().is_none();
    is_valid.then_some(Traceparent {
        trace,
        span: u64::try_from(span).ok()?,
        flags: u8::try_from(flags).ok()?,
    })
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace, self.span, self.flags
        )
    }
}

impl Serialize for Traceparent {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Traceparent {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Traceparent, D::Error> {
        let text = String::deserialize(value)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_form_of_version_00_is_read() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(good.parse::<Traceparent>().unwrap().to_string(), good);
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0-04bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(
                bad.parse::<Traceparent>().unwrap_err().is_invalid_input(),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace in 1u128.., span in 1u64.., flags: u8) {
            let written = Traceparent { trace, span, flags };
            let text = written.to_string();
            prop_assert_eq!(text.len(), 55);
            prop_assert_eq!(text.parse::<Traceparent>().unwrap(), written);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            if let Ok(read) = text.parse::<Traceparent>() {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
