//! Who makes the changes of a handle.

use std::sync::Arc;

use crate::Result;
use crate::queue::Queue;
use crate::store::Tx;

/// Maximum length of a name, in bytes.
const MAX_BY_BYTES: usize = 100;

impl Queue {
    /// A handle on the same file whose changes by hand say who made them: cancelled, retried and edited jobs, paused,
    /// resumed and limited queues, and changed schedules have the name as `by` in the data of their events. Control
    /// characters in it are replaced, and it is cut after 100 bytes.
    ///
    /// ```
    /// # use jobq::{EventFilter, NewJob, Queue, QueueSelector};
    /// # let folder = tempfile::tempdir()?;
    /// let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// queue.acting_as("web:ann").pause(QueueSelector::All)?;
    /// let event = queue.events(&EventFilter::default())?.events.remove(0);
    /// assert_eq!(event.by().as_deref(), Some("web:ann"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn acting_as(&self, by: impl Into<String>) -> Queue {
        Queue {
            by: Some(printable(&by.into()).into()).filter(|by: &Arc<str>| !by.is_empty()),
            ..self.clone()
        }
    }

    /// Makes a change by hand.
    pub(super) fn change<T: Send + 'static>(
        &self,
        mut change: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let by = self.by.clone();
        self.store
            .write(move |tx| tx.as_made_by(&by, |tx| change(tx)))
    }
}

/// A name that can be shown anywhere.
fn printable(by: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let by: String = by.chars().map(shown).collect();
    let mut ends = (0..=MAX_BY_BYTES.min(by.len())).rev();
    let end = ends.find(|end| by.is_char_boundary(*end)).unwrap_or(0);
    by[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_has_no_control_characters() {
        assert_eq!(printable("cli:ann"), "cli:ann");
        assert_eq!(printable("a\n\u{1b}[31mb"), "a\u{fffd}\u{fffd}[31mb");
        let long = printable(&"ü".repeat(80));
        assert_eq!(long, "ü".repeat(50));
        assert!(printable(&format!("a{}", "ü".repeat(80))).len() <= MAX_BY_BYTES);
    }
}
