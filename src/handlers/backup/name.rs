//! The names of backups, which hold the time of each.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::{Error, Result};

/// What stands for the time.
pub(super) const TIME: &str = "{time}";
/// The time in UTC, to a second.
const FORMAT: &str = "%Y%m%dT%H%M%SZ";
/// The end of the name of the file that has a backup's checksum.
pub(super) const CHECKSUM: &str = ".sha256";

/// A name with or without the time in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamePattern {
    before: String,
    /// What follows the time; none if there is no time in it.
    after: Option<String>,
}

impl NamePattern {
    pub(super) fn parse(text: &str) -> Result<NamePattern> {
        let refused = |why: &str| Err(Error::invalid(format!("the name '{text}' {why}")));
        if text.is_empty() || text.starts_with('.') || text.contains(['/', '\0']) {
            return refused("is not the plain name of a file, or begins with a dot");
        }
        let (before, after) = match text.split_once(TIME) {
            Some((before, after)) => (before, Some(after.to_owned())),
            None => (text, None),
        };
        if before.contains(['{', '}']) || after.as_ref().is_some_and(|t| t.contains(['{', '}'])) {
            return refused("may have {time} in it once, and no other braces");
        }
        Ok(NamePattern {
            before: before.to_owned(),
            after,
        })
    }

    pub(super) fn has_time(&self) -> bool {
        self.after.is_some()
    }

    /// The name of the backup of this moment.
    pub(super) fn at(&self, time: Timestamp) -> String {
        match &self.after {
            Some(after) => format!("{}{}{after}", self.before, time.strftime(FORMAT)),
            None => self.before.clone(),
        }
    }

    /// The moment of a backup, by its name; none if the name is another's.
    pub(super) fn time_of(&self, name: &str) -> Option<Timestamp> {
        let after = self.after.as_deref()?;
        let stamp = name.strip_prefix(&*self.before)?.strip_suffix(after)?;
        let time = DateTime::strptime(FORMAT, stamp).ok()?;
        let time = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
        // The same moment may be written in other ways.
        (self.at(time) == name).then_some(time)
    }

    /// Whether it is the name of a backup or of its checksum.
    pub(super) fn fits(&self, name: &str) -> bool {
        let name = name.strip_suffix(CHECKSUM).unwrap_or(name);
        match self.has_time() {
            true => self.time_of(name).is_some(),
            false => name == self.before,
        }
    }
}
