//! What a transaction must still follow up: jobs that have ended, and families whose counts change.

use std::collections::{BTreeMap, VecDeque};

use crate::model::event::EventId;
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::runner_hook::RunnerHooks;
use crate::model::state::State;

/// A job that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) job: JobId,
    pub(crate) to: State,
    pub(crate) flags: JobFlags,
    pub(crate) parent: Option<JobId>,
    pub(crate) children: ChildAction,
    /// The event of the cancel by hand that it has ended by, itself or by what followed.
    pub(crate) cancel: Option<EventId>,
}

/// What happens to the unfinished children of a parent that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildAction {
    Cancel,
    LeaveAlone,
}

/// How the counts of a parent's children change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FamilyChange {
    pub(crate) total: i64,
    pub(crate) done: i64,
    pub(crate) failed: i64,
    pub(crate) first_failed: Option<JobId>,
}

impl FamilyChange {
    fn child_ended(&mut self, child: JobId, state: State) {
        if state == State::Completed {
            self.done += 1;
        } else {
            self.failed += 1;
            self.first_failed.get_or_insert(child);
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    ended: VecDeque<Ended>,
    families: BTreeMap<JobId, FamilyChange>,
    /// Jobs that have ended and may fire hooks.
    hooked: VecDeque<Ended>,
    /// Of the runner that writes the transaction.
    pub(crate) runner_hooks: RunnerHooks,
}

impl Pending {
    /// Records that a job has ended; a job without rules has no consequences, unless it fires a hook of the runner.
    pub(crate) fn ended(&mut self, ended: Ended) {
        if ended.flags != JobFlags::NONE || self.runner_hooks.is_some() {
            self.ended.push_back(ended);
        }
    }

    /// Records that a job that has ended may fire hooks. They come last: only then are its children counted that have
    /// ended with it.
    pub(crate) fn fires_hooks(&mut self, ended: Ended) {
        let has_own = ended.flags.has(JobFlags::HOOKS);
        // A hook whose job has children would go on for ever.
        let is_of_hook =
            ended.flags.has(JobFlags::HOOK_JOB) || ended.flags.has(JobFlags::UNDER_HOOK);
        if !is_of_hook && (has_own || self.runner_hooks.is_some()) {
            self.hooked.push_back(ended);
        }
    }

    pub(crate) fn next_hooked(&mut self) -> Option<Ended> {
        self.hooked.pop_front()
    }

    /// The change of a parent's counts so far, to be added to.
    pub(crate) fn family(&mut self, parent: JobId) -> &mut FamilyChange {
        self.families.entry(parent).or_default()
    }

    pub(crate) fn child_ended(&mut self, parent: JobId, child: JobId, state: State) {
        self.family(parent).child_ended(child, state);
    }

    /// How the counts of a parent will change by all that has happened, also by children that have just ended.
    pub(crate) fn family_so_far(&self, parent: JobId) -> FamilyChange {
        let mut change = self.families.get(&parent).copied().unwrap_or_default();
        for ended in self
            .ended
            .iter()
            .filter(|ended| ended.parent == Some(parent))
        {
            change.child_ended(ended.job, ended.to);
        }
        change
    }

    pub(crate) fn next_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    pub(crate) fn next_family(&mut self) -> Option<(JobId, FamilyChange)> {
        self.families.pop_first()
    }
}
