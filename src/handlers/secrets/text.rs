//! A text of a payload that may be a secret.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::handlers::secrets::Secret;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// A text in a payload: as it is, or a secret of the runner by its name:
/// `{"secret": "crm", "prefix": "Bearer "}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SecretText {
    /// The text itself.
    Plain(String),
    /// A secret.
    Secret(NamedSecret),
}

/// A secret by its name, and what stands around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NamedSecret {
    /// The name, as in [`Secrets`](crate::handlers::secrets::Secrets).
    pub secret: String,
    /// Goes before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Goes behind it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suffix: String,
}

impl NamedSecret {
    /// A secret with nothing around it.
    pub fn new(name: impl Into<String>) -> NamedSecret {
        NamedSecret {
            secret: name.into(),
            prefix: String::new(),
            suffix: String::new(),
        }
    }
}

impl SecretText {
    /// The text, with the secret in it; with the host that it is to be sent to, if it is sent.
    ///
    /// # Errors
    /// As of [`Context::secret`].
    pub fn read(&self, ctx: &Context, host: Option<&str>) -> Result<Secret, Failure> {
        self.read_by(|name| ctx.secret(name, host))
    }

    /// The text, with the secret as `read` gives it by its name.
    pub(crate) fn read_by(
        &self,
        read: impl FnOnce(&str) -> Result<Secret, Failure>,
    ) -> Result<Secret, Failure> {
        match self {
            SecretText::Plain(text) => Ok(Secret::from(text.clone())),
            SecretText::Secret(named) => {
                let secret = read(&named.secret)?;
                let text = [&named.prefix, secret.reveal(), &named.suffix].concat();
                Ok(Secret::from(text))
            }
        }
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<SecretText, D::Error> {
        value.deserialize_any(TextOrSecret)
    }
}

/// Says what is wrong with a secret, as an untagged enum would not.
struct TextOrSecret;

impl<'de> Visitor<'de> for TextOrSecret {
    type Value = SecretText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or {\"secret\": \"NAME\"}")
    }

    fn visit_str<E>(self, text: &str) -> Result<SecretText, E> {
        Ok(SecretText::Plain(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretText, A::Error> {
        NamedSecret::deserialize(MapAccessDeserializer::new(map)).map(SecretText::Secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_itself_or_names_a_secret() {
        let read = |json: &str| serde_json::from_str::<SecretText>(json);
        assert_eq!(read(r#""a""#).unwrap(), SecretText::Plain("a".to_owned()));
        let json = r#"{"secret":"crm","prefix":"Bearer "}"#;
        let named = read(json).unwrap();
        assert_eq!(serde_json::to_string(&named).unwrap(), json);
        for (json, why) in [
            ("1", "expected a text, or {\"secret\": \"NAME\"}"),
            (r#"{"secret":"a","prefx":"b"}"#, "unknown field `prefx`"),
            ("{}", "missing field `secret`"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
