//! The public face of a file: enqueue, look, change, wait.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::clock::{self, Clock, millis};
use crate::error::Kind;
use crate::event::EventId;
use crate::event::{EventKind, Level, LogEntry};
use crate::job::{Enqueued, Job, JobId, JobRecord, NewJob, Progress};
use crate::state::State;
use crate::store::attempt_writes::{self, AttemptRef};
use crate::store::attempts::{self, AttemptRecord};
use crate::store::batches::{self, Batch};
use crate::store::change::Changes;
use crate::store::connection::{Access, Durability, OpenConfig};
use crate::store::counts::{self, Counts};
use crate::store::edit::{self, Cancelled, Edit};
use crate::store::enqueue::{self, CheckedJob, Limits};
use crate::store::events::{self, EventFilter, EventPage};
use crate::store::file::NetworkFs;
use crate::store::names::Names;
use crate::store::prune::{self, Old};
use crate::store::queues::{self, QueueRecord, Which};
use crate::store::records::{self, Filter, no_such_job};
use crate::store::runners::{self, RunnerRecord, RunnersOf};
use crate::store::schedule;
use crate::store::tx::Tx;
use crate::store::upkeep::{self, Finding};
use crate::store::why::{self, Why};
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
    limits: Arc<Limits>,
}

/// Where a very large batch comes from: it is read twice, once to check it and once to add it, and
/// is never in memory as a whole.
pub trait BatchSource: Send + 'static {
    /// The jobs from the first on.
    ///
    /// # Errors
    /// The source cannot be read again.
    fn jobs(&mut self) -> Result<Box<dyn Iterator<Item = Result<NewJob>> + '_>>;
}

/// Whether a batch is remembered by a digest of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remember {
    /// It is not.
    No,
    /// It is, and it is not added while a job of the same batch is unfinished.
    Once(String),
    /// It is, and it is added in any case.
    Again(String),
}

impl BatchSource for Vec<NewJob> {
    fn jobs(&mut self) -> Result<Box<dyn Iterator<Item = Result<NewJob>> + '_>> {
        Ok(Box::new(self.iter().cloned().map(Ok)))
    }
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
    /// The payload is no JSON or too large, the disk is full, the file is busy or read-only.
    pub fn enqueue(&self, job: impl Into<NewJob>) -> Result<Enqueued> {
        let job = CheckedJob::new(job.into(), &self.limits)?;
        self.store.write(move |tx| enqueue::enqueue(tx, &job))
    }

    /// Adds many jobs in one transaction: all or none. Their numbers are consecutive.
    ///
    /// # Errors
    /// As [`Queue::enqueue`]; the message names the job by its place.
    pub fn enqueue_many(&self, jobs: impl IntoIterator<Item = NewJob>) -> Result<Vec<Enqueued>> {
        let checked: Vec<CheckedJob> = jobs
            .into_iter()
            .enumerate()
            .map(|(at, job)| {
                CheckedJob::new(job, &self.limits)
                    .map_err(|error| error.context(format_args!("job {}", at + 1)))
            })
            .collect::<Result<_>>()?;
        self.store.write(move |tx| {
            checked
                .iter()
                .map(|job| enqueue::enqueue(tx, job))
                .collect()
        })
    }

    /// Adds a batch of any size in one transaction with flat memory. None where it is empty. One
    /// that is remembered [`Once`](Remember::Once) is not added while a job of it is unfinished: the
    /// batch that is there is returned.
    ///
    /// # Errors
    /// As [`Queue::enqueue`], and what the source reports; nothing is added then.
    pub fn enqueue_batch(
        &self,
        mut source: impl BatchSource,
        remember: Remember,
    ) -> Result<Option<Batch>> {
        let limits = Arc::clone(&self.limits);
        self.store.write(move |tx| {
            if let Remember::Once(digest) = &remember
                && let Some(known) = batches::find(tx.conn, digest)?
                && batches::unfinished(tx.conn, known)? > 0
            {
                return Ok(Some(known));
            }
            let mut batch: Option<Batch> = None;
            for job in source.jobs()? {
                let id = enqueue::enqueue(tx, &CheckedJob::new(job?, &limits)?)?.id;
                batch = Some(Batch {
                    first: batch.map_or(id, |batch| batch.first),
                    last: id,
                });
            }
            if let (Remember::Once(digest) | Remember::Again(digest), Some(batch)) =
                (&remember, batch)
            {
                batches::remember(tx, digest, batch)?;
            }
            Ok(batch)
        })
    }

    /// Checks a job as enqueuing would, without adding it.
    ///
    /// # Errors
    /// What [`Queue::enqueue`] would say.
    pub fn check(&self, job: NewJob) -> Result<()> {
        CheckedJob::new(job, &self.limits).map(|_| ())
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
        let mut tx = Tx::new(conn, &mut names, self.store.config.clock.now_ms());
        let enqueued = enqueue::enqueue(&mut tx, &job)?;
        tx.finish()?;
        Ok(enqueued)
    }

    /// The job of this number.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, id: JobId) -> Result<Option<JobRecord>> {
        records::get(&*self.store.reader()?, id)
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
        let job = self.get(id)?.ok_or_else(|| no_such_job(id))?;
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

    /// The runners and what they do.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn runners(&self, of: RunnersOf) -> Result<Vec<RunnerRecord>> {
        runners::list(&*self.store.reader()?, of)
    }

    /// When the next scheduled job is due.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_due(&self) -> Result<Option<jiff::Timestamp>> {
        Ok(schedule::next_due(&*self.store.reader()?)?.map(clock::timestamp))
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
        why::why(&*self.store.reader()?, id)
    }

    /// Cancels a live job; a running one is asked to stop, within a second wherever it runs.
    ///
    /// # Errors
    /// There is no such job, or it is final.
    pub fn cancel(&self, id: JobId) -> Result<Cancelled> {
        self.store.write(move |tx| edit::cancel(tx, id))
    }

    /// Puts a final job back to pending. Its history stays.
    ///
    /// # Errors
    /// There is no such job, or it is not final.
    pub fn retry(&self, id: JobId) -> Result<()> {
        self.store.write(move |tx| edit::requeue(tx, id))
    }

    /// Changes options of a job that does not run.
    ///
    /// # Errors
    /// There is no such job, its state does not allow it, or a value is not usable.
    pub fn edit(&self, id: JobId, change: Edit) -> Result<()> {
        self.store.write(move |tx| edit::edit(tx, id, &change))
    }

    /// Removes a final job and its history.
    ///
    /// # Errors
    /// There is no such job, or it is not final.
    pub fn remove(&self, id: JobId) -> Result<()> {
        self.store.write(move |tx| edit::remove(tx, id))
    }

    /// Removes jobs of a final state that ended longer ago than `older_than`, in small transactions,
    /// and gives their space back. How many it were.
    ///
    /// # Errors
    /// The state is not final, or the file cannot be written; what was removed until then is gone.
    pub fn prune(&self, state: State, older_than: Duration) -> Result<u64> {
        let old = self.old(state, older_than)?;
        let mut removed = 0;
        loop {
            let step = self.store.write(move |tx| prune::step(tx, old))?;
            self.store.write(|tx| prune::give_back_space(tx.conn))?;
            removed += step as u64;
            if step < prune::STEP {
                return Ok(removed);
            }
        }
    }

    /// How many jobs [`Queue::prune`] would remove.
    ///
    /// # Errors
    /// The state is not final, or the file cannot be read.
    pub fn prunable(&self, state: State, older_than: Duration) -> Result<u64> {
        let old = self.old(state, older_than)?;
        prune::count(&*self.store.reader()?, old)
    }

    fn old(&self, state: State, older_than: Duration) -> Result<Old> {
        if !state.is_final() {
            return Err(Error::invalid(format!(
                "only final jobs can be pruned, not {state} ones"
            )));
        }
        Ok(Old {
            state,
            before_ms: self
                .store
                .config
                .clock
                .now_ms()
                .saturating_sub(millis(older_than)),
        })
    }

    /// Stops claims from a queue, or from all; running jobs go on. Whether it changed anything.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn pause(&self, which: Which) -> Result<bool> {
        self.store.write(move |tx| queues::pause(tx, &which))
    }

    /// Allows claims again. Whether it changed anything.
    ///
    /// # Errors
    /// There is no such queue.
    pub fn resume(&self, which: Which) -> Result<bool> {
        self.store.write(move |tx| queues::resume(tx, &which))
    }

    /// Waits until all of the jobs are final and returns them.
    ///
    /// # Errors
    /// One of them is not there, or the time is up ([`Error::is_timed_out`]).
    pub fn wait(&self, ids: &[JobId], timeout: Option<Duration>) -> Result<Vec<JobRecord>> {
        let deadline = timeout.map(|timeout| clock::instant() + timeout);
        let mut changes = self.changes()?;
        let state = |changes: &Changes, id| {
            records::state(changes.conn(), id)?.ok_or_else(|| no_such_job(id))
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
                    .map(|id| records::get(changes.conn(), *id)?.ok_or_else(|| no_such_job(*id)))
                    .collect();
            }
            let left =
                deadline.map(|deadline| deadline.saturating_duration_since(clock::instant()));
            if left == Some(Duration::ZERO) {
                return Err(Error::new(
                    Kind::TimedOut,
                    format!(
                        "job {} is not final yet, of {} waited for",
                        waiting[0],
                        ids.len()
                    ),
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
        Changes::new(self.store.path(), self.store.access)
    }

    /// The batch that was added with this digest.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn batch(&self, digest: &str) -> Result<Option<Batch>> {
        batches::find(&*self.store.reader()?, digest)
    }

    /// How many jobs of a batch are not final, and how many failed or were cancelled.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn batch_progress(&self, batch: Batch) -> Result<BatchProgress> {
        let reader = self.store.reader()?;
        Ok(BatchProgress {
            unfinished: batches::unfinished(&reader, batch)?,
            ended_badly: batches::ended_badly(&reader, batch)?,
        })
    }

    /// Writes a consistent copy of the live file to a new file.
    ///
    /// # Errors
    /// The target exists or cannot be written.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        upkeep::backup(&*self.store.reader()?, to.as_ref())
    }

    /// Examines the file; changes nothing.
    ///
    /// # Errors
    /// The file cannot be read at all.
    pub fn examine(&self) -> Result<Vec<Finding>> {
        upkeep::examine(&*self.store.reader()?, self.store.access)
    }

    /// Replaces the state counters by a recount.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn recount(&self) -> Result<()> {
        self.store.write(|tx| upkeep::recount(tx))
    }

    /// Stores how far a running attempt is, on its behalf.
    ///
    /// # Errors
    /// The attempt no longer holds the job.
    pub fn set_progress(&self, attempt: AttemptRef, progress: Progress) -> Result<()> {
        self.store
            .write(move |tx| attempt_writes::progress(tx, attempt, &progress))
    }

    /// Appends to the log of a running attempt, on its behalf.
    ///
    /// # Errors
    /// The attempt no longer holds the job.
    pub fn append_log(
        &self,
        attempt: AttemptRef,
        level: Level,
        message: impl Into<String>,
    ) -> Result<()> {
        let entry = LogEntry {
            level,
            message: message.into(),
            fields: None,
        };
        self.store
            .write(move |tx| attempt_writes::log(tx, attempt, &entry))
    }

    /// Stores the result of a running attempt, on its behalf: JSON text.
    ///
    /// # Errors
    /// It is no JSON, or the attempt no longer holds the job.
    pub fn set_result(&self, attempt: AttemptRef, json: &str) -> Result<()> {
        let json = NewJob::new("result").payload_json(json).payload;
        let json =
            json.map_err(|error| Error::invalid(format!("the result is no JSON: {error}")))?;
        if json.len() > self.limits.max_payload_bytes {
            return Err(Error::invalid(format!(
                "the result is {} bytes long, at most {} are allowed",
                json.len(),
                self.limits.max_payload_bytes
            )));
        }
        self.store
            .write(move |tx| attempt_writes::result(tx, attempt, &json))
    }

    /// Posts a line of output of a running attempt; does not wait for its commit.
    pub(crate) fn post_output(
        &self,
        attempt: AttemptRef,
        kind: EventKind,
        bytes: Vec<u8>,
    ) -> Result<()> {
        self.store
            .seat
            .post(move |tx| attempt_writes::output(tx, attempt, kind, &bytes))
    }
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchProgress {
    /// Jobs that are not final.
    pub unfinished: u64,
    /// Jobs that failed or were cancelled.
    pub ended_badly: u64,
}
