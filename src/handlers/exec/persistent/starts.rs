//! What comes of starting a handler's command: after some failures in a row it is given time.

use std::time::{Duration, Instant};

use crate::clock;
use crate::model::outcome::Outcome;

/// A command that has not come up so often in a row is given a pause.
const TRIES: u32 = 3;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The starts of a handler's command that have failed since one succeeded.
#[derive(Debug, Default)]
pub(super) struct Starts {
    failures: u32,
    error: String,
    /// It is not started again before.
    not_before: Option<Instant>,
}

impl Starts {
    /// It has come up.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// It has ended before it had begun to read a job.
    pub(super) fn failed(&mut self, error: String, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.error = error;
        if let Some(more) = self.failures.checked_sub(TRIES) {
            let pause = FIRST_PAUSE * 2u32.pow(more.min(6));
            self.not_before = Some(clock::after(now, pause.min(LONGEST_PAUSE)));
        }
    }

    /// The outcome of jobs while it is given time.
    pub(super) fn unavailable(&self, now: Instant) -> Option<Outcome> {
        let pause = self.not_before?.checked_duration_since(now)?;
        (!pause.is_zero()).then(|| Outcome::Unavailable {
            error: format!("its handler does not start: {}", self.error),
            pause,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_failure_in_a_row_brings_a_pause_which_grows() {
        let (mut starts, mut now) = (Starts::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..10 {
            starts.failed("exit code 1".to_owned(), now);
            let pause = match starts.unavailable(now) {
                Some(Outcome::Unavailable { error, pause }) => {
                    assert_eq!(error, "its handler does not start: exit code 1");
                    pause
                }
                _ => Duration::ZERO,
            };
            pauses.push(pause.as_secs());
            now += pause;
            assert_eq!(starts.unavailable(now), None);
        }
        assert_eq!(pauses, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
        starts.succeeded();
        starts.failed(String::new(), now);
        assert_eq!(starts.unavailable(now), None);
    }
}
