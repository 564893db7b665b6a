//! The exit codes that say that trying again is of no use.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A set of exit codes, written like `2,64-78`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailOn {
    /// First and last code of each part, both included.
    ranges: Vec<(u8, u8)>,
}

impl FailOn {
    /// Whether `code` is in the set.
    pub fn contains(&self, code: i32) -> bool {
        self.ranges
            .iter()
            .any(|&(first, last)| (first.into()..=last.into()).contains(&code))
    }

    /// Whether no code is in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl FromStr for FailOn {
    type Err = Error;

    fn from_str(text: &str) -> Result<FailOn, Error> {
        let ranges = text.split(',').map(|part| range(part.trim()));
        Ok(FailOn {
            ranges: ranges.collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for FailOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

fn range(part: &str) -> Result<(u8, u8), Error> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse()) else {
        return Err(bad(part, "an exit code is a number from 0 to 255"));
    };
    if first > last {
        return Err(bad(part, "the range runs backwards"));
    }
    Ok((first, last))
}

fn bad(part: &str, why: &str) -> Error {
    Error::invalid(format!("fail_on: `{part}`: {why}"))
        .with_hint("give codes and ranges with commas between them: 2,64-78")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_ranges_are_read_and_written_back() {
        let set: FailOn = "2, 64-78,255".parse().unwrap();
        for code in [2, 64, 70, 78, 255] {
            assert!(set.contains(code), "{code}");
        }
        for code in [-1, 0, 1, 3, 63, 79, 256] {
            assert!(!set.contains(code), "{code}");
        }
        assert_eq!(set.to_string(), "2,64-78,255");
        assert!(!set.is_empty());
        assert!(FailOn::default().is_empty());
    }

    #[test]
    fn a_bad_part_is_named() {
        for (text, part) in [
            ("2,x", "`x`"),
            ("1,256", "`256`"),
            ("78-64", "`78-64`"),
            ("", "``"),
            ("1,,2", "``"),
            ("-1", "`-1`"),
            ("1-2-3", "`1-2-3`"),
        ] {
            let error = text.parse::<FailOn>().unwrap_err();
            assert!(error.is_invalid_input());
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
