//! Pending changes of the state counters in a write transaction, and cached quotas.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use crate::Result;
use crate::error::Of;
use crate::model::part::{Part, Parts};
use crate::model::state::State;
use crate::store::sqlite::statement::{Statements, statements};

statements! {
    /// One upsert per (queue, state) and transaction.
    hot COUNT_ADD = "INSERT INTO jobq_number (what, id, value) VALUES (?2, ?1, ?3)
        ON CONFLICT (what, id) DO UPDATE SET value = value + excluded.value";
    /// A claim reads the rows of pending jobs: it must find none of a queue that has none.
    hot COUNT_FORGET_IF_ZERO = "DELETE FROM jobq_number WHERE what = ?2 AND id = ?1 AND value = 0";
}

/// The changes of a transaction so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct CountChanges {
    /// By queue and state.
    jobs: Vec<(i64, State, i64)>,
    /// The new jobs, by queue and kind.
    enqueued: Vec<(i64, i64, i64)>,
}

/// The number of jobs ever enqueued, by [`queue_and_kind`].
const ENQUEUED: i64 = -3;

/// One id for both.
fn queue_and_kind(queue: i64, kind: i64) -> i64 {
    queue << 32 | kind
}

impl CountChanges {
    pub(crate) fn add(&mut self, queue: i64, state: State, jobs: i64) {
        match self
            .jobs
            .iter_mut()
            .find(|change| change.0 == queue && change.1 == state)
        {
            Some(change) => change.2 += jobs,
            None => self.jobs.push((queue, state, jobs)),
        }
    }

    /// A job of `queue` and `kind` is new.
    pub(crate) fn enqueued(&mut self, (queue, kind): (i64, i64), state: State) {
        self.add(queue, state, 1);
        let same = |of: &&mut (i64, i64, i64)| (of.0, of.1) == (queue, kind);
        match self.enqueued.iter_mut().find(same) {
            Some(of) => of.2 += 1,
            None => self.enqueued.push((queue, kind, 1)),
        }
    }

    /// A job of `queue` went from one state to another.
    pub(crate) fn moved(&mut self, queue: i64, from: State, to: State) {
        debug_assert!(from.may_become(to), "{from} → {to}");
        self.add(queue, from, -1);
        self.add(queue, to, 1);
    }

    /// The net change of the number of jobs in `state`.
    pub(crate) fn change(&self, state: State) -> i64 {
        self.jobs
            .iter()
            .filter(|change| change.1 == state)
            .map(|change| change.2)
            .sum()
    }

    /// The same for one queue.
    pub(crate) fn change_in(&self, queue: i64, state: State) -> i64 {
        let change = self
            .jobs
            .iter()
            .find(|change| (change.0, change.1) == (queue, state));
        change.map_or(0, |change| change.2)
    }

    /// The net change of the number of jobs of `queue` that are not final.
    pub(crate) fn live_change(&self, queue: i64) -> i64 {
        let changes = self.jobs.iter();
        changes
            .filter(|change| change.0 == queue && !change.1.is_final())
            .map(|change| change.2)
            .sum()
    }

    /// The queues that have gained jobs in `state`.
    pub(crate) fn grown(&self, state: State) -> Vec<i64> {
        self.jobs
            .iter()
            .filter(|change| change.1 == state && change.2 > 0)
            .map(|change| change.0)
            .collect()
    }

    /// Writes the changes and clears them.
    pub(crate) fn flush(&mut self, conn: &Connection, aside: &Parts) -> Result<()> {
        for (queue, kind, jobs) in self.enqueued.drain(..) {
            if !aside.has(Part::CountersOf(queue)) {
                let of = params![queue_and_kind(queue, kind), ENQUEUED, jobs];
                conn.run(COUNT_ADD, of).of(Part::CountersOf(queue))?;
            }
        }
        for (queue, state, jobs) in self.jobs.drain(..).filter(|change| change.2 != 0) {
            if aside.has(Part::CountersOf(queue)) {
                continue;
            }
            let mut add = conn.prepare_cached(COUNT_ADD)?;
            add.execute(params![queue, state.code(), jobs])
                .of(Part::CountersOf(queue))?;
            if state == State::Pending && jobs < 0 {
                conn.run(COUNT_FORGET_IF_ZERO, params![queue, state.code()])?;
            }
        }
        Ok(())
    }
}

/// The quotas that a transaction has looked up so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuotaSeen {
    pub(crate) queues: HashMap<i64, QueueQuota>,
    /// The file's size, and for how many inserts it is valid.
    pub(crate) file: Option<(u64, u32)>,
}

#[derive(Clone, Debug)]
pub(crate) struct QueueQuota {
    pub(crate) own_limit: Option<u64>,
    /// The number of jobs that are not final by the counters, without this transaction's changes.
    pub(crate) live: Option<i64>,
}
