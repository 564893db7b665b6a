//! Enqueuing jobs.

use std::sync::Arc;

use rusqlite::Connection;

use crate::model::job::{Enqueued, NewJob};
use crate::queue::{Enqueue, JobHandle, Queue, batch};
use crate::store::{NO_WRITER, Names, Tx, ValidatedJob};
use crate::{Error, Result, store};

impl Queue {
    /// Adds one job: a typed one, or a [`NewJob`]. When this returns the job is durable. The handle waits for
    /// the job, reads its output and cancels it.
    ///
    /// # Errors
    /// The payload is not JSON or too large, the queue is full ([`Error::is_queue_full`]), the file is at its
    /// maximum size or the disk is full ([`Error::is_full`]), or the file is busy or read-only. Rules: a
    /// prerequisite or the parent does not exist ([`Error::is_not_found`]), the parent has ended
    /// ([`Error::is_wrong_state`]), the jobs would wait for each other ([`Error::is_invalid_input`]), or the
    /// unique key is taken and duplicates are rejected ([`Error::is_duplicate`]).
    pub fn enqueue<J: Enqueue>(&self, job: J) -> Result<JobHandle<J>> {
        let job = ValidatedJob::new(job.into(), &self.limits)?;
        let added = self.store.write(move |tx| store::enqueue(tx, &job))?;
        Ok(JobHandle::new(self, added))
    }

    /// Adds many jobs in one transaction: all or none. Their ids are consecutive.
    ///
    /// # Errors
    /// As [`Queue::enqueue`]; the message names the job by its position.
    pub fn enqueue_many(&self, jobs: impl IntoIterator<Item = NewJob>) -> Result<Vec<Enqueued>> {
        let jobs = batch::prepare(jobs, &self.limits)?;
        let limits = Arc::clone(&self.limits);
        self.store
            .write(move |tx| batch::add_all(tx, &jobs, &limits))
    }

    pub(crate) fn checked(&self, job: NewJob) -> Result<ValidatedJob> {
        ValidatedJob::new(job, &self.limits)
    }

    /// Checks a job as [`Queue::enqueue`] does, without adding it. Labels of other jobs are not resolved.
    ///
    /// # Errors
    /// The job is invalid.
    pub fn check_job(&self, job: NewJob) -> Result<()> {
        ValidatedJob::new(job.without_labels(), &self.limits).map(|_| ())
    }

    /// Adds a job inside the caller's own transaction on a connection to the same file, of rusqlite 0.40
    /// ([`jobq::rusqlite`](crate::rusqlite)). The job is visible once the caller commits, and runners wake
    /// then. Begin the transaction IMMEDIATE: a deferred one that reads first can fail with "busy" at
    /// once.
    ///
    /// # Errors
    /// As [`Queue::enqueue`]; then roll the transaction back.
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
        let mut tx = Tx::begin(
            (conn, &mut names),
            clock,
            (NO_WRITER, store::JOB_RULES),
            &mut None,
        )?;
        let enqueued = store::enqueue(&mut tx, &job)?;
        tx.finish()?;
        tx.write_numbers(NO_WRITER, 0)?;
        Ok(enqueued)
    }
}
