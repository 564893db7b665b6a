//! Handles of enqueued jobs: waiting, output, cancelling.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Queue;
use crate::model::job::{Enqueued, Job, JobRecord, NewJob};
use crate::model::outcome::Cancelled;
use crate::{Error, Result};

/// What can be enqueued: a typed job, or a [`NewJob`].
pub trait Enqueue: Into<NewJob> {
    /// The type of the job's result; any JSON for a [`NewJob`].
    type Output: DeserializeOwned;
}

impl<J: Job> Enqueue for J {
    type Output = J::Output;
}

impl Enqueue for NewJob {
    type Output = serde_json::Value;
}

/// An enqueued job with its queue. It derefs to the [`Enqueued`] that the call returned: its `id`, whether
/// it was a `duplicate`.
///
/// ```
/// # use jobq::{Job, Queue, State};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct Export { shop: String }
/// # impl Job for Export { const KIND: &'static str = "export"; type Output = u64; }
/// # let folder = tempfile::tempdir()?;
/// let queue = Queue::open(folder.path().join("jobs.db"))?;
/// let job = queue.enqueue(Export { shop: "north".into() })?;
/// assert!(job.is_new());
/// assert_eq!(job.output()?, None); // not yet
/// job.cancel()?;
/// assert_eq!(job.wait(None)?.state, State::Cancelled);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JobHandle<J> {
    queue: Queue,
    enqueued: Enqueued,
    job: PhantomData<fn() -> J>,
}

impl<J: Enqueue> JobHandle<J> {
    pub(super) fn new(queue: &Queue, enqueued: Enqueued) -> JobHandle<J> {
        JobHandle {
            queue: queue.clone(),
            enqueued,
            job: PhantomData,
        }
    }

    /// Waits until the job is final, and returns it.
    ///
    /// # Errors
    /// The job was removed, or the time has passed ([`Error::is_timed_out`](crate::Error::is_timed_out)).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<JobRecord> {
        Ok(self.queue.wait(&[self.id], timeout)?.remove(0))
    }

    /// The job's result; none until it has completed.
    ///
    /// # Errors
    /// The job was removed, or its result does not fit the type.
    pub fn output(&self) -> Result<Option<J::Output>> {
        self.queue.output_of(self.id)
    }

    /// The job's current record.
    ///
    /// # Errors
    /// The job was removed, or the file cannot be read.
    pub fn get(&self) -> Result<JobRecord> {
        let job = self.queue.get(self.id)?;
        job.ok_or_else(|| Error::no_such_job(self.id))
    }

    /// Cancels the job, as [`Queue::cancel`].
    ///
    /// # Errors
    /// The job was removed, or is final.
    pub fn cancel(&self) -> Result<Cancelled> {
        self.queue.cancel(self.id)
    }
}

impl<J> Clone for JobHandle<J> {
    fn clone(&self) -> JobHandle<J> {
        JobHandle {
            queue: self.queue.clone(),
            ..*self
        }
    }
}

impl<J> Deref for JobHandle<J> {
    type Target = Enqueued;

    fn deref(&self) -> &Enqueued {
        &self.enqueued
    }
}

impl<J> fmt::Debug for JobHandle<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JobHandle").field(&self.enqueued).finish()
    }
}
