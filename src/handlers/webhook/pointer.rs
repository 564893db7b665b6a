//! Parts of a JSON text by JSON pointers (RFC 6901), as they are written.

use serde_json::value::RawValue;

use crate::model::json::object::Object;

/// The part that a pointer names, if there is one.
pub(super) fn part<'a>(json: &'a str, pointer: &str) -> Option<&'a str> {
    let mut found = json.trim();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        found = match found.as_bytes().first() {
            Some(b'[') => {
                let is_index = token == "0" || !token.starts_with(['0', '+']);
                let index: usize = token.parse().ok().filter(|_| is_index)?;
                let items: Vec<&RawValue> = serde_json::from_str(found).ok()?;
                items.get(index)?.get()
            }
            _ => {
                let object = Object::of(found)?;
                // Of fields with the same name the last one counts, as elsewhere.
                object.fields().filter(|(name, _)| *name == token).last()?.1
            }
        };
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        let json = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"m~n":8, "big": 12345678901234567890123 }"#;
        for (pointer, found) in [
            ("", json),
            ("/foo", r#"["bar","baz"]"#),
            ("/foo/0", "\"bar\""),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/m~0n", "8"),
            ("/big", "12345678901234567890123"),
        ] {
            assert_eq!(part(json, pointer), Some(found), "{pointer}");
        }
        for pointer in [
            "/none", "/foo/2", "/foo/00", "/foo/-", "/foo/+1", "/foo/0/x", "/a/b",
        ] {
            assert_eq!(part(json, pointer), None, "{pointer}");
        }
        assert_eq!(part("not JSON", "/a"), None);
    }

    proptest! {
        #[test]
        fn a_pointer_finds_what_serde_json_finds(
            keys in proptest::collection::vec("[a~/0-2]{0,3}", 1..5), tokens in proptest::collection::vec("[a~/0-2]{0,3}", 0..4)
        ) {
            let mut value = Value::from(1);
            for key in keys.iter().rev() {
                value = match key.len() {
                    2 => Value::Array(vec![value.clone(), value]),
                    _ => serde_json::json!({ key.clone(): value, "a": 2 }),
                };
            }
            let escape = |token: &String| token.replace('~', "~0").replace('/', "~1");
            let pointer: String = tokens.iter().map(|token| format!("/{}", escape(token))).collect();
            let json = value.to_string();
            let found = part(&json, &pointer).map(|part| serde_json::from_str::<Value>(part).unwrap());
            prop_assert_eq!(found.as_ref(), value.pointer(&pointer));
        }
    }
}
