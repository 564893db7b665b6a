//! The public face of a file: opening it and enqueuing; the rest by what one wants of it.

mod batch;
mod change;
mod look;
mod report;
mod schedules;
mod transaction;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

pub use batch::{BatchProgress, BatchSource, BatchStart, Remember, ResumedBatch};
pub use transaction::Transaction;

use crate::clock::Clock;
use crate::job::{Enqueued, NewJob};
use crate::store::checked::{CheckedJob, Limits};
use crate::store::connection::{Access, Durability, OpenConfig};
use crate::store::enqueue;
use crate::store::file::NetworkFs;
use crate::store::names::Names;
use crate::store::tx::Tx;
use crate::store::{Store, schema};
use crate::{Error, Result};

/// How a queue's file is opened. Start from [`Queue::options`].
#[derive(Clone, Debug, Default)]
pub struct QueueOptions {
    durability: Durability,
    network_fs: NetworkFs,
    clock: Clock,
    limits: Limits,
}

impl QueueOptions {
    /// What a reply means for power cuts; [`Durability::Full`] unless set.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> QueueOptions {
        self.durability = durability;
        self
    }

    /// Whether network file systems are accepted; refused unless set.
    #[must_use]
    pub fn network_fs(mut self, network_fs: NetworkFs) -> QueueOptions {
        self.network_fs = network_fs;
        self
    }

    /// Another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> QueueOptions {
        self.clock = clock;
        self
    }

    /// What new jobs are held to, and their defaults.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> QueueOptions {
        self.limits = limits;
        self
    }

    /// Opens the file; makes it, with its folder, where there is none.
    ///
    /// # Errors
    /// The file is no database, is damaged, is of a newer jobq, lies on a network file system, or
    /// cannot be made.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Queue> {
        let config = OpenConfig {
            path: path.as_ref().to_owned(),
            durability: self.durability,
            network_fs: self.network_fs,
            clock: self.clock,
            opened: None,
        };
        Ok(Queue {
            store: Arc::new(Store::open(config)?),
            limits: Arc::new(self.limits),
        })
    }
}

/// A job queue in one file. Cheap to clone; all clones share one writer.
///
/// ```
/// use jobq::{NewJob, Queue, State};
///
/// # let folder = tempfile::tempdir()?;
/// let queue = Queue::open(folder.path().join("jobs.db"))?;
/// let job = queue.enqueue(NewJob::new("resize").payload(&"cat.jpg"))?;
/// assert_eq!(queue.counts()?.get(State::Pending), 1);
/// assert_eq!(queue.get(job.id)?.unwrap().kind, "resize");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Queue {
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Arc<Limits>,
}

impl Queue {
    /// Opens the file with the defaults; makes it where there is none.
    ///
    /// # Errors
    /// See [`QueueOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Queue> {
        Queue::options().open(path)
    }

    /// The options to open a file with.
    pub fn options() -> QueueOptions {
        QueueOptions::default()
    }

    /// The file's absolute path.
    pub fn path(&self) -> PathBuf {
        self.store.path().to_owned()
    }

    /// Whether the file could be opened only for reading.
    pub fn is_read_only(&self) -> bool {
        self.store.access != Access::ReadWrite
    }

    /// Adds one job: a typed one, or a [`NewJob`]. When this returns the job is durable.
    ///
    /// # Errors
    /// The payload is no JSON or too large, the queue is full ([`Error::is_queue_full`]), the file's size
    /// budget or the disk is ([`Error::is_full`]), the file is busy or read-only. Of its rules: a
    /// prerequisite or the parent is not there ([`Error::is_not_found`]), the parent has ended
    /// ([`Error::is_wrong_state`]), the jobs would wait for each other ([`Error::is_invalid_input`]), or
    /// the unique key is taken and a duplicate is to be rejected ([`Error::is_duplicate`]).
    pub fn enqueue(&self, job: impl Into<NewJob>) -> Result<Enqueued> {
        let job = CheckedJob::new(job.into(), &self.limits)?;
        self.store.write(move |tx| enqueue::enqueue(tx, &job))
    }

    /// Adds many jobs in one transaction: all or none. Their numbers are consecutive.
    ///
    /// # Errors
    /// As [`Queue::enqueue`]; the message names the job by its place.
    pub fn enqueue_many(&self, jobs: impl IntoIterator<Item = NewJob>) -> Result<Vec<Enqueued>> {
        let jobs = batch::prepare(jobs, &self.limits)?;
        let limits = Arc::clone(&self.limits);
        self.store
            .write(move |tx| batch::add_all(tx, &jobs, &limits))
    }

    pub(crate) fn checked(&self, job: NewJob) -> Result<CheckedJob> {
        CheckedJob::new(job, &self.limits)
    }

    /// Checks a job as enqueuing would, without adding it. Labels of others are not looked up.
    ///
    /// # Errors
    /// What [`Queue::enqueue`] would say.
    pub fn check(&self, job: NewJob) -> Result<()> {
        CheckedJob::new(job.without_labels(), &self.limits).map(|_| ())
    }

    /// Adds a job inside the caller's own transaction on a connection to the same file. Nothing is
    /// visible until the caller commits; runners wake when it does. Begin the transaction IMMEDIATE:
    /// a deferred one that reads first can fail with "busy" at once.
    ///
    /// # Errors
    /// As [`Queue::enqueue`]; roll the transaction back then.
    pub fn enqueue_in(&self, conn: &Connection, job: impl Into<NewJob>) -> Result<Enqueued> {
        if conn.is_autocommit() {
            return Err(Error::invalid("enqueue_in needs an open transaction").hint(
                "begin one with `transaction_with_behavior(TransactionBehavior::Immediate)`",
            ));
        }
        schema::check_unchanged(conn)?;
        let job = CheckedJob::new(job.into(), &self.limits)?;
        let mut names = Names::default();
        let clock = &self.store.config.clock;
        let mut tx = Tx::new(conn, &mut names, clock.now_ms()).with_clock(clock);
        let enqueued = enqueue::enqueue(&mut tx, &job)?;
        tx.finish()?;
        Ok(enqueued)
    }
}
