//! What a runner could take now: how many jobs, of which kinds, and whether there are any.

use std::collections::HashMap;
use std::sync::Arc;

use crate::runner::attempt::Attempt;
use crate::runner::builder::UnknownKinds;
use crate::runner::dispatcher::Dispatcher;
use crate::runner::shutdown::Phase;
use crate::store::{ClaimFor, ClaimRequest, KindCapacity, PREFETCH_BYTES};
use crate::{Result, clock, store};

impl Dispatcher {
    /// The kinds it has handlers for, each with how many more jobs of it may be held once what was
    /// reported is settled.
    pub(crate) fn kind_rooms(&self) -> Vec<KindCapacity> {
        let mut rooms: Vec<KindCapacity> = self
            .identity
            .kinds
            .iter()
            .copied()
            .map(KindCapacity::any)
            .collect();
        if self.identity.kind_limits.is_empty() {
            return rooms;
        }
        let settled = self
            .pending
            .tick
            .finished
            .iter()
            .map(|finished| &finished.attempt);
        let settled = count_kinds(settled);
        let held = count_kinds(self.in_flight.values().chain(&self.orphans));
        let of = |counts: &HashMap<i64, usize>, kind| counts.get(&kind).copied().unwrap_or(0);
        for room in &mut rooms {
            if let Some(limit) = self.identity.kind_limits.get(&room.kind) {
                let held = of(&held, room.kind).saturating_sub(of(&settled, room.kind));
                room.jobs = limit.saturating_sub(held);
            }
        }
        rooms
    }

    /// The kinds whose jobs may be claimed ahead. One with a limit is none of them: what waits in the
    /// channel would take up places in which nothing runs.
    pub(crate) fn short_kinds(&self) -> Vec<KindCapacity> {
        let kinds = self.identity.kinds.iter().copied();
        kinds
            .filter(|kind| self.pace.is_short(*kind))
            .filter(|kind| !self.identity.kind_limits.contains_key(kind))
            .map(KindCapacity::any)
            .collect()
    }

    /// How many jobs there is room for once what was reported is settled.
    pub(crate) fn capacity(&mut self) -> Capacity {
        let allowance = self.pace.allowance(self.pool.workers());
        self.capacity_with(allowance)
    }

    /// Whether there is room for anything, with as much claimed ahead as was last allowed.
    pub(crate) fn has_room(&self) -> bool {
        self.capacity_with(self.pace.allowed()).is_some()
    }

    fn capacity_with(&self, allowance: usize) -> Capacity {
        if self.phase != Phase::Running {
            return Capacity { free: 0, ahead: 0 };
        }
        let now = clock::instant();
        let all = self.pool.workers();
        let workers = self.scarcity.jobs(all);
        if self.scarcity.not_before(now).is_some() {
            return Capacity { free: 0, ahead: 0 };
        }
        // What is ahead of the busy workers would begin on one that is to be left free.
        let allowance = if workers < all { 0 } else { allowance };
        let held = (self.in_flight.len() + self.orphans.len())
            .saturating_sub(self.pending.tick.finished.len());
        let room = self.pool.room();
        let free = workers.saturating_sub(held).min(room);
        let held_bytes: usize = self
            .in_flight
            .values()
            .map(|attempt| attempt.payload_bytes())
            .sum();
        let ahead = (workers + allowance)
            .saturating_sub(held + free)
            .min(room - free);
        let ahead = if held_bytes < PREFETCH_BYTES {
            ahead
        } else {
            0
        };
        Capacity { free, ahead }
    }

    /// Looks, before a transaction is opened for nothing else, whether there is anything to claim.
    pub(crate) fn finds_work(&mut self, capacity: Capacity) -> Result<bool> {
        if !self.pending.more || !capacity.is_some() {
            return Ok(false);
        }
        let unknown = self.unknown_kinds()?;
        let (kinds, short) = (self.kind_rooms(), self.short_kinds());
        let aside = self.aside.parts();
        let request = self.identity.claim_request(&kinds, aside);
        let now_ms = self.store.config.clock.now_ms();
        let conn = self.lease.writer.conn()?;
        let mut found = false;
        for request in request.both(capacity, &short) {
            found |= store::has_claimable(conn, &request, now_ms)?;
        }
        if let Some(kinds) = &unknown {
            found |= store::has_claimable(
                conn,
                &ClaimRequest {
                    kinds,
                    claim_for: ClaimFor::NoWorker,
                    jobs: 1,
                    ..request
                },
                now_ms,
            )?;
        }
        self.pending.more = found;
        Ok(found)
    }

    /// The kinds whose jobs are to fail, where that is wanted and something may be claimed.
    pub(crate) fn unknown_kinds(&mut self) -> Result<Option<Vec<KindCapacity>>> {
        if self.settings.unknown_kinds == UnknownKinds::Keep || self.phase != Phase::Running {
            return Ok(None);
        }
        let kinds = crate::store::kind_ids(self.lease.writer.conn()?)?;
        Ok(Some(
            kinds
                .into_iter()
                .filter(|kind| !self.identity.kinds.contains(kind))
                .map(KindCapacity::any)
                .collect(),
        ))
    }
}

fn count_kinds<'a>(attempts: impl Iterator<Item = &'a Arc<Attempt>>) -> HashMap<i64, usize> {
    let mut counts = HashMap::new();
    for attempt in attempts {
        *counts.entry(attempt.kind_id).or_default() += 1;
    }
    counts
}

impl<'a> ClaimRequest<'a> {
    /// For the free workers any kind, ahead of them only short ones.
    pub(crate) fn both(
        &self,
        capacity: Capacity,
        short: &'a [KindCapacity],
    ) -> [ClaimRequest<'a>; 2] {
        let free = ClaimRequest {
            jobs: capacity.free,
            ..self.clone()
        };
        let ahead = ClaimRequest {
            jobs: capacity.ahead,
            kinds: short,
            claim_for: ClaimFor::Prefetch,
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
