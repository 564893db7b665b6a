//! Names of queues and kinds.

use crate::{Error, Result};

/// The queue of jobs that do not name one.
pub const DEFAULT_QUEUE: &str = "default";

/// Maximum length of the name of a kind or a queue, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 200;

/// Checks the name of a kind or a queue: 1 to [`MAX_NAME_BYTES`] bytes, no control characters.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("the {what} is empty")));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::invalid(format!(
            "the {what} is {} bytes long, at most {MAX_NAME_BYTES} are allowed",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "the {what} {name:?} holds a control character"
        )));
    }
    Ok(())
}
