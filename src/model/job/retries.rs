//! How a job is retried, by its options.

use crate::model::job::options::JobOptions;
use crate::model::retry::{Backoff, Jitter, RetryPolicy};
use crate::{Error, Result};

/// Maximum length of a list of retry delays.
const MAX_RETRY_DELAYS: usize = 100;

impl JobOptions {
    pub(crate) fn has_backoff(&self) -> bool {
        self.backoff.is_some() || self.retry_delay.is_some()
    }

    /// How a job with these options is retried. What they do not give is as in `usual`.
    pub fn retry_policy(&self, usual: &RetryPolicy) -> RetryPolicy {
        let own_delay = self.backoff.map(Backoff::default_delay);
        let (delays, retries, jitter) = match &self.retry_delays {
            Some(own) => (own.clone(), own.len() as u32, Jitter::Off),
            // The jitter of a list is not that of a backoff.
            None if self.has_backoff() && !usual.delays.is_empty() => {
                (Vec::new(), usual.max_retries, Jitter::default())
            }
            None => (usual.delays.clone(), usual.max_retries, usual.jitter),
        };
        RetryPolicy {
            max_retries: self.max_retries.unwrap_or(retries),
            backoff: self.backoff.unwrap_or(usual.backoff),
            delay: self.retry_delay.or(own_delay).unwrap_or(usual.delay),
            delays,
            jitter: self.jitter.unwrap_or(jitter),
        }
    }

    pub(super) fn check_retry_delays(&self) -> Result<()> {
        let Some(delays) = &self.retry_delays else {
            return Ok(());
        };
        if self.has_backoff() {
            return Err(Error::invalid(
                "the delays between retries are given twice: as a list, and by a backoff or a first delay",
            )
            .with_hint("give either retry_delays, or backoff and retry_delay"));
        }
        match delays.len() {
            0 => Err(Error::invalid("the list of retry delays is empty")
                .with_hint("for no retries, set retries to 0")),
            1..=MAX_RETRY_DELAYS => Ok(()),
            count => Err(Error::invalid(format!(
                "there are {count} retry delays, at most {MAX_RETRY_DELAYS} are allowed"
            ))
            .with_hint("set retries: the last delay repeats")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::job::NewJob;

    fn seconds(delays: &[u64]) -> Option<Vec<Duration>> {
        Some(delays.iter().copied().map(Duration::from_secs).collect())
    }

    #[test]
    fn a_list_of_delays_takes_nothing_about_retries_from_elsewhere() {
        let usual = JobOptions {
            max_retries: Some(9),
            backoff: Some(Backoff::Fixed),
            retry_delay: Some(Duration::from_secs(1)),
            jitter: Some(Jitter::Tenth),
            tenant: Some("usual".to_owned()),
            ..JobOptions::default()
        };
        let own = JobOptions {
            retry_delays: seconds(&[5, 300]),
            ..JobOptions::default()
        };
        let both = own.or(&usual);
        assert_eq!(both.tenant.as_deref(), Some("usual"));
        both.check().unwrap();
        let policy = both.retry_policy(&RetryPolicy::default());
        assert_eq!((policy.max_retries, policy.jitter), (2, Jitter::Off));
        assert_eq!(Some(policy.delays), seconds(&[5, 300]));
    }

    #[test]
    fn of_a_list_and_a_backoff_the_later_one_holds() {
        let delays = || [5, 300].map(Duration::from_secs);
        let job = NewJob::new("k")
            .backoff(Backoff::Fixed)
            .retry_delays(delays());
        job.options().check().unwrap();
        assert_eq!(job.options().retry_delays, seconds(&[5, 300]));
        let job = job.retry_delay(Duration::from_secs(1));
        job.options().check().unwrap();
        assert_eq!(job.options().retry_delays, None);
    }

    #[test]
    fn a_list_from_elsewhere_is_for_jobs_without_a_backoff() {
        let usual = JobOptions {
            retry_delays: seconds(&[5, 300]),
            ..JobOptions::default()
        };
        let more = JobOptions {
            max_retries: Some(4),
            ..JobOptions::default()
        };
        let policy = more.or(&usual).retry_policy(&RetryPolicy::default());
        assert_eq!((policy.max_retries, policy.delays.len()), (4, 2));
        let own = JobOptions {
            retry_delay: Some(Duration::from_secs(1)),
            ..JobOptions::default()
        };
        let listed = usual.retry_policy(&RetryPolicy::default());
        for policy in [
            own.clone().or(&usual).retry_policy(&RetryPolicy::default()),
            own.retry_policy(&listed),
        ] {
            assert_eq!(policy.delays, []);
            assert_eq!(policy.delay, Duration::from_secs(1));
        }
        assert_eq!(JobOptions::default().retry_policy(&listed), listed);
    }

    #[test]
    fn a_list_is_not_empty_nor_endless_nor_beside_a_backoff() {
        let with = |retry_delays| JobOptions {
            retry_delays,
            ..JobOptions::default()
        };
        with(seconds(&[0; MAX_RETRY_DELAYS])).check().unwrap();
        let twice = JobOptions {
            backoff: Some(Backoff::Fixed),
            ..with(seconds(&[5]))
        };
        for (options, what) in [
            (with(seconds(&[])), "empty"),
            (with(seconds(&[0; MAX_RETRY_DELAYS + 1])), "101"),
            (twice, "twice"),
        ] {
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
