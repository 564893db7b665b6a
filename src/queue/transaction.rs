//! Application writes and jobs in one transaction.

use rusqlite::Connection;

use crate::model::job::{AttemptRef, Enqueued, NewJob, Traceparent};
use crate::model::limits::EnqueueLimits;
use crate::queue::{Queue, batch};
use crate::store::{Tx, ValidatedJob};
use crate::{Error, Result, store};

/// An open write transaction on the queue's file, for the application's own writes.
///
/// SQL runs on its [`connection`](Transaction::connection). When the closure returns `Ok`, everything is
/// committed; when it returns an error or panics, nothing is changed. COMMIT and ROLLBACK by hand are
/// refused.
///
/// While it is open nothing else can write to the file, and a runner of this process stands still: compute
/// first, then write, and wait for nothing in between, also not for another thread that writes or logs to the
/// queue: it waits for this transaction. Foreign keys are enforced, and `trusted_schema` is
/// off. Add the application's own functions and collations to the connection before using them.
pub struct Transaction<'t> {
    tx: &'t mut (dyn UnderWay + 't),
    limits: &'t EnqueueLimits,
    attempt: Option<AttemptRef>,
    /// The trace of that attempt's job: what it enqueues belongs to it, too.
    traceparent: Option<Traceparent>,
}

impl Queue {
    /// Runs `body` in a write transaction on the queue's own connection: its writes to the application's
    /// tables and the jobs it adds are committed together or not at all. Other writers of this process
    /// wait meanwhile, so the closure must add jobs through the [`Transaction`], not through the queue.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let queue = jobq::Queue::open(folder.path().join("app.db"))?;
    /// let invoice = queue.transaction(|tx| -> jobq::Result<_> {
    ///     let conn = tx.connection();
    ///     conn.execute_batch("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT)")?;
    ///     conn.execute("INSERT INTO orders (item) VALUES (?1)", ["a lamp"])?;
    ///     let order = conn.last_insert_rowid();
    ///     tx.enqueue(jobq::NewJob::new("invoice").payload(&order))
    /// })?;
    /// assert!(queue.get(invoice.id)?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The closure's error, or as [`Queue::enqueue`] for the transaction itself. If it is
    /// [unknown](Error::is_unknown_outcome) whether the commit landed, check before trying again.
    pub fn transaction<T, E: From<Error>>(
        &self,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.store
            .write_alone(|tx| Transaction::run(tx, &self.limits, (None, None), body))
    }
}

impl Transaction<'_> {
    /// The connection of rusqlite 0.40, which jobq re-exports as [`jobq::rusqlite`](crate::rusqlite): run SQL
    /// on it as on any other.
    pub fn connection(&self) -> &Connection {
        self.tx.connection()
    }

    /// Adds one job. After an error the job is not added, and the transaction may continue.
    ///
    /// # Errors
    /// As [`Queue::enqueue`].
    pub fn enqueue(&mut self, job: impl Into<NewJob>) -> Result<Enqueued> {
        let job = ValidatedJob::new(self.traced(job.into()), self.limits)?;
        self.write(|tx| tx.savepoint(|tx| store::enqueue(tx, &job)))
    }

    /// Adds many jobs: all or none. Their ids are consecutive.
    ///
    /// # Errors
    /// As [`Queue::enqueue_many`].
    pub fn enqueue_many(
        &mut self,
        jobs: impl IntoIterator<Item = NewJob>,
    ) -> Result<Vec<Enqueued>> {
        let jobs = jobs.into_iter().map(|job| self.traced(job));
        let (jobs, limits) = (batch::prepare(jobs, self.limits)?, self.limits);
        self.write(|tx| tx.savepoint(|tx| batch::add_all(tx, &jobs, limits)))
    }

    /// The attempt whose job completes with this transaction; none outside of
    /// [`Context::complete_in`](crate::Context::complete_in).
    pub fn attempt(&self) -> Option<AttemptRef> {
        self.attempt
    }

    /// Lends `tx` to application code. After an error nothing more may be written.
    pub(crate) fn run<T, E: From<Error>>(
        tx: &mut Tx<'_>,
        limits: &EnqueueLimits,
        (attempt, traceparent): (Option<AttemptRef>, Option<Traceparent>),
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        tx.entrust(|tx| {
            body(&mut Transaction {
                tx,
                limits,
                attempt,
                traceparent,
            })
        })
    }

    fn traced(&self, mut job: NewJob) -> NewJob {
        let traceparent = &mut job.options.traceparent;
        *traceparent = traceparent.or(self.traceparent);
        job
    }

    fn write<T>(&mut self, body: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let (mut body, mut written) = (Some(body), None);
        self.tx.write(&mut |tx| {
            let body = body.take().ok_or_else(store::not_saved)?;
            // The application may roll back to its own savepoint: then nothing that it undoes may stay
            // cached or pending here.
            tx.names.forget();
            written = Some(body(tx)?);
            tx.flush_feed()?;
            tx.flush_counts()
        })?;
        written.ok_or_else(store::not_saved)
    }
}

/// A [`Tx`] of which it does not show how long its parts live: the public type has one lifetime less.
trait UnderWay {
    fn connection(&self) -> &Connection;
    fn write(&mut self, body: &mut dyn FnMut(&mut Tx<'_>) -> Result<()>) -> Result<()>;
}

impl UnderWay for Tx<'_> {
    fn connection(&self) -> &Connection {
        self.conn
    }

    fn write(&mut self, body: &mut dyn FnMut(&mut Tx<'_>) -> Result<()>) -> Result<()> {
        body(self)
    }
}
