//! Other settings for a runner that runs.

use std::sync::{Arc, PoisonError};

use crate::doorbell::Doorbell;
use crate::runner::builder::RunnerBuilder;
use crate::runner::dispatcher::{Dispatcher, Settings};
use crate::runner::handle::Signals;
use crate::runner::registration;
use crate::{Result, store};

/// Gives a started runner other settings; from any thread, any number of times.
#[derive(Clone)]
pub struct Reloader {
    signals: Arc<Signals>,
    bell: Arc<Doorbell>,
}

impl Reloader {
    pub(super) fn new(signals: Arc<Signals>, bell: Arc<Doorbell>) -> Reloader {
        Reloader { signals, bell }
    }

    /// From its next turn on the runner goes by these handlers, with their timeouts, limits, data and
    /// retention, by this default timeout and stop timeout, and by what is said of unknown kinds. What
    /// runs already goes on as it began. The number of workers, the queues and
    /// [`until`](RunnerBuilder::until) stay as they were when the runner was started.
    ///
    /// # Errors
    /// A setting is not usable; then nothing is changed.
    pub fn reload(&self, builder: RunnerBuilder) -> Result<()> {
        builder.check()?;
        let mut next = self
            .signals
            .reload
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *next = Some(Settings::of(builder));
        self.bell.ring();
        Ok(())
    }
}

impl Dispatcher {
    /// Takes on what [`Reloader::reload`] has left, where it has. Where it cannot be written it is left
    /// for the next turn.
    pub(super) fn take_reload(&mut self) -> Result<()> {
        let signals = Arc::clone(&self.signals);
        let mut next = signals
            .reload
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(new) = next.take() else {
            return Ok(());
        };
        let (id, limits) = (self.identity.id, new.kind_limits());
        let written = self.lease.writer.transact(&mut Vec::new(), &mut |tx| {
            let kinds = new.registry.kinds();
            store::set_runner_kinds(tx, id, &kinds, &limits)?;
            registration::kinds(tx, &kinds, &limits)
        });
        match written {
            Ok((kinds, kind_limits)) => {
                self.identity.kinds = kinds;
                self.identity.kind_limits = kind_limits;
            }
            Err(error) => {
                *next = Some(new);
                return Err(error);
            }
        }
        self.pool.use_registry(Arc::clone(&new.registry));
        self.settings = Settings {
            queues: self.settings.queues.take(),
            until: self.settings.until,
            ..new
        };
        // There may be work for a kind that is new.
        self.pending.more = true;
        self.pending.version = None;
        Ok(())
    }
}
