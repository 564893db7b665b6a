//! Enqueuing jobs.

use std::sync::Arc;

use rusqlite::Connection;

use crate::model::job::{Enqueued, NewJob};
use crate::queue::{Enqueue, JobHandle, Queue, batch};
use crate::store::{Names, Tx, ValidatedJob};
use crate::{Error, Result, store};

impl Queue {
    /// Adds one job: a typed one, or a [`NewJob`]. When this returns the job is durable. The handle waits for
    /// the job, reads its output and cancels it.
    ///
    /// # Errors
    /// The payload is no JSON or too large, the queue is full ([`Error::is_queue_full`]), the file's size
    /// budget or the disk is ([`Error::is_full`]), the file is busy or read-only. Of its rules: a
    /// prerequisite or the parent is not there ([`Error::is_not_found`]), the parent has ended
    /// ([`Error::is_wrong_state`]), the jobs would wait for each other ([`Error::is_invalid_input`]), or
    /// the unique key is taken and a duplicate is to be rejected ([`Error::is_duplicate`]).
    pub fn enqueue<J: Enqueue>(&self, job: J) -> Result<JobHandle<J>> {
        let job = ValidatedJob::new(job.into(), &self.limits)?;
        let added = self.store.write(move |tx| store::enqueue(tx, &job))?;
        Ok(JobHandle::new(self, added))
    }

    /// Adds many jobs in one transaction: all or none. Their numbers are consecutive.
    ///
    /// # Errors
    /// As [`Queue::enqueue`]; the message names the job by its place.
    pub fn enqueue_many(&self, jobs: impl IntoIterator<Item = NewJob>) -> Result<Vec<Enqueued>> {
        let jobs = batch::prepare(jobs, &self.limits)?;
        let limits = Arc::clone(&self.limits);
        self.store
            .write_large(move |tx| batch::add_all(tx, &jobs, &limits))
    }

    pub(crate) fn checked(&self, job: NewJob) -> Result<ValidatedJob> {
        ValidatedJob::new(job, &self.limits)
    }

    /// Checks a job as enqueuing would, without adding it. Labels of others are not looked up.
    ///
    /// # Errors
    /// What [`Queue::enqueue`] would say.
    pub fn check_job(&self, job: NewJob) -> Result<()> {
        ValidatedJob::new(job.without_labels(), &self.limits).map(|_| ())
    }

    /// Adds a job inside the caller's own transaction on a connection to the same file, of rusqlite 0.40
    /// ([`jobq::rusqlite`](crate::rusqlite)). Nothing is
    /// visible until the caller commits; runners wake when it does. Begin the transaction IMMEDIATE:
    /// a deferred one that reads first can fail with "busy" at once.
    ///
    /// # Errors
    /// As [`Queue::enqueue`]; roll the transaction back then.
    pub fn enqueue_in(&self, conn: &Connection, job: impl Into<NewJob>) -> Result<Enqueued> {
        if conn.is_autocommit() {
            return Err(
                Error::invalid("enqueue_in needs an open transaction").with_hint(
                    "begin one with `transaction_with_behavior(TransactionBehavior::Immediate)`",
                ),
            );
        }
        let job = ValidatedJob::new(job.into(), &self.limits)?;
        let mut names = Names::default();
        let clock = &self.store.config.clock;
        let mut tx = Tx::begin((conn, &mut names), clock, crate::store::HOOKS)?;
        let enqueued = store::enqueue(&mut tx, &job)?;
        tx.finish()?;
        Ok(enqueued)
    }
}
