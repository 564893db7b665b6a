//! The state counters: how many jobs each queue has in each state.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::statement::statements;
use crate::Result;
use crate::part::{Of, Part, Parts};
use crate::state::State;

statements! {
    /// One upsert per (queue, state) and transaction.
    hot COUNT_ADD = "INSERT INTO jobq_count (queue_id, state, jobs) VALUES (?1, ?2, ?3)
        ON CONFLICT (queue_id, state) DO UPDATE SET jobs = jobs + excluded.jobs";
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

/// What a transaction has changed so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct CountChanges(Vec<(i64, State, i64)>);

impl CountChanges {
    pub(crate) fn add(&mut self, queue: i64, state: State, jobs: i64) {
        match self
            .0
            .iter_mut()
            .find(|change| change.0 == queue && change.1 == state)
        {
            Some(change) => change.2 += jobs,
            None => self.0.push((queue, state, jobs)),
        }
    }

    /// A job of `queue` went from one state to another.
    pub(crate) fn moved(&mut self, queue: i64, from: State, to: State) {
        debug_assert!(from.may_become(to), "{from} → {to}");
        self.add(queue, from, -1);
        self.add(queue, to, 1);
    }

    /// How many jobs have come to `state`, less those that have left it.
    pub(crate) fn change(&self, state: State) -> i64 {
        self.0
            .iter()
            .filter(|change| change.1 == state)
            .map(|change| change.2)
            .sum()
    }

    /// The same for one queue.
    pub(crate) fn change_in(&self, queue: i64, state: State) -> i64 {
        let change = self
            .0
            .iter()
            .find(|change| (change.0, change.1) == (queue, state));
        change.map_or(0, |change| change.2)
    }

    /// How many more live jobs `queue` has, or fewer.
    pub(crate) fn live_change(&self, queue: i64) -> i64 {
        let changes = self.0.iter();
        changes
            .filter(|change| change.0 == queue && !change.1.is_final())
            .map(|change| change.2)
            .sum()
    }

    /// The queues that have gained jobs in `state`.
    pub(crate) fn grown(&self, state: State) -> Vec<i64> {
        self.0
            .iter()
            .filter(|change| change.1 == state && change.2 > 0)
            .map(|change| change.0)
            .collect()
    }

    /// Writes what has changed and forgets it.
    pub(crate) fn flush(&mut self, conn: &Connection, aside: &Parts) -> Result<()> {
        for (queue, state, jobs) in self.0.drain(..).filter(|change| change.2 != 0) {
            if aside.has(Part::CountersOf(queue)) {
                continue;
            }
            let mut add = conn.prepare_cached(COUNT_ADD)?;
            add.execute(params![queue, state.code(), jobs])
                .of(Part::CountersOf(queue))?;
        }
        Ok(())
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
