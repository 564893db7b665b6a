//! Reports of running attempts, by handlers and from inside commands.

use std::time::Duration;

use crate::model::event::{EventKind, Level, LogEntry};
use crate::model::job::{AttemptRef, NewJob, Progress};
use crate::queue::Queue;
use crate::store::{Posted, Room};
use crate::{Error, Result, store};

impl Queue {
    /// Stores the progress of a running attempt.
    ///
    /// # Errors
    /// The attempt no longer holds the job.
    pub fn set_progress(&self, attempt: AttemptRef, progress: Progress) -> Result<()> {
        self.store
            .write(move |tx| store::write_progress(tx, attempt, &progress))
    }

    /// Appends to the log of a running attempt.
    ///
    /// # Errors
    /// The attempt no longer holds the job.
    pub fn append_log(
        &self,
        attempt: AttemptRef,
        level: Level,
        message: impl Into<String>,
    ) -> Result<()> {
        let entry = LogEntry {
            level,
            message: message.into(),
            fields: None,
        };
        self.store
            .write(move |tx| store::write_log(tx, attempt, &entry))
    }

    /// Stores the result of a running attempt: JSON text.
    ///
    /// # Errors
    /// It is not JSON, or the attempt no longer holds the job.
    pub fn set_result(&self, attempt: AttemptRef, json: &str) -> Result<()> {
        let json = NewJob::new("result").payload_json(json).payload;
        let json =
            json.map_err(|error| Error::invalid(format!("the result is not JSON: {error}")))?;
        if json.len() > self.limits.max_payload_bytes {
            return Err(Error::invalid(format!(
                "the result is {} bytes long, at most {} are allowed",
                json.len(),
                self.limits.max_payload_bytes
            )));
        }
        self.store
            .write(move |tx| store::write_result(tx, attempt, &json))
    }

    /// Snoozes the job of a running attempt once the attempt has succeeded: the job runs again after this long, at no
    /// cost in retries, and the attempt's result is discarded. The latest call counts. If the attempt ends otherwise,
    /// or its runner is lost, the job is not snoozed, and its log says so.
    ///
    /// # Errors
    /// The attempt no longer holds the job.
    pub fn set_snooze(&self, attempt: AttemptRef, wait: Duration) -> Result<()> {
        self.store
            .write(move |tx| store::write_snooze(tx, attempt, wait))
    }

    /// Posts a line of output of a running attempt; does not wait for its commit.
    pub(crate) fn post_output(
        &self,
        attempt: AttemptRef,
        kind: EventKind,
        (bytes, room): (Vec<u8>, Room),
    ) -> Result<()> {
        let output = Posted {
            job: attempt.job,
            what: "output",
        };
        self.store.writer.post((output, room), move |tx| {
            store::write_output(tx, attempt, kind, &bytes)
        })
    }
}
