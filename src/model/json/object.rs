//! The fields of a JSON object as they are written: to read them one by one, and to change some.

use crate::model::json;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's fields in their order, with values as they are written.
#[derive(Clone, Debug)]
pub(crate) struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Object<'a> {
    /// None if the text is not an object.
    pub(crate) fn of(text: &'a str) -> Option<Object<'a>> {
        serde_json::from_str(text).ok()
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &'a str)> {
        let fields = self.0.iter();
        fields.map(|(key, value)| (key.as_str(), value.get()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object<'a>, D::Error> {
        struct ObjectFields;

        impl<'de> Visitor<'de> for ObjectFields {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        from.deserialize_map(ObjectFields).map(Object)
    }
}

/// The object with one field set to JSON text, or removed. A longer path names a field of a nested
/// object, which is created if it is missing. Everything else stays as it is written. None if the text is
/// not an object.
pub fn with_field(text: &str, path: &[String], value: Option<&str>) -> Option<String> {
    let object = Object::of(text)?;
    let (key, rest) = path.split_first()?;
    let now = object.fields().filter(|(name, _)| name == key).last();
    let new = match (rest, value) {
        ([], value) => value.map(str::to_owned),
        (rest, value) => {
            let inner = now.map_or("{}", |(_, inner)| inner);
            Some(with_field(inner, rest, value)?)
        }
    };
    let mut fields: Vec<(&str, &str)> = Vec::new();
    for (name, old) in object.fields() {
        match &new {
            _ if name != key => fields.push((name, old)),
            Some(new) if !fields.iter().any(|(name, _)| name == key) => fields.push((name, new)),
            _ => {}
        }
    }
    if let (None, Some(new)) = (now, &new) {
        fields.push((key, new));
    }
    let fields = fields.into_iter();
    let fields = fields.map(|(name, value)| format!("{}:{value}", json::encoded(name)));
    Some(format!("{{{}}}", fields.collect::<Vec<_>>().join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_or_omitting_a_field_keeps_the_others_as_written() {
        let old = r#"{ "command": ["a" , "b"], "env":{"A":"1"}, "n": 1.50, "n": 2 }"#;
        let with = |path: &[&str], value: Option<&str>| {
            let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
            with_field(old, &path, value).unwrap()
        };
        assert_eq!(
            with(&["shell"], Some("\"x\"")),
            r#"{"command":["a" , "b"],"env":{"A":"1"},"n":1.50,"n":2,"shell":"x"}"#
        );
        assert_eq!(
            with(&["n"], Some("3")),
            r#"{"command":["a" , "b"],"env":{"A":"1"},"n":3}"#
        );
        assert_eq!(
            with(&["command"], None),
            r#"{"env":{"A":"1"},"n":1.50,"n":2}"#
        );
        assert!(with(&["env", "B"], Some("\"2\"")).contains(r#""env":{"A":"1","B":"2"}"#));
        assert!(with(&["env", "A"], None).contains(r#""env":{}"#));
        assert!(with(&["more", "B"], Some("2")).ends_with(r#","more":{"B":2}}"#));
        assert_eq!(with_field("[1]", &["a".to_owned()], None), None);
    }
}
