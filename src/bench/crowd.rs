//! Many threads that enqueue one job at a time.

use std::time::Duration;

use crate::Result;
use crate::bench::figures::per_s;
use crate::bench::floor;
use crate::bench::floor::Floor;
use crate::bench::setup::{PAYLOAD_BYTES, Setup, noop, payload};

/// What a crowd of threads achieved together.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Jobs enqueued a second, by all together, for as long as all were at it.
    pub per_s: f64,
    /// The longest that one call took.
    pub worst: Duration,
}

/// For so long each thread enqueues through one shared queue.
///
/// # Errors
/// The file cannot be written.
pub fn crowd_of_one_queue(setup: &Setup, threads: usize, time: Duration) -> Result<Crowd> {
    let scratch = setup.scratch()?;
    let queue = setup.open(&scratch.path().join("queue.db"))?;
    let callers = (0..threads).map(|_| {
        let (queue, job) = (queue.clone(), noop(PAYLOAD_BYTES));
        move || queue.enqueue(job.clone()).map(|_| ())
    });
    crowd(callers.collect(), time)
}

/// For so long each thread does the same inserts through a connection of its own, and waits for its
/// turn as SQLite does by itself.
///
/// # Errors
/// The file cannot be written.
pub fn crowd_of_connections(setup: &Setup, threads: usize, time: Duration) -> Result<Crowd> {
    let scratch = setup.scratch()?;
    let path = scratch.path().join("floor.db");
    let _first = Floor::create(&path, setup.durability)?;
    let mut callers = Vec::with_capacity(threads);
    for _ in 0..threads {
        let (floor, text) = (
            Floor::open(&path, setup.durability)?,
            payload(PAYLOAD_BYTES),
        );
        callers.push(move || floor.enqueue_one(&text));
    }
    crowd(callers, time)
}

fn crowd<C>(callers: Vec<C>, time: Duration) -> Result<Crowd>
where
    C: FnMut() -> Result<()> + Send,
{
    let done = floor::crowd(callers, time)?;
    Ok(Crowd {
        per_s: per_s(done.calls, time),
        worst: done.worst,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Durability, Queue};

    #[test]
    fn both_crowds_get_through() {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::new(folder.path(), Queue::options(), Durability::Normal);
        for crowd in [crowd_of_one_queue, crowd_of_connections] {
            let crowd = crowd(&setup, 3, Duration::from_millis(200)).unwrap();
            assert!(crowd.per_s > 0.0 && crowd.worst > Duration::ZERO);
        }
    }
}
