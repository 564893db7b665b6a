//! Numbers of jobs by state.

use crate::model::state::State;

/// The number of jobs in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; State::ALL.len()]);

impl Counts {
    /// The jobs in `state`.
    pub fn get(&self, state: State) -> u64 {
        self.0[state as usize]
    }

    /// Each state with its number of jobs.
    pub fn iter(&self) -> impl Iterator<Item = (State, u64)> + '_ {
        State::ALL.into_iter().map(|state| (state, self.get(state)))
    }

    /// All jobs in the file.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The jobs that are not final.
    pub fn live(&self) -> u64 {
        self.iter()
            .filter(|(state, _)| !state.is_final())
            .map(|(_, jobs)| jobs)
            .sum()
    }

    pub(crate) fn add(&mut self, state: State, jobs: i64) {
        let count = &mut self.0[state as usize];
        *count = count.saturating_add_signed(jobs);
    }
}
