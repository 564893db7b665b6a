//! The fields of a JSON object as they are written.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's fields in their order, values letter for letter.
#[derive(Clone, Debug)]
pub(crate) struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Object<'a> {
    /// None where the text is no object.
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
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
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
        from.deserialize_map(Fields).map(Object)
    }
}
