//! Reloading the settings of a started runner.

use std::sync::Arc;

use crate::doorbell::Doorbell;
use crate::runner::builder::RunnerBuilder;
use crate::runner::dispatcher::Dispatcher;
use crate::runner::registration;
use crate::runner::settings::Settings;
use crate::runner::signals::Signals;
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

    /// From its next tick on the runner uses these handlers with their timeouts, limits, data and
    /// retention, this default timeout and stop timeout, and this setting for unknown kinds. Running
    /// jobs go on as they began. The number of workers, the queues and [`until`](RunnerBuilder::until)
    /// stay as they were when the runner was started.
    ///
    /// # Errors
    /// A setting is not usable; then nothing changes.
    pub fn reload(&self, builder: RunnerBuilder) -> Result<()> {
        builder.check()?;
        *self.signals.reload() = Some(builder.settings());
        self.bell.ring();
        Ok(())
    }
}

impl Dispatcher {
    /// Uses the settings that [`Reloader::reload`] has left, if any. If they cannot be written they are
    /// left for the next tick.
    pub(super) fn take_reload(&mut self) -> Result<()> {
        let signals = Arc::clone(&self.signals);
        let mut next = signals.reload();
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
        // There may be jobs of a new kind.
        self.pending.more = true;
        self.pending.version = None;
        Ok(())
    }
}
