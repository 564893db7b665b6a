//! Errors of JSON and TOML readers in plain words.

use crate::model::json::encoded;
use crate::model::json::object::Object;

/// Explains why serde refused a text with `error`: the key, the value found, and what is expected. `probe`
/// reads a text as serde did.
pub fn explain(
    text: &str,
    error: &serde_json::Error,
    probe: impl Fn(&str) -> Result<(), serde_json::Error>,
) -> String {
    let culprit = Object::of(text).and_then(|object| {
        let mut fields = object.fields();
        fields.find_map(|(key, value)| {
            let alone = format!("{{{}:{value}}}", encoded(key));
            let error = probe(&alone).err()?;
            let message = message_of(&error);
            // It lacks others, as it stands alone here.
            (!message.starts_with("missing field")).then(|| (key.to_owned(), message))
        })
    });
    match culprit {
        Some((_, message)) if message.starts_with("unknown field") => message,
        Some((key, message)) => format!("'{key}': {}", plain(&message)),
        None if text.trim_start().starts_with('[') => "found a list, expected an object".to_owned(),
        None => plain(&message_of(error)),
    }
}

/// Without the position, which is relative to the text that was read.
fn message_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ");
    message.map_or(text.clone(), |(message, _)| message.to_owned())
}

/// A message of serde's in plain words; any other as it is.
pub fn plain(message: &str) -> String {
    let typed = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, wanted)) = typed.and_then(|rest| rest.rsplit_once(", expected ")) {
        return format!("found {}, expected {}", found_as(found), wanted_as(wanted));
    }
    if let Some(rest) = message.strip_prefix("unknown variant ")
        && let Some((found, wanted)) = rest.split_once(", expected ")
    {
        let wanted = wanted.strip_prefix("one of ").unwrap_or(wanted);
        return format!(
            "there is no {}; it can be {}",
            found.replace('`', "'"),
            wanted.replace('`', "")
        );
    }
    let quoted = |start: &str| {
        let name = message.strip_prefix(start)?.strip_prefix('`')?;
        name.strip_suffix('`')
    };
    if let Some(key) = quoted("duplicate field ") {
        return format!("the key '{key}' occurs twice");
    }
    if let Some(key) = quoted("missing field ") {
        return format!("the key '{key}' is missing");
    }
    message.to_owned()
}

fn found_as(found: &str) -> String {
    let of = |start: &str| found.strip_prefix(start).map(|rest| rest.replace('`', ""));
    if let Some(text) = found.strip_prefix("string ") {
        return format!("the text {text}");
    }
    if let Some(number) = of("integer ").or_else(|| of("floating point ")) {
        return format!("the number {number}");
    }
    if let Some(value) = of("boolean ") {
        return value;
    }
    match found {
        "sequence" | "array" => "a list".to_owned(),
        "map" | "table" => "an object".to_owned(),
        "null" | "unit value" | "Option value" => "null".to_owned(),
        other => other.to_owned(),
    }
}

fn wanted_as(wanted: &str) -> String {
    match wanted {
        "a sequence" | "an array" => "a list of texts, like [\"ls\", \"-l\"]".to_owned(),
        "a map" | "an object" => "an object, like {\"NAME\": \"value\"}".to_owned(),
        "a string" | "a borrowed string" | "str" => "a text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => {
            "a whole number of at least 1".to_owned()
        }
        "f32" | "f64" => "a number".to_owned(),
        other => match other.strip_prefix("struct ") {
            Some(_) => "an object".to_owned(),
            None => other.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum How {
        Low,
        High,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct LineFormatter {
        kind: String,
        command: Option<Vec<String>>,
        retries: Option<u32>,
        how: Option<How>,
        env: Option<BTreeMap<String, String>>,
        on: Option<bool>,
    }

    fn explained(text: &str) -> String {
        let error = serde_json::from_str::<LineFormatter>(text).unwrap_err();
        explain(text, &error, |text| {
            serde_json::from_str::<LineFormatter>(text).map(drop)
        })
    }

    #[test]
    fn the_key_the_value_and_what_is_wanted_are_named() {
        for (text, words) in [
            (
                r#"{"kind":"k","command":"ls -l"}"#,
                r#"'command': found the text "ls -l", expected a list of texts, like ["ls", "-l"]"#,
            ),
            (
                r#"{"kind":"k","command":["ls",7]}"#,
                "'command': found the number 7, expected a text in quotes",
            ),
            (
                r#"{"kind":7}"#,
                "'kind': found the number 7, expected a text in quotes",
            ),
            (
                r#"{"kind":"k","retries":-1}"#,
                "'retries': found the number -1, expected a whole number, not negative",
            ),
            (
                r#"{"kind":"k","retries":1.5}"#,
                "'retries': found the number 1.5, expected a whole number, not negative",
            ),
            (
                r#"{"kind":"k","how":"top"}"#,
                "'how': there is no 'top'; it can be low or high",
            ),
            (
                r#"{"kind":"k","env":[]}"#,
                r#"'env': found a list, expected an object, like {"NAME": "value"}"#,
            ),
            (
                r#"{"kind":"k","on":"yes"}"#,
                "'on': found the text \"yes\", expected true or false",
            ),
            (
                r#"{"kind":null}"#,
                "'kind': found null, expected a text in quotes",
            ),
            (r#"{"kind":"k","kind":"k"}"#, "the key 'kind' occurs twice"),
            ("{}", "the key 'kind' is missing"),
            ("[]", "found a list, expected an object"),
        ] {
            assert!(
                explained(text).starts_with(words),
                "{text}: {}",
                explained(text)
            );
        }
        assert!(explained(r#"{"kind":"k","x":1}"#).starts_with("unknown field `x`"));
    }
}
