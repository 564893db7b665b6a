//! The events of a write transaction: their ids, their order for the feed, and what goes to the log.

use std::fmt::Write;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::Result;
use crate::model::event::{EventId, EventKind};
use crate::model::id::JobId;
use crate::store::sqlite::error::ids_spent;
use crate::store::sqlite::statement::{Statements, statements};

statements! {
    hot FEED_APPEND = "INSERT INTO jobq_feed (id, at, events) VALUES (?1, ?2, ?3)";
    hot LOG_APPEND = "INSERT INTO jobq_log (job_id, id, at, kind, attempt, runner_id, worker, took_us, data)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
}

/// In a row of the feed or the log: the event is of no job.
pub(crate) const NO_JOB: i64 = 0;
/// In a row of the feed: the event is of no attempt.
pub(crate) const NO_ATTEMPT: u32 = 0;

/// The data of an event, as far as it is JSON with fields.
pub(crate) type EventFields = serde_json::Map<String, serde_json::Value>;

/// An event for the log. Fields that do not apply are none.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub(crate) kind: EventKind,
    pub(crate) job: Option<JobId>,
    pub(crate) attempt: Option<u32>,
    pub(crate) runner: Option<i64>,
    pub(crate) worker: Option<u32>,
    pub(crate) took: Option<Duration>,
    pub(crate) data: Value,
}

impl NewEvent {
    pub(crate) fn new(kind: EventKind) -> NewEvent {
        NewEvent {
            kind,
            job: None,
            attempt: None,
            runner: None,
            worker: None,
            took: None,
            data: Value::Null,
        }
    }

    pub(crate) fn job(kind: EventKind, job: JobId) -> NewEvent {
        NewEvent {
            job: Some(job),
            ..NewEvent::new(kind)
        }
    }

    pub(crate) fn text(mut self, data: Option<String>) -> NewEvent {
        self.data = data.map_or(Value::Null, Value::Text);
        self
    }

    /// Writes it to the log.
    pub(super) fn write(&self, conn: &Connection, id: EventId, now_ms: i64) -> Result<()> {
        conn.run(
            LOG_APPEND,
            params![
                self.job.map_or(NO_JOB, |job| job.0),
                id.0,
                now_ms,
                self.kind.code(),
                self.attempt,
                self.runner,
                self.worker,
                self.took.map(micros),
                self.data
            ],
        )?;
        Ok(())
    }
}

pub(crate) fn micros(took: Duration) -> i64 {
    i64::try_from(took.as_micros()).unwrap_or(i64::MAX)
}

/// The transaction's events so far, in order, that are not in the feed yet.
#[derive(Debug)]
pub(crate) struct FeedBuffer {
    /// The id of the last event.
    last: i64,
    runs: Vec<EventRun>,
}

/// Events in a row of the same kind and attempt number.
#[derive(Debug)]
struct EventRun {
    kind: EventKind,
    attempt: u32,
    /// Ranges of jobs, in order.
    jobs: Vec<(i64, i64)>,
}

/// A point of the buffer to return to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeedMark {
    last: i64,
    runs: usize,
    /// Of the last run: the number of ranges, and the end of the last one.
    ranges: usize,
    end: i64,
}

impl FeedBuffer {
    /// `last` is the id of the last event in the file.
    pub(super) fn after(last: i64) -> FeedBuffer {
        FeedBuffer {
            last,
            runs: Vec::new(),
        }
    }

    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// Whether no id is left.
    pub(super) fn is_spent(&self) -> bool {
        self.last == i64::MAX
    }

    /// Adds an event; returns its id.
    pub(super) fn push(&mut self, kind: EventKind, attempt: u32, job: i64) -> Result<EventId> {
        let last = self.last.checked_add(1);
        self.last = last.ok_or_else(|| ids_spent("an event"))?;
        match self.runs.last_mut() {
            Some(run) if (run.kind, run.attempt) == (kind, attempt) => run.add(job),
            _ => self.runs.push(EventRun {
                kind,
                attempt,
                jobs: vec![(job, job)],
            }),
        }
        Ok(EventId(self.last))
    }

    /// Nothing may be written to the feed until [`FeedBuffer::return_to`].
    pub(super) fn mark(&self) -> FeedMark {
        let jobs = self.runs.last().map_or(&[][..], |run| &run.jobs);
        FeedMark {
            last: self.last,
            runs: self.runs.len(),
            ranges: jobs.len(),
            end: jobs.last().map_or(0, |range| range.1),
        }
    }

    /// Forgets the events since then.
    pub(super) fn return_to(&mut self, mark: FeedMark) {
        self.last = mark.last;
        self.runs.truncate(mark.runs);
        if let Some(run) = self.runs.last_mut() {
            run.jobs.truncate(mark.ranges);
            if let Some(range) = run.jobs.last_mut() {
                range.1 = mark.end;
            }
        }
    }

    /// Writes a row with the events.
    pub(super) fn flush(&mut self, conn: &Connection, now_ms: i64) -> Result<()> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let events: i64 = self.runs.iter().map(EventRun::events).sum();
        let first = self.last - events + 1;
        conn.run(FEED_APPEND, params![first, now_ms, self.to_json()])?;
        self.runs.clear();
        Ok(())
    }

    fn to_json(&self) -> String {
        let mut text = String::with_capacity(64);
        for (at, run) in self.runs.iter().enumerate() {
            let before = if at == 0 { "[" } else { "," };
            // Writing into a string cannot fail.
            let _ = write!(text, "{before}[{},{}", run.kind.code(), run.attempt);
            for (first, last) in &run.jobs {
                let _ = match first == last {
                    true => write!(text, ",{first}"),
                    false => write!(text, ",[{first},{last}]"),
                };
            }
            text.push(']');
        }
        text.push(']');
        text
    }
}

impl EventRun {
    fn add(&mut self, job: i64) {
        match self.jobs.last_mut() {
            // Events of no job are not in a row with each other.
            Some(range)
                if job != NO_JOB && range.1.checked_add(1) == Some(job) && range.1 != NO_JOB =>
            {
                range.1 = job;
            }
            _ => self.jobs.push((job, job)),
        }
    }

    fn events(&self) -> i64 {
        self.jobs.iter().map(|(first, last)| last - first + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(feed: &mut FeedBuffer, kind: EventKind, attempt: u32, jobs: &[i64]) {
        for job in jobs {
            feed.push(kind, attempt, *job).unwrap();
        }
    }

    #[test]
    fn events_of_a_kind_and_attempt_share_a_run() {
        let mut feed = FeedBuffer::after(10);
        push(&mut feed, EventKind::Enqueued, 0, &[1, 2, 3, 7, 6]);
        push(&mut feed, EventKind::Started, 1, &[1]);
        push(&mut feed, EventKind::Started, 2, &[2]);
        push(&mut feed, EventKind::RunnerStarted, 0, &[NO_JOB, NO_JOB]);
        assert_eq!(
            feed.to_json(),
            "[[1,0,[1,3],7,6],[2,1,1],[2,2,2],[40,0,0,0]]"
        );
        assert_eq!(feed.last(), 19);
    }

    #[test]
    fn what_is_undone_leaves_no_event() {
        let mut feed = FeedBuffer::after(0);
        push(&mut feed, EventKind::Enqueued, 0, &[1, 2]);
        let before = feed.to_json();
        let mark = feed.mark();
        push(&mut feed, EventKind::Enqueued, 0, &[3, 9]);
        push(&mut feed, EventKind::Released, 0, &[3]);
        feed.return_to(mark);
        assert_eq!((feed.to_json(), feed.last()), (before, 2));
        let empty = FeedBuffer::after(5).mark();
        let mut feed = FeedBuffer::after(5);
        push(&mut feed, EventKind::Enqueued, 0, &[3]);
        feed.return_to(empty);
        assert!(feed.runs.is_empty() && feed.last() == 5);
    }

    #[test]
    fn the_last_id_is_never_passed() {
        let mut feed = FeedBuffer::after(i64::MAX);
        let error = feed.push(EventKind::Enqueued, 0, 1).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
    }
}
