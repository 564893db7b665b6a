//! The limits of a queue: what they are, and what of them is to be changed.

use std::time::Duration;

use crate::model::name::check_name;
use crate::model::remedy::Remedy;
use crate::model::retry::RetryPolicy;
use crate::{Error, Result};

/// The ring of a rate has a place for each start, so there is an end to how many it can tell apart.
const MAX_RATE_JOBS: u32 = 1_000_000;
const MAX_RATE_SPAN: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const MAX_WEIGHT: u32 = 1_000_000;

/// At most so many starts in any span of so long. A job starts when it is claimed; its handler is
/// called once that is committed. A step of the wall clock of less than a second is not told from its
/// drift, and lengthens or shortens one span by that much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many jobs may start.
    pub jobs: u32,
    /// In any span of this length; milliseconds count.
    pub per: Duration,
}

/// What is to become of a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Update<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It becomes this.
    Set(T),
    /// It goes.
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

/// What is to be changed of a queue's limits, over all runners; what is not named stays.
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
    /// So many of its jobs run at once. Claimed ones count, also those that wait for their worker.
    pub concurrency: Update<u32>,
    /// So many of its jobs start in any span. Another rate begins with an empty record of starts.
    pub rate: Update<Rate>,
    /// So many jobs that have not ended it takes; more are refused when they are enqueued.
    pub max_size: Update<u64>,
    /// Its share of a runner among the queues with work; cleared, it is 1.
    pub weight: Update<u32>,
}

impl QueueLimitsUpdate {
    /// Checks what [`Queue::set_limits`](crate::Queue::set_limits) is given, without setting it.
    ///
    /// # Errors
    /// What it would say of the queue's name or of a value.
    pub fn check(&self, queue: &str) -> Result<()> {
        check_name("queue's name", queue)?;
        if self.concurrency.value() == Some(0) {
            return Err(Error::invalid("concurrency must be at least 1")
                .with_hint("pause the queue instead, or clear the limit")
                .with_remedy(Remedy::PauseQueue(queue.to_owned())));
        }
        if self.max_size.value() == Some(0) {
            return Err(Error::invalid("a queue's size must be at least 1")
                .with_hint("give it room for one job, or clear the limit with 'none'"));
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
            .with_hint("pause a queue to let nothing of it start; say 'none' for no limit"));
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

/// What a queue holds new jobs to, and what it fills in where they say nothing.
#[derive(Clone, Debug)]
pub struct EnqueueLimits {
    /// A payload's JSON text may be so long, in bytes.
    pub max_payload_bytes: usize,
    /// For jobs that do not say how they are retried.
    pub retry: RetryPolicy,
    /// So many jobs that have not ended a queue takes where it has no limit of its own; none: any
    /// number. More are refused: [`Error::is_queue_full`].
    pub max_queue_size: Option<u64>,
    /// How much of the database file may be in use, in bytes; none: any size. The log beside it comes
    /// on top. Once that is reached new jobs are refused ([`Error::is_full`]), and everything else goes on.
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

/// 16 MiB: larger things belong into files, with their path in the payload.
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
