//! The states of a job and the transitions between them.

use serde::{Deserialize, Serialize};

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum State {
    /// Not due yet: delayed, waiting to be retried, or snoozed.
    Scheduled = 0,
    /// Waits for other jobs, or for a free slot under its concurrency key.
    Blocked = 1,
    /// May be claimed now.
    Pending = 2,
    /// An attempt holds it.
    Running = 3,
    /// Its run phase is done, its children are not.
    Waiting = 4,
    /// Final: it succeeded.
    Completed = 5,
    /// Final: it failed for good, or its retries are used up.
    Failed = 6,
    /// Final: a user or a rule cancelled it.
    Cancelled = 7,
}

words!(State, "state", "states" {
    Scheduled = "scheduled",
    Blocked = "blocked",
    Pending = "pending",
    Running = "running",
    Waiting = "waiting",
    Completed = "completed",
    Failed = "failed",
    Cancelled = "cancelled",
});
codes!(State);

impl State {
    /// The states that may follow this one. A job leaves a final state only by an explicit retry, to the
    /// state that its rules require, or when its cancel is undone.
    pub const fn leaves_to(self) -> &'static [State] {
        use State::*;
        match self {
            Scheduled => &[Pending, Blocked, Cancelled],
            Blocked => &[Pending, Scheduled, Cancelled],
            Pending => &[Running, Cancelled],
            Running => &[Completed, Failed, Scheduled, Pending, Waiting, Cancelled],
            Waiting => &[Pending, Completed, Failed, Cancelled],
            Completed | Failed => &[Pending, Blocked, Waiting],
            Cancelled => &[Pending, Blocked, Waiting, Scheduled],
        }
    }

    /// Whether a job in this state may go to `to`.
    pub fn may_become(self, to: State) -> bool {
        self.leaves_to().contains(&to)
    }

    /// Whether the job has ended: completed, failed or cancelled.
    pub const fn is_final(self) -> bool {
        matches!(self, State::Completed | State::Failed | State::Cancelled)
    }
}

/// Why a job is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
#[non_exhaustive]
pub enum WaitReason {
    /// It was enqueued for later.
    Delay = 1,
    /// Its last attempt failed.
    Retry = 2,
    /// Its handler snoozed it.
    Snooze = 3,
}

codes!(WaitReason);

impl WaitReason {
    const ALL: [WaitReason; 3] = [WaitReason::Delay, WaitReason::Retry, WaitReason::Snooze];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_are_left_only_for_waiting_ones() {
        for state in State::ALL.into_iter().filter(|state| state.is_final()) {
            let again = [State::Pending, State::Blocked, State::Waiting];
            assert!(state.leaves_to().starts_with(&again), "{state}");
            let may_be_undone = state == State::Cancelled;
            assert_eq!(state.may_become(State::Scheduled), may_be_undone, "{state}");
        }
    }

    #[test]
    fn every_live_state_can_be_cancelled() {
        for state in State::ALL.into_iter().filter(|state| !state.is_final()) {
            assert!(state.may_become(State::Cancelled), "{state}");
        }
    }

    #[test]
    fn names_and_codes_read_back() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse::<State>().unwrap(), state);
            assert_eq!(State::from_code(state.code()), Some(state));
        }
        assert!(
            "done"
                .parse::<State>()
                .unwrap_err()
                .to_string()
                .contains("done")
        );
    }
}
