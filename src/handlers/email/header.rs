//! What may stand in the headers of a message.

use crate::{Error, Result};

/// Refuses what cannot stand in a header.
pub(super) fn check_line(what: &str, text: &str) -> Result<()> {
    match text.chars().any(|char| char.is_control() && char != '\t') {
        true => Err(Error::invalid(format!(
            "{what} has a line break or a control character"
        ))),
        false => Ok(()),
    }
}

/// The headers that a payload may set: none that says who sends what to whom, or how the message is built.
pub(super) fn check_header(name: &str) -> Result<()> {
    let lower = name.to_ascii_lowercase();
    let is_open = lower.starts_with("x-")
        || lower.starts_with("list-")
        || ["auto-submitted", "importance", "precedence"].contains(&&*lower);
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match is_open && is_name {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "the header '{name}' cannot be set; X-…, List-…, Auto-Submitted, Importance and Precedence can"
        ))),
    }
}
