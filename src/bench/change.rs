//! Changes of state of jobs with payloads of some size.

use std::time::Duration;

use crate::bench::figures::per_s;
use crate::bench::setup::{Setup, noop};
use crate::store::steps;
use crate::{JobId, Result};

/// How many changes of state a second: jobs with payloads of this size are claimed, finished and put
/// back `cycles` times, all of them in one transaction each time. Their payloads are not read.
///
/// # Errors
/// The file cannot be written.
pub fn changes_per_s(
    setup: &Setup,
    jobs: usize,
    payload_bytes: usize,
    cycles: usize,
) -> Result<f64> {
    let scratch = setup.scratch()?;
    let queue = setup.open(&scratch.path().join("queue.db"))?;
    let ids: Vec<JobId> = queue
        .enqueue_many(std::iter::repeat_n(noop(payload_bytes), jobs))?
        .into_iter()
        .map(|job| job.id)
        .collect();
    // What enqueuing has left to do is not to be paid for by what follows.
    steps::checkpoint(&queue.store)?;
    let mut took = Duration::ZERO;
    for _ in 0..cycles {
        took += steps::of_changes(&queue.store, &ids)?;
    }
    Ok(per_s(cycles * jobs * steps::CHANGES, took))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Durability, Queue};

    #[test]
    fn jobs_can_be_changed_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::new(folder.path(), Queue::options(), Durability::Normal);
        assert!(changes_per_s(&setup, 3, 10_000, 2).unwrap() > 0.0);
    }
}
