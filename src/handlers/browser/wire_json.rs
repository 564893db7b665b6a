//! JSON as a browser writes it.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// Reads it. JavaScript allows one half of a surrogate pair in a text, and the browser passes it on as an escape that
/// is no character: it becomes U+FFFD.
pub(super) fn read_json<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|error| match well_formed(text) {
        Cow::Owned(text) => serde_json::from_str(&text),
        Cow::Borrowed(_) => Err(error),
    })
}

fn well_formed(text: &str) -> Cow<'_, str> {
    let (mut whole, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        let length = match (unit(&text[at..]), text.get(at + 6..).and_then(unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                whole.push_str(&text[copied..at]);
                whole.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            (Some(_), _) => 6,
            // In JSON it is one byte that is behind it.
            (None, _) => 2,
        };
        at += length;
    }
    match copied {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(whole + &text[copied..]),
    }
}

/// The UTF-16 unit of the escape at the beginning of a text.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_is_a_replacement_character() {
        for (json, text) in [
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\ude00b\ud83d\ud83d\ude00""#, "\u{fffd}b\u{fffd}😀"),
            (r#""\ud83d\n\\ud83d\"é""#, "\u{fffd}\n\\ud83d\"é"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\\\\ud83d""#, r"\\ud83d"),
        ] {
            assert_eq!(read_json::<String>(json).unwrap(), text, "{json}");
        }
        for broken in [r#""\ud83"#, r#""\ud83d"#, r#""\"#, r#""\é"#, "\"\\"] {
            assert!(read_json::<String>(broken).is_err(), "{broken}");
        }
    }
}
