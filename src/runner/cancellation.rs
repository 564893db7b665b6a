//! How a running attempt learns that it is to stop.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::outcome::CancelReason;

/// Tells a handler that it is to stop, and why. Clones share one state.
#[derive(Clone, Default)]
pub struct Cancellation(Arc<CancellationState>);

#[derive(Default)]
struct CancellationState {
    /// 0, or the code of the first reason.
    reason: AtomicU8,
    cancelled_at: OnceLock<Instant>,
    /// When the attempt must have stopped; none: no deadline.
    stop_by: Mutex<Option<Instant>>,
    callbacks: Mutex<Callbacks>,
    cancelled: Condvar,
}

#[derive(Default)]
struct Callbacks {
    next_id: u64,
    by_id: Vec<(u64, Box<dyn FnOnce() + Send>)>,
}

/// Dropped, it takes back its callback.
#[must_use]
pub(crate) struct CancelCallback {
    state: Arc<CancellationState>,
    id: u64,
}

impl Drop for CancelCallback {
    fn drop(&mut self) {
        let mut callbacks = lock(&self.state.callbacks);
        let found = callbacks.by_id.iter().position(|(id, _)| *id == self.id);
        let callback = found.map(|at| callbacks.by_id.remove(at));
        // What it holds may have a `Drop` of its own.
        drop(callbacks);
        drop(callback);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// When the attempt was told to stop.
    pub(crate) fn cancelled_at(&self) -> Option<Instant> {
        self.0.cancelled_at.get().copied()
    }

    /// When the attempt must have stopped, if the runner cannot wait any longer. It may be set after
    /// the reason, and become earlier.
    #[cfg_attr(
        not(feature = "exec"),
        allow(dead_code, reason = "commands are a feature")
    )]
    pub(crate) fn stop_by(&self) -> Option<Instant> {
        *lock(&self.0.stop_by)
    }

    /// Tells the attempt to stop by this moment; an earlier deadline stays.
    pub(crate) fn cancel_by(&self, reason: CancelReason, stop_by: Instant) {
        let mut known = lock(&self.0.stop_by);
        *known = Some(known.map_or(stop_by, |known| known.min(stop_by)));
        drop(known);
        self.cancel(reason);
    }

    /// Waits at most `timeout`; true as soon as the attempt is to stop. Use it in place of a sleep.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = clock::after(clock::instant(), timeout);
        let mut callbacks = lock(&self.0.callbacks);
        while !self.is_cancelled() {
            let Some(left) = deadline.checked_duration_since(clock::instant()) else {
                return false;
            };
            let waited = self.0.cancelled.wait_timeout(callbacks, left);
            callbacks = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Calls `callback` once when the attempt is to stop, on the dispatcher's thread, or now if it
    /// already is. It stays until the end of the attempt.
    #[allow(dead_code, reason = "the kinds with connections are features")]
    pub(crate) fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) {
        self.add(Box::new(callback));
    }

    /// The same as long as what it returns is not dropped. A callback that is just being called is not waited for.
    #[cfg_attr(
        not(feature = "exec"),
        allow(dead_code, reason = "commands are a feature")
    )]
    pub(crate) fn on_cancel_while(
        &self,
        callback: impl FnOnce() + Send + 'static,
    ) -> CancelCallback {
        CancelCallback {
            id: self.add(Box::new(callback)),
            state: Arc::clone(&self.0),
        }
    }

    fn add(&self, callback: Box<dyn FnOnce() + Send>) -> u64 {
        let mut callbacks = lock(&self.0.callbacks);
        let id = callbacks.next_id;
        callbacks.next_id += 1;
        if self.is_cancelled() {
            drop(callbacks);
            callback();
        } else {
            callbacks.by_id.push((id, callback));
        }
        id
    }

    /// Makes a call that cannot be interrupted, on a thread of its own. None when the attempt is to stop or the time is
    /// over: then the thread goes on until the call returns, and nobody waits for it.
    ///
    /// # Errors
    /// There is no thread for it.
    #[cfg(feature = "built-in")]
    #[allow(dead_code, reason = "not every kind makes such calls")]
    pub(crate) fn wait_for<T: Send + 'static>(
        &self,
        timeout: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<Option<T>> {
        let (sender, answer) = crossbeam_channel::bounded(2);
        let cancelled = sender.clone();
        let _while_waiting = self.on_cancel_while(move || {
            let _ = cancelled.try_send(None);
        });
        let thread = std::thread::Builder::new().name("jobq-call".to_owned());
        thread.spawn(move || {
            let _ = sender.try_send(Some(call()));
        })?;
        Ok(answer.recv_timeout(timeout).ok().flatten())
    }

    /// Tells the attempt to stop. Only the first reason counts.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        let mut callbacks = lock(&self.0.callbacks);
        // Set before the reason: a reader that sees the reason also sees the time.
        let _ = self.0.cancelled_at.set(clock::instant());
        let first =
            self.0
                .reason
                .compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire);
        let called = match first {
            Ok(_) => std::mem::take(&mut callbacks.by_id),
            Err(_) => Vec::new(),
        };
        drop(callbacks);
        self.0.cancelled.notify_all();
        for (_, callback) in called {
            callback();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn the_first_reason_stays_and_each_callback_runs_once() {
        let cancellation = Cancellation::default();
        let calls = Arc::new(AtomicU32::new(0));
        let call = |number| {
            let calls = Arc::clone(&calls);
            move || {
                calls.fetch_add(number, Ordering::SeqCst);
            }
        };
        cancellation.on_cancel(call(1));
        let _kept = cancellation.on_cancel_while(call(10));
        drop(cancellation.on_cancel_while(call(100)));
        assert!(!cancellation.wait(Duration::from_millis(1)));
        assert_eq!(cancellation.cancelled_at(), None);
        cancellation.cancel(CancelReason::Timeout);
        cancellation.cancel(CancelReason::Requested);
        assert_eq!(cancellation.reason(), Some(CancelReason::Timeout));
        assert!(
            cancellation.cancelled_at().is_some(),
            "the grace time runs from there"
        );
        assert_eq!(calls.load(Ordering::SeqCst), 11);
        cancellation.on_cancel(call(1000));
        assert_eq!(calls.load(Ordering::SeqCst), 1011, "it was too late");
    }

    #[cfg(feature = "http-client")]
    #[test]
    fn a_call_that_is_waited_for_leaves_the_callback_as_it_was() {
        let calls = Arc::new(AtomicU32::new(0));
        let count = |cancellation: &Cancellation| {
            let seen = Arc::clone(&calls);
            cancellation.on_cancel(move || {
                seen.fetch_add(1, Ordering::SeqCst);
            });
        };
        let cancellation = Cancellation::default();
        count(&cancellation);
        let patience = Duration::from_secs(60);
        assert_eq!(cancellation.wait_for(patience, || 1).unwrap(), Some(1));
        cancellation.cancel(CancelReason::Requested);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        // A cancel in between ends the wait, and is not lost.
        let cancellation = Cancellation::default();
        count(&cancellation);
        let other = cancellation.clone();
        let (_open, never) = crossbeam_channel::bounded::<()>(0);
        let waited = cancellation.wait_for(patience, move || {
            other.cancel(CancelReason::Requested);
            never.recv()
        });
        assert_eq!(waited.unwrap(), None);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
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
