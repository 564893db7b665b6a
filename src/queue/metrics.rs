//! Metrics: how attempts went, and the state of the file, for charts and monitoring systems.

use std::ops::{Bound, RangeBounds};

use crate::model::metrics::snapshot::MetricsSnapshot;
use crate::model::metrics::stats::{Stats, StatsQuery};
use crate::model::metrics::{MetricRecord, MetricSpan};
use crate::queue::Queue;
use crate::{Result, store};

impl Queue {
    /// How attempts went that have ended, by queue, kind and outcome, for the spans of time that begin in `times`,
    /// oldest first. [`MetricSpan::Lifetime`] has no times.
    ///
    /// ```
    /// # use jobq::{Context, Handler, MetricSpan, NewJob, Outcome, Queue};
    /// # struct Resize;
    /// # impl Handler for Resize {
    /// #     fn run(&self, _: &Context) -> Outcome {
    /// #         Outcome::Done(None)
    /// #     }
    /// # }
    /// # let folder = tempfile::tempdir()?;
    /// # let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// # queue.enqueue(NewJob::new("resize"))?;
    /// # queue.runner().kind("resize", Resize).run_due()?;
    /// # assert_eq!(queue.metrics(MetricSpan::Lifetime, ..)?.len(), 1);
    /// for metric in queue.metrics(MetricSpan::Lifetime, ..)? {
    ///     let took = metric.totals.took.quantile(0.95).unwrap_or_default();
    ///     println!("{}: {} attempts, 95 % of them within {took:?}", metric.kind, metric.totals.attempts);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn metrics(
        &self,
        span: MetricSpan,
        times: impl RangeBounds<jiff::Timestamp>,
    ) -> Result<Vec<MetricRecord>> {
        let since_ms = match times.start_bound() {
            Bound::Included(at) => at.as_millisecond(),
            Bound::Excluded(at) => at.as_millisecond().saturating_add(1),
            Bound::Unbounded => i64::MIN,
        };
        let until_ms = match times.end_bound() {
            Bound::Included(at) => at.as_millisecond().saturating_add(1),
            Bound::Excluded(at) => at.as_millisecond(),
            Bound::Unbounded => i64::MAX,
        };
        let between = match span {
            MetricSpan::Lifetime => (i64::MIN, i64::MAX),
            _ => (since_ms, until_ms),
        };
        store::metrics_between(&*self.store.reader()?, span, between)
    }

    /// The number of jobs ever enqueued, by queue and kind, also of jobs that have been removed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn enqueued_totals(&self) -> Result<Vec<(String, String, u64)>> {
        store::enqueued_totals(&*self.store.reader()?)
    }

    /// How attempts went that have ended since a moment, added up by queue, kind and outcome; none: since the file was
    /// created. The moment is rounded down to a minute, and to an hour if it is more than 72 hours ago. What is older
    /// than 90 days is known since the file was created only.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn metrics_since(&self, since: Option<jiff::Timestamp>) -> Result<Vec<MetricRecord>> {
        let Some(since) = since else {
            return self.metrics(MetricSpan::Lifetime, ..);
        };
        let now_ms = self.store.config.clock.now_ms();
        store::totals_since(&*self.store.reader()?, (since.as_millisecond(), now_ms))
    }

    /// Attempts over time, for charts: from the metrics of minutes, which are kept for 72 hours, and of hours, which are
    /// kept for 90 days.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use jobq::{Queue, StatsBy, StatsQuery};
    /// # let folder = tempfile::tempdir()?;
    /// # let queue = Queue::open(folder.path().join("jobs.db"))?;
    /// let now = jobq::jiff::Timestamp::now();
    /// let stats = queue.stats(&StatsQuery {
    ///     from: now - jobq::jiff::SignedDuration::from_hours(24),
    ///     to: now,
    ///     step: Duration::from_secs(600),
    ///     by: StatsBy::Kind,
    /// })?;
    /// for series in &stats.series {
    ///     for point in &series.points {
    ///         println!("{:?} {} {} {:?}", series.name, point.at, point.completed, point.run.p95);
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The time is empty, there would be more than 5,000 points, or the file cannot be read.
    pub fn stats(&self, query: &StatsQuery) -> Result<Stats> {
        let now_ms = self.store.config.clock.now_ms();
        store::stats(&*self.store.reader()?, query, now_ms)
    }

    /// All metrics at this moment, for a monitoring system: as text by [`MetricsSnapshot::to_prometheus`]. It costs the
    /// same however many jobs there are.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn metrics_snapshot(&self) -> Result<MetricsSnapshot> {
        let locks = self.store.runners_folder();
        let now_ms = self.store.config.clock.now_ms();
        let mut snapshot = store::metrics_snapshot(&*self.store.reader()?, (now_ms, &locks))?;
        let log = {
            let mut path = self.path().as_os_str().to_owned();
            path.push("-wal");
            path
        };
        for (file, path) in [("database", self.path().as_os_str()), ("log", &log)] {
            // There need not be a log.
            let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
            snapshot.files.push((file, bytes));
        }
        Ok(snapshot)
    }
}
