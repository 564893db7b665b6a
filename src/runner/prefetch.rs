//! Prefetching: how many jobs are claimed beyond the free workers. The channel holds about 20 ms of
//! work.

use std::collections::HashMap;
use std::time::Duration;

/// The channel holds about this much work for each worker.
const PREFETCH_TIME: Duration = Duration::from_millis(20);
/// The channel never holds more jobs than this beyond the workers'.
pub(crate) const MAX_PREFETCH: usize = 1024;
/// A shorter job is taken to be this long: handing it over costs as much.
const SHORTEST: Duration = Duration::from_micros(5);

/// An estimate of how long jobs take, from those that have run: the base of prefetching.
#[derive(Debug, Default)]
pub(crate) struct RunTimeEstimate {
    /// A running mean for each kind.
    kinds: HashMap<i64, Duration>,
    /// A running mean of the short jobs that ran lately.
    recent: Option<Duration>,
    /// The last allowance: it grows by doubling.
    last: usize,
}

impl RunTimeEstimate {
    /// Adds the run time of a job of this kind.
    pub(crate) fn saw(&mut self, kind: i64, took: Duration) {
        let mean = self.kinds.entry(kind).or_insert(took);
        *mean = blend(*mean, took);
        if took <= PREFETCH_TIME {
            self.recent = Some(self.recent.map_or(took, |recent| blend(recent, took)));
        }
    }

    /// Whether jobs of this kind are known to be short enough to be prefetched.
    pub(crate) fn is_short(&self, kind: i64) -> bool {
        self.kinds
            .get(&kind)
            .is_some_and(|mean| *mean <= PREFETCH_TIME)
    }

    /// How many jobs may wait in the channel beyond the workers' own.
    pub(crate) fn allowance(&mut self, workers: usize) -> usize {
        let target = self.recent.map_or(0, |mean| target(mean, workers));
        self.last = target.min((self.last * 2).max(workers));
        self.last
    }

    /// Jobs have waited too long in the channel: none are prefetched until a short one has run.
    pub(crate) fn stalled(&mut self) {
        self.recent = None;
        self.last = 0;
    }

    /// The last allowance.
    pub(crate) fn allowed(&self) -> usize {
        self.last
    }
}

/// A running mean: seven eighths of the old mean, one eighth of the new value.
fn blend(mean: Duration, took: Duration) -> Duration {
    (mean * 7 + took) / 8
}

fn target(mean: Duration, workers: usize) -> usize {
    if mean > PREFETCH_TIME {
        return 0;
    }
    let each = PREFETCH_TIME.as_nanos() / mean.max(SHORTEST).as_nanos();
    usize::try_from(each)
        .unwrap_or(MAX_PREFETCH)
        .saturating_mul(workers)
        .min(MAX_PREFETCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_jobs_are_never_claimed_ahead() {
        let mut estimate = RunTimeEstimate::default();
        assert_eq!(estimate.allowance(5), 0, "nothing is known yet");
        estimate.saw(1, Duration::from_secs(1));
        assert_eq!(estimate.allowance(5), 0);
        assert!(!estimate.is_short(1));
    }

    #[test]
    fn the_channel_holds_about_twenty_milliseconds_of_work() {
        assert_eq!(target(Duration::from_millis(10), 5), 10);
        assert_eq!(target(Duration::from_millis(20), 5), 5);
        assert_eq!(target(Duration::from_millis(21), 5), 0);
        assert_eq!(target(Duration::ZERO, 5), MAX_PREFETCH);
    }

    #[test]
    fn it_grows_by_doubling_from_the_number_of_workers() {
        let mut estimate = RunTimeEstimate::default();
        estimate.saw(1, Duration::from_micros(10));
        assert_eq!(
            [
                estimate.allowance(5),
                estimate.allowance(5),
                estimate.allowance(5)
            ],
            [5, 10, 20]
        );
    }

    proptest! {
        #[test]
        fn what_is_claimed_ahead_is_bounded_in_number_and_in_time(
            took_us in prop::collection::vec(0u64..50_000, 1..100), workers in 1usize..64
        ) {
            let mut estimate = RunTimeEstimate::default();
            for took in took_us {
                estimate.saw(1, Duration::from_micros(took));
                let prefetch = estimate.allowance(workers);
                prop_assert!(prefetch <= MAX_PREFETCH);
                let work = estimate.recent.unwrap_or_default() * u32::try_from(prefetch).unwrap();
                prop_assert!(work <= PREFETCH_TIME * u32::try_from(workers).unwrap());
            }
        }
    }
}
