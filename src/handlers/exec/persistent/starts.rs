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
    /// When the latest pause began, and until when it is not started again.
    pause: Option<(Instant, Instant)>,
}

impl Starts {
    /// It has come up.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.pause = None;
    }

    /// It could not be started at that moment, or has ended before it had begun to read a job.
    pub(super) fn failed(&mut self, error: String, (began, now): (Instant, Instant)) {
        self.error = error;
        // What was started before a pause belongs to the failures that have led to it.
        if self.pause.is_some_and(|(from, _)| began < from) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if let Some(more) = self.failures.checked_sub(TRIES) {
            let pause = FIRST_PAUSE * 2u32.pow(more.min(6));
            self.pause = Some((now, clock::after(now, pause.min(LONGEST_PAUSE))));
        }
    }

    /// The outcome of jobs while it is given time.
    pub(super) fn unavailable(&self, now: Instant) -> Option<Outcome> {
        let pause = self.pause?.1.checked_duration_since(now)?;
        (!pause.is_zero()).then(|| self.outcome(pause))
    }

    /// The outcome of a job whose time is over before it has come up.
    pub(super) fn not_in_time(&self) -> Outcome {
        self.outcome(FIRST_PAUSE)
    }

    fn outcome(&self, pause: Duration) -> Outcome {
        Outcome::Unavailable {
            error: format!("its handler does not start: {}", self.error),
            pause,
        }
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
            starts.failed("exit code 1".to_owned(), (now, now));
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
        starts.failed(String::new(), (now, now));
        assert_eq!(starts.unavailable(now), None);
    }

    #[test]
    fn starts_at_the_same_time_lead_to_one_pause() {
        let (mut starts, mut now) = (Starts::default(), Instant::now());
        for expected in [1, 2, 4] {
            let began = now;
            for _ in 0..5 {
                now += Duration::from_millis(1);
                starts.failed(String::new(), (began, now));
            }
            let pause = starts.pause.map(|(from, until)| until - from);
            assert_eq!(pause, Some(Duration::from_secs(expected)));
            now += Duration::from_secs(expected);
        }
    }
}
