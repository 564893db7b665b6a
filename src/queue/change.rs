//! What people do to jobs, queues and the file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::millis;
use crate::model::filter::KindFilter;
use crate::model::finding::Finding;
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::job::update::JobUpdate;
use crate::model::limits::{QueueLimitsUpdate, Update};
use crate::model::outcome::Cancelled;
use crate::model::queue::QueueSelector;
use crate::model::state::State;
use crate::queue::Queue;
use crate::store::{Allowance, PrunePass, Sweep, Tx};
use crate::{Error, Result, store};

/// So many jobs are changed in one transaction: others wait no longer than for a few jobs that end.
const AT_ONCE: usize = 256;

/// Which jobs are removed by [`Queue::prune`]: those of a final state that ended longer ago than a time.
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

    /// Jobs of these kinds alone.
    pub fn kinds(mut self, kinds: KindFilter) -> PruneFilter {
        self.kinds = kinds;
        self
    }
}

/// The result of [`Queue::repair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// How many files beside the database were removed.
    pub stray_files: usize,
}

impl Queue {
    /// Cancels a live job; a running one is asked to stop, within a second wherever it runs.
    ///
    /// # Errors
    /// There is no such job, or it is final.
    pub fn cancel(&self, id: JobId) -> Result<Cancelled> {
        self.store.write(move |tx| store::cancel_job(tx, id))
    }

    /// [`Queue::cancel`] for many jobs, a few hundred to a commit. Each is cancelled for itself; the
    /// answers are in the order of `ids`. The jobs are gone through by number: parents and
    /// prerequisites come before those that wait for them, and a job that has been cancelled because
    /// of one before it is an error ([`Error::is_wrong_state`]).
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

    /// Puts a final job back: to pending, or to where its rules have it wait. Its history stays. A
    /// parent is put back with those of its children that did not complete, and goes on where it was.
    ///
    /// # Errors
    /// There is no such job, it is not final, or another job has its unique key by now.
    pub fn retry(&self, id: JobId) -> Result<State> {
        self.store.write(move |tx| retry(tx, id))
    }

    /// [`Queue::retry`] for many jobs, a few hundred to a commit, as [`Queue::cancel_many`]: a job
    /// that has been put back with its parent is an error.
    ///
    /// # Errors
    /// For each job as [`Queue::retry`].
    pub fn retry_many(&self, ids: &[JobId]) -> Vec<Result<State>> {
        self.for_each_of(ids, |_| Ok(retry))
    }

    /// Changes options of a job that does not run.
    ///
    /// # Errors
    /// There is no such job, its state does not allow it, a value is not usable, the other queue is full by
    /// a limit of its own, or another job has the unique key ([`Error::is_duplicate`]).
    pub fn edit(&self, id: JobId, change: JobUpdate) -> Result<()> {
        // What no job may be enqueued with, none may be given later.
        let mut edited = NewJob::new("edited");
        if let Update::Set(timeout) = change.timeout {
            edited = edited.timeout(timeout);
        }
        if let Update::Set(tenant) = &change.tenant {
            edited = edited.tenant(tenant);
        }
        if let Update::Set(key) = &change.unique {
            edited = edited.unique(key);
        }
        let key = match &change.key {
            Update::Set(key) => Some(key.as_str()),
            Update::Clear if change.key_limit.is_some() => {
                return Err(Error::invalid("key_limit belong to a concurrency key"));
            }
            // Of the one that it has.
            _ => change.key_limit.map(|_| "key"),
        };
        if let Some(key) = key {
            edited = edited.key(key);
        }
        if let Some(key_limit) = change.key_limit {
            edited = edited.key_limit(key_limit);
        }
        for (name, value) in &change.tags {
            edited = edited.tag(name, value.as_deref().unwrap_or_default());
        }
        self.check_job(edited)?;
        if let Some(json) = &change.payload {
            let payload = NewJob::new("edited").payload_json(json).payload;
            store::check_payload("the payload", payload, &self.limits)?;
        }
        let limits = Arc::clone(&self.limits);
        self.store
            .write(move |tx| store::update_job(tx, id, &change, &limits))
    }

    /// Removes a final job and its history: a long one in several small transactions, its oldest events
    /// first.
    ///
    /// # Errors
    /// There is no such job, or it is not final; what was removed of its history until then is gone.
    pub fn remove(&self, id: JobId) -> Result<()> {
        self.remove_many(&[id]).into_iter().collect()
    }

    /// [`Queue::remove`] for many jobs, a few hundred to a commit, as [`Queue::cancel_many`].
    ///
    /// # Errors
    /// For each job as [`Queue::remove`].
    pub fn remove_many(&self, ids: &[JobId]) -> Vec<Result<()>> {
        let mut are_gone = self.remove_parts(ids);
        loop {
            let key_limit = 0..ids.len();
            let left: Vec<usize> = key_limit
                .filter(|at| matches!(are_gone[*at], Ok(false)))
                .collect();
            if left.is_empty() {
                return are_gone.into_iter().map(|gone| gone.map(|_| ())).collect();
            }
            let rest: Vec<JobId> = left.iter().map(|at| ids[*at]).collect();
            for (at, is_gone) in left.into_iter().zip(self.remove_parts(&rest)) {
                are_gone[at] = match is_gone {
                    // Somebody else, perhaps a runner that prunes, has removed what was left of it.
                    Err(error) if error.is_not_found() => Ok(true),
                    is_gone => is_gone,
                };
            }
        }
    }

    /// Removes so much of the jobs and their histories as one transaction may, some hundred of them in
    /// each; whether each job is gone.
    fn remove_parts(&self, ids: &[JobId]) -> Vec<Result<bool>> {
        self.for_each_of(ids, |tx| {
            let mut allowance = Allowance::new(tx.conn)?;
            Ok(move |tx: &mut Tx<'_>, id| {
                if allowance.is_spent(tx.conn)? {
                    return Ok(false);
                }
                // Who removes it by hand wants to be rid of it, and of the key that it may still have.
                store::forget_unique_key(tx, id)?;
                store::remove_job(tx, id, &mut allowance)
            })
        })
    }

    /// Does to each of the jobs, for itself, what `begin` gives for each transaction. What ends a whole
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
        for key_limit in by_number.chunks(AT_ONCE) {
            let part: Vec<JobId> = key_limit.iter().map(|at| ids[*at]).collect();
            let done = match ended.take() {
                None => self.store.write(move |tx| {
                    let body = begin(tx)?;
                    tx.for_each(&part, body)
                }),
                Some(error) => Err(error),
            };
            match done {
                Ok(done) => answers.extend(key_limit.iter().copied().zip(done)),
                Err(error) => {
                    answers.extend(key_limit.iter().map(|at| (*at, Err(error.duplicate()))));
                    ended = Some(error);
                }
            }
        }
        answers.sort_by_key(|(at, _)| *at);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Removes final jobs in small transactions, and gives their space back; with them events that belong to
    /// no job, where the filter is for all kinds. Children of a parent that is live stay. How many jobs
    /// were removed.
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
    /// The state is not final, or the file cannot be written; what was removed until then is gone.
    pub fn prune(&self, filter: &PruneFilter) -> Result<u64> {
        let sweeps = self.sweeps(filter)?;
        let before_ms = sweeps.iter().map(Sweep::before_ms).min();
        let mut pass = Some(PrunePass {
            events_before_ms: before_ms.filter(|_| filter.kinds == KindFilter::All),
            ..PrunePass::of(sweeps)
        });
        let mut removed = 0;
        while let Some(next) = pass {
            let stepped = self.store.write(move |tx| store::prune_step(tx, &next))?;
            while self.store.write(|tx| store::give_back_space(tx.conn))? {}
            removed += stepped.removed;
            pass = stepped.next;
        }
        Ok(removed)
    }

    /// How many jobs [`Queue::prune`] would remove; removes none.
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

    /// Changes limits of a queue, over all runners; running jobs go on. A queue that is not there yet
    /// is made. Whether it changed anything.
    ///
    /// # Errors
    /// The name or a value is not usable, or the file cannot be written.
    pub fn set_limits(&self, name: &str, limits: QueueLimitsUpdate) -> Result<bool> {
        limits.check(name)?;
        let name = name.to_owned();
        self.store
            .write(move |tx| store::set_queue_limits(tx, &name, &limits))
    }

    /// Stops claims from a queue, or from all; running jobs go on. Whether it changed anything.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn pause(&self, which: QueueSelector) -> Result<bool> {
        self.store.write(move |tx| store::pause_queue(tx, &which))
    }

    /// Allows claims again. Whether it changed anything.
    ///
    /// # Errors
    /// There is no such queue.
    pub fn resume(&self, which: QueueSelector) -> Result<bool> {
        self.store.write(move |tx| store::resume_queue(tx, &which))
    }

    /// Writes a consistent copy of the live file to a new file, which has an id of its own. When this
    /// returns the copy is whole and on the disk; [`QueueOptions::restore`](crate::QueueOptions::restore)
    /// puts it in a file's place.
    ///
    /// # Errors
    /// The target exists or cannot be written.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        self.backup_while(to, || true)
    }

    /// As [`Queue::backup`], for as long as `goes_on` says so: it is asked many times a second.
    ///
    /// # Errors
    /// As [`Queue::backup`], and where it was stopped. Nothing is left of it then.
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

    /// Repairs what can be derived anew: replaces the state counters by a recount, and removes the files
    /// beside the database that killed processes have left and nobody needs, which are locks of runners
    /// that are gone and copies that were not finished.
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
