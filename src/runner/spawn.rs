//! What a handler does with its job's family.

use crate::model::family::{Phase, Stage};
use crate::model::filter::{Filter, Sort};
use crate::model::id::JobId;
use crate::model::job::{JobRecord, NewJob};
use crate::runner::context::Context;
use crate::runner::handler::Failure;
use crate::store::{FamilyRules, Spawned};

impl Context {
    /// Whether this is the job's own work, or the call after its children are final.
    pub fn phase(&self) -> Phase {
        match self.attempt.stage {
            Stage::Run | Stage::Children => Phase::Run,
            Stage::Finalize => Phase::Finalize,
        }
    }

    /// The job's parent.
    pub fn parent(&self) -> Option<JobId> {
        self.attempt.claim.parent
    }

    /// Adds a child. It is committed with this attempt's completion, or not at all, so a retry
    /// doubles nothing; then the job waits, without a worker, until its children are final. However
    /// full its queue or the file is, what an attempt spawns goes in.
    ///
    /// ```
    /// use jobq::{Context, Failure, NewJob, Phase};
    ///
    /// fn import(ctx: &Context) -> Result<u64, Failure> {
    ///     if ctx.phase() == Phase::Finalize {
    ///         return Ok(ctx.children()?.len() as u64);
    ///     }
    ///     for part in 0..10 {
    ///         ctx.spawn_child(NewJob::new("import-part").payload(&part))?;
    ///     }
    ///     ctx.finalize_after_children();
    ///     Ok(0)
    /// }
    /// ```
    ///
    /// # Errors
    /// The child's payload or options cannot be used, or this is the finalize phase: by `?` the job fails for
    /// good, as another attempt would ask for the same.
    pub fn spawn_child(&self, child: impl Into<NewJob>) -> Result<(), Failure> {
        if self.phase() == Phase::Finalize {
            return Err(Failure::permanent(
                "a job in its finalize phase can get no more children",
            ));
        }
        self.spawn(child.into().parent(self.job_id()))?;
        self.spawned().is_parent = true;
        Ok(())
    }

    /// Adds a sibling: another child of this job's parent, committed with this attempt's completion.
    ///
    /// # Errors
    /// The sibling's payload or options cannot be used, or the job has no parent.
    pub fn spawn_sibling(&self, sibling: impl Into<NewJob>) -> Result<(), Failure> {
        let parent = self
            .parent()
            .ok_or_else(|| Failure::permanent("a job without a parent has no siblings"))?;
        self.spawn(sibling.into().parent(parent))
    }

    /// Adds an independent job, committed with this attempt's completion. Should it be refused then, as a
    /// duplicate that is to be rejected or for a prerequisite that does not exist, this job fails and names why;
    /// what else it spawned is not added.
    ///
    /// # Errors
    /// The job's payload or options cannot be used, or the payload holds a secret that this attempt has read: payloads are
    /// stored as they are.
    pub fn spawn(&self, job: impl Into<NewJob>) -> Result<(), Failure> {
        // Another attempt would ask for the same.
        let mut job = job.into();
        let traceparent = &mut job.options.traceparent;
        *traceparent = traceparent.or(self.traceparent());
        let checked = self.queue().checked(job);
        let job = checked.map_err(Failure::permanent)?.spawned();
        #[cfg(feature = "exec")]
        if self.has_secret(&job.payload) {
            return Err(Failure::permanent(format_args!(
                "the payload of the '{}' job holds a secret: name the secret in it instead",
                job.kind
            )));
        }
        self.spawned().jobs.push(job);
        Ok(())
    }

    /// Asks to be called once more when all children are final: the finalize phase. What this attempt
    /// returns then gives way to what that one does.
    pub fn finalize_after_children(&self) {
        let mut spawned = self.spawned();
        spawned.is_parent = true;
        spawned.family = FamilyRules {
            finalize: true,
            ..spawned.family
        };
    }

    /// The job's children with their states and results, oldest first. For very many, page with
    /// [`Queue::for_each`](crate::Queue::for_each).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn children(&self) -> Result<Vec<JobRecord>, Failure> {
        let filter = Filter {
            parent: Some(self.job_id()),
            sort: Sort::Oldest,
            ..Filter::default()
        };
        Ok(self.queue().list(&filter)?)
    }
}

/// What an attempt has spawned, taken out of its context when its handler has returned.
pub(crate) fn take_spawned(context: Context) -> Option<Box<Spawned>> {
    let spawned = std::mem::take(&mut *context.spawned());
    let is_any = !spawned.jobs.is_empty() || spawned.is_parent;
    is_any.then(|| Box::new(spawned))
}
