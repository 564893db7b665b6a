//! How many jobs are claimed ahead of the workers: so many that the channel holds about 20 ms of work.

use std::collections::HashMap;
use std::time::Duration;

/// The channel holds about this much work for each worker.
const AHEAD: Duration = Duration::from_millis(20);
/// The channel never holds more jobs than this beyond the workers'.
pub(crate) const MAX_AHEAD: usize = 1024;
/// A job shorter than this is taken to be this long: handing it over costs as much.
const SHORTEST: Duration = Duration::from_micros(5);

/// How long jobs take, as seen so far: the base of claiming ahead.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// A running mean by kind.
    kinds: HashMap<i64, Duration>,
    /// A running mean over the short jobs that ran lately.
    recent: Option<Duration>,
    /// How many were claimed ahead last: growth is by doubling.
    last: usize,
}

impl Pace {
    /// A job of this kind took this long.
    pub(crate) fn saw(&mut self, kind: i64, took: Duration) {
        let mean = self.kinds.entry(kind).or_insert(took);
        *mean = blend(*mean, took);
        if took <= AHEAD {
            self.recent = Some(self.recent.map_or(took, |recent| blend(recent, took)));
        }
    }

    /// Whether jobs of this kind are known to be short enough to be claimed ahead.
    pub(crate) fn is_short(&self, kind: i64) -> bool {
        self.kinds.get(&kind).is_some_and(|mean| *mean <= AHEAD)
    }

    /// How many jobs may wait in the channel beyond the workers' own.
    pub(crate) fn allowance(&mut self, workers: usize) -> usize {
        let target = self.recent.map_or(0, |mean| target(mean, workers));
        self.last = target.min((self.last * 2).max(workers));
        self.last
    }

    /// Jobs have waited too long in the channel: none are claimed ahead until a short one has run.
    pub(crate) fn stalled(&mut self) {
        self.recent = None;
        self.last = 0;
    }

    /// What was last allowed.
    pub(crate) fn allowed(&self) -> usize {
        self.last
    }
}

/// Seven eighths of what was, one eighth of what is.
fn blend(mean: Duration, took: Duration) -> Duration {
    (mean * 7 + took) / 8
}

fn target(mean: Duration, workers: usize) -> usize {
    if mean > AHEAD {
        return 0;
    }
    let each = AHEAD.as_nanos() / mean.max(SHORTEST).as_nanos();
    usize::try_from(each)
        .unwrap_or(MAX_AHEAD)
        .saturating_mul(workers)
        .min(MAX_AHEAD)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_jobs_are_never_claimed_ahead() {
        let mut pace = Pace::default();
        assert_eq!(pace.allowance(5), 0, "nothing is known yet");
        pace.saw(1, Duration::from_secs(1));
        assert_eq!(pace.allowance(5), 0);
        assert!(!pace.is_short(1));
    }

    #[test]
    fn the_channel_holds_about_twenty_milliseconds_of_work() {
        assert_eq!(target(Duration::from_millis(10), 5), 10);
        assert_eq!(target(Duration::from_millis(20), 5), 5);
        assert_eq!(target(Duration::from_millis(21), 5), 0);
        assert_eq!(target(Duration::ZERO, 5), MAX_AHEAD);
    }

    #[test]
    fn it_grows_by_doubling_from_the_number_of_workers() {
        let mut pace = Pace::default();
        pace.saw(1, Duration::from_micros(10));
        assert_eq!(
            [pace.allowance(5), pace.allowance(5), pace.allowance(5)],
            [5, 10, 20]
        );
    }

    proptest! {
        #[test]
        fn what_is_claimed_ahead_is_bounded_in_number_and_in_time(
            took_us in prop::collection::vec(0u64..50_000, 1..100), workers in 1usize..64
        ) {
            let mut pace = Pace::default();
            for took in took_us {
                pace.saw(1, Duration::from_micros(took));
                let ahead = pace.allowance(workers);
                prop_assert!(ahead <= MAX_AHEAD);
                let work = pace.recent.unwrap_or_default() * u32::try_from(ahead).unwrap();
                prop_assert!(work <= AHEAD * u32::try_from(workers).unwrap());
            }
        }
    }
}
