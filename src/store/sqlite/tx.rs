//! The write transaction of the store's operations: its connection, its time, and what it must still write
//! before COMMIT.

pub(crate) mod counts;
pub(crate) mod feed;
pub(crate) mod metrics;
pub(crate) mod pending;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{CachedStatement, Connection, Params, params};

use crate::clock::{self, Clock, ClockReading, UNKNOWN_BOOT};
use crate::error::Of;
use crate::model::event::{EventId, EventKind};
use crate::model::id::JobId;
use crate::model::part::{Part, Parts};
use crate::store::sqlite::RowResult;
use crate::store::sqlite::command::not_saved;
use crate::store::sqlite::error::ids_spent;
use crate::store::sqlite::names::Names;
use crate::store::sqlite::schema;
use crate::store::sqlite::statement::{Read, Statements, statements};
use crate::store::sqlite::tx::counts::QuotaSeen;
pub(crate) use crate::store::sqlite::tx::counts::{COUNT_ADD, CountChanges, QueueQuota};
use crate::store::sqlite::tx::feed::FeedBuffer;
pub(crate) use crate::store::sqlite::tx::feed::{
    EventFields, NO_ATTEMPT, NO_JOB, NewEvent, micros,
};
use crate::store::sqlite::tx::metrics::EndedSample;
pub(crate) use crate::store::sqlite::tx::pending::{ChildAction, Ended, FamilyChange, Pending};
use crate::{Error, Result};

statements! {
    /// A few seeks on two pages. The clock's reading must be the file's own: another process may have followed
    /// a step that this one has not seen. An id follows both the number that is kept and the rows, which another
    /// program may have added.
    hot TX_BEGIN = "SELECT value, (SELECT value FROM jobq_meta WHERE key = 'clock_boot'),
            (SELECT value FROM jobq_meta WHERE key = 'clock_offset_ms'),
            (SELECT value FROM jobq_number WHERE what = -2 AND id = 1), (SELECT max(id) FROM jobq_job),
            (SELECT value FROM jobq_number WHERE what = -2 AND id = 2), (SELECT max(id) FROM jobq_feed),
            (SELECT value FROM jobq_number WHERE what = -1 AND id = ?1)
        FROM jobq_meta WHERE key = 'schema_version'";
    hot NUMBERS_SET = "INSERT OR REPLACE INTO jobq_number (what, id, value)
        VALUES (-2, 1, ?1), (-2, 2, ?2), (-1, ?3, ?4)";
}

/// Calls into the rules of jobs at the beginning and the end of a write transaction. The higher layer supplies
/// them, so that this one need not know it.
#[derive(Clone, Copy)]
pub(crate) struct JobRules {
    /// After a step of the clock: waits that were given as durations keep their remaining time.
    pub(crate) follow_clock: fn(&mut Tx<'_>, ClockReading<'_>) -> Result<usize>,
    /// Works off the consequences of jobs that have ended.
    pub(crate) consequences: fn(&mut Tx<'_>) -> Result<()>,
}

impl fmt::Debug for JobRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobRules")
    }
}

/// A step of the clock that could not be followed, because of damaged data.
#[derive(Debug)]
pub(crate) struct UnfollowedStep {
    error: Error,
    /// It is tried again then, and not by each transaction.
    again_at: Instant,
}

/// As long as a runner leaves a damaged part alone.
const FOLLOW_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl UnfollowedStep {
    fn new(error: &Error) -> UnfollowedStep {
        UnfollowedStep {
            error: error.duplicate(),
            again_at: clock::after(clock::instant(), FOLLOW_AGAIN_AFTER),
        }
    }

    fn is_tried_again(&self) -> bool {
        clock::instant() >= self.again_at
    }
}

/// One IMMEDIATE transaction.
pub(crate) struct Tx<'c> {
    pub(crate) conn: &'c Connection,
    pub(crate) names: &'c mut Names,
    /// The transaction's one "now".
    pub(crate) now_ms: i64,
    pub(crate) counts: CountChanges,
    pub(crate) quota: QuotaSeen,
    /// Consequences that are still to be worked off.
    pub(crate) pending: Pending,
    /// A running attempt was asked to stop: its runner may be this writer.
    pub(crate) asked_to_stop: bool,
    /// After a failure: each job is written by statements of its own, so that an error names it.
    pub(crate) is_one_by_one: bool,
    /// Parts that are set aside, because they could not be read or written.
    pub(crate) aside: Parts,
    /// Who makes the change that is being applied, if it is one by hand and somebody says so.
    pub(crate) by: Option<Arc<str>>,
    /// The event that an undo undoes.
    pub(crate) undoes: Option<EventId>,
    /// The event of the cancel by hand whose consequences are being worked off.
    pub(crate) cancel: Option<EventId>,
    /// Number of discarded jobs: the attempt that spawned them did not complete.
    pub(crate) discarded: i64,
    /// The attempts that it has ended so far.
    pub(crate) ended: Vec<EndedSample>,
    feed: FeedBuffer,
    last_job: i64,
    /// Statements that are looked up once in the transaction.
    often: RefCell<Vec<(&'static str, CachedStatement<'c>)>>,
    /// The writer's mark of its transaction before this one.
    pub(crate) mark: Option<i64>,
    /// The id of the machine's start; none if unknown.
    pub(crate) boot: Option<&'c str>,
    rules: JobRules,
    /// Why a step of the clock could not be followed.
    clock_error: Option<Error>,
}

impl<'c> Tx<'c> {
    /// Call it after BEGIN: refuses a file that was upgraded since it was opened, and follows a step of the
    /// clock before any wait for a duration is written.
    pub(crate) fn begin(
        (conn, names): (&'c Connection, &'c mut Names),
        clock: &'c Clock,
        (slot, rules): (i64, JobRules),
        unfollowed: &mut Option<UnfollowedStep>,
    ) -> Result<Tx<'c>> {
        // Not before the lock is held: a rate is kept by the moments at which other runners claimed.
        let mut tx = Tx::new((conn, names), clock.now_ms(), rules);
        tx.boot = Some(clock.boot()).filter(|boot| *boot != UNKNOWN_BOOT);
        let now = clock.reading();
        let begun = conn.one(TX_BEGIN, [slot], |row| {
            let (boot, offset) = (row.get_ref(1)?, row.get_ref(2)?);
            let known = boot.as_str().ok().zip(offset.as_i64().ok());
            let known = known.map(|(boot, offset_ms)| ClockReading { boot, offset_ms });
            let number = |at| -> RowResult<i64> { Ok(row.get_ref(at)?.as_i64().unwrap_or(0)) };
            tx.last_job = number(3)?.max(number(4)?);
            tx.feed = FeedBuffer::after(number(5)?.max(number(6)?));
            tx.mark = row.get_ref(7)?.as_i64().ok();
            Ok((row.get(0)?, !now.has_stepped_since(known)))
        });
        let (version, is_followed) = match begun {
            Ok(begun) => begun,
            // A newer schema may lack what this one asks for.
            Err(error) => {
                schema::check_unchanged(schema::stored_version(conn)?)?;
                return Err(error);
            }
        };
        schema::check_unchanged(version)?;
        if tx.feed.is_spent() {
            // Nothing can be written at all: no part of the file is to blame.
            return Err(ids_spent("an event"));
        }
        match unfollowed {
            _ if is_followed => *unfollowed = None,
            Some(step) if !step.is_tried_again() => tx.clock_error = Some(step.error.duplicate()),
            _ => tx.follow_clock(now, unfollowed)?,
        }
        Ok(tx)
    }

    /// A transaction without a clock.
    pub(crate) fn new(
        (conn, names): (&'c Connection, &'c mut Names),
        now_ms: i64,
        rules: JobRules,
    ) -> Tx<'c> {
        Tx {
            conn,
            names,
            now_ms,
            counts: CountChanges::default(),
            quota: QuotaSeen::default(),
            pending: Pending::default(),
            asked_to_stop: false,
            is_one_by_one: false,
            aside: Parts::default(),
            by: None,
            undoes: None,
            cancel: None,
            discarded: 0,
            ended: Vec::new(),
            feed: FeedBuffer::after(0),
            last_job: 0,
            often: RefCell::default(),
            mark: None,
            boot: None,
            rules,
            clock_error: None,
        }
    }

    /// With the ids that follow those in the file, for tests.
    #[cfg(test)]
    pub(crate) fn numbered(mut self) -> Tx<'c> {
        let last = |sql| self.conn.query_row(sql, [], |row| row.get(0));
        let job = "SELECT max(coalesce(max(id), 0), coalesce((SELECT value FROM jobq_number
            WHERE what = -2 AND id = 1), 0)) FROM jobq_job";
        let event = "SELECT coalesce(max(value), 0) FROM jobq_number WHERE what = -2 AND id = 2";
        (self.last_job, self.feed) = (
            last(job).unwrap_or(0),
            FeedBuffer::after(last(event).unwrap_or(0)),
        );
        self
    }

    /// What is wrong with the waits must not stop all other writes.
    fn follow_clock(
        &mut self,
        now: ClockReading<'_>,
        unfollowed: &mut Option<UnfollowedStep>,
    ) -> Result<()> {
        let follow = self.rules.follow_clock;
        let followed = self.savepoint(|tx| follow(tx, now)).of(Part::Clock);
        let Err(error) = followed else {
            *unfollowed = None;
            return Ok(());
        };
        if self.conn.is_autocommit() {
            return Err(error);
        }
        if error.blames_data() {
            let is_news = unfollowed.replace(UnfollowedStep::new(&error)).is_none();
            if is_news {
                log::error!("waits could not follow a step of the clock: {error}");
            }
        }
        self.clock_error = Some(error);
        Ok(())
    }

    /// Why a step of the clock could not be followed at BEGIN.
    pub(crate) fn clock_followed(&mut self) -> Result<()> {
        self.clock_error.take().map_or(Ok(()), Err)
    }

    pub(crate) fn is_aside(&self, part: Part) -> bool {
        self.aside.has(part)
    }

    /// The id of a new job.
    pub(crate) fn new_job_id(&mut self) -> Result<JobId> {
        let next = self.last_job.checked_add(1);
        self.last_job = next.ok_or_else(|| ids_spent("a job"))?;
        Ok(JobId(self.last_job))
    }

    /// The highest id that a job has had.
    pub(crate) fn last_job(&self) -> i64 {
        self.last_job
    }

    /// Adds an event to the feed that is found with its job or its attempt; returns its id, which the caller
    /// stores there.
    pub(crate) fn note(&mut self, kind: EventKind, job: JobId, attempt: u32) -> Result<EventId> {
        self.feed.push(kind, attempt, job.0)
    }

    /// The id of the next event.
    pub(crate) fn next_event_id(&self) -> EventId {
        EventId(self.feed.last().saturating_add(1))
    }

    /// Adds an event to the feed and to the log.
    pub(crate) fn append(&mut self, event: NewEvent) -> Result<()> {
        let attempt = event.attempt.unwrap_or(NO_ATTEMPT);
        let job = event.job.map_or(NO_JOB, |job| job.0);
        let id = self.feed.push(event.kind, attempt, job)?;
        event.write(self.conn, id, self.now_ms)
    }

    /// The same for a change by hand, whose data may say who has made it, and what it undoes.
    pub(crate) fn append_change(&mut self, event: NewEvent, mut data: EventFields) -> Result<()> {
        if let Some(undone) = self.undoes {
            data.insert("undo".to_owned(), undone.0.into());
        }
        if let Some(by) = &self.by {
            data.insert("by".to_owned(), (&**by).into());
        }
        let data = (!data.is_empty()).then(|| serde_json::Value::Object(data).to_string());
        self.append(event.text(data))
    }

    /// Applies a change by hand that this one makes.
    pub(crate) fn as_made_by<T>(
        &mut self,
        by: &Option<Arc<str>>,
        change: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.by.clone_from(by);
        let changed = change(self);
        self.by = None;
        changed
    }

    /// Writes the events so far to the feed. Not inside [`Tx::savepoint`]: what it undoes may be of others.
    pub(crate) fn flush_feed(&mut self) -> Result<()> {
        self.feed.flush(self.conn, self.now_ms)
    }

    /// Writes the pending changes of the counters, for a statement that reads them.
    pub(crate) fn flush_counts(&mut self) -> Result<()> {
        self.quota = QuotaSeen::default();
        self.counts.flush(self.conn, &self.aside)
    }

    /// Works off all consequences so far.
    pub(crate) fn follow(&mut self) -> Result<()> {
        let consequences = self.rules.consequences;
        consequences(self)
    }

    /// Writes everything that was held back; call it before COMMIT.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.follow()?;
        self.flush_feed()?;
        if !self.aside.has(Part::Metrics) {
            metrics::flush(self.conn, &mut self.ended, self.now_ms).of(Part::Metrics)?;
        }
        self.counts.flush(self.conn, &self.aside)
    }

    /// Writes the ids that have been given away and the writer's mark: the last statement of a transaction that
    /// has changed anything.
    pub(crate) fn write_numbers(&self, slot: i64, mark: i64) -> Result<()> {
        let (last_job, last_event) = (self.last_job, self.feed.last());
        self.run(NUMBERS_SET, params![last_job, last_event, slot, mark])?;
        Ok(())
    }

    /// Runs `body` whole or not at all. An error that ended the whole transaction is left to the
    /// writer, which sees it by autocommit.
    pub(crate) fn savepoint<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.conn.prepare_cached("SAVEPOINT command")?.execute([])?;
        // What is already pending belongs to others.
        let (counts, feed, last_job) = (self.counts.clone(), self.feed.mark(), self.last_job);
        let (pending, discarded) = (self.pending.clone(), self.discarded);
        let ended = self.ended.len();
        match body(self).and_then(|done| self.follow().map(|()| done)) {
            Ok(done) => {
                self.conn.prepare_cached("RELEASE command")?.execute([])?;
                Ok(done)
            }
            Err(error) => {
                if !self.conn.is_autocommit() {
                    self.conn
                        .execute_batch("ROLLBACK TO command; RELEASE command")?;
                    self.counts = counts;
                    self.quota = QuotaSeen::default();
                    self.feed.return_to(feed);
                    self.last_job = last_job;
                    self.ended.truncate(ended);
                    self.pending = pending;
                    self.discarded = discarded;
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

    /// Runs application code. If it has ended the transaction, nothing may be written afterwards.
    pub(crate) fn entrust<T, E: From<Error>>(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run_cached("SAVEPOINT application")?;
        let answer = body(self)?;
        // It was lost with the transaction, even if another one was begun since.
        self.run_cached("RELEASE application").map_err(|_| {
            Error::wrong_state("the transaction was ended from inside of its closure").with_hint(
                "leave COMMIT and ROLLBACK to jobq, and return an error of SQLite's as an error",
            )
        })?;
        Ok(answer)
    }

    /// The same for a statement that runs for many jobs: looking it up costs as much as some columns.
    pub(crate) fn run_often(&self, sql: &'static str, params: impl Params) -> Result<usize> {
        let same = |(kept, _): &(&'static str, _)| std::ptr::eq(*kept, sql);
        let mut often = self.often.borrow_mut();
        let mut statement = match often.iter().position(same) {
            Some(at) => often.swap_remove(at).1,
            None => self.conn.prepare_cached(sql)?,
        };
        let changed = statement.execute(params)?;
        often.push((sql, statement));
        Ok(changed)
    }

    /// As [`Statements::run`] of its connection, and so do the others.
    pub(crate) fn run(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.conn.run(sql, params)
    }

    pub(crate) fn one<T>(&self, sql: &str, params: impl Params, read: impl Read<T>) -> Result<T> {
        self.conn.one(sql, params, read)
    }

    pub(crate) fn optional<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Read<T>,
    ) -> Result<Option<T>> {
        self.conn.optional(sql, params, read)
    }

    pub(crate) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Read<T>,
    ) -> Result<Vec<T>> {
        self.conn.all(sql, params, read)
    }

    pub(crate) fn has_row(&self, sql: &str, params: impl Params) -> Result<bool> {
        self.conn.has_row(sql, params)
    }

    fn run_cached(&self, sql: &str) -> Result<()> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}
