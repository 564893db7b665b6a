//! How a running attempt learns that it is to stop.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::outcome::CancelReason;

/// Tells a handler that it is to stop, and why. Clones share one state.
#[derive(Clone, Default)]
pub struct Cancellation(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// 0, or the code of the first reason.
    reason: AtomicU8,
    told_at: OnceLock<Instant>,
    /// By then it is to have stopped; none: in its own time.
    stop_by: Mutex<Option<Instant>>,
    callback: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    told: Condvar,
}

impl Cancellation {
    /// Whether the attempt is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// Why it is to stop; the first reason stays.
    pub fn reason(&self) -> Option<CancelReason> {
        CancelReason::from_code(self.0.reason.load(Ordering::Acquire))
    }

    /// When it was told so.
    pub(crate) fn told_at(&self) -> Option<Instant> {
        self.0.told_at.get().copied()
    }

    /// By when it is to have stopped, where whoever told it cannot wait any longer. It may come after
    /// the reason, and become sooner.
    #[cfg_attr(
        not(feature = "exec"),
        allow(dead_code, reason = "commands are a feature")
    )]
    pub(crate) fn stop_by(&self) -> Option<Instant> {
        *self
            .0
            .stop_by
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the attempt to stop, and by when; one that was told before has no longer than that either.
    pub(crate) fn cancel_by(&self, reason: CancelReason, stop_by: Instant) {
        let mut known = self
            .0
            .stop_by
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(stop_by, |known| known.min(stop_by)));
        drop(known);
        self.cancel(reason);
    }

    /// Waits at most `timeout`; true as soon as the attempt is to stop. Use it in place of a sleep.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = clock::after(clock::instant(), timeout);
        let mut callback = self
            .0
            .callback
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while !self.is_cancelled() {
            let Some(left) = deadline.checked_duration_since(clock::instant()) else {
                return false;
            };
            let waited = self.0.told.wait_timeout(callback, left);
            callback = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Calls `callback` once, on the dispatcher's thread, when the attempt is to stop, or now if it already is. One at a time:
    /// a second call replaces the first.
    #[cfg_attr(
        not(feature = "exec"),
        allow(dead_code, reason = "commands are a feature")
    )]
    pub(crate) fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) {
        let mut slot = self
            .0
            .callback
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.is_cancelled() {
            drop(slot);
            callback();
        } else {
            *slot = Some(Box::new(callback));
        }
    }

    /// Tells the attempt to stop. Only the first reason counts.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        let mut slot = self
            .0
            .callback
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Before the reason: whoever sees that one also sees since when.
        let _ = self.0.told_at.set(clock::instant());
        let first =
            self.0
                .reason
                .compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire);
        let callback = if first.is_ok() { slot.take() } else { None };
        drop(slot);
        self.0.told.notify_all();
        if let Some(callback) = callback {
            callback();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn the_first_reason_stays_and_the_callback_runs_once() {
        let cancellation = Cancellation::default();
        let calls = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&calls);
        cancellation.on_cancel(move || {
            seen.fetch_add(1, Ordering::SeqCst);
        });
        assert!(!cancellation.wait(Duration::from_millis(1)));
        assert_eq!(cancellation.told_at(), None);
        cancellation.cancel(CancelReason::Timeout);
        cancellation.cancel(CancelReason::Requested);
        assert_eq!(cancellation.reason(), Some(CancelReason::Timeout));
        assert!(
            cancellation.told_at().is_some(),
            "the grace time runs from there"
        );
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_waiting_handler_wakes_when_it_is_cancelled() {
        let cancellation = Cancellation::default();
        let other = cancellation.clone();
        let waiter = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        cancellation.cancel(CancelReason::Requested);
        assert!(waiter.join().unwrap());
    }
}
