//! Retry policies: how long a job waits before its next attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Maximum delay of a backoff.
pub const MAX_DELAY: Duration = Duration::from_secs(60 * 60);

/// How the delay grows with the number of retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
#[non_exhaustive]
pub enum Backoff {
    /// No delay.
    None = 0,
    /// The same delay each time.
    Fixed = 1,
    /// 1, 2, 3 … times the retry delay.
    Linear = 2,
    /// 1, 4, 9 … times the retry delay.
    Quadratic = 3,
    /// 1, 2, 4, 8 … times the retry delay.
    #[default]
    Exponential = 4,
}

words!(Backoff, "backoff", "backoffs" {
    None = "none",
    Fixed = "fixed",
    Linear = "linear",
    Quadratic = "quadratic",
    Exponential = "exponential",
});
codes!(Backoff);

impl Backoff {
    /// The default retry delay: 5 s, and 1 s for quadratic (1, 4, 9 s).
    pub const fn default_delay(self) -> Duration {
        match self {
            Backoff::Quadratic => Duration::from_secs(1),
            _ => Duration::from_secs(5),
        }
    }

    /// The delay before retry number `retry` (from 1), without jitter, at most [`MAX_DELAY`].
    pub fn delay(self, retry: u32, base: Duration) -> Duration {
        let retry = retry.max(1);
        let factor = match self {
            Backoff::None => 0,
            Backoff::Fixed => 1,
            Backoff::Linear => retry,
            Backoff::Quadratic => retry.saturating_mul(retry),
            Backoff::Exponential => 1u32.checked_shl(retry - 1).unwrap_or(u32::MAX),
        };
        base.saturating_mul(factor).min(MAX_DELAY)
    }
}

/// When and how often a job is retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum number of retries after the first attempt.
    pub max_retries: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// The first delay; zero retries at once.
    pub delay: Duration,
    /// A delay for each retry, in place of the backoff; the last one repeats. Empty: there is no such list.
    pub delays: Vec<Duration>,
    /// How much of a delay is random.
    pub jitter: Jitter,
}

/// Randomness of delays, so that jobs that failed together are not retried together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Jitter {
    /// The delay is exactly that of the backoff.
    Off,
    /// Up to a tenth of the delay is added.
    #[default]
    Tenth,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        let backoff = Backoff::default();
        RetryPolicy {
            max_retries: 3,
            backoff,
            delay: backoff.default_delay(),
            delays: Vec::new(),
            jitter: Jitter::default(),
        }
    }
}

impl RetryPolicy {
    /// The delay before retry number `retry` (from 1). `chance` is a random number in `0.0..1.0`.
    pub fn delay(&self, retry: u32, chance: f64) -> Duration {
        let at = retry.saturating_sub(1) as usize;
        let delay = match self.delays.get(at).or(self.delays.last()) {
            Some(delay) => *delay,
            None => self.backoff.delay(retry, self.delay),
        };
        match self.jitter {
            Jitter::Off => delay,
            Jitter::Tenth => delay.saturating_add(delay.mul_f64(chance.clamp(0.0, 1.0) / 10.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waits(backoff: Backoff) -> [u64; 4] {
        let policy = RetryPolicy {
            backoff,
            delay: backoff.default_delay(),
            jitter: Jitter::Off,
            ..Default::default()
        };
        [1, 2, 3, 4].map(|retry| policy.delay(retry, 0.5).as_secs())
    }

    #[test]
    fn each_backoff_waits_as_documented() {
        assert_eq!(waits(Backoff::None), [0, 0, 0, 0]);
        assert_eq!(waits(Backoff::Fixed), [5, 5, 5, 5]);
        assert_eq!(waits(Backoff::Linear), [5, 10, 15, 20]);
        assert_eq!(waits(Backoff::Quadratic), [1, 4, 9, 16]);
        assert_eq!(waits(Backoff::Exponential), [5, 10, 20, 40]);
    }

    proptest! {
        #[test]
        fn waits_never_shrink_and_never_pass_the_cap(
            retry in 1u32..10_000, base_ms in 0u64..10_000_000, chance in 0.0f64..1.0
        ) {
            let base = Duration::from_millis(base_ms);
            for backoff in Backoff::ALL {
                let policy = RetryPolicy { backoff, delay: base, jitter: Jitter::Off, ..Default::default() };
                prop_assert!(policy.delay(retry, chance) <= policy.delay(retry + 1, chance));
                prop_assert!(policy.delay(retry, chance) <= MAX_DELAY);
                let jittered = RetryPolicy { jitter: Jitter::Tenth, ..policy.clone() }.delay(retry, chance);
                prop_assert!(jittered >= policy.delay(retry, chance));
                prop_assert!(jittered <= MAX_DELAY.mul_f64(1.1));
            }
        }

        #[test]
        fn a_list_gives_each_retry_its_delay_and_repeats_the_last(
            delays_ms in proptest::collection::vec(0u64..1_000_000_000, 1..20), retry in 1usize..50, chance in 0.0f64..1.0
        ) {
            let policy = RetryPolicy {
                delays: delays_ms.iter().copied().map(Duration::from_millis).collect(),
                jitter: Jitter::Off,
                ..Default::default()
            };
            let expected_ms = delays_ms[retry.min(delays_ms.len()) - 1];
            let retry = u32::try_from(retry).unwrap();
            prop_assert_eq!(policy.delay(retry, chance).as_millis(), u128::from(expected_ms));
            let exactly = policy.delay(retry, chance);
            let jittered = RetryPolicy { jitter: Jitter::Tenth, ..policy }.delay(retry, chance);
            prop_assert!(jittered >= exactly && jittered <= exactly.mul_f64(1.1));
        }
    }
}
