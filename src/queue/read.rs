//! Looking: jobs, counts, queues, runners, history, and waiting for a change.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::error::Kind;
use crate::model::attempt::AttemptRecord;
use crate::model::counts::Counts;
use crate::model::event::{EventFilter, EventId, EventPage};
use crate::model::filter::Filter;
use crate::model::id::JobId;
use crate::model::job::{Job, JobRecord};
use crate::model::queue::QueueRecord;
use crate::model::runner::{RunnerFilter, RunnerRecord};
use crate::model::state::State;
use crate::model::why::Why;
use crate::queue::Queue;
use crate::store::Changes;
use crate::{Error, Result, clock, store};

impl Queue {
    /// The job of this number.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, id: JobId) -> Result<Option<JobRecord>> {
        store::get_job(&*self.store.reader()?, id)
    }

    /// The state of the job of this number; without its payload and all else that [`Queue::get`] reads.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn state(&self, id: JobId) -> Result<Option<State>> {
        crate::store::job_state(&*self.store.reader()?, id)
    }

    /// The numbers of the jobs that there are from one number to another, both included, by age.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn ids_between(&self, first: JobId, last: JobId) -> Result<Vec<JobId>> {
        store::jobs_between(&*self.store.reader()?, first, last)
    }

    /// The number of the newest job.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_id(&self) -> Result<Option<JobId>> {
        store::last_job(&*self.store.reader()?)
    }

    /// What a completed typed job returned; none while it has not completed.
    ///
    /// # Errors
    /// There is no such job, or its result does not fit the type.
    pub fn output<J: Job>(&self, id: JobId) -> Result<Option<J::Output>> {
        self.output_of(id)
    }

    pub(super) fn output_of<T: DeserializeOwned>(&self, id: JobId) -> Result<Option<T>> {
        let job = self.get(id)?.ok_or_else(|| Error::no_such_job(id))?;
        if job.state != State::Completed {
            return Ok(None);
        }
        let json = job.result.as_deref().map_or("null", |result| result.get());
        let output = serde_json::from_str(json)
            .map_err(|error| Error::invalid(format!("the result of job {id}: {error}")))?;
        Ok(Some(output))
    }

    /// The jobs that pass the filter. Page through many with [`Filter::after`] and [`Filter::limit`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self, filter: &Filter) -> Result<Vec<JobRecord>> {
        let mut jobs = Vec::new();
        self.for_each(filter, |job| {
            jobs.push(job);
            Ok(())
        })?;
        Ok(jobs)
    }

    /// Calls `each` for every job that passes the filter, with flat memory.
    ///
    /// # Errors
    /// The file cannot be read, or what `each` returns.
    pub fn for_each(
        &self,
        filter: &Filter,
        mut each: impl FnMut(JobRecord) -> Result<()>,
    ) -> Result<()> {
        store::list_jobs(&*self.store.reader()?, filter, &mut each)
    }

    /// How many jobs there are in each state: instant at any size.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn counts(&self) -> Result<Counts> {
        store::counts(&*self.store.reader()?)
    }

    /// The queues and how many jobs each has in each state.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn queues(&self) -> Result<Vec<QueueRecord>> {
        store::list_queues(&*self.store.reader()?)
    }

    /// Since when all queues are paused.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn all_paused_since(&self) -> Result<Option<jiff::Timestamp>> {
        store::all_paused_since(&*self.store.reader()?)
    }

    /// The runners and what they do. One whose process is gone is [offline](crate::RunnerState::Offline)
    /// at once, whether or not somebody has taken over from it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn runners(&self, of: RunnerFilter) -> Result<Vec<RunnerRecord>> {
        store::list_runners(&*self.store.reader()?, of, &self.store.runners_folder())
    }

    /// [`Queue::runners`] that have not ended, for a process that has written and is about to exit: read by the
    /// writer's connection, as a second one would cost more than all else it did. No runner can be started
    /// on this queue meanwhile.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn runners_before_exit(&self) -> Result<Vec<RunnerRecord>> {
        let locks = self.store.runners_folder();
        self.store
            .look(|conn| store::list_runners(conn, RunnerFilter::Now, &locks))
    }

    /// When the next scheduled job is due.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_due(&self) -> Result<Option<jiff::Timestamp>> {
        Ok(store::next_due(&*self.store.reader()?)?.map(clock::timestamp))
    }

    /// A job's attempts, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn attempts(&self, id: JobId) -> Result<Vec<AttemptRecord>> {
        store::attempts_of_job(&*self.store.reader()?, id)
    }

    /// The history after an event.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events(&self, filter: &EventFilter) -> Result<EventPage> {
        store::read_events(&*self.store.reader()?, filter)
    }

    /// The number of the newest event.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_event(&self) -> Result<EventId> {
        store::last_event(&*self.store.reader()?)
    }

    /// Which rule keeps a job from running.
    ///
    /// # Errors
    /// There is no such job.
    pub fn why(&self, id: JobId) -> Result<Why> {
        let locks = self.store.runners_folder();
        let now_ms = self.store.config.clock.now_ms();
        store::why(&*self.store.reader()?, id, (now_ms, &locks))
    }

    /// The jobs that were cancelled because one of these did not complete, or because one that was
    /// cancelled for that did not: the first `most` that are found. They stay cancelled when these
    /// are [put back](Queue::retry).
    ///
    /// ```
    /// # use jobq::{NewJob, Queue};
    /// # let folder = tempfile::tempdir()?;
    /// let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// let fetch = queue.enqueue(NewJob::new("fetch"))?.id;
    /// let unpack = queue.enqueue(NewJob::new("unpack").after([fetch]))?.id;
    /// queue.cancel(fetch)?;
    /// assert_eq!(queue.cancelled_because_of(&[fetch], 10)?, [unpack]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn cancelled_because_of(&self, ids: &[JobId], most: usize) -> Result<Vec<JobId>> {
        store::cancelled_because_of(&*self.store.reader()?, ids, most)
    }

    /// Waits until all of the jobs are final and returns them.
    ///
    /// # Errors
    /// One of them is not there, or the time is up ([`Error::is_timed_out`]).
    pub fn wait(&self, ids: &[JobId], timeout: Option<Duration>) -> Result<Vec<JobRecord>> {
        let deadline = timeout.map(|timeout| clock::after(clock::instant(), timeout));
        let mut changes = self.changes()?;
        let state = |changes: &Changes, id| {
            crate::store::job_state(changes.conn(), id)?.ok_or_else(|| Error::no_such_job(id))
        };
        for id in ids {
            state(&changes, *id)?;
        }
        // All are waited for, so only the first that is not final needs to be looked at.
        let mut waiting = ids;
        loop {
            while let Some(id) = waiting.first()
                && state(&changes, *id)?.is_final()
            {
                waiting = &waiting[1..];
            }
            if waiting.is_empty() {
                return ids
                    .iter()
                    .map(|id| {
                        store::get_job(changes.conn(), *id)?.ok_or_else(|| Error::no_such_job(*id))
                    })
                    .collect();
            }
            let left =
                deadline.map(|deadline| deadline.saturating_duration_since(clock::instant()));
            if left == Some(Duration::ZERO) {
                return Err(Error::new(
                    Kind::TimedOut,
                    format!("the time is up, and job {} is not final yet", waiting[0]),
                ));
            }
            changes.wait(left.unwrap_or(Duration::from_secs(3600)))?;
        }
    }

    /// Watches the file for changes by any process.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn changes(&self) -> Result<Changes> {
        // Refused where nothing could be read either.
        drop(self.store.reader()?);
        Changes::new(&self.store.file, self.store.access)
    }
}
