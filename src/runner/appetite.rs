//! What a runner could take now: how many jobs, of which kinds, and whether there are any.

use super::builder::UnknownKinds;
use super::dispatcher::Dispatcher;
use super::registration::Identity;
use super::shutdown::Phase;
use crate::Result;
use crate::store::claim::{self, AHEAD_BYTES, ClaimFor, Wish};

impl Dispatcher {
    pub(crate) fn short_kinds(&self) -> Vec<i64> {
        self.identity
            .kinds
            .iter()
            .copied()
            .filter(|kind| self.pace.is_short(*kind))
            .collect()
    }

    /// How many jobs there is room for once what was reported is settled.
    pub(crate) fn capacity(&mut self) -> Capacity {
        if self.phase != Phase::Running {
            return Capacity { free: 0, ahead: 0 };
        }
        let workers = self.pool.workers();
        let held = (self.in_flight.len() + self.orphans.len())
            .saturating_sub(self.agenda.settlements.len());
        let room = self.pool.room();
        let free = workers.saturating_sub(held).min(room);
        let held_bytes: usize = self
            .in_flight
            .values()
            .map(|attempt| attempt.payload_bytes())
            .sum();
        let ahead = (workers + self.pace.allowance(workers))
            .saturating_sub(held + free)
            .min(room - free);
        let ahead = if held_bytes < AHEAD_BYTES { ahead } else { 0 };
        Capacity { free, ahead }
    }

    /// Looks, before a transaction is opened for nothing else, whether there is anything to claim.
    pub(crate) fn finds_work(&mut self, capacity: Capacity) -> Result<bool> {
        if !self.agenda.more || !capacity.is_some() {
            return Ok(false);
        }
        let unknown = self.unknown_kinds()?;
        let short = self.short_kinds();
        let wish = wish(&self.identity, 0);
        let conn = self.lease.writer.conn()?;
        let mut found = false;
        for wish in wish.both(capacity, &short) {
            found |= claim::anything(conn, &wish)?;
        }
        if let Some(kinds) = &unknown {
            found |= claim::anything(
                conn,
                &Wish {
                    kinds,
                    jobs: 1,
                    ..wish
                },
            )?;
        }
        self.agenda.more = found;
        Ok(found)
    }

    /// The kinds whose jobs are to fail, where that is wanted and something may be claimed.
    pub(crate) fn unknown_kinds(&mut self) -> Result<Option<Vec<i64>>> {
        if self.settings.unknown_kinds == UnknownKinds::Keep || self.phase != Phase::Running {
            return Ok(None);
        }
        let kinds = crate::store::names::kind_ids(self.lease.writer.conn()?)?;
        Ok(Some(
            kinds
                .into_iter()
                .filter(|kind| !self.identity.kinds.contains(kind))
                .collect(),
        ))
    }
}

/// What this runner could take, for a free worker; the number of jobs is yet to be said.
pub(crate) fn wish(identity: &Identity, turn: usize) -> Wish<'_> {
    Wish {
        runner: identity.id,
        queues: identity.queues.as_deref(),
        kinds: &identity.kinds,
        claim_for: ClaimFor::FreeWorker,
        jobs: 0,
        turn,
    }
}

impl<'a> Wish<'a> {
    /// For the free workers any kind, ahead of them only short ones.
    pub(crate) fn both(&self, capacity: Capacity, short: &'a [i64]) -> [Wish<'a>; 2] {
        let free = Wish {
            jobs: capacity.free,
            ..self.clone()
        };
        let ahead = Wish {
            jobs: capacity.ahead,
            kinds: short,
            claim_for: ClaimFor::Ahead,
            ..self.clone()
        };
        [free, ahead]
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    free: usize,
    ahead: usize,
}

impl Capacity {
    /// Whether there is room for anything.
    pub(crate) fn is_some(self) -> bool {
        self.free + self.ahead > 0
    }
}
