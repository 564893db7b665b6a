//! Passwords and tokens that stand in a payload where it could name a secret of the runner.

use jobq::handlers::built_in::BuiltInKind;
use serde_json::{Map, Value};

/// What the names of such fields have in them.
const WORDS: [&str; 6] = [
    "authorization",
    "password",
    "passwd",
    "token",
    "apikey",
    "secret",
];

/// The first field of the payload that looks like one with a secret in it: `headers.authorization`.
pub(crate) fn literal_secret(kind: &str, payload: &str) -> Option<String> {
    BuiltInKind::named(kind).filter(|kind| kind.takes_secrets)?;
    let payload: Value = serde_json::from_str(payload).ok()?;
    find(&payload).map(|names| names.join("."))
}

fn find(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::Object(fields) if is_named_secret(fields) => None,
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let is_literal = matches!(value, Value::String(text) if !text.is_empty());
            let inner = match is_literal && is_of_secret(name) {
                true => Vec::new(),
                false => find(value)?,
            };
            Some([vec![name.as_str()], inner].concat())
        }),
        Value::Array(items) => items.iter().find_map(find),
        _ => None,
    }
}

fn is_of_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_'], "");
    WORDS.iter().any(|word| name.contains(word))
}

/// `{"secret": "NAME", "prefix": "Bearer "}`
fn is_named_secret(fields: &Map<String, Value>) -> bool {
    let is_part = |name: &String| ["secret", "prefix", "suffix"].contains(&name.as_str());
    fields.contains_key("secret") && fields.keys().all(is_part)
}

#[cfg(all(test, feature = "webhook"))]
mod tests {
    use super::*;

    #[test]
    fn a_literal_secret_is_found_by_its_name() {
        for (payload, found) in [
            (
                r#"{"headers":{"Authorization":"Bearer x"}}"#,
                "headers.Authorization",
            ),
            (
                r#"{"headers":{"x-a":"b","X-Api-Key":"x"}}"#,
                "headers.X-Api-Key",
            ),
            (
                r#"{"auth":{"bearer":"x","basic":{"password":"x"}}}"#,
                "auth.basic.password",
            ),
            (r#"{"json":[{"access_token":"x"}]}"#, "json.access_token"),
            (r#"{"form":{"client_secret":"x"}}"#, "form.client_secret"),
        ] {
            assert_eq!(literal_secret("webhook", payload).as_deref(), Some(found));
            assert_eq!(literal_secret("http", payload).as_deref(), Some(found));
            assert_eq!(literal_secret("sleep", payload), None);
            assert_eq!(literal_secret("other", payload), None);
        }
        for payload in [
            r#"{"headers":{"authorization":{"secret":"crm","prefix":"Bearer "}}}"#,
            r#"{"sign":{"secrets":["hook"]}}"#,
            r#"{"json":{"max_tokens":5,"password":"","secret":null}}"#,
            r#"{"idempotency_key":"x","url":"http://token.example/"}"#,
        ] {
            assert_eq!(literal_secret("webhook", payload), None, "{payload}");
        }
    }
}
