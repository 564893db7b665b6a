//! Between two ticks: how long the dispatcher sleeps, and what wakes it before that.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::runner::dispatcher::{Dispatcher, StopPhase};
use crate::runner::in_flight::ENFORCE_EVERY;
use crate::runner::signals::StopAsked;
use crate::store::{CHECKS, check_delay, safety_poll};
use crate::{Result, clock, store};

impl Dispatcher {
    /// Sleeps until a report, a command, another process's change, a lost runner or the next timer.
    pub(crate) fn sleep(&mut self) {
        let timeout = self.time_to_next();
        self.lease.bell.fall_asleep();
        if self.pool.reports().is_empty()
            && (self.lease.inbox.is_empty() || self.command_capacity() == 0)
            && !timeout.is_zero()
            && !self.stop_is_news()
        {
            let mut on = vec![self.lease.bell.as_fd()];
            on.extend(self.watch.iter().map(AsFd::as_fd));
            store::sleep_on(&on, timeout);
        }
        self.lease.bell.wake_up();
    }

    /// Takes the events of the file and of the lock files.
    pub(crate) fn take_events(&mut self) {
        let Some(watch) = &self.watch else {
            self.pending.probe_locks = true;
            return;
        };
        let happened = watch.drain();
        if happened.log_written || happened.file_gone {
            self.pending.commits.announced();
        }
        if happened.lock_closed {
            self.pending.lock_checks = Some(0);
        }
        self.pending.probe_locks |= self.pending.lock_checks.is_some();
        let checks = self.pending.lock_checks.map(|checks| checks + 1);
        self.pending.lock_checks = checks.filter(|checks| *checks < CHECKS);
    }

    /// Takes the events of a commit of its own, so that they do not wake it.
    pub(crate) fn has_committed(&mut self) {
        self.take_events();
        self.pending.commits.written();
    }

    /// The same after a heartbeat. The lock is tried at once, which would be in the way of others where there is more
    /// to do: an idle runner sleeps until the next heartbeat.
    pub(crate) fn has_committed_heartbeat(&mut self) -> Result<()> {
        self.has_committed();
        let version = self.pending.commits.version(self.lease.writer.conn()?)?;
        self.pending.version = self.pending.version.filter(|seen| *seen == version);
        Ok(())
    }

    fn stop_is_news(&self) -> bool {
        match self.phase {
            StopPhase::Running => self.signals.stop_asked() != StopAsked::No,
            StopPhase::Stopping { .. } => self.signals.stop_asked() == StopAsked::Hurriedly,
            _ => false,
        }
    }

    /// How long there is nothing to do unless an event comes.
    fn time_to_next(&self) -> Duration {
        let now = clock::instant();
        let mut next = now + safety_poll(self.watch.as_ref());
        let mut at = |moment: Instant| next = next.min(moment);
        let lock_check = self.pending.lock_checks.map(check_delay);
        let check = self.pending.commits.next_check();
        lock_check
            .into_iter()
            .chain(check)
            .for_each(|delay| at(now + delay));
        if let Some(not_before) = self.pending.not_before {
            at(not_before);
        } else {
            if self.pending.version.is_none()
                || self.pending.has_writes()
                || self.pending.more && self.has_capacity()
            {
                return Duration::ZERO;
            }
            at(self.pending.next_heartbeat);
            let pauses_end = self.kind_pauses.next();
            for again in self.scarcity.next(now).into_iter().chain(pauses_end) {
                at(again);
            }
            if let Some(again) = self.aside.next() {
                at(again);
            }
            if self.phase == StopPhase::Running {
                at(self.pending.next_prune);
            }
        }
        if let StopPhase::Stopping { until, end } | StopPhase::Cancelling { until, end } =
            self.phase
        {
            at(if now < until { until } else { end });
        }
        if let Some(due_ms) = self
            .pending
            .next_due_ms
            .filter(|_| self.pending.not_before.is_none())
        {
            let left_ms = due_ms - self.store.config.clock.now_ms();
            at(now + Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)));
        }
        let looked_at = self.enforced_at.unwrap_or(now);
        for attempt in self.in_flight.values().chain(&self.abandoned) {
            at(self
                .next_moment(attempt, now)
                .max(looked_at + ENFORCE_EVERY));
        }
        next.saturating_duration_since(now)
    }
}
