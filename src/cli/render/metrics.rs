//! How attempts went, by kind: what `jobq metrics` shows.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use jobq::api::json::{Time, json_fields, write_line};
use jobq::api::queue::CountsJson;
use jobq::api::text::bytes;
use jobq::api::time::{coarse, duration, millis};
use jobq::{AttemptTotals, Counts, EventKind, Histogram, Queue};
use serde::Serialize;

use crate::cli::exit::{CliError, CliResult};
use crate::cli::render::overview::counts_text;
use crate::cli::render::style::Look;
use crate::cli::render::table::{Cell, Column, Fit, aligned};
use crate::cli::render::text::for_tabs;
use crate::cli::render::{Format, Output};

const COLUMNS: [Column; 13] = [
    ("KIND", Fit::Name),
    ("ATTEMPTS", Fit::Number),
    ("DONE", Fit::Number),
    ("FAILED", Fit::Number),
    ("PER_SECOND", Fit::Extra),
    ("AVERAGE", Fit::Extra),
    ("P50", Fit::Number),
    ("P95", Fit::Number),
    ("P99", Fit::Number),
    ("WAIT_P50", Fit::Number),
    ("WAIT_P95", Fit::Number),
    ("CPU", Fit::Extra),
    ("MEMORY", Fit::Extra),
];

/// The place of a column that only a limited time has.
const PER_SECOND: usize = 4;

/// The attempts of a kind.
#[derive(Default)]
pub(crate) struct KindMetrics {
    totals: AttemptTotals,
    completed: u64,
    failed: u64,
    retried: u64,
    cancelled: u64,
    /// Their runners were lost.
    recovered: u64,
}

/// How attempts went, by kind, and the numbers of jobs by state.
pub(crate) struct MetricsPage {
    counts: Counts,
    /// None: since the file was created.
    since: Option<(Timestamp, Duration)>,
    now: Timestamp,
    kinds: Vec<(String, KindMetrics)>,
}

json_fields! {
    /// The names of these fields are a contract.
    MetricsJson(page: &'a MetricsPage) {
        since: page.since.map(|(at, _)| Time(at)),
        until: Time(page.now),
        counts: CountsJson(page.counts),
        kinds: page.kinds.iter().map(|(kind, of)| KindJson(kind, of, page)).collect::<Vec<_>>(),
    }
}

json_fields! {
    KindJson(kind: &'a str, of: &'a KindMetrics, page: &'a MetricsPage) {
        kind: kind,
        attempts: of.totals.attempts,
        completed: of.completed,
        failed: of.failed,
        retried: of.retried,
        cancelled: of.cancelled,
        recovered: of.recovered,
        per_second: page.per_second(of),
        run_ms: DurationsJson::new(&of.totals.took, of.totals.took_total),
        wait_ms: DurationsJson::new(&of.totals.waited, of.totals.waited_total),
        cpu_ms: millis(of.totals.cpu),
        max_rss_bytes: of.totals.max_rss_bytes,
    }
}

/// In milliseconds, to a microsecond.
#[derive(Serialize)]
struct DurationsJson {
    average: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

impl DurationsJson {
    fn new(durations: &Histogram, total: Duration) -> DurationsJson {
        let ms = |duration: Duration| duration.as_micros() as f64 / 1000.0;
        let quantile = |quantile| durations.quantile(quantile).map(ms);
        DurationsJson {
            average: average(durations, total).map(ms),
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
        }
    }
}

fn average(durations: &Histogram, total: Duration) -> Option<Duration> {
    let count = durations.count();
    (count > 0).then(|| Duration::from_secs_f64(total.as_secs_f64() / count as f64))
}

impl MetricsPage {
    pub(crate) fn read(
        queue: &Queue,
        (since, now): (Option<Duration>, Timestamp),
    ) -> CliResult<MetricsPage> {
        let since = match since {
            None => None,
            Some(span) => {
                let too_long = |_| CliError::usage("--since goes back too far");
                Some((now.checked_sub(span).map_err(too_long)?, span))
            }
        };
        let mut kinds: BTreeMap<String, KindMetrics> = BTreeMap::new();
        for record in queue.metrics_since(since.map(|(at, _)| at))? {
            let of = kinds.entry(record.kind).or_default();
            let attempts = record.totals.attempts;
            match record.outcome {
                EventKind::Completed => of.completed += attempts,
                EventKind::Failed => of.failed += attempts,
                EventKind::Retry => of.retried += attempts,
                EventKind::Cancelled => of.cancelled += attempts,
                EventKind::Recovered => of.recovered += attempts,
                _ => {}
            }
            of.totals.merge(&record.totals);
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, of)| std::cmp::Reverse(of.totals.attempts));
        Ok(MetricsPage {
            counts: queue.counts()?,
            since,
            now,
            kinds,
        })
    }

    /// Attempts per second over the time that was asked for.
    fn per_second(&self, of: &KindMetrics) -> Option<f64> {
        let (_, span) = self.since?;
        let rate = of.totals.attempts as f64 / span.as_secs_f64();
        Some((rate * 1000.0).round() / 1000.0).filter(|rate| rate.is_finite())
    }

    pub(crate) fn write(&self, output: &Output, out: &mut dyn Write) -> CliResult<()> {
        match output.format {
            Format::Json => write_line(out, &MetricsJson(self))?,
            Format::Tabs => self.write_tabs(out)?,
            Format::Table => self.write_page(output, out)?,
        }
        Ok(())
    }

    /// Each line begins with what it is about.
    fn write_tabs(&self, out: &mut dyn Write) -> CliResult<()> {
        for (state, jobs) in self.counts.iter() {
            writeln!(out, "jobs\t{state}\t{jobs}")?;
        }
        for row in self.rows() {
            let fields: Vec<_> = row.iter().map(|cell| for_tabs(cell.full())).collect();
            writeln!(out, "kind\t{}", fields.join("\t"))?;
        }
        Ok(())
    }

    fn write_page(&self, output: &Output, out: &mut dyn Write) -> CliResult<()> {
        writeln!(out, "{}", counts_text(output, &self.counts))?;
        let when = match self.since {
            None => "since the file was created".to_owned(),
            Some((_, span)) => format!("in the last {}", coarse(span)),
        };
        let mut columns = COLUMNS.to_vec();
        let mut rows = self.rows();
        if self.since.is_none() {
            columns.remove(PER_SECOND);
            rows.iter_mut().for_each(|row| drop(row.remove(PER_SECOND)));
        }
        let lines = aligned(output, &columns, rows);
        let said = match lines.is_empty() {
            true => format!("no attempt has ended {when}"),
            false => format!("attempts {when}"),
        };
        writeln!(out, "\n{}", output.paint(Look::Dim, said))?;
        for line in lines {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    fn rows(&self) -> Vec<Vec<Cell>> {
        let kinds = self.kinds.iter();
        kinds.map(|(kind, of)| self.row(kind, of)).collect()
    }

    fn row(&self, kind: &str, of: &KindMetrics) -> Vec<Cell> {
        let totals = &of.totals;
        let took = |quantile| time_cell(totals.took.quantile(quantile));
        let waited = |quantile| time_cell(totals.waited.quantile(quantile));
        let bad = |attempts: u64| match attempts {
            0 => Look::Plain,
            _ => Look::Bad,
        };
        vec![
            Cell::new(kind),
            Cell::new(totals.attempts),
            Cell::new(of.completed),
            Cell::new(of.failed).look(bad(of.failed)),
            Cell::maybe(self.per_second(of)),
            time_cell(average(&totals.took, totals.took_total)),
            took(0.5),
            took(0.95),
            took(0.99),
            waited(0.5),
            waited(0.95),
            time_cell(Some(totals.cpu).filter(|cpu| !cpu.is_zero())),
            match totals.max_rss_bytes {
                0 => Cell::new(""),
                rss => Cell::either(bytes(rss), rss.to_string()),
            },
        ]
    }
}

/// For a pipe, in milliseconds.
fn time_cell(time: Option<Duration>) -> Cell {
    time.map_or_else(
        || Cell::new(""),
        |time| Cell::either(fine(time), (time.as_micros() as f64 / 1000.0).to_string()),
    )
}

/// Short times in tenths of a millisecond.
fn fine(time: Duration) -> String {
    match time.as_micros() {
        us @ 0..10_000 => format!("{:.1}ms", us as f64 / 1000.0),
        _ => duration(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_are_shown_in_tenths_of_a_millisecond() {
        let shown = [40, 9_960, 10_000, 2_500_000].map(|us| fine(Duration::from_micros(us)));
        assert_eq!(shown, ["0.0ms", "10.0ms", "10ms", "2.5s"]);
    }

    #[test]
    fn the_average_of_no_durations_is_unknown() {
        assert_eq!(average(&Histogram::default(), Duration::ZERO), None);
        let mut durations = Histogram::default();
        durations.add(Duration::from_secs(1));
        durations.add(Duration::from_secs(3));
        let total = Duration::from_secs(4);
        assert_eq!(average(&durations, total), Some(Duration::from_secs(2)));
    }
}
