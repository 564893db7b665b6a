//! A job's whole life in bulk: enqueued many at a time, then drained. And jobs enqueued one by one.

use std::time::Duration;

use crate::bench::floor::Floor;
use crate::bench::setup::{KIND, Noop, PAYLOAD_BYTES, Setup, noop, payload, written_bytes};
use crate::{Error, Queue, Result, Until, clock};

/// How many jobs, and how they are enqueued.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// In all.
    pub jobs: usize,
    /// Jobs enqueued in one transaction.
    pub chunk: usize,
}

/// The cost of a number of jobs from enqueue to end.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// To enqueue them all.
    pub enqueue: Duration,
    /// To claim, run and finish them all.
    pub drain: Duration,
    /// What was written to files meanwhile, where the kernel says it.
    pub written_bytes: Option<u64>,
}

/// Enqueues and drains with jobq: five workers, a handler that does nothing.
///
/// # Errors
/// The file cannot be written.
pub fn life_of_queue(setup: &Setup, load: Load) -> Result<Life> {
    let scratch = setup.scratch()?;
    let queue = setup.open(&scratch.path().join("queue.db"))?;
    let written = written_bytes();
    let enqueue = enqueue(&queue, load)?;
    let drain = drain(&queue, load.jobs)?;
    // The log is moved into the file when it is closed: that belongs to what is written.
    drop(queue);
    Ok(Life {
        enqueue,
        drain,
        written_bytes: since(written),
    })
}

/// The same inserts and updates in a plain loop over raw SQLite.
///
/// # Errors
/// The file cannot be written.
pub fn life_of_floor(setup: &Setup, load: Load) -> Result<Life> {
    let scratch = setup.scratch()?;
    let floor = Floor::create(&scratch.path().join("floor.db"), setup.durability)?;
    let written = written_bytes();
    let enqueue = floor.enqueue(load.jobs, load.chunk, &payload(PAYLOAD_BYTES))?;
    let drain = floor.drain()?;
    drop(floor);
    Ok(Life {
        enqueue,
        drain,
        written_bytes: since(written),
    })
}

/// The cost of jobs enqueued one by one by one thread, each in a transaction of its own.
#[derive(Clone, Copy, Debug)]
pub struct OneByOne {
    /// For all of them.
    pub took: Duration,
    /// What was written to files meanwhile, where the kernel says it.
    pub written_bytes: Option<u64>,
}

impl OneByOne {
    fn of(jobs: usize, mut enqueue: impl FnMut() -> Result<()>) -> Result<OneByOne> {
        let written = written_bytes();
        let began = clock::instant();
        for _ in 0..jobs {
            enqueue()?;
        }
        Ok(OneByOne {
            took: began.elapsed(),
            written_bytes: since(written),
        })
    }
}

/// With jobq.
///
/// # Errors
/// The file cannot be written.
pub fn one_by_one_of_queue(setup: &Setup, jobs: usize) -> Result<OneByOne> {
    let scratch = setup.scratch()?;
    let queue = setup.open(&scratch.path().join("queue.db"))?;
    let job = noop(PAYLOAD_BYTES);
    OneByOne::of(jobs, || queue.enqueue(job.clone()).map(|_| ()))
}

/// The same inserts in a plain loop over raw SQLite.
///
/// # Errors
/// The file cannot be written.
pub fn one_by_one_of_floor(setup: &Setup, jobs: usize) -> Result<OneByOne> {
    let scratch = setup.scratch()?;
    let floor = Floor::create(&scratch.path().join("floor.db"), setup.durability)?;
    let text = payload(PAYLOAD_BYTES);
    OneByOne::of(jobs, || floor.enqueue_one(&text))
}

/// Drains jobs that do nothing; from before the runner's start until after its end.
///
/// # Errors
/// The file cannot be written, or not all of them were completed.
pub fn drain(queue: &Queue, jobs: usize) -> Result<Duration> {
    let runner = queue.runner().kind(KIND, Noop).until(Until::Drained);
    let began = clock::instant();
    let ended = runner.start()?.wait()?;
    let took = began.elapsed();
    if ended.stats.completed == jobs as u64 {
        Ok(took)
    } else {
        Err(Error::wrong_state(format!(
            "{} of {jobs} jobs were completed",
            ended.stats.completed
        )))
    }
}

/// Only the calls count: making the jobs is the application's.
fn enqueue(queue: &Queue, load: Load) -> Result<Duration> {
    let job = noop(PAYLOAD_BYTES);
    let mut took = Duration::ZERO;
    let mut left = load.jobs;
    while left > 0 {
        let jobs = vec![job.clone(); load.chunk.min(left)];
        left -= jobs.len();
        let began = clock::instant();
        queue.enqueue_many(jobs)?;
        took += began.elapsed();
    }
    Ok(took)
}

fn since(before: Option<u64>) -> Option<u64> {
    Some(written_bytes()?.saturating_sub(before?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Durability, State};

    #[test]
    fn all_jobs_live_to_their_end_in_both() {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::new(folder.path(), Queue::options(), Durability::Normal);
        let load = Load {
            jobs: 700,
            chunk: 300,
        };
        for life in [life_of_queue, life_of_floor] {
            let life = life(&setup, load).unwrap();
            assert!(life.enqueue > Duration::ZERO && life.drain > Duration::ZERO);
        }
        for one_by_one in [one_by_one_of_queue, one_by_one_of_floor] {
            assert!(one_by_one(&setup, 5).unwrap().took > Duration::ZERO);
        }
        let queue = Queue::open(folder.path().join("kept.db")).unwrap();
        enqueue(&queue, load).unwrap();
        assert!(drain(&queue, load.jobs + 1).is_err(), "one is missing");
        assert_eq!(queue.counts().unwrap().get(State::Completed), 700);
    }
}
