//! Changes to jobs, queues and the file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::millis;
use crate::model::filter::KindFilter;
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::job::update::JobUpdate;
use crate::model::limits::QueueLimitsUpdate;
use crate::model::outcome::Cancelled;
use crate::model::queue::QueueSelector;
use crate::model::remedy::Finding;
use crate::model::state::State;
use crate::queue::Queue;
use crate::store::{Allowance, PrunePass, Sweep, Tx};
use crate::{Error, Result, store};

/// Maximum number of jobs changed in one transaction, so that other writers wait only briefly.
const AT_ONCE: usize = 256;

/// Which jobs [`Queue::prune`] removes: those of a final state that ended longer ago than a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct PruneFilter {
    state: State,
    older_than: Duration,
    kinds: KindFilter,
}

impl PruneFilter {
    /// Jobs of every kind.
    pub fn new(state: State, older_than: Duration) -> PruneFilter {
        PruneFilter {
            state,
            older_than,
            kinds: KindFilter::All,
        }
    }

    /// Only jobs of these kinds.
    pub fn kinds(mut self, kinds: KindFilter) -> PruneFilter {
        self.kinds = kinds;
        self
    }
}

/// The result of [`Queue::repair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// The number of files removed beside the database.
    pub stray_files: usize,
}

impl Queue {
    /// Cancels a job that is not final. A running attempt is asked to stop, within a second in any process.
    ///
    /// # Errors
    /// There is no such job, or it is final.
    pub fn cancel(&self, id: JobId) -> Result<Cancelled> {
        self.change(move |tx| store::cancel_job(tx, id))
    }

    /// [`Queue::cancel`] for many jobs, a few hundred per commit. Each succeeds or fails alone; the results
    /// are in the order of `ids`. Jobs are cancelled in the order of their ids, so parents and
    /// prerequisites come before the jobs that wait for them. A job that was already cancelled because of an
    /// earlier one is an error ([`Error::is_wrong_state`]).
    ///
    /// ```
    /// # use jobq::{NewJob, Queue, State};
    /// # let folder = tempfile::tempdir()?;
    /// let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// let jobs = queue.enqueue_many((0..1000).map(|_| NewJob::new("resize")))?;
    /// let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    /// assert!(queue.cancel_many(&ids).iter().all(Result::is_ok));
    /// assert_eq!(queue.counts()?.get(State::Cancelled), 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// For each job as [`Queue::cancel`].
    pub fn cancel_many(&self, ids: &[JobId]) -> Vec<Result<Cancelled>> {
        self.for_each_of(ids, |_| Ok(store::cancel_job))
    }

    /// Retries a final job: it becomes pending, or waits where its rules require it. Its history stays. A
    /// parent is retried with its children that have not completed, and continues where it was.
    ///
    /// # Errors
    /// The job does not exist, is not final, or another job has its unique key.
    pub fn retry(&self, id: JobId) -> Result<State> {
        self.change(move |tx| retry(tx, id))
    }

    /// [`Queue::retry`] for many jobs, a few hundred per commit, as [`Queue::cancel_many`]. A job that was
    /// already retried with its parent is an error.
    ///
    /// # Errors
    /// For each job as [`Queue::retry`].
    pub fn retry_many(&self, ids: &[JobId]) -> Vec<Result<State>> {
        self.for_each_of(ids, |_| Ok(retry))
    }

    /// Changes options of a job that is not running.
    ///
    /// ```
    /// # use jobq::{JobOptions, NewJob, Queue};
    /// # let folder = tempfile::tempdir()?;
    /// # let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// # let job = queue.enqueue(NewJob::new("resize"))?;
    /// queue.edit(job.id, JobOptions { max_retries: Some(9), ..JobOptions::default() })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The job does not exist, its state does not allow the change, a value is invalid, the new queue is at
    /// its own size limit, or another job has the unique key ([`Error::is_duplicate`]).
    pub fn edit(&self, id: JobId, change: impl Into<JobUpdate>) -> Result<()> {
        let change = change.into();
        // What enqueuing refuses is refused here too.
        self.check_job(change.as_new_job()?)?;
        if let Some(json) = &change.payload {
            let payload = NewJob::new("edited").payload_json(json).payload;
            store::check_payload("the payload", payload, &self.limits)?;
        }
        let limits = Arc::clone(&self.limits);
        self.change(move |tx| store::update_job(tx, id, &change, &limits))
    }

    /// Removes a final job and its history; a long history in several small transactions, oldest events
    /// first.
    ///
    /// # Errors
    /// The job does not exist or is not final; events removed before the error stay removed.
    pub fn remove(&self, id: JobId) -> Result<()> {
        self.remove_many(&[id]).into_iter().collect()
    }

    /// [`Queue::remove`] for many jobs, a few hundred per commit, as [`Queue::cancel_many`].
    ///
    /// # Errors
    /// For each job as [`Queue::remove`].
    pub fn remove_many(&self, ids: &[JobId]) -> Vec<Result<()>> {
        let mut are_gone = self.remove_parts(ids);
        loop {
            let left: Vec<usize> = (0..ids.len())
                .filter(|at| matches!(are_gone[*at], Ok(false)))
                .collect();
            if left.is_empty() {
                return are_gone.into_iter().map(|gone| gone.map(|_| ())).collect();
            }
            self.store.writer.let_others_write();
            let rest: Vec<JobId> = left.iter().map(|at| ids[*at]).collect();
            for (at, is_gone) in left.into_iter().zip(self.remove_parts(&rest)) {
                are_gone[at] = match is_gone {
                    // Another process, such as a runner that prunes, has removed the rest of it.
                    Err(error) if error.is_not_found() => Ok(true),
                    is_gone => is_gone,
                };
            }
        }
    }

    /// Removes as much of the jobs and their histories as one transaction may; returns whether each job is
    /// removed.
    fn remove_parts(&self, ids: &[JobId]) -> Vec<Result<bool>> {
        self.for_each_of(ids, |tx| {
            let mut allowance = Allowance::new(tx.conn, store::end_of_prune_step())?;
            Ok(move |tx: &mut Tx<'_>, id| {
                if allowance.is_spent(tx.conn)? {
                    return Ok(false);
                }
                // A removal by hand also frees the unique key that the job may still have.
                store::forget_unique_key(tx, id)?;
                store::remove_job(tx, id, &mut allowance)
            })
        })
    }

    /// Applies to each job the change that `begin` creates for each transaction. An error of a whole
    /// transaction ends the walk.
    fn for_each_of<T: Send + 'static, B>(
        &self,
        ids: &[JobId],
        begin: fn(&Tx<'_>) -> Result<B>,
    ) -> Vec<Result<T>>
    where
        B: FnMut(&mut Tx<'_>, JobId) -> Result<T> + 'static,
    {
        let mut by_number: Vec<usize> = (0..ids.len()).collect();
        by_number.sort_by_key(|at| ids[*at]);
        let mut answers: Vec<(usize, Result<T>)> = Vec::with_capacity(ids.len());
        let mut ended = None;
        for chunk in by_number.chunks(AT_ONCE) {
            if !answers.is_empty() && ended.is_none() {
                self.store.writer.let_others_write();
            }
            let part: Vec<JobId> = chunk.iter().map(|at| ids[*at]).collect();
            let done = match ended.take() {
                None => self.change(move |tx| {
                    let body = begin(tx)?;
                    tx.for_each(&part, body)
                }),
                Some(error) => Err(error),
            };
            match done {
                Ok(done) => answers.extend(chunk.iter().copied().zip(done)),
                Err(error) => {
                    answers.extend(chunk.iter().map(|at| (*at, Err(error.duplicate()))));
                    ended = Some(error);
                }
            }
        }
        answers.sort_by_key(|(at, _)| *at);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Removes final jobs in small transactions and returns their space to the disk. Children stay until their
    /// parent is final. Returns the number of removed jobs.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use jobq::{PruneFilter, Queue, State};
    /// # let folder = tempfile::tempdir()?;
    /// let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// let old = PruneFilter::new(State::Completed, Duration::from_secs(24 * 60 * 60));
    /// if queue.prune_dry_run(&old)? > 0 {
    ///     queue.prune(&old)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The state is not final, or the file cannot be written; jobs removed before the error stay removed.
    pub fn prune(&self, filter: &PruneFilter) -> Result<u64> {
        let sweeps = self.sweeps(filter)?;
        self.prune_all(PrunePass::of(sweeps))
    }

    /// Removes what the history says of no job in particular, if it is older than this, in small transactions: the
    /// feed of all events, and what happened to queues, runners and schedules. What happened to a job stays with
    /// the job.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn prune_events(&self, older_than: Duration) -> Result<()> {
        let before_ms = self.store.config.clock.now_ms() - millis(older_than);
        let pass = PrunePass {
            log_before_ms: Some(before_ms),
            feed_before_ms: Some(before_ms),
            ..PrunePass::default()
        };
        self.prune_all(pass).map(|_| ())
    }

    fn prune_all(&self, pass: PrunePass) -> Result<u64> {
        let mut pass = Some(pass);
        let mut removed = 0;
        while let Some(next) = pass {
            let stepped = self
                .store
                .write(move |tx| store::prune_step(tx, &next, store::end_of_prune_step()))?;
            removed += stepped.removed;
            pass = stepped.next;
            self.store.writer.let_others_write();
        }
        while self
            .store
            .write(|tx| store::give_back_space(tx.conn, store::end_of_prune_step()))?
        {
            self.store.writer.let_others_write();
        }
        Ok(removed)
    }

    /// The number of jobs that [`Queue::prune`] would remove; removes none.
    ///
    /// # Errors
    /// The state is not final, or the file cannot be read.
    pub fn prune_dry_run(&self, filter: &PruneFilter) -> Result<u64> {
        let sweeps = self.sweeps(filter)?;
        let conn = self.store.reader()?;
        sweeps
            .iter()
            .map(|sweep| store::count_prunable(&conn, sweep))
            .sum()
    }

    fn sweeps(&self, filter: &PruneFilter) -> Result<Vec<Sweep>> {
        let state = filter.state;
        if !state.is_final() {
            return Err(Error::invalid(format!(
                "only final jobs can be pruned, not {state} ones"
            )));
        }
        let now_ms = self.store.config.clock.now_ms();
        let before_ms = now_ms.saturating_sub(millis(filter.older_than));
        let kinds = store::kind_ids_of(&*self.store.reader()?, &filter.kinds)?;
        let sweep = |kind| Sweep::new(kind, state, before_ms);
        Ok(kinds.into_iter().map(sweep).collect())
    }

    /// Changes limits of a queue, over all runners; running jobs go on. Creates a missing queue. Returns
    /// whether anything changed.
    ///
    /// # Errors
    /// The name or a value is invalid, or the file cannot be written.
    pub fn set_limits(&self, name: &str, limits: QueueLimitsUpdate) -> Result<bool> {
        limits.check(name)?;
        let name = name.to_owned();
        self.change(move |tx| store::set_queue_limits(tx, &name, &limits))
    }

    /// Stops claims from a queue, or from all; running jobs go on. Returns whether anything changed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn pause(&self, which: QueueSelector) -> Result<bool> {
        self.change(move |tx| store::pause_queue(tx, &which))
    }

    /// Allows claims again. Returns whether anything changed.
    ///
    /// # Errors
    /// The queue does not exist.
    pub fn resume(&self, which: QueueSelector) -> Result<bool> {
        self.change(move |tx| store::resume_queue(tx, &which))
    }

    /// Writes a consistent copy of the live file to a new file, which has its own file id. When this
    /// returns, the copy is complete and on the disk; [`QueueOptions::restore`](crate::QueueOptions::restore)
    /// puts it in place of a file.
    ///
    /// # Errors
    /// The target exists or cannot be written.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        self.backup_while(to, || true)
    }

    /// As [`Queue::backup`], while `goes_on` returns true; it is called many times a second.
    ///
    /// # Errors
    /// As [`Queue::backup`], or it was stopped; then no copy is left.
    pub fn backup_while(
        &self,
        to: impl AsRef<Path>,
        goes_on: impl FnMut() -> bool + Send + 'static,
    ) -> Result<()> {
        store::backup(
            &*self.store.reader_for_copy()?,
            to.as_ref(),
            Box::new(goes_on),
        )
    }

    /// As [`Queue::backup_while`], into an empty file that the caller gives its name.
    #[cfg(feature = "backup")]
    pub(crate) fn copy_into(
        &self,
        to: &Path,
        goes_on: impl FnMut() -> bool + Send + 'static,
    ) -> Result<()> {
        store::copy_into(&*self.store.reader_for_copy()?, to, Box::new(goes_on))
    }

    /// Checks the file: its structure, its references, its counters, its limits. Changes nothing.
    ///
    /// # Errors
    /// The file cannot be read at all.
    pub fn check(&self) -> Result<Vec<Finding>> {
        let conn = self.store.reader()?;
        let mut findings = store::examine(&conn, self.store.access)?;
        findings.push(store::examine_locks(&conn, &self.store.runners_folder())?);
        Ok(findings)
    }

    /// Repairs derived data: replaces the state counters by a recount, and removes files that killed
    /// processes left beside the database: locks of dead runners and unfinished copies.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn repair(&self) -> Result<Repaired> {
        self.store.write(store::recount_jobs)?;
        let locks =
            store::remove_unused_locks(&*self.store.reader()?, &self.store.runners_folder())?;
        let folder = self.store.path().parent();
        Ok(Repaired {
            stray_files: locks + folder.map_or(0, store::remove_stray_files),
        })
    }
}

fn retry(tx: &mut Tx<'_>, id: JobId) -> Result<State> {
    store::requeue_job(tx, id)?;
    // A parent whose children are final ends at once.
    tx.follow()?;
    Ok(store::job_row(tx.conn, id)?.state)
}
