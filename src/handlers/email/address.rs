//! Addresses as people write them, and which of them mail may go to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// The longest address: RFC 5321 (4.5.3.1.3), without its `<>`.
const MAX_ADDRESS_BYTES: usize = 254;

/// Characters that a name may have only between quotes: they may end one address of a list and begin the next.
const QUOTED_CHARS: &[char] = &['<', '>', '@', ',', ';', '"', '\\'];

/// Somebody's address, with or without a name: `Ann Lee <ann@example.org>`. A name with one of `<>@,;"\` stands between
/// quotes: `"Lee, Ann" <ann@example.org>`.
///
/// ```
/// use jobq::handlers::email::Mailbox;
///
/// let ann: Mailbox = "Ann Lee <ann@example.org>".parse()?;
/// assert_eq!((ann.name(), ann.address()), (Some("Ann Lee"), "ann@example.org"));
/// assert!("ann@example.org\r\nDATA".parse::<Mailbox>().is_err());
/// assert!("Ann <ann@example.org>, Bob <bob@example.org>".parse::<Mailbox>().is_err());
/// # Ok::<(), jobq::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    name: Option<String>,
    address: String,
}

impl Mailbox {
    /// The name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The address alone.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The part behind the `@`.
    pub fn domain(&self) -> &str {
        self.address
            .split_once('@')
            .map_or("", |(_, domain)| domain)
    }
}

impl FromStr for Mailbox {
    type Err = Error;

    fn from_str(text: &str) -> Result<Mailbox> {
        let refused = |why: &str| Err(Error::invalid(format!("the address {text:?} {why}")));
        if text.chars().any(char::is_control) {
            return refused("has a control character or a line break");
        }
        let (name, address) = match text.trim().strip_suffix('>') {
            None => ("", text.trim()),
            Some(named) => match named.rsplit_once('<') {
                Some((name, address)) => (name.trim(), address),
                None => return refused("has a '>' without a '<'"),
            },
        };
        let Some(name) = unquoted(name) else {
            return refused(
                "is more than one, or has a name with one of <>@,;\"\\ in it: give several addresses as a list, \
                 and quote such a name, as in \"Lee, Ann\" <ann@example.org>",
            );
        };
        if address.contains([',', ';']) {
            return refused("is more than one: give several addresses as a list");
        }
        match check_address(address) {
            Some(why) => refused(why),
            None => Ok(Mailbox {
                name: Some(name).filter(|name| !name.is_empty()),
                address: address.to_owned(),
            }),
        }
    }
}

/// The name without its quotes; none if it has characters that need quotes, or text around the quotes.
fn unquoted(written: &str) -> Option<String> {
    let Some(quoted) = written.strip_prefix('"') else {
        let is_plain = !written.contains(QUOTED_CHARS);
        return is_plain.then(|| written.to_owned());
    };
    let mut name = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => name.push(chars.next()?),
            char => name.push(char),
        }
    }
    chars.as_str().is_empty().then_some(name)
}

/// What is wrong with an address without a name. It goes into commands of SMTP as it is.
fn check_address(address: &str) -> Option<&'static str> {
    let Some((local, domain)) = address.split_once('@') else {
        return Some("has no '@'");
    };
    let is_special = |char: char| char.is_whitespace() || "<>()[]:;,\\\"@".contains(char);
    if local.is_empty() || domain.is_empty() {
        return Some("needs a name before the '@' and a domain behind it");
    }
    if local.contains(is_special) || domain.contains(is_special) {
        return Some("has a character that an address cannot have");
    }
    let is_label = |label: &str| {
        let fits = |char: char| {
            char.is_ascii_alphanumeric() || char == '-' || char == '_' || !char.is_ascii()
        };
        !label.is_empty() && !label.starts_with('-') && label.chars().all(fits)
    };
    if !domain.split('.').all(is_label) {
        return Some("has an invalid domain");
    }
    (address.len() > MAX_ADDRESS_BYTES).then_some("is longer than 254 bytes")
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) if name.contains(QUOTED_CHARS) || name.trim() != name => {
                let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
                write!(f, "\"{escaped}\" <{}>", self.address)
            }
            Some(name) => write!(f, "{name} <{}>", self.address),
            None => f.write_str(&self.address),
        }
    }
}

impl Serialize for Mailbox {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mailbox {
    fn deserialize<D: Deserializer<'de>>(value: D) -> std::result::Result<Mailbox, D::Error> {
        let text = String::deserialize(value)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Addresses that mail may go to: one address, or all with an end: `*@example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPattern(String);

impl AddressPattern {
    /// Whether an address fits the pattern; upper and lower case are the same.
    pub fn fits(&self, address: &str) -> bool {
        let (pattern, address) = (self.0.to_lowercase(), address.to_lowercase());
        match pattern.strip_prefix('*') {
            Some(end) => address.ends_with(end),
            None => pattern == address,
        }
    }
}

impl FromStr for AddressPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<AddressPattern> {
        let end = text.strip_prefix('*').unwrap_or(text);
        match end.contains('@') && !end.contains('*') {
            true => Ok(AddressPattern(text.to_owned())),
            false => Err(Error::invalid(format!(
                "'{text}' is neither an address nor like *@example.org"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for AddressPattern {
    fn deserialize<D: Deserializer<'de>>(
        value: D,
    ) -> std::result::Result<AddressPattern, D::Error> {
        let text = String::deserialize(value)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_has_a_name_or_none() {
        for (text, name, address) in [
            ("a@x.org", None, "a@x.org"),
            (" <a@x.org> ", None, "a@x.org"),
            ("Ann Lee <a+b@x.org>", Some("Ann Lee"), "a+b@x.org"),
            (r#""Lee, \"A\"" <a@x>"#, Some("Lee, \"A\""), "a@x"),
            (r#""a\\" <a@x>"#, Some("a\\"), "a@x"),
            (r#"" a <b@y>, c" <a@x>"#, Some(" a <b@y>, c"), "a@x"),
            (r#""" <a@x>"#, None, "a@x"),
            (
                "Dr. Ann Lee (Sales) <a@x>",
                Some("Dr. Ann Lee (Sales)"),
                "a@x",
            ),
            (
                "Jürgen <j@bücher.example>",
                Some("Jürgen"),
                "j@bücher.example",
            ),
        ] {
            let mailbox: Mailbox = text.parse().unwrap();
            assert_eq!((mailbox.name(), mailbox.address()), (name, address));
            assert_eq!(mailbox.to_string().parse::<Mailbox>().unwrap(), mailbox);
        }
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for (text, why) in [
            ("a", "no '@'"),
            ("@x.org", "needs a name"),
            ("a@", "needs a name"),
            ("a@b@c", "cannot have"),
            ("a@x.org, b@x.org", "as a list"),
            ("a@x.org;b@x.org", "as a list"),
            ("a@x.org, Bob <b@x.org>", "as a list"),
            ("Ann <a@x.org>, Bob <b@x.org>", "as a list"),
            ("Ann <a@x.org>; <b@x.org>", "as a list"),
            (r#""Ann" <a@x.org>, "Bob" <b@x.org>"#, "as a list"),
            (r#""Ann\" <a@x.org>"#, "as a list"),
            (r#""Ann" Lee <a@x.org>"#, "as a list"),
            (r#"Ann "B" Lee <a@x.org>"#, "quote such a name"),
            ("Lee, Ann <a@x.org>", "quote such a name"),
            ("Ann <a@x.org, b@x.org>", "as a list"),
            ("a@x.org>", "without a '<'"),
            ("a<b@x.org", "cannot have"),
            ("a b@x.org", "cannot have"),
            ("a@-x.org", "domain"),
            ("a@x..org", "domain"),
            ("a@x.org\r\nRCPT TO:<b@x.org>", "line break"),
            ("Ann\nBcc: b@x.org <a@x.org>", "line break"),
            ("a@x.org\0", "control"),
        ] {
            let refused = text.parse::<Mailbox>().unwrap_err().to_string();
            assert!(refused.contains(why), "{text:?}: {refused}");
        }
        let long = format!("{}@x.org", "a".repeat(260));
        assert!(long.parse::<Mailbox>().is_err());
    }

    #[test]
    fn a_pattern_is_an_address_or_the_end_of_one() {
        let fits =
            |pattern: &str, address| pattern.parse::<AddressPattern>().unwrap().fits(address);
        assert!(fits("*@x.org", "a@X.org"));
        assert!(fits("Ann@x.org", "ann@x.org"));
        assert!(!fits("*@x.org", "a@y.x.org"));
        assert!(!fits("*@x.org", "a@x.org.evil"));
        for refused in ["*", "x.org", "a*@x.org", "*@*"] {
            assert!(refused.parse::<AddressPattern>().is_err(), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn an_address_never_has_what_ends_a_command(text in "[a-b@<>\\r\\n\\x00 \"]{0,12}") {
            if let Ok(mailbox) = text.parse::<Mailbox>() {
                let is_bad = |char: char| char.is_control() || "<> \"".contains(char);
                prop_assert!(!mailbox.address().contains(is_bad));
                prop_assert!(!mailbox.name().unwrap_or_default().contains(char::is_control));
            }
        }

        #[test]
        fn a_mailbox_is_written_as_it_is_read(text in "[a-b@<>\\\\,;\" ]{0,12}( <a@x>)?") {
            if let Ok(mailbox) = text.parse::<Mailbox>() {
                prop_assert_eq!(mailbox.to_string().parse::<Mailbox>().unwrap(), mailbox);
            }
        }

        #[test]
        fn no_second_address_is_lost(
            [first, second] in proptest::array::uniform2("(a@x|a <a@x>|\"a\" <a@x>|<a@x>)"),
            between in "( ?[,;] ?| )",
        ) {
            let text = format!("{first}{between}{second}");
            prop_assert!(text.parse::<Mailbox>().is_err(), "{text:?}");
        }
    }
}
