//! The application's own writes and jobs in one transaction.

use rusqlite::Connection;

use crate::model::job::{AttemptRef, Enqueued, NewJob};
use crate::model::limits::EnqueueLimits;
use crate::queue::{Queue, batch};
use crate::store::{Tx, ValidatedJob};
use crate::{Error, Result, store};

/// A write transaction under way on the queue's file, to which the application adds what is its own.
///
/// SQL runs on its [`connection`](Transaction::connection). When the closure that has it returns `Ok`, everything is committed; when it returns an
/// error or panics, nothing has happened. COMMIT and ROLLBACK by hand are refused.
///
/// While it is open nobody else writes to the file, and a runner of this process stands still: compute
/// first, then write, and wait for nothing in between. Foreign keys are
/// enforced, `trusted_schema` is off, and functions and collations of the application's own have to be
/// added to the connection before they are used.
pub struct Transaction<'t> {
    tx: &'t mut (dyn UnderWay + 't),
    limits: &'t EnqueueLimits,
    attempt: Option<AttemptRef>,
}

impl Queue {
    /// Runs `body` in a write transaction on a connection of the queue's own: what it writes to the
    /// application's tables and the jobs that it adds are committed together or not at all. Other
    /// threads of this process that write wait in line meanwhile, and the closure must not: what
    /// it adds it adds by the [`Transaction`], not by the queue.
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
    /// What the closure returns. As [`Queue::enqueue`] for the transaction itself; where it
    /// [cannot be told](Error::is_unknown_outcome) whether the commit landed, look before trying again.
    pub fn transaction<T, E: From<Error>>(
        &self,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.store
            .write_alone(|tx| Transaction::run(tx, &self.limits, None, body))
    }
}

impl Transaction<'_> {
    /// The connection of rusqlite 0.40, which jobq re-exports as [`jobq::rusqlite`](crate::rusqlite): run SQL
    /// on it as on any other.
    pub fn connection(&self) -> &Connection {
        self.tx.connection()
    }

    /// Adds one job. On an error nothing of it is left, and the transaction may go on.
    ///
    /// # Errors
    /// As [`Queue::enqueue`].
    pub fn enqueue(&mut self, job: impl Into<NewJob>) -> Result<Enqueued> {
        let job = ValidatedJob::new(job.into(), self.limits)?;
        self.write(|tx| tx.savepoint(|tx| store::enqueue(tx, &job)))
    }

    /// Adds many jobs: all or none. Their numbers are consecutive.
    ///
    /// # Errors
    /// As [`Queue::enqueue_many`].
    pub fn enqueue_many(
        &mut self,
        jobs: impl IntoIterator<Item = NewJob>,
    ) -> Result<Vec<Enqueued>> {
        let (jobs, limits) = (batch::prepare(jobs, self.limits)?, self.limits);
        self.write(|tx| tx.savepoint(|tx| batch::add_all(tx, &jobs, limits)))
    }

    /// The attempt whose job completes with this transaction; none outside of
    /// [`Context::complete_in`](crate::Context::complete_in).
    pub fn attempt(&self) -> Option<AttemptRef> {
        self.attempt
    }

    /// Lends `tx` to an application's code. Nothing may be written after it on an error.
    pub(crate) fn run<T, E: From<Error>>(
        tx: &mut Tx<'_>,
        limits: &EnqueueLimits,
        attempt: Option<AttemptRef>,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        tx.entrust(|tx| {
            body(&mut Transaction {
                tx,
                limits,
                attempt,
            })
        })
    }

    fn write<T>(&mut self, body: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let (mut body, mut written) = (Some(body), None);
        self.tx.write(&mut |tx| {
            let body = body.take().ok_or_else(store::not_saved)?;
            // The application may go back to a savepoint of its own: then nothing of what it takes
            // back may be known or owed here.
            tx.names.forget();
            written = Some(body(tx)?);
            tx.flush_events()?;
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
