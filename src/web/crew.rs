//! How many requests are answered at once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Maximum number of requests that are answered at once.
const MAX_AT_ONCE: usize = 64;

/// The requests that are being answered.
#[derive(Clone, Default)]
pub(crate) struct Crew(Arc<CrewParts>);

#[derive(Default)]
struct CrewParts {
    busy: Mutex<usize>,
    ended: Condvar,
}

/// The place of a request that is being answered; free again when it is dropped.
pub(crate) struct CrewPlace(Crew);

impl Crew {
    /// A place; none where all are taken.
    pub(crate) fn join(&self) -> Option<CrewPlace> {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if *busy == MAX_AT_ONCE {
            return None;
        }
        *busy += 1;
        Some(CrewPlace(self.clone()))
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

impl Drop for CrewPlace {
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
    fn places_are_limited_and_given_back() {
        let crew = Crew::default();
        let mut places: Vec<_> = (0..MAX_AT_ONCE).map(|_| crew.join().unwrap()).collect();
        assert!(crew.join().is_none());
        places.pop();
        assert!(crew.join().is_some());
        drop(places);
        crew.wait_until_idle(Duration::from_secs(60));
    }
}
