//! Metrics in the text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::event::EventKind;
use crate::model::metrics::snapshot::{MetricsSnapshot, PairTotals, outcome_word};
use crate::model::metrics::{AttemptTotals, Histogram};
use crate::model::runner::RunnerState;

/// The limits of the buckets of a histogram: powers of two of a microsecond, from a millisecond to an hour. The bins of
/// [`Histogram`] end there, so the numbers are exact.
const FIRST_BUCKET: u32 = 10;
const LAST_BUCKET: u32 = 32;

impl MetricsSnapshot {
    /// The metrics in the text format of Prometheus, version 0.0.4: `text/plain; version=0.0.4; charset=utf-8`.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let queue = jobq::Queue::open(folder.path().join("jobs.db"))?;
    /// let text = queue.metrics_snapshot()?.to_prometheus();
    /// assert!(text.contains("# TYPE jobq_jobs gauge"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_prometheus(&self) -> String {
        let mut text = PrometheusText::default();
        text.file(self);
        text.queues(self);
        text.runners(self);
        text.schedules(self);
        text.counters(self);
        text.cpu(self);
        text.histogram(
            self,
            (
                "jobq_attempt_duration_seconds",
                "How long the handlers of attempts ran.",
            ),
            |of| (&of.took, of.took_total),
        );
        text.histogram(
            self,
            (
                "jobq_job_wait_seconds",
                "How long jobs were pending before their attempts.",
            ),
            |of| (&of.waited, of.waited_total),
        );
        text.text
    }
}

#[derive(Default)]
struct PrometheusText {
    text: String,
}

type LabelPairs<'a> = &'a [(&'a str, &'a str)];

impl PrometheusText {
    fn family(&mut self, name: &str, (kind, help): (&str, &str)) {
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: LabelPairs<'_>, value: impl Display) {
        self.text.push_str(name);
        self.labels(labels);
        self.push(format_args!(" {value}\n"));
    }

    fn labels(&mut self, labels: LabelPairs<'_>) {
        for (at, (label, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(&mut self.text, value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(text);
    }

    fn file(&mut self, of: &MetricsSnapshot) {
        self.family("jobq_info", ("gauge", "The versions in use; always 1."));
        let schema = of.schema.to_string();
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("schema", &schema),
            ("sqlite", &of.sqlite),
        ];
        self.sample("jobq_info", &labels, 1);
        let help = "The size of the database and of its write-ahead log.";
        self.family("jobq_file_bytes", ("gauge", help));
        for (file, bytes) in &of.files {
            self.sample("jobq_file_bytes", &[("file", file)], bytes);
        }
    }

    fn queues(&mut self, of: &MetricsSnapshot) {
        self.family("jobq_jobs", ("gauge", "The jobs in the file, by state."));
        for queue in &of.queues {
            for (state, jobs) in queue.queue.counts.iter() {
                let labels = [("queue", &*queue.queue.name), ("state", state.as_str())];
                self.sample("jobq_jobs", &labels, jobs);
            }
        }
        let name = "jobq_queue_oldest_pending_seconds";
        let help = "How long the oldest pending jobs of a queue have been pending; 0 if none is.";
        self.family(name, ("gauge", help));
        for queue in &of.queues {
            let pending = queue.oldest_pending.unwrap_or_default();
            self.sample(name, &[("queue", &queue.queue.name)], seconds(pending));
        }
        let help = "Whether a queue is paused: 1 if it is.";
        self.family("jobq_queue_paused", ("gauge", help));
        for queue in &of.queues {
            let labels = [("queue", &*queue.queue.name)];
            self.sample("jobq_queue_paused", &labels, u8::from(queue.is_paused));
        }
        let help =
            "The limits of a queue in jobs: those that run at once, and those that are not final.";
        self.family("jobq_queue_limit_jobs", ("gauge", help));
        for queue in &of.queues {
            let limits = &queue.queue.limits;
            let concurrency = limits.concurrency.map(u64::from);
            for (limit, jobs) in [("concurrency", concurrency), ("max_size", limits.max_size)] {
                if let Some(jobs) = jobs {
                    let labels = [("queue", &*queue.queue.name), ("limit", limit)];
                    self.sample("jobq_queue_limit_jobs", &labels, jobs);
                }
            }
        }
    }

    fn runners(&mut self, of: &MetricsSnapshot) {
        let help =
            "The runners, by state; an offline one is dead, and its jobs are not taken over yet.";
        self.family("jobq_runners", ("gauge", help));
        for (state, runners) in &of.runners {
            let state = match state {
                RunnerState::Idle => "idle",
                RunnerState::Busy => "busy",
                RunnerState::Stopping => "stopping",
                RunnerState::Offline => "offline",
            };
            self.sample("jobq_runners", &[("state", state)], runners);
        }
        self.family(
            "jobq_workers",
            ("gauge", "The workers of living runners, by state."),
        );
        for (state, workers) in [("busy", of.busy_workers), ("idle", of.idle_workers)] {
            self.sample("jobq_workers", &[("state", state)], workers);
        }
    }

    fn schedules(&mut self, of: &MetricsSnapshot) {
        let name = "jobq_schedule_next_run_timestamp_seconds";
        let help = "The next slot of a schedule that is not paused.";
        self.family(name, ("gauge", help));
        for schedule in &of.schedules {
            if let Some(at) = schedule.next_at {
                self.sample(name, &[("schedule", &schedule.name)], since_epoch(at));
            }
        }
        let name = "jobq_schedule_last_success_timestamp_seconds";
        let help = "When a job of a schedule last completed; only while that job is in the file.";
        self.family(name, ("gauge", help));
        for schedule in &of.schedules {
            if let Some(at) = schedule.last_success_at {
                self.sample(name, &[("schedule", &schedule.name)], since_epoch(at));
            }
        }
    }

    fn counters(&mut self, of: &MetricsSnapshot) {
        let name = "jobq_jobs_enqueued_total";
        self.family(name, ("counter", "The jobs that were enqueued."));
        for pair in &of.pairs {
            self.sample(name, &labels(pair), pair.enqueued);
        }
        let help =
            "The attempts that have ended, by how they ended; recovered: their runner was lost.";
        self.family("jobq_attempts_total", ("counter", help));
        for pair in &of.pairs {
            let [queue, kind] = labels(pair);
            // Each from the beginning: the first failure is an increase only where there was a 0 before.
            for outcome in EventKind::ALL.into_iter().filter(|of| of.ends_attempt()) {
                let outcome = outcome_word(outcome);
                let attempts = pair.outcomes.get(outcome).copied().unwrap_or(0);
                let labels = [queue, kind, ("outcome", outcome)];
                self.sample("jobq_attempts_total", &labels, attempts);
            }
        }
    }

    fn cpu(&mut self, of: &MetricsSnapshot) {
        let name = "jobq_attempt_cpu_seconds_total";
        let help = "The processor time of commands, user and system.";
        self.family(name, ("counter", help));
        let mut kinds: Vec<(&str, Duration)> = Vec::new();
        for pair in &of.pairs {
            match kinds.iter_mut().find(|(kind, _)| *kind == pair.kind) {
                Some((_, cpu)) => *cpu = cpu.saturating_add(pair.attempts.cpu),
                None => kinds.push((&pair.kind, pair.attempts.cpu)),
            }
        }
        for (kind, cpu) in kinds {
            self.sample(name, &[("kind", kind)], seconds(cpu));
        }
    }

    fn histogram(
        &mut self,
        of: &MetricsSnapshot,
        (name, help): (&str, &str),
        durations: impl Fn(&AttemptTotals) -> (&Histogram, Duration),
    ) {
        self.family(name, ("histogram", help));
        let bucket = format!("{name}_bucket");
        let (sum_name, count_name) = (format!("{name}_sum"), format!("{name}_count"));
        let limits: Vec<(Duration, String)> = (FIRST_BUCKET..=LAST_BUCKET)
            .map(|power| Duration::from_micros(1 << power))
            .map(|limit| (limit, seconds(limit).to_string()))
            .collect();
        for pair in &of.pairs {
            let (histogram, sum) = durations(&pair.attempts);
            let [queue, kind] = labels(pair);
            for (limit, le) in &limits {
                let below = histogram.count_below(*limit);
                self.sample(&bucket, &[queue, kind, ("le", le)], below);
            }
            let count = histogram.count();
            self.sample(&bucket, &[queue, kind, ("le", "+Inf")], count);
            self.sample(&sum_name, &[queue, kind], seconds(sum));
            self.sample(&count_name, &[queue, kind], count);
        }
    }
}

fn labels(pair: &PairTotals) -> [(&str, &str); 2] {
    [("queue", &pair.queue), ("kind", &pair.kind)]
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn since_epoch(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// A label's value: within quotes, on one line.
fn escape(text: &mut String, value: &str) {
    for char in value.chars() {
        match char {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            char => text.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_pair(pair: PairTotals) -> String {
        let snapshot = MetricsSnapshot {
            pairs: vec![pair],
            ..MetricsSnapshot::default()
        };
        snapshot.to_prometheus()
    }

    /// The values of all samples that begin so, in order.
    fn values(text: &str, start: &str) -> Vec<f64> {
        let lines = text.lines().filter(|line| line.starts_with(start));
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse().unwrap();
        lines.map(value).collect()
    }

    #[test]
    fn a_labels_value_cannot_end_its_quotes_or_its_line() {
        let text = with_pair(PairTotals {
            queue: "a\"} 1\nx\\".to_owned(),
            ..PairTotals::default()
        });
        let expected = r#"jobq_jobs_enqueued_total{queue="a\"} 1\nx\\",kind=""} 0"#;
        assert!(text.lines().any(|line| line == expected), "{text}");
    }

    #[test]
    fn each_way_to_end_is_a_sample_of_its_own() {
        let mut pair = PairTotals::default();
        for (outcome, attempts) in [(EventKind::Completed, 3), (EventKind::Recovered, 1)] {
            let totals = AttemptTotals {
                attempts,
                ..AttemptTotals::default()
            };
            pair.add(outcome, &totals);
        }
        let text = with_pair(pair);
        assert!(text.contains("outcome=\"completed\"} 3\n"), "{text}");
        assert!(text.contains("outcome=\"recovered\"} 1\n"), "{text}");
        assert!(text.contains("outcome=\"failed\"} 0\n"), "{text}");
    }

    proptest! {
        #[test]
        fn buckets_count_the_durations_that_do_not_exceed_them(
            us in prop::collection::vec(0..8_000_000_000_u64, 0..100)
        ) {
            let mut pair = PairTotals::default();
            for us in &us {
                pair.attempts.took.add(Duration::from_micros(*us));
            }
            let found = values(&with_pair(pair), "jobq_attempt_duration_seconds_bucket");
            let mut expected: Vec<f64> = (FIRST_BUCKET..=LAST_BUCKET)
                .map(|power| us.iter().filter(|us| **us < 1 << power).count() as f64)
                .collect();
            expected.push(us.len() as f64);
            prop_assert_eq!(found, expected);
        }
    }
}
