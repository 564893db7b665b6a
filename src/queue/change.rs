//! What people do to jobs, queues and the file.

use std::path::Path;
use std::time::Duration;

use super::Queue;
use crate::clock::millis;
use crate::job::{JobId, NewJob};
use crate::state::State;
use crate::store::edit::{self, Cancelled, Edit};
use crate::store::prune::{self, Old};
use crate::store::queues::{self, Which};
use crate::store::requeue;
use crate::store::upkeep::{self, Finding};
use crate::{Error, Result};

impl Queue {
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
        self.store.write(move |tx| requeue::requeue(tx, id))
    }

    /// Changes options of a job that does not run.
    ///
    /// # Errors
    /// There is no such job, its state does not allow it, or a value is not usable.
    pub fn edit(&self, id: JobId, change: Edit) -> Result<()> {
        // What no job may be enqueued with, none may be given later.
        let mut edited = NewJob::new("edited");
        if let Some(timeout) = change.timeout {
            edited = edited.timeout(timeout);
        }
        if let Some(json) = &change.payload {
            edited = edited.payload_json(json);
        }
        self.check(edited)?;
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
            while self.store.write(|tx| prune::give_back_space(tx.conn))? {}
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
        self.store.write(upkeep::recount)
    }
}
