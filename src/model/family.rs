//! How jobs depend on each other: prerequisites, parents and children, as pure rules.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
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
    /// It is the parent, and its own part must be done.
    OwnPart = 3,
}

impl PrerequisiteRule {
    pub(crate) const ALL: [PrerequisiteRule; 4] = [
        PrerequisiteRule::Completed,
        PrerequisiteRule::Final,
        PrerequisiteRule::Spawned,
        PrerequisiteRule::OwnPart,
    ];

    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<PrerequisiteRule> {
        PrerequisiteRule::ALL
            .into_iter()
            .find(|rule| rule.code() == code)
    }

    /// What the end of a prerequisite means for the dependent job.
    pub(crate) fn on_end(self, state: State) -> Release {
        match (self, state) {
            (PrerequisiteRule::Final, _) | (_, State::Completed) => Release::Met,
            (PrerequisiteRule::Spawned, _) => Release::Discard,
            (PrerequisiteRule::Completed | PrerequisiteRule::OwnPart, _) => Release::Cancel,
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

impl ChildPolicy {
    /// Every policy.
    pub const ALL: [ChildPolicy; 4] = [
        ChildPolicy::FailAtEnd,
        ChildPolicy::FailFast,
        ChildPolicy::CancelOthers,
        ChildPolicy::Tolerate,
    ];

    /// The name used in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChildPolicy::FailAtEnd => "fail-at-end",
            ChildPolicy::FailFast => "fail-fast",
            ChildPolicy::CancelOthers => "cancel-others",
            ChildPolicy::Tolerate => "tolerate",
        }
    }

    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<ChildPolicy> {
        ChildPolicy::ALL
            .into_iter()
            .find(|policy| policy.code() == code)
    }
}

impl fmt::Display for ChildPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ChildPolicy {
    type Err = Error;

    fn from_str(name: &str) -> Result<ChildPolicy, Error> {
        ChildPolicy::ALL
            .into_iter()
            .find(|policy| policy.as_str() == name)
            .ok_or_else(|| {
                Error::invalid(format!("unknown policy '{name}'")).with_hint(format!(
                    "policies are {}",
                    ChildPolicy::ALL.map(ChildPolicy::as_str).join(", ")
                ))
            })
    }
}

/// The phase of a job that its handler is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The job's own part: the only phase of a job that does not finalize.
    Run,
    /// The call after all children are final.
    Finalize,
}

/// The progress of a parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Its own part is not done: the only phase of a job without children.
    #[default]
    Run = 0,
    /// Its own part is done, its children are not.
    Children = 1,
    /// Its children are final and its handler is called once more.
    Finalize = 2,
}

impl Stage {
    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<Stage> {
        [Stage::Run, Stage::Children, Stage::Finalize]
            .into_iter()
            .find(|stage| stage.code() == code)
    }
}

/// The children of a job, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Children {
    /// Their number.
    pub total: u64,
    /// How many have completed.
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

/// A parent whose own part is done.
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
    /// What happens to the parent after its own part is done or a child has ended.
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
    fn a_parent_waits_for_all_its_children_unless_it_is_to_fail_at_once() {
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
