//! A write transaction under way, as the store's operations see it.

use rusqlite::Connection;

use super::command::not_saved;
use super::counts::CountChanges;
use super::due::{self, ClockReading};
use super::ended::{self, FollowUps};
use super::events::{EventBuffer, NewEvent};
use super::families::FamilyChanges;
use super::names::Names;
use super::room;
use crate::clock::{Clock, UNKNOWN_BOOT};
use crate::job::JobId;
use crate::part::{Of, Part, Parts};
use crate::{Error, Result};

/// One IMMEDIATE transaction: its connection, its moment, and what it owes the counters.
pub(crate) struct Tx<'c> {
    pub(crate) conn: &'c Connection,
    pub(crate) names: &'c mut Names,
    /// The transaction's one "now".
    pub(crate) now_ms: i64,
    pub(crate) counts: CountChanges,
    pub(crate) follow_ups: FollowUps,
    pub(crate) families: FamilyChanges,
    pub(crate) room: room::Known,
    /// A running attempt has been asked to stop: its runner may be the one that writes this.
    pub(crate) asked_to_stop: bool,
    /// What is left alone, because it could not be read or written.
    pub(crate) aside: Parts,
    /// So many cancelled jobs have never been: what spawned them did not complete.
    pub(crate) called_off: i64,
    events: EventBuffer,
    /// Which start of the machine this is; none where that is unknown.
    pub(crate) boot: Option<&'c str>,
    /// None where there is no clock to follow, or once it has been followed.
    clock: Option<&'c Clock>,
}

impl<'c> Tx<'c> {
    pub(crate) fn new(conn: &'c Connection, names: &'c mut Names, now_ms: i64) -> Tx<'c> {
        Tx {
            conn,
            names,
            now_ms,
            counts: CountChanges::default(),
            follow_ups: FollowUps::default(),
            families: FamilyChanges::default(),
            room: room::Known::default(),
            asked_to_stop: false,
            aside: Parts::default(),
            called_off: 0,
            events: EventBuffer::default(),
            boot: None,
            clock: None,
        }
    }

    /// Lets waits that are given as durations follow steps of this clock.
    #[must_use]
    pub(crate) fn with_clock(mut self, clock: &'c Clock) -> Tx<'c> {
        self.clock = Some(clock);
        self.boot = Some(clock.boot()).filter(|boot| *boot != UNKNOWN_BOOT);
        self
    }

    /// To be called before a wait that is given as a duration is written: what stands in the file is
    /// moved by the clock's last step first, or the new wait would be moved along.
    pub(crate) fn follow_clock(&mut self) -> Result<()> {
        match self.clock.take() {
            Some(clock) if !self.is_aside(Part::Clock) => {
                due::follow_clock(self, &ClockReading::of(clock)).of(Part::Clock)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn is_aside(&self, part: Part) -> bool {
        self.aside.has(part)
    }

    /// Appends to the history.
    pub(crate) fn append(&mut self, event: NewEvent) -> Result<()> {
        self.events.push(event);
        if self.events.is_full() {
            self.events.flush(self.conn, self.now_ms)
        } else {
            Ok(())
        }
    }

    /// Writes the events that are held back, for a statement that looks at the table of events.
    pub(crate) fn flush_events(&mut self) -> Result<()> {
        self.events.flush(self.conn, self.now_ms)
    }

    /// Writes what the counters are owed, for a statement that looks at them.
    pub(crate) fn flush_counts(&mut self) -> Result<()> {
        self.room = room::Known::default();
        self.counts.flush(self.conn, &self.aside)
    }

    /// Writes what has been held back: to be called before COMMIT.
    pub(crate) fn finish(&mut self) -> Result<()> {
        ended::follow(self)?;
        self.events.flush(self.conn, self.now_ms)?;
        self.counts.flush(self.conn, &self.aside)
    }

    /// Runs `body` whole or not at all. An error that ended the whole transaction is left to the
    /// writer, which sees it by autocommit.
    pub(crate) fn savepoint<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.conn.prepare_cached("SAVEPOINT command")?.execute([])?;
        // What others have left to be written is theirs, whatever of it is written in here.
        let (counts, events, clock) = (self.counts.clone(), self.events.clone(), self.clock);
        let (follow_ups, families) = (self.follow_ups.clone(), self.families.clone());
        let called_off = self.called_off;
        match body(self).and_then(|done| ended::follow(self).map(|()| done)) {
            Ok(done) => {
                self.conn.prepare_cached("RELEASE command")?.execute([])?;
                Ok(done)
            }
            Err(error) => {
                if !self.conn.is_autocommit() {
                    self.conn
                        .execute_batch("ROLLBACK TO command; RELEASE command")?;
                    self.counts = counts;
                    self.room = room::Known::default();
                    self.clock = clock;
                    self.events = events;
                    self.follow_ups = follow_ups;
                    self.families = families;
                    self.called_off = called_off;
                    self.names.forget();
                }
                Err(error)
            }
        }
    }

    /// Runs `body` for each of these jobs, for each whole or not at all. The error is one that ended
    /// the whole transaction.
    pub(crate) fn for_each<T>(
        &mut self,
        jobs: &[JobId],
        mut body: impl FnMut(&mut Self, JobId) -> Result<T>,
    ) -> Result<Vec<Result<T>>> {
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let answer = self.savepoint(|tx| body(tx, *job));
            if self.conn.is_autocommit() {
                return Err(answer.err().unwrap_or_else(not_saved));
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Runs an application's code. Nothing may be written after it where it has ended the
    /// transaction.
    pub(crate) fn entrust<T, E: From<Error>>(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run_cached("SAVEPOINT application")?;
        let answer = body(self)?;
        // It went with the transaction, even where another one was begun since.
        self.run_cached("RELEASE application").map_err(|_| {
            Error::wrong_state("the transaction was ended from inside of its closure").with_hint(
                "leave COMMIT and ROLLBACK to jobq, and return an error of SQLite's as an error",
            )
        })?;
        Ok(answer)
    }

    fn run_cached(&self, sql: &str) -> Result<()> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}
