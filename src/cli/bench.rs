//! `jobq bench`: this machine's figures, each beside the same work in raw SQLite.

mod figures;
mod tidy;

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use jobq::bench::{
    Crowd, Life, Load, Scratch, Setup, Spread, crowd_of_connections, crowd_of_one_queue,
    life_of_floor, life_of_queue, start_latency,
};

use self::figures::Figures;
use self::tidy::Tidy;
use super::args;
use super::exit::{CliError, CliResult, Exit};
use super::session::Session;

/// Each pair is measured so often, one after the other; the median counts.
const ROUNDS: usize = 3;
/// Jobs enqueued in one transaction.
const CHUNK: usize = 1000;
/// Threads that enqueue one by one.
const THREADS: usize = 16;

/// With this many jobs the measurements that have no number of jobs take their usual time.
const USUAL_JOBS: f64 = 100_000.0;
const CROWD_TIME: Duration = Duration::from_millis(400);
const LATENCIES: f64 = 300.0;

pub(super) fn run(args: &args::Bench, session: &Session) -> CliResult {
    let jobs = usize::try_from(args.jobs).unwrap_or(usize::MAX);
    if jobs == 0 {
        return Err(CliError::usage("--jobs: at least one is needed"));
    }
    let scratch = Scratch::new_in(&nearest_folder(session.db_path())?)?;
    let tidy = Tidy::on_signals(scratch.path())?;
    let setup = Setup::new(scratch.path(), session.options(), session.durability());
    let bar = session.screen.bar(4 * ROUNDS as u64 + 2, "{bar:24} {msg}");
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
    one: Crowd,
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
        let (mut one_queue, mut connections) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            next("enqueue and drain");
            queue.push(life_of_queue(setup, load)?);
            next("the same in raw SQLite");
            floor.push(life_of_floor(setup, load)?);
            next("16 threads enqueue");
            one_queue.push(crowd_of_one_queue(setup, THREADS, time)?);
            next("16 connections enqueue");
            connections.push(crowd_of_connections(setup, THREADS, time)?);
        }
        next("enqueue one by one");
        let one = crowd_of_one_queue(setup, 1, time)?;
        next("start latency");
        let latency = start_latency(setup, (LATENCIES * share) as usize)?;
        Ok(Measured {
            queue,
            floor,
            one,
            one_queue,
            connections,
            latency,
        })
    }
}

#[cfg(test)]
mod tests {
    use jobq::{Durability, Queue};

    use super::*;

    #[test]
    fn it_measures_on_the_disk_of_the_database_and_makes_no_folder_for_that() {
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
