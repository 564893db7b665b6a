//! What passes between a runner and its owner: requests to stop or reload, and results so far.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::doorbell::Doorbell;
use crate::model::runner::RunStats;
use crate::runner::settings::Settings;

/// The state shared by a runner's owner and its dispatcher.
#[derive(Default)]
pub(crate) struct Signals {
    stop: AtomicU8,
    /// The settings that the dispatcher uses from its next tick on.
    reload: Mutex<Option<Settings>>,
    /// When the dispatcher last began a tick, in milliseconds since the machine started.
    ticked_at_ms: AtomicI64,
    completed: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    retried: AtomicU64,
    running: AtomicU64,
    news: Mutex<News>,
    has_news: Condvar,
    has_stats: Condvar,
}

/// What a [`FailureWatch`] waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct News {
    /// How many attempts have failed.
    failures: u64,
    has_ended: bool,
}

/// How a runner has been asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum StopAsked {
    No = 0,
    /// Wait for running jobs.
    Gracefully = 1,
    /// Tell running jobs to stop.
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

    pub(super) fn reload(&self) -> MutexGuard<'_, Option<Settings>> {
        self.reload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ticked(&self, boot_ms: i64) {
        self.ticked_at_ms.store(boot_ms, Ordering::Relaxed);
    }

    pub(super) fn ticked_at_ms(&self) -> i64 {
        self.ticked_at_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set_running(&self, jobs: usize) {
        let jobs = jobs as u64;
        if self.running.swap(jobs, Ordering::Relaxed) != jobs {
            self.stats_changed();
        }
    }

    /// Adds the results of a tick.
    pub(crate) fn add(&self, stats: &RunStats) {
        if *stats == RunStats::default() {
            return;
        }
        self.completed.fetch_add(stats.completed, Ordering::Relaxed);
        self.failed.fetch_add(stats.failed, Ordering::Relaxed);
        self.cancelled.fetch_add(stats.cancelled, Ordering::Relaxed);
        self.retried.fetch_add(stats.retried, Ordering::Relaxed);
        match stats.failed + stats.retried {
            0 => {}
            more => self.tell(|news| news.failures += more),
        }
        self.stats_changed();
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats_changed(&self) {
        // Whoever has compared the numbers waits already once the lock is free.
        drop(self.news());
        self.has_stats.notify_all();
    }

    /// Waits until the numbers are others than these, the runner has ended, or the time has passed. Returns false if it
    /// has ended.
    pub(super) fn wait_for_stats(&self, seen: &RunStats, timeout: Duration) -> bool {
        let is_as_seen = |news: &mut News| !news.has_ended && self.stats() == *seen;
        let waited = self
            .has_stats
            .wait_timeout_while(self.news(), timeout, is_as_seen);
        let (news, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !news.has_ended
    }

    fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news());
        self.has_news.notify_all();
    }

    pub(super) fn ended(&self) {
        self.tell(|news| news.has_ended = true);
        self.has_stats.notify_all();
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
    pub(super) fn new(signals: Arc<Signals>, bell: Arc<Doorbell>) -> Stopper {
        Stopper { signals, bell }
    }

    pub(super) fn bell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.bell)
    }

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
    pub(super) fn new(signals: Arc<Signals>) -> FailureWatch {
        FailureWatch {
            signals,
            seen: News::default(),
        }
    }

    /// Waits until attempts have failed since the last call, or the runner has ended; false where it has.
    pub fn wait(&mut self) -> bool {
        let (signals, seen) = (&self.signals, self.seen);
        let news = signals
            .has_news
            .wait_while(signals.news(), |news| *news == seen);
        self.seen = *news.unwrap_or_else(PoisonError::into_inner);
        !self.seen.has_ended
    }
}
