//! What a runner can take now: how many jobs, of which kinds, and whether there are any.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::model::outcome::{Ending, Outcome};
use crate::runner::attempt::{Attempt, Report};
use crate::runner::dispatcher::{Dispatcher, StopPhase};
use crate::store::{ClaimFor, ClaimRequest, KindCapacity, PREFETCH_BYTES};
use crate::{Result, clock, store};

impl Dispatcher {
    /// The kinds with handlers, each with how many more of its jobs may be claimed once the reported
    /// ones are finished.
    pub(crate) fn kind_capacities(&self) -> Vec<KindCapacity> {
        let now = clock::instant();
        let mut capacities = self.identity.any_of_its_kinds();
        capacities.retain(|capacity| !self.kind_pauses.holds(capacity.kind, now));
        if self.identity.kind_limits.is_empty() {
            return capacities;
        }
        let finished = self.pending.tick.finished.iter();
        let finished = count_kinds(finished.map(|finished| &finished.attempt));
        let in_flight = count_kinds(self.in_flight.values().chain(&self.abandoned));
        let of = |counts: &HashMap<i64, usize>, kind| counts.get(&kind).copied().unwrap_or(0);
        for capacity in &mut capacities {
            if let Some(limit) = self.identity.kind_limits.get(&capacity.kind) {
                let in_flight =
                    of(&in_flight, capacity.kind).saturating_sub(of(&finished, capacity.kind));
                capacity.jobs = limit.saturating_sub(in_flight);
            }
        }
        capacities
    }

    /// The kinds whose jobs may be prefetched. Kinds with a limit are left out: jobs waiting in the
    /// channel would use up the limit while nothing runs.
    pub(crate) fn prefetch_kinds(&self) -> Vec<KindCapacity> {
        let now = clock::instant();
        let kinds = self.identity.kinds.iter().copied();
        kinds
            .filter(|kind| self.run_times.is_short(*kind))
            .filter(|kind| !self.identity.kind_limits.contains_key(kind))
            .filter(|kind| !self.kind_pauses.holds(*kind, now))
            .map(KindCapacity::any)
            .collect()
    }

    /// The free capacity once the reported attempts are finished.
    pub(crate) fn capacity(&mut self) -> Capacity {
        let allowance = self.run_times.allowance(self.pool.workers());
        self.capacity_with(allowance)
    }

    /// Whether there is any capacity, with as many jobs prefetched as was last allowed.
    pub(crate) fn has_capacity(&self) -> bool {
        self.capacity_with(self.run_times.allowed()).is_some()
    }

    fn capacity_with(&self, allowance: usize) -> Capacity {
        let is_paused = self.scarcity.not_before(clock::instant()).is_some();
        if self.phase != StopPhase::Running || is_paused {
            return Capacity::default();
        }
        let all = self.pool.workers();
        let workers = self.scarcity.jobs(all);
        // A prefetched job would begin on a worker that is to be left free.
        let allowance = if workers < all { 0 } else { allowance };
        let in_flight = (self.in_flight.len() + self.abandoned.len())
            .saturating_sub(self.pending.tick.finished.len());
        let space = self.pool.space();
        let free = workers.saturating_sub(in_flight).min(space);
        let in_flight_bytes: usize = self
            .in_flight
            .values()
            .map(|attempt| attempt.payload_bytes())
            .sum();
        let prefetch = match in_flight_bytes < PREFETCH_BYTES {
            true => (workers + allowance).saturating_sub(in_flight + free),
            false => 0,
        };
        let prefetch = prefetch.min(space - free);
        Capacity { free, prefetch }
    }

    /// Checks whether there is anything to claim, before a transaction is opened for that alone.
    pub(crate) fn finds_work(&mut self, capacity: Capacity) -> Result<bool> {
        let has_more_room = capacity.free > self.pending.looked_for;
        if !(self.pending.more || has_more_room) || !capacity.is_some() {
            return Ok(false);
        }
        let unknown = self.unknown_kinds()?;
        let (kinds, short) = (self.kind_capacities(), self.prefetch_kinds());
        let aside = self.aside.parts();
        let request = self.identity.claim_request(&kinds, aside);
        let now_ms = self.store.config.clock.now_ms();
        let conn = self.lease.writer.conn()?;
        let mut found = false;
        for request in request.both(capacity, &short) {
            found |= store::has_claimable(conn, &request, now_ms)?;
        }
        if let Some(kinds) = &unknown {
            found |= store::has_claimable(conn, &request.for_no_worker(kinds, 1), now_ms)?;
        }
        self.pending.more = found;
        self.pending.looked_for = capacity.free;
        Ok(found)
    }

    /// The kinds whose jobs are to fail for want of a handler, if anything may be claimed.
    pub(crate) fn unknown_kinds(&mut self) -> Result<Option<Vec<KindCapacity>>> {
        if self.phase != StopPhase::Running {
            return Ok(None);
        }
        let writer = &mut self.lease.writer;
        (self.identity).failing_kinds(self.settings.unknown_kinds, || {
            store::kind_ids(writer.conn()?)
        })
    }

    /// Notes whether a handler could run the job.
    pub(crate) fn heed_unavailable(&mut self, report: &Report) {
        if self.kind_pauses.heed(report) {
            self.pending.tick.unavailable = Some(self.kind_pauses.reasons());
        }
    }

    /// Notes whether a handler lacked resources to run.
    pub(crate) fn heed_resources(&mut self, report: &Report) {
        let Ending::Returned {
            outcome: Outcome::OutOfResources { error },
            ..
        } = &report.ending
        else {
            if let Some((_, began)) = report.attempt.running_on() {
                self.scarcity.has_run(began);
            }
            return;
        };
        // The attempt itself is in flight, unless it has lost its job.
        let running = self.busy_workers().len();
        let ended = self.pending.tick.finished.len() + 1;
        let others = running.saturating_sub(ended);
        if self.scarcity.refused(others, error, clock::instant()) {
            log::warn!(
                "{error}: jobs that find too little go back free of charge, and fewer run at a time"
            );
            self.pending.tick.short_of = Some(error.clone());
        }
    }

    /// Lets more jobs run at a time after some while without refusals.
    pub(crate) fn relax(&mut self, now: Instant) {
        self.pending.more |= self.kind_pauses.relax(now);
        if self.scarcity.relax(self.pool.workers(), now) {
            log::info!("as many jobs as there are workers run again");
            self.pending.tick.short_of = Some(String::new());
        }
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
    /// The same for jobs of these kinds that fail instead of running.
    pub(super) fn for_no_worker(&self, kinds: &'a [KindCapacity], jobs: usize) -> ClaimRequest<'a> {
        ClaimRequest {
            kinds,
            claim_for: ClaimFor::NoWorker,
            jobs,
            ..self.clone()
        }
    }

    /// A request for the free workers with all kinds, and one for prefetching with short kinds.
    pub(crate) fn both(
        &self,
        capacity: Capacity,
        short: &'a [KindCapacity],
    ) -> [ClaimRequest<'a>; 2] {
        let free = ClaimRequest {
            jobs: capacity.free,
            ..self.clone()
        };
        let prefetch = ClaimRequest {
            jobs: capacity.prefetch,
            kinds: short,
            claim_for: ClaimFor::Prefetch,
            ..self.clone()
        };
        [free, prefetch]
    }
}

/// How many jobs a runner can take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Capacity {
    pub(crate) free: usize,
    prefetch: usize,
}

impl Capacity {
    /// Whether there is any capacity.
    pub(crate) fn is_some(self) -> bool {
        self.free + self.prefetch > 0
    }
}
