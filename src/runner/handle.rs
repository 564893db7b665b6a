//! A started runner: it is stopped, waited for, and given other settings.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::clock::{Clock, millis};
use crate::doorbell::Doorbell;
use crate::error::Kind;
use crate::model::id::RunnerId;
use crate::model::runner::{RunReport, RunStats};
use crate::runner::builder::RunnerBuilder;
use crate::runner::dispatcher::Dispatcher;
use crate::runner::kind_pauses::KindPauses;
use crate::runner::registration;
use crate::runner::settings::Settings;
use crate::runner::signals::{FailureWatch, Signals, Stopper};
use crate::{Error, Result, store};

/// A started runner. Dropping it stops it and waits.
pub struct Runner {
    id: i64,
    thread: Option<JoinHandle<Result<RunReport>>>,
    stopper: Stopper,
    signals: Arc<Signals>,
    clock: Clock,
}

/// A dispatcher without a new tick for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

impl RunnerBuilder {
    /// Starts the threads.
    ///
    /// # Errors
    /// A setting is not usable, a runner is already started on this queue, the file is read-only or
    /// cannot be written, or the system has no more threads.
    pub fn start(self) -> Result<Runner> {
        self.check()?;
        Runner::start(self)
    }
}

impl Runner {
    pub(crate) fn start(builder: RunnerBuilder) -> Result<Runner> {
        let store = Arc::clone(&builder.queue.store);
        let clock = store.config.clock.clone();
        let signals = Arc::new(Signals::default());
        signals.ticked(clock.boot_ms());
        // The thread first: if it could not be started, the dispatcher would keep the writer.
        let (hand, take) = bounded::<Dispatcher>(1);
        let thread = thread::Builder::new()
            .name("jobq-dispatcher".to_owned())
            .spawn(move || {
                take.recv()
                    .map_or_else(|_| Ok(RunReport::default()), dispatch)
            })
            .map_err(|error| Error::no_thread("dispatcher", error))?;
        let lease = store.writer.lease()?;
        let bell = Arc::clone(&lease.bell);
        let dispatcher = Dispatcher::new(builder, lease, Arc::clone(&signals))?;
        let id = dispatcher.id();
        let _ = hand.send(dispatcher);
        let stopper = Stopper::new(Arc::clone(&signals), bell);
        Ok(Runner {
            id,
            thread: Some(thread),
            stopper,
            signals,
            clock,
        })
    }

    /// Its id in the file.
    pub fn id(&self) -> RunnerId {
        RunnerId(self.id)
    }

    /// Stops it from another thread, such as a signal handler's.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Changes its settings from another thread, while it runs.
    pub fn reloader(&self) -> Reloader {
        Reloader::new(Arc::clone(&self.signals), self.stopper.bell())
    }

    /// Waits for its failed attempts, from another thread.
    pub fn failures(&self) -> FailureWatch {
        FailureWatch::new(Arc::clone(&self.signals))
    }

    /// What it has done so far.
    pub fn stats(&self) -> RunStats {
        self.signals.stats()
    }

    /// Waits until [`Runner::stats`] are others than these, it has ended, or the time has passed. Returns false if it has
    /// ended.
    pub fn wait_for_stats(&self, seen: &RunStats, timeout: Duration) -> bool {
        self.signals.wait_for_stats(seen, timeout)
    }

    /// Whether its dispatcher still runs ticks.
    pub fn is_alive(&self) -> bool {
        self.clock.boot_ms() - self.signals.ticked_at_ms() < millis(STUCK_AFTER)
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it has ended: drained, or stopped.
    ///
    /// # Errors
    /// It ended because the file could no longer be used, or its thread has panicked.
    pub fn wait(mut self) -> Result<RunReport> {
        self.join()
    }

    /// Stops it and waits: for at most the [stop timeout](RunnerBuilder::stop_timeout).
    ///
    /// # Errors
    /// As [`Runner::wait`].
    pub fn stop(mut self) -> Result<RunReport> {
        self.stopper.stop();
        self.join()
    }

    fn join(&mut self) -> Result<RunReport> {
        let Some(thread) = self.thread.take() else {
            return Ok(RunReport::default());
        };
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::new(Kind::Io, "the dispatcher has panicked")))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stopper.stop();
            if let Err(error) = self.join() {
                log::error!("the runner ended with: {error}");
            }
        }
    }
}

/// Runs ticks until the end. The writer is given back in any case: otherwise callers of enqueue would
/// wait forever.
fn dispatch(mut dispatcher: Dispatcher) -> Result<RunReport> {
    let signals = Arc::clone(&dispatcher.signals);
    let ended = catch_unwind(AssertUnwindSafe(|| dispatcher.run()));
    let registry = Arc::clone(&dispatcher.settings.registry);
    let replaced = std::mem::take(&mut dispatcher.replaced);
    dispatcher.close();
    registry.close();
    replaced.iter().for_each(|handler| handler.close());
    signals.ended();
    ended.unwrap_or_else(|_| Err(Error::new(Kind::Io, "the dispatcher has panicked")))
}

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
    /// retention, these hooks, this default timeout and stop timeout, and this setting for unknown kinds. Running
    /// jobs go on as they began. The number of workers, the queues and [`until`](RunnerBuilder::until)
    /// stay as they were when the runner was started.
    ///
    /// # Errors
    /// A setting is not usable; then nothing changes.
    pub fn reload(&self, builder: RunnerBuilder) -> Result<()> {
        builder.check()?;
        *self.signals.reload() = Some(builder.settings()?);
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
        // Other handlers may be able to run them.
        self.kind_pauses = KindPauses::default();
        self.pending.tick.unavailable = None;
        self.pool.use_registry(Arc::clone(&new.registry));
        self.replaced.extend(self.settings.registry.replaced());
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
