//! What `jobq bench` shows.

use jobq::Durability;
use jobq::bench::{Crowd, Life, median, per_s, sqlite_version, thousands};
use serde::Serialize;

use super::{CHUNK, Measured};
use crate::cli::exit::CliResult;
use crate::cli::output::Output;
use crate::cli::output::json::write_line;
use crate::cli::output::table::{Cell, Column, Fit, Rows};

/// The names are a contract; they say their units.
#[derive(Serialize)]
pub(super) struct Figures {
    jobq: &'static str,
    sqlite: &'static str,
    durability: &'static str,
    jobs: usize,
    drain_per_s: f64,
    drain_floor_per_s: f64,
    enqueue_bulk_per_s: f64,
    enqueue_bulk_floor_per_s: f64,
    enqueue_one_per_s: f64,
    enqueue_16_threads_per_s: f64,
    enqueue_16_connections_per_s: f64,
    enqueue_16_threads_worst_ms: f64,
    enqueue_16_connections_worst_ms: f64,
    start_latency_p50_us: f64,
    start_latency_p99_us: f64,
    bytes_written_per_job: Option<f64>,
    bytes_written_per_job_floor: Option<f64>,
}

impl Figures {
    pub(super) fn new(durability: Durability, jobs: usize, measured: &Measured) -> Figures {
        let lives = |lives: &[Life], figure: &dyn Fn(&Life) -> f64| {
            tenths(median(&lives.iter().map(figure).collect::<Vec<_>>()))
        };
        let crowds = |crowds: &[Crowd]| {
            tenths(median(
                &crowds.iter().map(|crowd| crowd.per_s).collect::<Vec<_>>(),
            ))
        };
        let worst_ms = |crowds: &[Crowd]| {
            let worst = crowds.iter().map(|crowd| crowd.worst).max();
            thousandths(worst.unwrap_or_default().as_secs_f64() * 1e3)
        };
        let drain = |life: &Life| per_s(jobs, life.drain);
        let enqueue = |life: &Life| per_s(jobs, life.enqueue);
        let latency_us = |percent| tenths(measured.latency.percentile(percent).as_secs_f64() * 1e6);
        Figures {
            jobq: env!("CARGO_PKG_VERSION"),
            sqlite: sqlite_version(),
            durability: match durability {
                Durability::Full => "full",
                Durability::Normal => "normal",
            },
            jobs,
            drain_per_s: lives(&measured.queue, &drain),
            drain_floor_per_s: lives(&measured.floor, &drain),
            enqueue_bulk_per_s: lives(&measured.queue, &enqueue),
            enqueue_bulk_floor_per_s: lives(&measured.floor, &enqueue),
            enqueue_one_per_s: tenths(measured.one.per_s),
            enqueue_16_threads_per_s: crowds(&measured.one_queue),
            enqueue_16_connections_per_s: crowds(&measured.connections),
            enqueue_16_threads_worst_ms: worst_ms(&measured.one_queue),
            enqueue_16_connections_worst_ms: worst_ms(&measured.connections),
            start_latency_p50_us: latency_us(50.0),
            start_latency_p99_us: latency_us(99.0),
            bytes_written_per_job: written_per_job(&measured.queue, jobs),
            bytes_written_per_job_floor: written_per_job(&measured.floor, jobs),
        }
    }

    pub(super) fn show(&self, output: &Output) -> CliResult<()> {
        if output.is_json() {
            let mut out = output.stdout();
            write_line(&mut out, self)?;
            return Ok(std::io::Write::flush(&mut out)?);
        }
        let mut rows = Rows::new(output, &COLUMNS);
        for row in self.rows() {
            rows.push(row.cells())?;
        }
        Ok(rows.finish()?)
    }

    /// Under which conditions they were taken.
    pub(super) fn conditions(&self) -> String {
        format!(
            "jobq {}, SQLite {}, durability {}, {} jobs of 200 bytes; medians",
            self.jobq,
            self.sqlite,
            self.durability,
            thousands(self.jobs as f64)
        )
    }

    fn rows(&self) -> Vec<Row> {
        let with_floor = |what: &str, unit, value, floor| Row {
            what: what.to_owned(),
            unit,
            value: Some(value),
            floor: Some(floor),
        };
        let alone = |what: &str, unit, value| Row {
            what: what.to_owned(),
            unit,
            value: Some(value),
            floor: None,
        };
        let bulk = format!("enqueue, {} in a transaction", thousands(CHUNK as f64));
        vec![
            with_floor(
                "drain, five workers",
                "jobs/s",
                self.drain_per_s,
                self.drain_floor_per_s,
            ),
            with_floor(
                &bulk,
                "jobs/s",
                self.enqueue_bulk_per_s,
                self.enqueue_bulk_floor_per_s,
            ),
            alone("enqueue one by one", "jobs/s", self.enqueue_one_per_s),
            with_floor(
                "enqueue, 16 threads at once",
                "jobs/s",
                self.enqueue_16_threads_per_s,
                self.enqueue_16_connections_per_s,
            ),
            with_floor(
                "its longest call",
                "ms",
                self.enqueue_16_threads_worst_ms,
                self.enqueue_16_connections_worst_ms,
            ),
            alone("enqueue to start, p50", "µs", self.start_latency_p50_us),
            alone("enqueue to start, p99", "µs", self.start_latency_p99_us),
            Row {
                what: "written for each job".to_owned(),
                unit: "bytes",
                value: self.bytes_written_per_job,
                floor: self.bytes_written_per_job_floor,
            },
        ]
    }
}

const COLUMNS: [Column; 5] = [
    ("WHAT", Fit::Whole),
    ("JOBQ", Fit::Number),
    ("RAW SQLITE", Fit::Number),
    ("", Fit::Whole),
    ("RATIO", Fit::Number),
];

/// A line of the table.
struct Row {
    what: String,
    unit: &'static str,
    value: Option<f64>,
    floor: Option<f64>,
}

impl Row {
    fn cells(self) -> Vec<Cell> {
        let number = |value: Option<f64>| match value {
            None => Cell::new(""),
            Some(value) if value < 100.0 => Cell::either(format!("{value:.1}"), value.to_string()),
            Some(value) => Cell::either(thousands(value), value.to_string()),
        };
        let ratio = self
            .value
            .zip(self.floor)
            .map(|(value, floor)| value / floor);
        vec![
            Cell::new(&self.what),
            number(self.value),
            number(self.floor),
            Cell::new(self.unit),
            Cell::maybe(ratio.map(|ratio| format!("{ratio:.2}"))),
        ]
    }
}

/// None where the kernel does not say it, or counts nothing for this file system.
fn written_per_job(lives: &[Life], jobs: usize) -> Option<f64> {
    let written: Vec<f64> = lives
        .iter()
        .filter_map(|life| life.written_bytes)
        .filter(|bytes| *bytes > 0)
        .map(|bytes| bytes as f64 / jobs as f64)
        .collect();
    (!written.is_empty()).then(|| tenths(median(&written)))
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
