//! The keys that `press` knows, and what the browser calls them.

/// Named keys, with their numbers and the text that they write.
const NAMED: [(&str, u32, &str); 27] = [
    ("Enter", 13, "\r"),
    ("Tab", 9, ""),
    ("Space", 32, " "),
    ("Escape", 27, ""),
    ("Backspace", 8, ""),
    ("Delete", 46, ""),
    ("Insert", 45, ""),
    ("Home", 36, ""),
    ("End", 35, ""),
    ("PageUp", 33, ""),
    ("PageDown", 34, ""),
    ("ArrowLeft", 37, ""),
    ("ArrowUp", 38, ""),
    ("ArrowRight", 39, ""),
    ("ArrowDown", 40, ""),
    ("F1", 112, ""),
    ("F2", 113, ""),
    ("F3", 114, ""),
    ("F4", 115, ""),
    ("F5", 116, ""),
    ("F6", 117, ""),
    ("F7", 118, ""),
    ("F8", 119, ""),
    ("F9", 120, ""),
    ("F10", 121, ""),
    ("F11", 122, ""),
    ("F12", 123, ""),
];

const MODIFIERS: [(&str, u32); 4] = [("Alt", 1), ("Control", 2), ("Meta", 4), ("Shift", 8)];

/// A key with the modifiers that are held: `Control+a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPress {
    pub(super) key: String,
    pub(super) code: u32,
    /// What it writes.
    pub(super) text: String,
    /// Alt 1, Control 2, Meta 4, Shift 8.
    pub(super) modifiers: u32,
}

impl KeyPress {
    pub(super) fn parse(spec: &str) -> Result<KeyPress, String> {
        let (mut modifiers, mut key) = (0, spec);
        while let Some((name, rest)) = key.split_once('+')
            && !rest.is_empty()
            && let Some((_, bit)) = MODIFIERS.iter().find(|(known, _)| *known == name)
        {
            modifiers |= bit;
            key = rest;
        }
        let mut chars = key.chars();
        let (key, code, text) = match (chars.next(), chars.next()) {
            (Some(char), None) if !char.is_control() => {
                let upper = char.to_ascii_uppercase();
                let code = if upper.is_ascii_alphanumeric() {
                    u32::from(upper)
                } else {
                    0
                };
                (key, code, key)
            }
            _ => match NAMED.iter().find(|(name, ..)| *name == key) {
                Some((" " | "Space", code, text)) => (" ", *code, *text),
                Some((name, code, text)) => (*name, *code, *text),
                None => {
                    let names: Vec<&str> = NAMED.iter().map(|(name, ..)| *name).collect();
                    return Err(format!(
                        "'{spec}' is not a key: a character, or one of {}, after Control+, Shift+, Alt+ or Meta+",
                        names.join(", ")
                    ));
                }
            },
        };
        // With Control or Alt it is a command and writes nothing.
        let text = if modifiers & !8 == 0 { text } else { "" };
        Ok(KeyPress {
            key: key.to_owned(),
            code,
            text: text.to_owned(),
            modifiers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_characters_and_names_with_modifiers() {
        for (spec, key, code, text, modifiers) in [
            ("Enter", "Enter", 13, "\r", 0),
            ("Space", " ", 32, " ", 0),
            ("a", "a", 65, "a", 0),
            ("é", "é", 0, "é", 0),
            ("+", "+", 0, "+", 0),
            ("Shift+A", "A", 65, "A", 8),
            ("Control+a", "a", 65, "", 2),
            ("Control+Shift+End", "End", 35, "", 10),
            ("Control++", "+", 0, "", 2),
        ] {
            let press = KeyPress::parse(spec).unwrap();
            assert_eq!((&*press.key, press.code, &*press.text), (key, code, text));
            assert_eq!(press.modifiers, modifiers, "{spec}");
        }
        for spec in ["", "enter", "Control+", "Strg+a", "ab", "\n"] {
            assert!(
                KeyPress::parse(spec).unwrap_err().contains("PageDown"),
                "{spec:?}"
            );
        }
    }
}
