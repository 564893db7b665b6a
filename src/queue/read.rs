//! Reading: jobs, counts, queues, runners, history, and waiting for a change.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::error::Kind;
use crate::model::error_group::ErrorGroups;
#[cfg(feature = "web")]
use crate::model::event::FeedPage;
use crate::model::event::{Event, EventFilter, EventId, EventPage};
use crate::model::filter::Filter;
use crate::model::id::JobId;
use crate::model::job::{Job, JobRecord, JobsPage, RecordsPage};
use crate::model::outcome::AttemptRecord;
use crate::model::queue::{Counts, QueueRecord};
use crate::model::runner::{RunnerFilter, RunnerRecord};
use crate::model::state::State;
use crate::model::suggestion::NameField;
use crate::model::why::{QueueVerdict, Why};
use crate::queue::Queue;
use crate::store::Changes;
use crate::{Error, Result, clock, store};

impl Queue {
    /// The job with this id.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, id: JobId) -> Result<Option<JobRecord>> {
        store::get_job(&*self.store.reader()?, id)
    }

    /// The state of the job with this id; cheaper than [`Queue::get`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn state(&self, id: JobId) -> Result<Option<State>> {
        crate::store::job_state(&*self.store.reader()?, id)
    }

    /// The ids of existing jobs from one id to another, both included, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn ids_between(&self, first: JobId, last: JobId) -> Result<Vec<JobId>> {
        store::jobs_between(&*self.store.reader()?, first, last)
    }

    /// The id of the newest job.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_id(&self) -> Result<Option<JobId>> {
        store::last_job(&*self.store.reader()?)
    }

    /// The result of a typed job; none until it has completed.
    ///
    /// # Errors
    /// The job does not exist, or its result does not fit the type.
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

    /// The jobs that match the filter. Page through many with [`Filter::after`] and [`Filter::limit`].
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

    /// Calls `each` for every job that matches the filter. Memory stays flat in the order of ids, newest or oldest
    /// first; in another order it holds the ids.
    ///
    /// # Errors
    /// The file cannot be read, or `each` returns an error.
    pub fn for_each(
        &self,
        filter: &Filter,
        mut each: impl FnMut(JobRecord) -> Result<()>,
    ) -> Result<()> {
        store::list_jobs(&*self.store.reader()?, (filter, self.now_ms()), &mut each)
    }

    /// A page of the jobs that match the filter: the next behind [`Filter::after`], at most [`Filter::limit`], else 50.
    /// It costs its jobs, and not the file, where an index has them: by state, queue, kind, tenant, tag, parent or
    /// schedule. Where the filter leaves out most of what it has to look at, it ends after about 150 ms and says how
    /// far it has searched; the next page continues there.
    ///
    /// ```
    /// # use jobq::{Filter, NewJob, Queue};
    /// # let folder = tempfile::tempdir()?;
    /// # let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// # queue.enqueue_many((0..7).map(|_| NewJob::new("resize")))?;
    /// let mut filter = Filter { kinds: vec!["resize".into()], limit: Some(3), ..Filter::default() };
    /// loop {
    ///     let page = queue.page(&filter)?;
    ///     for job in &page.jobs {
    ///         println!("{} {} {} bytes", job.id, job.state, job.payload.bytes);
    ///     }
    ///     filter.after = page.next;
    ///     if filter.after.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file cannot be read, or the order of the filter is neither newest nor oldest first.
    pub fn page(&self, filter: &Filter) -> Result<JobsPage> {
        store::page_of_jobs(&*self.store.reader()?, (filter, self.now_ms()), None)
    }

    /// [`Queue::page`] with full records. The page also ends when the payloads, results and errors of its jobs have
    /// 4 MiB: many large ones do not fit into memory.
    ///
    /// # Errors
    /// As [`Queue::page`].
    pub fn page_of_records(&self, filter: &Filter) -> Result<RecordsPage> {
        store::page_of_records(&*self.store.reader()?, (filter, self.now_ms()))
    }

    /// The page that ends right before this job, in the order of the filter, which has no `after`.
    ///
    /// # Errors
    /// As [`Queue::page`].
    pub fn page_before(&self, filter: &Filter, job: JobId) -> Result<JobsPage> {
        store::page_of_jobs(&*self.store.reader()?, (filter, self.now_ms()), Some(job))
    }

    /// The failed jobs that match the filter, grouped by their errors: what differs from job to job, as numbers, ids,
    /// paths and quoted texts, does not count. A filter that names states groups the errors of jobs in these. Newest jobs
    /// come first; [`Filter::sort`] and [`Filter::limit`] are ignored. It ends after about `budget`, 150 ms are usual, and
    /// says how far it has searched.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # use jobq::{Filter, Queue};
    /// # let folder = tempfile::tempdir()?;
    /// # let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// let budget = Duration::from_millis(150);
    /// let mut filter = Filter::default();
    /// let mut errors = queue.error_groups(&filter, budget)?;
    /// while errors.searched_to.is_some() {
    ///     filter.after = errors.searched_to;
    ///     errors.add(queue.error_groups(&filter, budget)?);
    /// }
    /// for group in &errors.groups {
    ///     println!("{} jobs: {}, as job {}", group.jobs, group.message, group.example);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn error_groups(&self, filter: &Filter, budget: Duration) -> Result<ErrorGroups> {
        let until = clock::after(clock::instant(), budget);
        store::error_groups(&*self.store.reader()?, (filter, self.now_ms()), until)
    }

    /// Names that begin with `prefix`, in their order, at most `limit`: to complete what is typed. It costs the names, and
    /// not the jobs that have them.
    ///
    /// ```
    /// # use jobq::{NameField, NewJob, Queue};
    /// # let folder = tempfile::tempdir()?;
    /// # let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// queue.enqueue_many(["resize", "rename", "send"].map(NewJob::new))?;
    /// assert_eq!(queue.suggest(&NameField::Kind, "re", 10)?, ["rename", "resize"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn suggest(&self, field: &NameField, prefix: &str, limit: usize) -> Result<Vec<String>> {
        store::suggested_names(&*self.store.reader()?, (field, prefix), limit)
    }

    /// The number of jobs in each state: instant at any size.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn counts(&self) -> Result<Counts> {
        store::counts(&*self.store.reader()?)
    }

    /// The queues with their numbers of jobs by state.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn queues(&self) -> Result<Vec<QueueRecord>> {
        store::list_queues(&*self.store.reader()?)
    }

    /// Since when all queues are paused; none if they are not.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn all_paused_since(&self) -> Result<Option<jiff::Timestamp>> {
        store::all_paused_since(&*self.store.reader()?)
    }

    /// The runners and their states. A runner whose process is dead is
    /// [offline](crate::RunnerState::Offline) at once, also before another runner has taken over its jobs.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn runners(&self, of: RunnerFilter) -> Result<Vec<RunnerRecord>> {
        store::list_runners(&*self.store.reader()?, of, &self.store.runners_folder())
    }

    /// The active [`Queue::runners`], for a process that has written and is about to exit: read through the
    /// writer's connection, since opening a second one would dominate its run time. No runner can be
    /// started on this queue meanwhile.
    ///
    /// # Errors
    /// The file cannot be read.
    #[doc(hidden)]
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

    /// The event with this id, unless the history was pruned up to there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn event(&self, id: EventId) -> Result<Option<Event>> {
        store::find_event(&*self.store.reader()?, id)
    }

    /// The kinds and jobs of the events after one, at most so many.
    #[cfg(feature = "web")]
    pub(crate) fn feed(&self, since: EventId, limit: usize) -> Result<FeedPage> {
        store::read_feed(&*self.store.reader()?, since, limit)
    }

    /// The id of the newest event.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_event(&self) -> Result<EventId> {
        store::last_event(&*self.store.reader()?)
    }

    /// The rule that keeps a job from running.
    ///
    /// # Errors
    /// The job does not exist.
    pub fn why(&self, id: JobId) -> Result<Why> {
        let locks = self.store.runners_folder();
        store::why(&*self.store.reader()?, id, (self.now_ms(), &locks))
    }

    /// The rules that keep the pending jobs of a queue from running, with the number of jobs under each. It costs
    /// the same however many jobs there are.
    ///
    /// # Errors
    /// There is no such queue ([`Error::is_not_found`]), or the file cannot be read.
    pub fn why_queue(&self, name: &str) -> Result<QueueVerdict> {
        let locks = self.store.runners_folder();
        store::why_queue(&*self.store.reader()?, name, (self.now_ms(), &locks))
    }

    /// The jobs that were cancelled because one of these did not complete, directly or through other
    /// cancelled jobs: the first `most` found. They stay cancelled when these are
    /// [retried](Queue::retry).
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
    /// One of them does not exist, or the time has passed ([`Error::is_timed_out`]).
    pub fn wait(&self, ids: &[JobId], timeout: Option<Duration>) -> Result<Vec<JobRecord>> {
        let deadline = timeout.map(|timeout| clock::after(clock::instant(), timeout));
        let mut changes = self.changes()?;
        let state = |changes: &Changes, id| {
            crate::store::job_state(changes.conn(), id)?.ok_or_else(|| Error::no_such_job(id))
        };
        for id in ids {
            state(&changes, *id)?;
        }
        // All are waited for, so only the first that is not final needs to be checked.
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

    /// The time of the queue's clock.
    pub(super) fn now_ms(&self) -> i64 {
        self.store.config.clock.now_ms()
    }
}
