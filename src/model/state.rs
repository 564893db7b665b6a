//! The states of a job and the transitions between them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

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
    /// Its own part is done, its children are not.
    Waiting = 4,
    /// Final: it succeeded.
    Completed = 5,
    /// Final: it failed for good, or its retries are used up.
    Failed = 6,
    /// Final: a user or a rule cancelled it.
    Cancelled = 7,
}

impl State {
    /// Every state, in the order a job usually goes through them.
    pub const ALL: [State; 8] = [
        State::Scheduled,
        State::Blocked,
        State::Pending,
        State::Running,
        State::Waiting,
        State::Completed,
        State::Failed,
        State::Cancelled,
    ];

    /// The states that may follow this one. A job leaves a final state only by an explicit retry, to the
    /// state that its rules require.
    pub const fn leaves_to(self) -> &'static [State] {
        use State::*;
        match self {
            Scheduled => &[Pending, Blocked, Cancelled],
            Blocked => &[Pending, Scheduled, Cancelled],
            Pending => &[Running, Cancelled],
            Running => &[Completed, Failed, Scheduled, Pending, Waiting, Cancelled],
            Waiting => &[Pending, Completed, Failed, Cancelled],
            Completed | Failed | Cancelled => &[Pending, Blocked, Waiting],
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

    /// The lower-case name used in JSON, on the command line and in the views.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Scheduled => "scheduled",
            State::Blocked => "blocked",
            State::Pending => "pending",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Completed => "completed",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// The code in the file.
    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<State> {
        State::ALL.into_iter().find(|state| state.code() == code)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(name: &str) -> Result<State, Error> {
        State::ALL
            .into_iter()
            .find(|state| state.as_str() == name)
            .ok_or_else(|| {
                Error::invalid(format!("unknown state '{name}'")).with_hint(format!(
                    "states are {}",
                    State::ALL.map(State::as_str).join(", ")
                ))
            })
    }
}

/// Why a job is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum WaitReason {
    /// It was enqueued for later.
    Delay = 1,
    /// Its last attempt failed.
    Retry = 2,
    /// Its handler snoozed it.
    Snooze = 3,
}

impl WaitReason {
    pub(crate) const fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Option<WaitReason> {
        [WaitReason::Delay, WaitReason::Retry, WaitReason::Snooze]
            .into_iter()
            .find(|reason| reason.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_are_left_only_for_states_that_wait_for_something() {
        for state in State::ALL.into_iter().filter(|state| state.is_final()) {
            assert_eq!(
                state.leaves_to(),
                [State::Pending, State::Blocked, State::Waiting]
            );
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
