//! The hooks of a runner: for all jobs that end in it.

use std::sync::Arc;

use crate::model::hook::HookTrigger;
use crate::model::job::NewJob;

/// A hook of a runner: a job that is enqueued each time a job ends so in that runner.
///
/// ```
/// use jobq::{Hook, HookTrigger, NewJob};
///
/// let alert = NewJob::new("alert").payload(&"{hook.kind} {hook.job} failed: {hook.error}");
/// let hook = Hook::new(HookTrigger::Failed, alert).kinds(["payment"]);
/// # let _ = hook;
/// ```
#[derive(Clone, Debug)]
pub struct Hook {
    pub(crate) filter: HookFilter,
    pub(crate) job: NewJob,
}

/// The ends that fire a runner's hook.
#[derive(Clone, Debug)]
pub(crate) struct HookFilter {
    pub(crate) trigger: HookTrigger,
    /// Empty: all.
    kinds: Vec<String>,
    /// Empty: all.
    queues: Vec<String>,
}

impl HookFilter {
    /// Whether it is for jobs of this kind and this queue.
    pub(crate) fn is_for(&self, kind: &str, queue: &str) -> bool {
        let has =
            |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
        has(&self.kinds, kind) && has(&self.queues, queue)
    }
}

impl Hook {
    /// Enqueues this job at each such end. See [`NewJob::on_end`] for what the job can know.
    pub fn new(trigger: HookTrigger, job: NewJob) -> Hook {
        let filter = HookFilter {
            trigger,
            kinds: Vec::new(),
            queues: Vec::new(),
        };
        Hook { filter, job }
    }

    /// Only for jobs of these kinds; of all unless set.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = impl Into<String>>) -> Hook {
        self.filter.kinds = kinds.into_iter().map(Into::into).collect();
        self
    }

    /// Only for jobs of these queues; of all unless set.
    #[must_use]
    pub fn queues(mut self, queues: impl IntoIterator<Item = impl Into<String>>) -> Hook {
        self.filter.queues = queues.into_iter().map(Into::into).collect();
        self
    }
}

/// A runner's hooks, each with its job as it is stored; none: it has none.
pub(crate) type RunnerHooks = Option<Arc<[(HookFilter, String)]>>;
