//! Who makes the changes of a handle.

use std::sync::Arc;

use crate::model::event::{Event, EventId};
use crate::model::undone::Undone;
use crate::queue::Queue;
use crate::store::Tx;
use crate::{Error, Result, store};

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

    /// Undoes the change by hand that an event records, whole or not at all: the cancel of a job that was not running
    /// (the job is put back to the state and the due time that it had, with all jobs that were cancelled because of it),
    /// an edit, the pause or the resume of a queue or a schedule, the limits of a queue. The undo has an event of its
    /// own, with `undo` in its data.
    ///
    /// What a hook has enqueued because of a cancel stays.
    ///
    /// ```
    /// # use jobq::{EventFilter, NewJob, Queue, State, Undone};
    /// # let folder = tempfile::tempdir()?;
    /// let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// let job = queue.enqueue(NewJob::new("resize"))?;
    /// job.cancel()?;
    /// let cancel = queue.undoable(1)?.remove(0);
    /// queue.undo(cancel.id)?;
    /// assert_eq!(job.get()?.state, State::Pending);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There is no such event ([`Error::is_not_found`](crate::Error::is_not_found)), or it cannot be undone
    /// ([`Error::is_wrong_state`](crate::Error::is_wrong_state)): it is of another kind, what it is about has changed
    /// since, or something stands in the way, as another job that has the unique key or the slot now; the message names
    /// it.
    pub fn undo(&self, event: EventId) -> Result<Undone> {
        self.change(move |tx| {
            let found = store::find_event(tx.conn, event)?.ok_or_else(|| {
                Error::not_found(format!("no event {}", event.0))
                    .with_hint("the history may have been pruned up to there")
            })?;
            store::undo_change(tx, &found)
        })
    }

    /// The latest events that [`Queue::undo`] may undo, newest first, at most `limit`. It looks back a bounded number of
    /// transactions.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn undoable(&self, limit: usize) -> Result<Vec<Event>> {
        let conn = self.store.reader()?;
        let mut found = Vec::new();
        store::latest_events(&conn, &store::UNDOABLE, |event| {
            if found.len() < limit && store::may_undo(&conn, &event) {
                found.push(event);
            }
            found.len() < limit
        })?;
        Ok(found)
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
