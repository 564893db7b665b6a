//! Whether two JSON texts say the same, without a loss of digits.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Numbers are compared by their values, objects without the order of their fields.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim(), other.trim());
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(b'['), Some(b'[')) => {
            let items = |text| serde_json::from_str::<Vec<&RawValue>>(text);
            match (items(one), items(other)) {
                (Ok(one), Ok(other)) => {
                    let mut pairs = one.iter().zip(&other);
                    one.len() == other.len() && pairs.all(|(a, b)| is_same(a.get(), b.get()))
                }
                _ => false,
            }
        }
        (Some(b'{'), Some(b'{')) => {
            let fields = |text| serde_json::from_str::<BTreeMap<String, &RawValue>>(text);
            match (fields(one), fields(other)) {
                (Ok(one), Ok(other)) => {
                    let mut pairs = one.iter().zip(&other);
                    one.len() == other.len()
                        && pairs.all(|(a, b)| a.0 == b.0 && is_same(a.1.get(), b.1.get()))
                }
                _ => false,
            }
        }
        (Some(b'"'), Some(b'"')) => {
            let text = |text| serde_json::from_str::<String>(text).ok();
            one == other || text(one).is_some_and(|one| Some(one) == text(other))
        }
        _ => one == other || Number::read(one).is_some_and(|one| Some(one) == Number::read(other)),
    }
}

/// A number as its digits without zeros at the ends, and the power of ten of the last one.
#[derive(PartialEq, Eq)]
struct Number {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Number {
    fn read(text: &str) -> Option<Number> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse().ok()?),
            None => (text, 0_i64),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let all = format!("{whole}{part}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = all.trim_end_matches('0');
        let zeros = i64::try_from(all.len() - digits.len()).ok()?;
        let decimals = i64::try_from(part.len()).ok()?;
        let digits = digits.trim_start_matches('0').to_owned();
        Some(match digits.is_empty() {
            true => Number {
                is_negative: false,
                digits,
                exponent: 0,
            },
            false => Number {
                is_negative,
                digits,
                exponent: exponent.checked_add(zeros)?.checked_sub(decimals)?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_however_they_are_written() {
        for (one, other) in [
            ("1", "1.0"),
            ("1.50", "15e-1"),
            ("100", "1E+2"),
            ("-0", "0.00"),
            ("0.001", "1e-3"),
            ("12345678901234567890123", "12345678901234567890123.0"),
            ("1e99999999999999999999", "1e99999999999999999999"),
            ("null", " null "),
            (r#""a\u00e9""#, "\"a\u{e9}\""),
            (r#""\ud800""#, r#""\ud800""#),
            (r#"{"a":1,"b":[1.0]}"#, r#"{ "b": [ 1 ], "a": 1.0 }"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            assert!(is_same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn other_values_are_told_apart() {
        for (one, other) in [
            ("12345678901234567890123", "12345678901234567890124"),
            ("0.1", "0.10000000000000000001"),
            ("1", "-1"),
            ("1", "10"),
            ("1e999", "1e998"),
            ("1e99999999999999999999", "1e99999999999999999998"),
            ("1", "\"1\""),
            ("true", "false"),
            ("null", "0"),
            ("[1]", "[1,2]"),
            ("[1,2]", "[2,1]"),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            (r#"{"a":1}"#, r#"{"a":1,"b":1}"#),
            ("[]", "{}"),
        ] {
            assert!(!is_same(one, other), "{one} {other}");
        }
    }
}
