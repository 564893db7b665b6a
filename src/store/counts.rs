//! The state counters: how many jobs each queue has in each state.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::statement::statements;
use crate::Result;
use crate::state::State;

statements! {
    /// A row per queue and state: small whatever the number of jobs.
    hot COUNTS_BY_STATE = "SELECT state, sum(jobs) FROM jobq_count GROUP BY state";
    cold COUNTS_RECOUNT = "SELECT queue_id, state, count(*) FROM jobq_job GROUP BY queue_id, state";
    cold COUNTS_ALL = "SELECT queue_id, state, jobs FROM jobq_count WHERE jobs <> 0";
    cold COUNTS_CLEAR = "DELETE FROM jobq_count";
}

/// How many jobs there are in each state.
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

pub(crate) fn by_state(conn: &Connection) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut statement = conn.prepare_cached(COUNTS_BY_STATE)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(state) = State::from_code(row.get(0)?) {
            counts.add(state, row.get(1)?);
        }
    }
    Ok(counts)
}

/// The counters by queue and state code, as kept or as counted anew. Codes that no state has are kept,
/// so that `doctor` can name them.
pub(crate) fn table(conn: &Connection, sql: &str) -> Result<BTreeMap<(i64, i64), i64>> {
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
