//! What a dispatcher does when a tick could not be written.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Kind;
use crate::model::part::Part;
use crate::model::remedy::Remedy;
use crate::runner::dispatcher::Dispatcher;
use crate::runner::set_aside::Judgement;
use crate::{Error, Result, clock, store};

/// The first wait after a failed write; it grows to 5 s.
const WRITE_AGAIN: Duration = Duration::from_millis(100);

impl Dispatcher {
    /// A tick could not be written. Nothing is lost: it stays pending until the next try.
    pub(crate) fn failed(&mut self, error: Error) -> Result<()> {
        self.store.let_go_after(&error);
        // Callers that wait for a command get the error; reports and output of workers are tried again.
        store::refuse_commands(&mut self.pending.commands, &error);
        if matches!(
            error.kind(),
            Kind::NewerSchema | Kind::NotADatabase | Kind::Replaced
        ) {
            self.end_unsaved(&error);
            return Err(error);
        }
        if error.blames_data() && self.leaves_out(&error)? {
            return Ok(());
        }
        self.pending.reconcile = true;
        self.pending.last_error = Some(error.to_string());
        let wait =
            (WRITE_AGAIN * 2u32.pow(self.pending.failures.min(6))).min(Duration::from_secs(5));
        if self.pending.failures == 0 {
            log::error!("a tick could not be saved, trying again: {error}");
        }
        self.pending.failures = self.pending.failures.saturating_add(1);
        self.pending.not_before = Some(clock::instant() + wait);
        self.store.writer.backlog().set_stuck(true);
        self.say_what_is_kept();
        if error.is_disk_full() {
            self.write_heartbeat();
        }
        Ok(())
    }

    fn say_what_is_kept(&mut self) {
        let posted = self.pending.commands.iter().filter_map(|it| it.posted());
        for job in posted.map(|posted| posted.job) {
            if self.pending.kept_of.insert(job) {
                log::warn!("what job {job} prints is kept in memory until it can be written");
            }
        }
    }

    /// A full disk may have space for a heartbeat but not for all pending work. Without a heartbeat,
    /// others would declare this runner hung.
    fn write_heartbeat(&mut self) {
        if clock::instant() < self.pending.next_heartbeat {
            return;
        }
        let runner = self.identity.id;
        let nothing = &mut Vec::new();
        let written =
            (self.lease.writer).transact(nothing, &mut |tx| store::write_heartbeat(tx, runner));
        if let Ok(true) = written {
            self.has_beaten();
        }
    }

    /// Drops output and log entries that could not be written before the runner ended.
    pub(crate) fn lose_posted(&mut self) {
        if self.pending.commands.is_empty() {
            return;
        }
        let why = self.pending.last_error.as_deref();
        let why = Error::new(Kind::Io, why.unwrap_or("the runner has ended"));
        store::lose_commands(&mut self.pending.commands, &why);
    }

    /// Leaves out the part of the file whose data made the tick fail. False if no single part is known
    /// to be the cause: then the tick is tried again after a while.
    fn leaves_out(&mut self, error: &Error) -> Result<bool> {
        match self.aside.failed(error, clock::instant()) {
            Judgement::Again => {}
            Judgement::SetAside { is_news } => {
                if let Some(part) = error.part().filter(|_| is_news) {
                    let part = self.called(part);
                    log::error!("{part} is set aside, everything else goes on: {error}");
                }
                self.pending.failures = 0;
            }
            Judgement::Unclear => return Ok(false),
            Judgement::Hopeless => {
                self.end_unsaved(error);
                let error = error.duplicate().context("the runner cannot go on");
                return Err(error
                    .with_hint("restore a backup")
                    .with_remedy(Remedy::Check));
            }
        }
        // Reports of a job that is set aside cannot be saved anywhere.
        let parts = self.aside.parts();
        self.in_flight.retain(|job, attempt| {
            let is_lost = parts.has(Part::Job(*job))
                && (self.pending.tick.finished.iter())
                    .any(|finished| Arc::ptr_eq(&finished.attempt, attempt));
            !is_lost
        });
        let keeps = |job| !parts.has(Part::Job(job));
        (self.pending.tick.finished).retain(|finished| keeps(finished.attempt.job()));
        self.pending
            .tick
            .returns
            .retain(|attempt| keeps(attempt.job()));
        self.pending.tick.unowned.retain(|job| keeps(*job));
        self.pending
            .tick
            .lost
            .retain(|lost| !parts.has(Part::Runner(lost.runner)));
        self.pending.reconcile = true;
        self.pending.version = None;
        self.pending.more = true;
        self.pending.not_before = None;
        // One by one from the second try on.
        self.pending.failures = self.pending.failures.max(1);
        Ok(true)
    }
}
