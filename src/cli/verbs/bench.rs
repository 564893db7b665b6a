//! `jobq bench`: this machine's figures, each beside the same work in raw SQLite.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use jobq::Durability;
use jobq::api::json::write_line;
use jobq::bench::{
    Crowd, Life, Load, OneByOne, Scratch, Setup, Spread, crowd_of_connections, crowd_of_one_queue,
    life_of_floor, life_of_queue, median, one_by_one_of_floor, one_by_one_of_queue, per_s,
    sqlite_version, start_latency, thousands,
};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::render::Output;
use crate::cli::render::table::{Cell, Column, Fit, Rows};
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// How many jobs
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) jobs: u64,
}

/// Each pair is measured so often, one after the other; the median counts.
const ROUNDS: usize = 3;
/// Jobs enqueued in one transaction.
const CHUNK: usize = 100;
const BULK: &str = "enqueue, 100 in a transaction";
/// Threads that enqueue one by one.
const THREADS: usize = 16;

/// With this many jobs the measurements that have no number of jobs take their usual time.
const USUAL_JOBS: f64 = 100_000.0;
const CROWD_TIME: Duration = Duration::from_millis(400);
const LATENCIES: f64 = 300.0;
const ONE_BY_ONE: f64 = 2000.0;

pub(crate) fn run(args: &BenchArgs, session: &Session) -> CliResult {
    let jobs = usize::try_from(args.jobs).unwrap_or(usize::MAX);
    if jobs == 0 {
        return Err(CliError::usage("--jobs: at least one is needed"));
    }
    let scratch = Scratch::new_in(&nearest_folder(session.db_path())?)?;
    let tidy = Tidy::on_signals(scratch.path())?;
    let setup = Setup::new(scratch.path(), session.options(), session.durability());
    let bar = session.screen.bar(6 * ROUNDS as u64 + 1, "{bar:24} {msg}");
    let measured = Measured::take(&setup, jobs, &bar);
    bar.finish_and_clear();
    drop(scratch);
    match (measured, tidy.exit()) {
        (_, Some(exit)) => Ok(exit),
        (Err(error), None) => Err(error.into()),
        (Ok(measured), None) => {
            let figures = Figures::new(session.durability(), jobs, &measured);
            if !session.output.is_json() {
                session.screen.say(figures.conditions());
            }
            figures.show(&session.output)?;
            Ok(Exit::Done)
        }
    }
}

/// The folder of the database, or what is there of its path: it is on the same disk.
fn nearest_folder(db: &Path) -> CliResult<PathBuf> {
    let db = std::path::absolute(db).map_err(|error| CliError::io(db.display(), &error))?;
    let there = db.ancestors().skip(1).find(|folder| folder.is_dir());
    Ok(there.unwrap_or(Path::new("/")).to_owned())
}

/// What was measured: jobq and raw SQLite in turns.
struct Measured {
    queue: Vec<Life>,
    floor: Vec<Life>,
    one: Vec<OneByOne>,
    one_floor: Vec<OneByOne>,
    one_jobs: usize,
    one_queue: Vec<Crowd>,
    connections: Vec<Crowd>,
    latency: Spread,
}

impl Measured {
    fn take(setup: &Setup, jobs: usize, bar: &ProgressBar) -> jobq::Result<Measured> {
        let load = Load { jobs, chunk: CHUNK };
        let share = (jobs as f64 / USUAL_JOBS).clamp(0.05, 1.0);
        let time = CROWD_TIME.mul_f64(share);
        let next = |what: &'static str| {
            bar.set_message(what);
            bar.inc(1);
        };
        let (mut queue, mut floor) = (Vec::new(), Vec::new());
        let (mut one, mut one_floor) = (Vec::new(), Vec::new());
        let one_jobs = (ONE_BY_ONE * share) as usize;
        let (mut one_queue, mut connections) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            next("enqueue and drain");
            queue.push(life_of_queue(setup, load)?);
            next("the same in raw SQLite");
            floor.push(life_of_floor(setup, load)?);
            next("enqueue one by one");
            one.push(one_by_one_of_queue(setup, one_jobs)?);
            next("the same in raw SQLite");
            one_floor.push(one_by_one_of_floor(setup, one_jobs)?);
            next("16 threads enqueue");
            one_queue.push(crowd_of_one_queue(setup, THREADS, time)?);
            next("16 connections enqueue");
            connections.push(crowd_of_connections(setup, THREADS, time)?);
        }
        next("start latency");
        let latency = start_latency(setup, (LATENCIES * share) as usize)?;
        Ok(Measured {
            queue,
            floor,
            one,
            one_floor,
            one_jobs,
            one_queue,
            connections,
            latency,
        })
    }
}

/// The names are a contract; they say their units.
#[derive(Serialize)]
struct Figures {
    jobq: &'static str,
    sqlite: &'static str,
    durability: &'static str,
    jobs: usize,
    drain_per_s: f64,
    drain_floor_per_s: f64,
    enqueue_bulk_per_s: f64,
    enqueue_bulk_floor_per_s: f64,
    enqueue_one_per_s: f64,
    enqueue_one_floor_per_s: f64,
    enqueue_16_threads_per_s: f64,
    enqueue_16_connections_per_s: f64,
    enqueue_16_threads_worst_ms: f64,
    enqueue_16_connections_worst_ms: f64,
    start_latency_p50_us: f64,
    start_latency_p99_us: f64,
    bytes_written_per_enqueue: Option<f64>,
    bytes_written_per_enqueue_floor: Option<f64>,
    bytes_written_per_job: Option<f64>,
    bytes_written_per_job_floor: Option<f64>,
}

impl Figures {
    fn new(durability: Durability, jobs: usize, measured: &Measured) -> Figures {
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
        let ones = |ones: &[OneByOne]| {
            let ones = ones.iter().map(|one| per_s(measured.one_jobs, one.took));
            tenths(median(&ones.collect::<Vec<_>>()))
        };
        let ones_written = |ones: &[OneByOne]| {
            written(ones.iter().map(|one| one.written_bytes), measured.one_jobs)
        };
        let lives_written =
            |lives: &[Life]| written(lives.iter().map(|life| life.written_bytes), jobs);
        let drain = |life: &Life| per_s(jobs, life.drain);
        let enqueue = |life: &Life| per_s(jobs, life.enqueue);
        let latency_us = |percent| tenths(measured.latency.percentile(percent).as_secs_f64() * 1e6);
        Figures {
            jobq: env!("CARGO_PKG_VERSION"),
            sqlite: sqlite_version(),
            durability: durability.as_str(),
            jobs,
            drain_per_s: lives(&measured.queue, &drain),
            drain_floor_per_s: lives(&measured.floor, &drain),
            enqueue_bulk_per_s: lives(&measured.queue, &enqueue),
            enqueue_bulk_floor_per_s: lives(&measured.floor, &enqueue),
            enqueue_one_per_s: ones(&measured.one),
            enqueue_one_floor_per_s: ones(&measured.one_floor),
            enqueue_16_threads_per_s: crowds(&measured.one_queue),
            enqueue_16_connections_per_s: crowds(&measured.connections),
            enqueue_16_threads_worst_ms: worst_ms(&measured.one_queue),
            enqueue_16_connections_worst_ms: worst_ms(&measured.connections),
            start_latency_p50_us: latency_us(50.0),
            start_latency_p99_us: latency_us(99.0),
            bytes_written_per_enqueue: ones_written(&measured.one),
            bytes_written_per_enqueue_floor: ones_written(&measured.one_floor),
            bytes_written_per_job: lives_written(&measured.queue),
            bytes_written_per_job_floor: lives_written(&measured.floor),
        }
    }

    fn show(&self, output: &Output) -> CliResult<()> {
        if output.is_json() {
            let mut out = output.stdout();
            write_line(&mut out, self)?;
            return Ok(std::io::Write::flush(&mut out)?);
        }
        let mut rows = Rows::new(output, &COLUMNS);
        for row in self.rows() {
            rows.push_row(cells(row))?;
        }
        Ok(rows.finish()?)
    }

    /// Under which conditions they were taken.
    fn conditions(&self) -> String {
        format!(
            "jobq {}, SQLite {}, durability {}, {} jobs of 200 bytes; medians",
            self.jobq,
            self.sqlite,
            self.durability,
            thousands(self.jobs as f64)
        )
    }

    fn rows(&self) -> [Row<'static>; 9] {
        let both = |value, floor| (Some(value), Some(floor));
        [
            (
                "drain, five workers",
                "jobs/s",
                both(self.drain_per_s, self.drain_floor_per_s),
            ),
            (
                BULK,
                "jobs/s",
                both(self.enqueue_bulk_per_s, self.enqueue_bulk_floor_per_s),
            ),
            (
                "enqueue one by one",
                "jobs/s",
                both(self.enqueue_one_per_s, self.enqueue_one_floor_per_s),
            ),
            (
                "enqueue, 16 threads at once",
                "jobs/s",
                both(
                    self.enqueue_16_threads_per_s,
                    self.enqueue_16_connections_per_s,
                ),
            ),
            (
                "its longest call",
                "ms",
                both(
                    self.enqueue_16_threads_worst_ms,
                    self.enqueue_16_connections_worst_ms,
                ),
            ),
            (
                "enqueue to start, p50",
                "µs",
                (Some(self.start_latency_p50_us), None),
            ),
            (
                "enqueue to start, p99",
                "µs",
                (Some(self.start_latency_p99_us), None),
            ),
            (
                "written to enqueue one",
                "bytes",
                (
                    self.bytes_written_per_enqueue,
                    self.bytes_written_per_enqueue_floor,
                ),
            ),
            (
                "written in a life in bulk",
                "bytes",
                (self.bytes_written_per_job, self.bytes_written_per_job_floor),
            ),
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

/// A line of the table: what, its unit, and the figures of jobq and of raw SQLite.
type Row<'a> = (&'a str, &'a str, (Option<f64>, Option<f64>));

fn cells((what, unit, (value, floor)): Row<'_>) -> Vec<Cell> {
    let number = |value: Option<f64>| match value {
        None => Cell::new(""),
        Some(value) if value < 100.0 => Cell::either(format!("{value:.1}"), value.to_string()),
        Some(value) => Cell::either(thousands(value), value.to_string()),
    };
    let ratio = value.zip(floor).map(|(value, floor)| value / floor);
    vec![
        Cell::new(what),
        number(value),
        number(floor),
        Cell::new(unit),
        Cell::maybe(ratio.map(|ratio| format!("{ratio:.2}"))),
    ]
}

/// The median for each job; none where the kernel does not say it.
fn written(bytes: impl Iterator<Item = Option<u64>>, jobs: usize) -> Option<f64> {
    let written: Vec<f64> = bytes
        .flatten()
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

/// What a shell reports of a process that SIGTERM has ended.
const TERMINATED: u8 = 128 + 15;

/// Ctrl-C and SIGTERM: removes the folder and ends the process.
struct Tidy {
    /// The exit code for the signal; zero where none has come.
    code: Arc<AtomicUsize>,
}

impl Tidy {
    fn on_signals(folder: &Path) -> io::Result<Tidy> {
        let (mut bell, ringer) = UnixStream::pair()?;
        let tidy = Tidy {
            code: Arc::default(),
        };
        let codes = [(SIGINT, Exit::Interrupted.code()), (SIGTERM, TERMINATED)];
        for (signal, code) in codes {
            // In this order: the code is set before the reader of the pipe is woken.
            flag::register_usize(signal, Arc::clone(&tidy.code), code.into())?;
            low_level::pipe::register(signal, ringer.try_clone()?)?;
        }
        let (folder, code) = (folder.to_owned(), Arc::clone(&tidy.code));
        thread::Builder::new()
            .name("jobq-signals".to_owned())
            .spawn(move || {
                if bell.read_exact(&mut [0]).is_ok() {
                    Scratch::remove(&folder);
                    // A measurement may take long and has nothing to save.
                    std::process::exit(i32::from(exit_of(&code).map_or(0, Exit::code)));
                }
            })?;
        Ok(tidy)
    }

    /// The exit code where a signal has come; the measurements are discarded.
    fn exit(&self) -> Option<Exit> {
        exit_of(&self.code)
    }
}

fn exit_of(code: &AtomicUsize) -> Option<Exit> {
    match u8::try_from(code.load(Ordering::SeqCst)) {
        Ok(0) | Err(_) => None,
        Ok(code) if code == Exit::Interrupted.code() => Some(Exit::Interrupted),
        Ok(code) => Some(Exit::Code(code)),
    }
}

#[cfg(test)]
mod tests {
    use jobq::{Durability, Queue};

    use super::*;

    #[test]
    fn bench_uses_the_databases_disk_and_makes_no_folder_there() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().to_owned();
        assert_eq!(nearest_folder(&there.join("jobs.db")).unwrap(), there);
        assert_eq!(nearest_folder(&there.join("a/b/jobs.db")).unwrap(), there);
        assert!(nearest_folder(Path::new("jobs.db")).unwrap().is_absolute());
    }

    #[test]
    fn the_figures_have_the_names_of_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::new(folder.path(), Queue::options(), Durability::Normal);
        let measured = Measured::take(&setup, 40, &ProgressBar::hidden()).unwrap();
        let figures = Figures::new(Durability::Normal, 40, &measured);
        let json = serde_json::to_value(figures).unwrap();
        assert_eq!(
            (&json["durability"], &json["jobs"]),
            (&"normal".into(), &40.into())
        );
        for name in [
            "enqueue_one_per_s",
            "enqueue_one_floor_per_s",
            "enqueue_bulk_per_s",
            "enqueue_bulk_floor_per_s",
            "drain_per_s",
            "drain_floor_per_s",
            "start_latency_p50_us",
            "start_latency_p99_us",
            "enqueue_16_threads_per_s",
            "enqueue_16_connections_per_s",
        ] {
            assert!(
                json[name].as_f64().is_some_and(|value| value > 0.0),
                "{name}: {json}"
            );
        }
        // Not every kernel and file system says it; then it is null, and never absent.
        for name in ["bytes_written_per_job", "bytes_written_per_job_floor"] {
            assert!(json.get(name).is_some(), "{name}: {json}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
