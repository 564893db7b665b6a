//! The names of reports, and the placeholders in those of their files.

use jiff::Zoned;

use crate::{Error, Result};

/// What the placeholders of a report stand for.
pub(super) struct ReportNames<'a> {
    pub(super) name: &'a str,
    /// When it was made.
    pub(super) time: &'a Zoned,
    pub(super) extension: &'a str,
}

const PLACEHOLDERS: [&str; 4] = ["{name}", "{date}", "{time}", "{ext}"];

impl ReportNames<'_> {
    /// A pattern with what its placeholders stand for.
    pub(super) fn fill(&self, pattern: &str) -> String {
        let date = self.date();
        let time = self.time.strftime("%H%M%S").to_string();
        let [mut filled, mut rest] = [String::new(), pattern.to_owned()];
        // From the left, so that a name with a brace in it is no placeholder.
        while let Some(at) = rest.find('{') {
            let values = PLACEHOLDERS
                .into_iter()
                .zip([self.name, &date, &time, self.extension]);
            let found = values
                .into_iter()
                .find(|(placeholder, _)| rest[at..].starts_with(placeholder));
            let (placeholder, value) = found.unwrap_or(("{", "{"));
            filled.push_str(&rest[..at]);
            filled.push_str(value);
            rest.drain(..at + placeholder.len());
        }
        filled + &rest
    }

    pub(super) fn date(&self) -> String {
        self.time.strftime("%Y-%m-%d").to_string()
    }
}

/// Refuses a pattern with braces that are no placeholder.
pub(super) fn check_pattern(what: &str, pattern: &str) -> Result<()> {
    let mut rest = pattern.to_owned();
    for placeholder in PLACEHOLDERS {
        rest = rest.replace(placeholder, "");
    }
    if pattern.is_empty() || rest.contains(['{', '}']) {
        let known = PLACEHOLDERS.join(", ");
        return Err(Error::invalid(format!(
            "'{what}' is '{pattern}'; it may have {known} in it, and no other braces"
        )));
    }
    Ok(())
}

/// Refuses what cannot be a part of the name of a file.
pub(super) fn check_name(what: &str, name: &str) -> Result<()> {
    let is_other = |char: char| char == '/' || char.is_control();
    match name.is_empty() || name.starts_with('.') || name.contains(is_other) {
        true => Err(Error::invalid(format!(
            "'{what}' is {name:?}; it is a part of the name of a file, so it has no slash, no control character \
             and no dot in front"
        ))),
        false => Ok(()),
    }
}
