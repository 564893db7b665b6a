//! What people do to jobs, queues and the file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Queue;
use crate::clock::millis;
use crate::job::{JobId, NewJob};
use crate::limit::{QueueLimitsUpdate, Update};
use crate::state::State;
use crate::store::backup;
use crate::store::cancel::{self, Cancelled};
use crate::store::checked::check_payload;
use crate::store::edit::{self, JobUpdate};
use crate::store::locks;
use crate::store::names::{self, KindFilter};
use crate::store::new_file;
use crate::store::prune::{self, Allowance, Pass, Sweep};
use crate::store::queues::{self, QueueSelector};
use crate::store::tx::Tx;
use crate::store::upkeep::{self, Finding};
use crate::store::{job_row, requeue, uniques};
use crate::{Error, Result};

/// So many jobs are changed in one transaction: others wait no longer than for a few jobs that end.
const AT_ONCE: usize = 256;

impl Queue {
    /// Cancels a live job; a running one is asked to stop, within a second wherever it runs.
    ///
    /// # Errors
    /// There is no such job, or it is final.
    pub fn cancel(&self, id: JobId) -> Result<Cancelled> {
        self.store.write(move |tx| cancel::cancel(tx, id))
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
        self.for_each_of(ids, |_| Ok(cancel::cancel))
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
        self.check(edited)?;
        if let Some(json) = &change.payload {
            let payload = NewJob::new("edited").payload_json(json).payload;
            check_payload("the payload", payload, &self.limits)?;
        }
        let limits = Arc::clone(&self.limits);
        self.store
            .write(move |tx| edit::edit(tx, id, &change, &limits))
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
                uniques::forget(tx, id)?;
                prune::remove(tx, id, &mut allowance)
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

    /// Removes jobs of a final state that ended longer ago than `older_than`, in small transactions,
    /// and gives their space back; with them events that belong to no job. Children of a parent that is
    /// live stay. How many jobs it were.
    ///
    /// # Errors
    /// The state is not final, or the file cannot be written; what was removed until then is gone.
    pub fn prune(&self, state: State, older_than: Duration) -> Result<u64> {
        self.prune_kinds(&KindFilter::All, state, older_than)
    }

    /// How many jobs [`Queue::prune`] would remove.
    ///
    /// # Errors
    /// The state is not final, or the file cannot be read.
    pub fn prunable(&self, state: State, older_than: Duration) -> Result<u64> {
        self.prunable_kinds(&KindFilter::All, state, older_than)
    }

    /// [`Queue::prune`] for jobs of these kinds.
    ///
    /// # Errors
    /// As [`Queue::prune`].
    pub fn prune_kinds(
        &self,
        kinds: &KindFilter,
        state: State,
        older_than: Duration,
    ) -> Result<u64> {
        let sweeps = self.sweeps(kinds, state, older_than)?;
        let before_ms = sweeps.iter().map(Sweep::before_ms).min();
        let mut pass = Some(Pass {
            events_before_ms: before_ms.filter(|_| *kinds == KindFilter::All),
            ..Pass::of(sweeps)
        });
        let mut removed = 0;
        while let Some(next) = pass {
            let stepped = self.store.write(move |tx| prune::step(tx, &next))?;
            while self.store.write(|tx| prune::give_back_space(tx.conn))? {}
            removed += stepped.removed;
            pass = stepped.next;
        }
        Ok(removed)
    }

    /// [`Queue::prunable`] for jobs of these kinds.
    ///
    /// # Errors
    /// As [`Queue::prunable`].
    pub fn prunable_kinds(
        &self,
        kinds: &KindFilter,
        state: State,
        older_than: Duration,
    ) -> Result<u64> {
        let sweeps = self.sweeps(kinds, state, older_than)?;
        let conn = self.store.reader()?;
        sweeps.iter().map(|sweep| prune::count(&conn, sweep)).sum()
    }

    fn sweeps(&self, kinds: &KindFilter, state: State, older_than: Duration) -> Result<Vec<Sweep>> {
        if !state.is_final() {
            return Err(Error::invalid(format!(
                "only final jobs can be pruned, not {state} ones"
            )));
        }
        let now_ms = self.store.config.clock.now_ms();
        let before_ms = now_ms.saturating_sub(millis(older_than));
        let kinds = names::kinds_of(&*self.store.reader()?, kinds)?;
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
            .write(move |tx| queues::set_limits(tx, &name, &limits))
    }

    /// Stops claims from a queue, or from all; running jobs go on. Whether it changed anything.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn pause(&self, which: QueueSelector) -> Result<bool> {
        self.store.write(move |tx| queues::pause(tx, &which))
    }

    /// Allows claims again. Whether it changed anything.
    ///
    /// # Errors
    /// There is no such queue.
    pub fn resume(&self, which: QueueSelector) -> Result<bool> {
        self.store.write(move |tx| queues::resume(tx, &which))
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
        backup::backup(
            &*self.store.reader_for_copy()?,
            to.as_ref(),
            Box::new(goes_on),
        )
    }

    /// Examines the file; changes nothing.
    ///
    /// # Errors
    /// The file cannot be read at all.
    pub fn examine(&self) -> Result<Vec<Finding>> {
        let conn = self.store.reader()?;
        let mut findings = upkeep::examine(&conn, self.store.access)?;
        findings.push(upkeep::locks(&conn, &self.store.runners_folder())?);
        Ok(findings)
    }

    /// Replaces the state counters by a recount.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn recount(&self) -> Result<()> {
        self.store.write(upkeep::recount)
    }

    /// Removes the files beside the database that killed processes have left and nobody needs: locks of
    /// runners that are gone, copies that were not finished. How many.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn remove_strays(&self) -> Result<usize> {
        let locks = locks::remove_strays(&*self.store.reader()?, &self.store.runners_folder())?;
        let folder = self.store.path().parent();
        Ok(locks + folder.map_or(0, new_file::remove_strays))
    }
}

fn retry(tx: &mut Tx<'_>, id: JobId) -> Result<State> {
    requeue::requeue(tx, id)?;
    // A parent whose children are final ends at once.
    tx.follow()?;
    Ok(job_row::get(tx.conn, id)?.state)
}
