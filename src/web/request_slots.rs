//! How many requests are answered at once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Maximum number of requests that are answered at once.
const MAX_AT_ONCE: usize = 64;

/// The requests that are being answered.
#[derive(Clone, Default)]
pub(crate) struct RequestSlots(Arc<RequestSlotsParts>);

#[derive(Default)]
struct RequestSlotsParts {
    busy: Mutex<usize>,
    ended: Condvar,
}

/// The slot of a request that is being answered; free again when it is dropped.
pub(crate) struct RequestSlot(RequestSlots);

impl RequestSlots {
    /// A slot; none where all are taken.
    pub(crate) fn take(&self) -> Option<RequestSlot> {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if *busy == MAX_AT_ONCE {
            return None;
        }
        *busy += 1;
        Some(RequestSlot(self.clone()))
    }

    /// Waits until no request is being answered, or the time is up.
    pub(crate) fn wait_until_idle(&self, patience: Duration) {
        let busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .0
            .ended
            .wait_timeout_while(busy, patience, |busy| *busy > 0);
        drop(waited);
    }
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        let mut busy = self.0.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *busy -= 1;
        self.0.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_limited_and_given_back() {
        let slots = RequestSlots::default();
        let mut slots_taken: Vec<_> = (0..MAX_AT_ONCE).map(|_| slots.take().unwrap()).collect();
        assert!(slots.take().is_none());
        slots_taken.pop();
        assert!(slots.take().is_some());
        drop(slots_taken);
        slots.wait_until_idle(Duration::from_secs(60));
    }
}
