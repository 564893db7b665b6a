//! How jobs depend on each other: prerequisites, parents and children, as pure rules.

use serde::{Deserialize, Serialize};

use crate::model::id::JobId;
use crate::model::state::State;

/// The built-in kind of a parent that has no work of its own.
pub const GROUP_KIND: &str = "group";

/// How a prerequisite must end before the dependent job may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum PrerequisiteRule {
    /// It must complete; if it fails or is cancelled, the dependent job is cancelled.
    Completed = 0,
    /// It must be final, however it ended.
    Final = 1,
    /// Its attempt that spawned the job must complete; otherwise the job is discarded.
    Spawned = 2,
    /// It is the parent, and its run phase must be done.
    RunPhase = 3,
}

codes!(PrerequisiteRule);

impl PrerequisiteRule {
    pub(crate) const ALL: [PrerequisiteRule; 4] = [
        PrerequisiteRule::Completed,
        PrerequisiteRule::Final,
        PrerequisiteRule::Spawned,
        PrerequisiteRule::RunPhase,
    ];

    /// What the end of a prerequisite means for the dependent job.
    pub(crate) fn on_end(self, state: State) -> Release {
        match (self, state) {
            (PrerequisiteRule::Final, _) | (_, State::Completed) => Release::Met,
            (PrerequisiteRule::Spawned, _) => Release::Discard,
            (PrerequisiteRule::Completed | PrerequisiteRule::RunPhase, _) => Release::Cancel,
        }
    }
}

/// What happens to a dependent job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// It has one prerequisite less.
    Met,
    /// It is cancelled.
    Cancel,
    /// It is cancelled and was never a child.
    Discard,
}

/// What a child's failure means for its parent. A cancelled child counts as a failed one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
#[non_exhaustive]
pub enum ChildPolicy {
    /// The parent fails once all children are final.
    #[default]
    FailAtEnd = 0,
    /// The parent fails at the first failure; the other children go on.
    FailFast = 1,
    /// The parent fails at the first failure and the other children are cancelled.
    CancelOthers = 2,
    /// The parent completes or finalizes, however its children ended.
    Tolerate = 3,
}

words!(ChildPolicy, "policy", "policies" {
    FailAtEnd = "fail-at-end",
    FailFast = "fail-fast",
    CancelOthers = "cancel-others",
    Tolerate = "tolerate",
});
codes!(ChildPolicy);

/// The phase of a job that its handler is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The job's run phase: the only phase of a job that does not finalize.
    Run,
    /// The call after all children are final.
    Finalize,
}

/// The progress of a parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Its run phase is not done: the only phase of a job without children.
    #[default]
    Run = 0,
    /// Its run phase is done, its children are not.
    Children = 1,
    /// Its children are final and its handler is called once more.
    Finalize = 2,
}

codes!(Stage);

impl Stage {
    const ALL: [Stage; 3] = [Stage::Run, Stage::Children, Stage::Finalize];
}

/// The children of a job, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Children {
    /// Their number.
    pub total: u64,
    /// How many have completed; when all were removed and their parent was retried, how many there were.
    pub done: u64,
    /// How many have failed or were cancelled.
    pub failed: u64,
}

impl Children {
    /// How many are not final.
    pub fn live(&self) -> u64 {
        self.total.saturating_sub(self.done + self.failed)
    }
}

/// A parent whose run phase is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) policy: ChildPolicy,
    pub(crate) finalize: bool,
    pub(crate) stage: Stage,
    pub(crate) children: Children,
    pub(crate) first_failed: Option<JobId>,
}

/// What happens to a waiting parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParentOutcome {
    /// Its children are not final yet.
    Wait,
    Complete,
    /// Its handler is called once more.
    Finalize,
    /// It fails; its children that are not final go on.
    Fail,
    /// It fails, and its children that are not final are cancelled.
    FailAndCancel,
}

impl Family {
    /// What happens to the parent after its run phase is done or a child has ended.
    pub(crate) fn outcome(&self) -> ParentOutcome {
        let failed = self.children.failed > 0;
        match self.policy {
            ChildPolicy::FailFast if failed => return ParentOutcome::Fail,
            ChildPolicy::CancelOthers if failed => return ParentOutcome::FailAndCancel,
            _ if self.children.live() > 0 => return ParentOutcome::Wait,
            ChildPolicy::FailAtEnd if failed => return ParentOutcome::Fail,
            _ => {}
        }
        if self.finalize && self.stage != Stage::Finalize {
            ParentOutcome::Finalize
        } else {
            ParentOutcome::Complete
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(policy: ChildPolicy, done: u64, failed: u64) -> Family {
        Family {
            policy,
            finalize: false,
            stage: Stage::Children,
            children: Children {
                total: 3,
                done,
                failed,
            },
            first_failed: None,
        }
    }

    #[test]
    fn a_parent_waits_for_all_children_unless_set_to_fail_fast() {
        use ChildPolicy::*;
        for (policy, done, failed, fate) in [
            (FailAtEnd, 2, 0, ParentOutcome::Wait),
            (FailAtEnd, 3, 0, ParentOutcome::Complete),
            (FailAtEnd, 1, 1, ParentOutcome::Wait),
            (FailAtEnd, 2, 1, ParentOutcome::Fail),
            (FailFast, 1, 1, ParentOutcome::Fail),
            (FailFast, 3, 0, ParentOutcome::Complete),
            (CancelOthers, 0, 1, ParentOutcome::FailAndCancel),
            (Tolerate, 1, 1, ParentOutcome::Wait),
            (Tolerate, 0, 3, ParentOutcome::Complete),
        ] {
            assert_eq!(family(policy, done, failed).outcome(), fate, "{policy}");
        }
    }

    #[test]
    fn the_finalize_phase_comes_once_and_not_after_a_failure() {
        let mut family = family(ChildPolicy::FailAtEnd, 3, 0);
        family.finalize = true;
        assert_eq!(family.outcome(), ParentOutcome::Finalize);
        family.stage = Stage::Finalize;
        assert_eq!(family.outcome(), ParentOutcome::Complete);
        family.stage = Stage::Children;
        family.children.failed = 1;
        family.children.done = 2;
        assert_eq!(family.outcome(), ParentOutcome::Fail);
        family.policy = ChildPolicy::Tolerate;
        assert_eq!(family.outcome(), ParentOutcome::Finalize);
    }

    #[test]
    fn a_failed_prerequisite_cancels_what_needs_it_completed() {
        use PrerequisiteRule::*;
        for state in [State::Failed, State::Cancelled] {
            assert_eq!(Completed.on_end(state), Release::Cancel);
            assert_eq!(Final.on_end(state), Release::Met);
            assert_eq!(Spawned.on_end(state), Release::Discard);
        }
        for rule in PrerequisiteRule::ALL {
            assert_eq!(rule.on_end(State::Completed), Release::Met);
        }
    }

    #[test]
    fn names_and_codes_read_back() {
        for policy in ChildPolicy::ALL {
            assert_eq!(policy.as_str().parse::<ChildPolicy>().unwrap(), policy);
            assert_eq!(ChildPolicy::from_code(policy.code()), Some(policy));
        }
        assert!("x".parse::<ChildPolicy>().is_err());
    }
}
