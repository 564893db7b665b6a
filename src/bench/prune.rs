//! The cost of removing old jobs, to whoever removes them and to others that write meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::bench::figures::Spread;
use crate::bench::setup::{PAYLOAD_BYTES, Setup, noop, payload};
use crate::store::steps;
use crate::{Context, Error, Handler, Level, NewJob, Outcome, Queue, Result, Until, clock};

/// Jobs of different kinds are removed apart, and lie between each other.
const KINDS: [&str; 5] = ["send", "resize", "fetch", "index", "bill"];
/// Each so many jobs have a large payload, and each so many fail once.
const LARGE_EVERY: usize = 50;
const RETRY_EVERY: usize = 10;
const LARGE_BYTES: usize = 20_000;
/// Entries of the log that an attempt writes.
const LINES: usize = 3;

/// The cost of removing a number of final jobs.
#[derive(Clone, Debug)]
pub struct PruneCost {
    /// For all of them, until their space was given back.
    pub took: Duration,
    /// How long each transaction kept others from writing.
    pub steps: Spread,
    /// How long another connection waited for each job that it enqueued meanwhile.
    pub others: Spread,
    /// The size of the file and its log before.
    pub before_bytes: u64,
    /// And after.
    pub after_bytes: u64,
}

/// Fails some jobs once, and logs: the lines of jobs that run at once lie between each other in time.
struct Talker;

impl Handler for Talker {
    fn run(&self, ctx: &Context) -> Outcome {
        for line in 0..LINES {
            ctx.log(Level::Info, format!("line {line} of this attempt"));
        }
        match ctx.attempt() == 1 && ctx.job_id().0 % RETRY_EVERY as i64 == 0 {
            true => Outcome::Retry {
                error: "not yet".to_owned(),
                after: Some(Duration::ZERO),
            },
            false => Outcome::Done(None),
        }
    }
}

/// Runs so many jobs and removes them all, as [`Queue::prune`] does.
///
/// # Errors
/// The file cannot be written.
pub fn prune_cost(setup: &Setup, jobs: usize) -> Result<PruneCost> {
    let scratch = setup.scratch()?;
    let path = scratch.path().join("prune.db");
    let queue = setup.open(&path)?;
    run_jobs(&queue, jobs)?;
    steps::checkpoint(&queue.store)?;
    let before_bytes = bytes(&path);
    let other = setup.open(&path)?;
    let is_over = AtomicBool::new(false);
    let began = clock::instant();
    let (removed, others) = thread::scope(|scope| {
        let others = scope.spawn(|| enqueue_until(&other, &is_over));
        let removed = steps::of_prune(&queue.store);
        is_over.store(true, Ordering::Release);
        (removed, others.join())
    });
    let (removed, steps) = removed?;
    let took = began.elapsed();
    let others = others.map_err(|_| Error::wrong_state("the other writer panicked"))??;
    if removed != jobs as u64 {
        return Err(Error::wrong_state(format!(
            "{removed} of {jobs} jobs were removed"
        )));
    }
    steps::checkpoint(&queue.store)?;
    Ok(PruneCost {
        took,
        steps: Spread::new(steps),
        others: Spread::new(others),
        before_bytes,
        after_bytes: bytes(&path),
    })
}

fn run_jobs(queue: &Queue, jobs: usize) -> Result<()> {
    const CHUNK: usize = 1000;
    let large = payload(LARGE_BYTES);
    let job = |at: usize| {
        let text = match at % LARGE_EVERY {
            0 => large.clone(),
            _ => payload(PAYLOAD_BYTES),
        };
        NewJob::new(KINDS[at % KINDS.len()]).payload_json(text)
    };
    for from in (0..jobs).step_by(CHUNK) {
        queue.enqueue_many((from..jobs.min(from + CHUNK)).map(job))?;
    }
    let runner = queue.runner().until(Until::Drained);
    let runner = KINDS
        .iter()
        .fold(runner, |runner, kind| runner.kind(*kind, Talker));
    let ended = runner.start()?.wait()?;
    match ended.stats.completed == jobs as u64 {
        true => Ok(()),
        false => Err(Error::wrong_state("not all jobs were completed")),
    }
}

/// One job at a time, with a pause after each.
fn enqueue_until(queue: &Queue, is_over: &AtomicBool) -> Result<Vec<Duration>> {
    const PAUSE: Duration = Duration::from_millis(2);
    let job = noop(PAYLOAD_BYTES);
    let mut waits = Vec::new();
    while !is_over.load(Ordering::Acquire) {
        let began = clock::instant();
        queue.enqueue(job.clone())?;
        waits.push(began.elapsed());
        thread::sleep(PAUSE);
    }
    Ok(waits)
}

fn bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Durability;

    #[test]
    fn pruning_is_measured_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::new(folder.path(), Queue::options(), Durability::Normal);
        let cost = prune_cost(&setup, 500).unwrap();
        assert!(cost.steps.worst() > Duration::ZERO && cost.others.worst() > Duration::ZERO);
        assert!(cost.took >= cost.steps.worst());
        assert!(cost.before_bytes > cost.after_bytes && cost.after_bytes > 0);
    }
}
