//! Limits of queues and changes to them.

use std::time::Duration;

use crate::model::queue::check_name;
use crate::model::remedy::Remedy;
use crate::model::retry::RetryPolicy;
use crate::{Error, Result};

/// Maximum number of jobs of a rate: its ring has an entry for each start.
const MAX_RATE_JOBS: u32 = 1_000_000;
const MAX_RATE_SPAN: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const MAX_WEIGHT: u32 = 1_000_000;

/// At most `jobs` starts in any span of length `per`. A job starts when it is claimed; its handler is
/// called once the claim is committed. A step of the wall clock of less than a second counts as drift: it
/// lengthens or shortens one span by that much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Maximum number of jobs that start.
    pub jobs: u32,
    /// The length of the span, to the millisecond.
    pub per: Duration,
}

/// A change to a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Update<T> {
    /// Keep the setting.
    #[default]
    Keep,
    /// Set it to this value.
    Set(T),
    /// Remove the setting.
    Clear,
}

impl<T: Copy> Update<T> {
    /// What there is after the change, where there was `now`.
    pub(crate) fn of(self, now: Option<T>) -> Option<T> {
        match self {
            Update::Keep => now,
            Update::Set(value) => Some(value),
            Update::Clear => None,
        }
    }

    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Update<U> {
        match self {
            Update::Keep => Update::Keep,
            Update::Set(value) => Update::Set(change(value)),
            Update::Clear => Update::Clear,
        }
    }

    fn value(self) -> Option<T> {
        self.of(None)
    }
}

/// Changes to a queue's limits, which apply over all runners.
///
/// ```
/// use std::time::Duration;
///
/// use jobq::{Update, Queue, QueueLimitsUpdate, Rate};
///
/// # let folder = tempfile::tempdir()?;
/// # let queue = Queue::open(folder.path().join("jobs.db"))?;
/// // Two at a time, and no more than ten a minute.
/// queue.set_limits("images", QueueLimitsUpdate {
///     concurrency: Update::Set(2),
///     rate: Update::Set(Rate { jobs: 10, per: Duration::from_secs(60) }),
///     ..QueueLimitsUpdate::default()
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLimitsUpdate {
    /// Maximum number of its jobs that run at once. Claimed jobs that wait for a worker count.
    pub concurrency: Update<u32>,
    /// Maximum number of its jobs that start within a span. A new rate begins with no recorded starts.
    pub rate: Update<Rate>,
    /// Maximum number of its jobs that are not final; further ones are refused when they are enqueued.
    pub max_size: Update<u64>,
    /// Its share of a runner among the queues with work; cleared, it is 1.
    pub weight: Update<u32>,
}

impl QueueLimitsUpdate {
    /// Checks the arguments of [`Queue::set_limits`](crate::Queue::set_limits) without setting them.
    ///
    /// # Errors
    /// The queue's name or a value is invalid.
    pub fn check(&self, queue: &str) -> Result<()> {
        check_name("queue's name", queue)?;
        if self.concurrency.value() == Some(0) {
            return Err(Error::invalid("concurrency must be at least 1")
                .with_hint("pause the queue instead, or clear the limit")
                .with_remedy(Remedy::PauseQueue(queue.to_owned())));
        }
        if self.max_size.value() == Some(0) {
            return Err(Error::invalid("a queue's size must be at least 1")
                .with_hint("allow at least one job, or clear the limit with 'none'"));
        }
        if self
            .max_size
            .value()
            .is_some_and(|size| i64::try_from(size).is_err())
        {
            return Err(Error::invalid("the queue's size is out of range"));
        }
        if let Some(rate) = self.rate.value() {
            rate.check()?;
        }
        match self.weight.value() {
            Some(weight) if !(1..=MAX_WEIGHT).contains(&weight) => Err(Error::invalid(format!(
                "a queue's weight must be 1 to {MAX_WEIGHT}, not {weight}"
            ))),
            _ => Ok(()),
        }
    }
}

impl Rate {
    fn check(&self) -> Result<()> {
        if !(1..=MAX_RATE_JOBS).contains(&self.jobs) {
            return Err(Error::invalid(format!(
                "a rate's number of jobs must be 1 to {MAX_RATE_JOBS}, not {}",
                self.jobs
            ))
            .with_hint("pause a queue to start none of its jobs; 'none' removes the limit"));
        }
        if self.per < Duration::from_millis(1) || self.per > MAX_RATE_SPAN {
            return Err(Error::invalid(format!(
                "a rate's duration must be 1ms to 366 days, not {:?}",
                self.per
            )));
        }
        Ok(())
    }
}

/// Limits and defaults for new jobs.
#[derive(Clone, Debug)]
pub struct EnqueueLimits {
    /// Maximum length of a payload's JSON text, in bytes.
    pub max_payload_bytes: usize,
    /// The retry policy of jobs that set none.
    pub retry: RetryPolicy,
    /// Maximum number of jobs that are not final in a queue without a limit of its own; none: no limit.
    /// Further ones are refused: [`Error::is_queue_full`].
    pub max_queue_size: Option<u64>,
    /// Maximum used size of the database file, in bytes, without its log; none: no limit. At the limit new
    /// jobs are refused ([`Error::is_full`]), and everything else goes on.
    pub max_file_bytes: Option<u64>,
}

impl Default for EnqueueLimits {
    fn default() -> EnqueueLimits {
        EnqueueLimits {
            max_payload_bytes: MAX_PAYLOAD_BYTES,
            retry: RetryPolicy::default(),
            max_queue_size: None,
            max_file_bytes: None,
        }
    }
}

/// Maximum length of a payload: 16 MiB. Put larger data in files, with their paths in the payload.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(change: impl FnOnce(&mut QueueLimitsUpdate)) -> Result<()> {
        let mut limits = QueueLimitsUpdate::default();
        change(&mut limits);
        limits.check("q")
    }

    #[test]
    fn a_limit_that_nothing_could_pass_is_refused() {
        let minute = Duration::from_secs(60);
        let rate =
            |jobs, per| move |to: &mut QueueLimitsUpdate| to.rate = Update::Set(Rate { jobs, per });
        assert!(limits(|to| to.concurrency = Update::Set(0)).is_err());
        assert!(limits(|to| to.max_size = Update::Set(0)).is_err());
        assert!(limits(|to| to.max_size = Update::Set(u64::MAX)).is_err());
        assert!(limits(|to| to.weight = Update::Set(0)).is_err());
        assert!(limits(|to| to.weight = Update::Set(MAX_WEIGHT + 1)).is_err());
        assert!(limits(rate(0, minute)).is_err());
        assert!(limits(rate(MAX_RATE_JOBS + 1, minute)).is_err());
        assert!(limits(rate(1, Duration::ZERO)).is_err());
        assert!(limits(rate(1, Duration::from_micros(999))).is_err());
        assert!(limits(rate(1, MAX_RATE_SPAN * 2)).is_err());
        assert!(limits(rate(1, Duration::from_millis(1))).is_ok());
        assert!(limits(|_| {}).is_ok());
        assert!(QueueLimitsUpdate::default().check("").is_err());
    }

    #[test]
    fn what_is_kept_set_or_cleared() {
        assert_eq!(Update::Keep.of(Some(1)), Some(1));
        assert_eq!(Update::Set(2).of(Some(1)), Some(2));
        assert_eq!(Update::Clear.of(Some(1)), None);
    }
}
