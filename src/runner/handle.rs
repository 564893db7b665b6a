//! A started runner, as its owner sees it: started once, stopped any number of times.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::clock::{Clock, millis};
use crate::doorbell::Doorbell;
use crate::error::Kind;
use crate::model::id::RunnerId;
use crate::model::state::State;
use crate::runner::builder::RunnerBuilder;
use crate::runner::dispatcher::{Dispatcher, Settings};
use crate::runner::reload::Reloader;
use crate::{Error, Result};

/// A started runner. Dropping it stops it and waits.
pub struct Runner {
    id: i64,
    thread: Option<JoinHandle<Result<RunReport>>>,
    stopper: Stopper,
    signals: Arc<Signals>,
    clock: Clock,
}

/// How many attempts ended how, on this runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunStats {
    /// Jobs that completed.
    pub completed: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Attempts that failed and will be followed by another.
    pub retried: u64,
    /// Jobs that it holds now.
    pub running: u64,
}

impl RunStats {
    /// Counts what one more turn has done.
    pub(crate) fn add(&mut self, more: &RunStats) {
        self.completed += more.completed;
        self.failed += more.failed;
        self.cancelled += more.cancelled;
        self.retried += more.retried;
    }

    /// A job has gone there for good; other states count nothing.
    pub(crate) fn count(&mut self, state: State) {
        match state {
            State::Completed => self.completed += 1,
            State::Failed => self.failed += 1,
            State::Cancelled => self.cancelled += 1,
            _ => {}
        }
    }
}

/// What a runner says when it has ended.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RunReport {
    /// What it did.
    pub stats: RunStats,
    /// What it left, where it was to run until everything is drained.
    pub left: Vec<Remaining>,
    /// What it had to leave alone, because the file's data kept it from being read or written.
    pub set_aside: Vec<SetAside>,
}

/// A job, a queue, a schedule or another part of a damaged file that a runner has left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// Which: "job 3", "queue 'mail'".
    pub what: String,
    /// What went wrong with it.
    pub why: String,
}

/// Jobs that a drain left, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remaining {
    /// How many.
    pub jobs: u64,
    /// Why they were left.
    pub why: String,
}

/// Between a runner's owner and its dispatcher.
#[derive(Default)]
pub(crate) struct Signals {
    stop: AtomicU8,
    /// What the dispatcher is to go by from its next turn on.
    pub(super) reload: Mutex<Option<Settings>>,
    /// When the dispatcher last made a turn, in milliseconds since the machine started.
    turned_at_ms: AtomicI64,
    completed: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    retried: AtomicU64,
    running: AtomicU64,
    news: Mutex<News>,
    has_news: Condvar,
}

/// What a [`FailureWatch`] waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct News {
    /// How many attempts have failed.
    failures: u64,
    has_ended: bool,
}

/// How much a runner has been asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum StopAsked {
    No = 0,
    /// Wait for what runs.
    Gracefully = 1,
    /// Tell what runs to stop.
    Hurriedly = 2,
}

impl Signals {
    pub(crate) fn stop_asked(&self) -> StopAsked {
        match self.stop.load(Ordering::Acquire) {
            0 => StopAsked::No,
            1 => StopAsked::Gracefully,
            _ => StopAsked::Hurriedly,
        }
    }

    pub(crate) fn turned(&self, boot_ms: i64) {
        self.turned_at_ms.store(boot_ms, Ordering::Relaxed);
    }

    pub(crate) fn set_running(&self, jobs: usize) {
        self.running.store(jobs as u64, Ordering::Relaxed);
    }

    /// Adds what a turn settled.
    pub(crate) fn add(&self, stats: &RunStats) {
        self.completed.fetch_add(stats.completed, Ordering::Relaxed);
        self.failed.fetch_add(stats.failed, Ordering::Relaxed);
        self.cancelled.fetch_add(stats.cancelled, Ordering::Relaxed);
        self.retried.fetch_add(stats.retried, Ordering::Relaxed);
        match stats.failed + stats.retried {
            0 => {}
            more => self.tell(|news| news.failures += more),
        }
    }

    fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.has_news.notify_all();
    }

    pub(crate) fn stats(&self) -> RunStats {
        RunStats {
            completed: self.completed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
            retried: self.retried.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
        }
    }
}

/// Stops a runner from any thread; both calls return at once and may be made any number of times.
#[derive(Clone)]
pub struct Stopper {
    signals: Arc<Signals>,
    bell: Arc<Doorbell>,
}

impl Stopper {
    /// Claims no more, waits for what runs, then ends.
    pub fn stop(&self) {
        self.ask(StopAsked::Gracefully);
    }

    /// Tells what runs to stop as well. It costs those jobs no retry.
    pub fn stop_now(&self) {
        self.ask(StopAsked::Hurriedly);
    }

    fn ask(&self, asked: StopAsked) {
        self.signals.stop.fetch_max(asked as u8, Ordering::AcqRel);
        self.bell.ring();
    }
}

/// Waits for failed attempts of a runner, in any thread.
pub struct FailureWatch {
    signals: Arc<Signals>,
    seen: News,
}

impl FailureWatch {
    /// Waits until attempts have failed since the last call, or the runner has ended; false where it has.
    pub fn wait(&mut self) -> bool {
        let news = self.signals.news.lock();
        let news = news.unwrap_or_else(PoisonError::into_inner);
        let (signals, seen) = (&self.signals, self.seen);
        let news = signals.has_news.wait_while(news, |news| *news == seen);
        self.seen = *news.unwrap_or_else(PoisonError::into_inner);
        !self.seen.has_ended
    }
}

/// A dispatcher that has made no turn for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

impl Runner {
    pub(crate) fn start(builder: RunnerBuilder) -> Result<Runner> {
        let store = Arc::clone(&builder.queue.store);
        let clock = store.config.clock.clone();
        let signals = Arc::new(Signals::default());
        signals.turned(clock.boot_ms());
        // The thread first: a dispatcher that went into one that cannot be started would keep the writer.
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
        let stopper = Stopper {
            signals: Arc::clone(&signals),
            bell,
        };
        Ok(Runner {
            id,
            thread: Some(thread),
            stopper,
            signals,
            clock,
        })
    }

    /// Its number in the file.
    pub fn id(&self) -> RunnerId {
        RunnerId(self.id)
    }

    /// Stops it from elsewhere, as from a signal handler's thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Gives it other settings from elsewhere, while it runs.
    pub fn reloader(&self) -> Reloader {
        Reloader::new(Arc::clone(&self.signals), Arc::clone(&self.stopper.bell))
    }

    /// Waits for its failed attempts, from elsewhere.
    pub fn failures(&self) -> FailureWatch {
        FailureWatch {
            signals: Arc::clone(&self.signals),
            seen: News::default(),
        }
    }

    /// What it has done so far.
    pub fn stats(&self) -> RunStats {
        self.signals.stats()
    }

    /// Whether its dispatcher still makes turns.
    pub fn is_alive(&self) -> bool {
        let turned_at_ms = self.signals.turned_at_ms.load(Ordering::Relaxed);
        self.clock.boot_ms() - turned_at_ms < millis(STUCK_AFTER)
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it has ended: drained, or stopped.
    ///
    /// # Errors
    /// It ended because the file could no longer be used.
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

/// Makes turns until the end. Whatever happens, the writer goes back: or those who enqueue would
/// wait for ever.
fn dispatch(mut dispatcher: Dispatcher) -> Result<RunReport> {
    let signals = Arc::clone(&dispatcher.signals);
    let ended = catch_unwind(AssertUnwindSafe(|| dispatcher.run()));
    dispatcher.close();
    signals.tell(|news| news.has_ended = true);
    ended.unwrap_or_else(|_| Err(Error::new(Kind::Io, "the dispatcher has panicked")))
}
