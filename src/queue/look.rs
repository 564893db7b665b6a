//! Looking: jobs, counts, queues, runners, history, and waiting for a change.

use std::time::Duration;

use super::Queue;
use crate::clock;
use crate::error::Kind;
use crate::event::EventId;
use crate::job::{Job, JobId, JobRecord};
use crate::state::State;
use crate::store::attempts::{self, AttemptRecord};
use crate::store::change::Changes;
use crate::store::counts::{self, Counts};
use crate::store::dependents;
use crate::store::events::{self, EventFilter, EventPage};
use crate::store::promote;
use crate::store::queues::{self, QueueRecord};
use crate::store::records::{self, Filter};
use crate::store::runner_records::{self, RunnerFilter, RunnerRecord};
use crate::store::why::{self, Why};
use crate::{Error, Result};

impl Queue {
    /// The job of this number.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, id: JobId) -> Result<Option<JobRecord>> {
        records::get(&*self.store.reader()?, id)
    }

    /// The state of the job of this number; without its payload and all else that [`Queue::get`] reads.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn state(&self, id: JobId) -> Result<Option<State>> {
        records::state(&*self.store.reader()?, id)
    }

    /// The numbers of the jobs that there are from one number to another, both included, by age.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn ids_between(&self, first: JobId, last: JobId) -> Result<Vec<JobId>> {
        records::between(&*self.store.reader()?, first, last)
    }

    /// The number of the newest job.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_id(&self) -> Result<Option<JobId>> {
        records::last(&*self.store.reader()?)
    }

    /// What a completed typed job returned; none while it has not completed.
    ///
    /// # Errors
    /// There is no such job, or its result does not fit the type.
    pub fn output<J: Job>(&self, id: JobId) -> Result<Option<J::Output>> {
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
        records::list(&*self.store.reader()?, filter, &mut each)
    }

    /// How many jobs there are in each state: instant at any size.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn counts(&self) -> Result<Counts> {
        counts::by_state(&*self.store.reader()?)
    }

    /// The queues and how many jobs each has in each state.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn queues(&self) -> Result<Vec<QueueRecord>> {
        queues::list(&*self.store.reader()?)
    }

    /// Since when all queues are paused.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn all_paused_since(&self) -> Result<Option<jiff::Timestamp>> {
        queues::all_paused_since(&*self.store.reader()?)
    }

    /// The runners and what they do. One whose process is gone is [offline](crate::RunnerState::Offline)
    /// at once, whether or not somebody has taken over from it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn runners(&self, of: RunnerFilter) -> Result<Vec<RunnerRecord>> {
        runner_records::list(&*self.store.reader()?, of, &self.store.runners_folder())
    }

    /// The runners that have not ended, for a process that has written and ends now: by the writer's
    /// connection, where a second one would cost more than all else it did. No runner can be started on this
    /// queue meanwhile.
    #[doc(hidden)]
    pub fn runners_at_the_end(&self) -> Result<Vec<RunnerRecord>> {
        let locks = self.store.runners_folder();
        self.store
            .look(|conn| runner_records::list(conn, RunnerFilter::Now, &locks))
    }

    /// When the next scheduled job is due.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_due(&self) -> Result<Option<jiff::Timestamp>> {
        Ok(promote::next_due(&*self.store.reader()?)?.map(clock::timestamp))
    }

    /// A job's attempts, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn attempts(&self, id: JobId) -> Result<Vec<AttemptRecord>> {
        attempts::of_job(&*self.store.reader()?, id)
    }

    /// The history after an event.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events(&self, filter: &EventFilter) -> Result<EventPage> {
        events::read(&*self.store.reader()?, filter)
    }

    /// The number of the newest event.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_event(&self) -> Result<EventId> {
        events::last(&*self.store.reader()?)
    }

    /// Which rule keeps a job from running.
    ///
    /// # Errors
    /// There is no such job.
    pub fn why(&self, id: JobId) -> Result<Why> {
        let locks = self.store.runners_folder();
        let now_ms = self.store.config.clock.now_ms();
        why::why(&*self.store.reader()?, id, (now_ms, &locks))
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
        dependents::cancelled_because_of(&*self.store.reader()?, ids, most)
    }

    /// Waits until all of the jobs are final and returns them.
    ///
    /// # Errors
    /// One of them is not there, or the time is up ([`Error::is_timed_out`]).
    pub fn wait(&self, ids: &[JobId], timeout: Option<Duration>) -> Result<Vec<JobRecord>> {
        let deadline = timeout.map(|timeout| clock::after(clock::instant(), timeout));
        let mut changes = self.changes()?;
        let state = |changes: &Changes, id| {
            records::state(changes.conn(), id)?.ok_or_else(|| Error::no_such_job(id))
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
                        records::get(changes.conn(), *id)?.ok_or_else(|| Error::no_such_job(*id))
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
