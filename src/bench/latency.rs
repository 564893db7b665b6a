//! From just before the call of enqueue to the first line of the handler.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::bench::figures::Spread;
use crate::bench::setup::Setup;
use crate::error::Kind;
use crate::{Context, Error, Handler, NewJob, Outcome, Queue, Result, Runner, clock};

const KIND: &str = "stamped";

/// The first jobs find cold caches, here and in the kernel.
const WARM_UP: usize = 10;
/// Between two jobs, so that the runner sleeps when the next one comes.
const PAUSE: Duration = Duration::from_millis(3);
/// A job that has not begun by then never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// A runner that tells of each job how long after its enqueuing it began.
pub struct Listener {
    runner: Runner,
    heard: Receiver<Duration>,
}

struct Stopwatch(Sender<Duration>);

impl Handler for Stopwatch {
    fn run(&self, ctx: &Context) -> Outcome {
        let now_ns = clock::monotonic_ns();
        let sent_ns: i64 = ctx.payload().parse().unwrap_or(now_ns);
        // Whoever no longer listens has gone.
        let _ = self.0.send(clock::nanos(now_ns - sent_ns));
        Outcome::Done(None)
    }
}

impl Listener {
    /// Starts a runner with five workers.
    ///
    /// # Errors
    /// As [`RunnerBuilder::start`](crate::RunnerBuilder::start).
    pub fn start(queue: &Queue) -> Result<Listener> {
        let (tell, heard) = unbounded();
        let runner = queue.runner().kind(KIND, Stopwatch(tell)).start()?;
        Ok(Listener { runner, heard })
    }

    /// The latencies of a number of jobs of [`enqueue_stamped`], from any process.
    ///
    /// # Errors
    /// They did not begin.
    pub fn hear(self, samples: usize) -> Result<Spread> {
        let mut heard = Vec::with_capacity(samples);
        for sample in 0..WARM_UP + samples {
            let latency = self.next()?;
            if sample >= WARM_UP {
                heard.push(latency);
            }
        }
        self.runner.stop()?;
        Ok(Spread::new(heard))
    }

    fn next(&self) -> Result<Duration> {
        self.heard
            .recv_timeout(PATIENCE)
            .map_err(|_| Error::new(Kind::TimedOut, "a job that was enqueued did not begin"))
    }
}

/// Enqueues jobs for a [`Listener`] in another process, with a pause before each.
///
/// # Errors
/// The file cannot be written.
pub fn enqueue_stamped(queue: &Queue, samples: usize) -> Result<()> {
    for _ in 0..WARM_UP + samples {
        thread::sleep(PAUSE);
        queue.enqueue(stamped())?;
    }
    Ok(())
}

/// The latencies of jobs within one process, each enqueued when the one before has begun and
/// the runner sleeps.
///
/// # Errors
/// The file cannot be written.
pub fn start_latency(setup: &Setup, samples: usize) -> Result<Spread> {
    let scratch = setup.scratch()?;
    let queue = setup.open(&scratch.path().join("queue.db"))?;
    let listener = Listener::start(&queue)?;
    let mut heard = Vec::with_capacity(samples);
    for sample in 0..WARM_UP + samples {
        thread::sleep(PAUSE);
        queue.enqueue(stamped())?;
        let latency = listener.next()?;
        if sample >= WARM_UP {
            heard.push(latency);
        }
    }
    listener.runner.stop()?;
    Ok(Spread::new(heard))
}

fn stamped() -> NewJob {
    NewJob::new(KIND).payload(&clock::monotonic_ns())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Durability;

    #[test]
    fn a_job_begins_after_it_was_enqueued_whoever_enqueued_it() {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::new(folder.path(), Queue::options(), Durability::Normal);
        let own = start_latency(&setup, 3).unwrap();
        assert!(own.percentile(1.0) > Duration::ZERO && own.worst() < PATIENCE);
        let path = folder.path().join("shared.db");
        let listener = Listener::start(&setup.open(&path).unwrap()).unwrap();
        enqueue_stamped(&setup.open(&path).unwrap(), 2).unwrap();
        assert!(listener.hear(2).unwrap().percentile(1.0) > Duration::ZERO);
    }
}
