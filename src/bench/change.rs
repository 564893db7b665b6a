//! What a claim costs, and a change of state of jobs with payloads of some size.

use std::time::Duration;

use crate::bench::figures::per_s;
use crate::bench::setup::{KIND, Setup, noop};
use crate::store::steps;
use crate::{JobId, Queue, Result};

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
        took += steps::of_changes(&queue.store, KIND, &ids)?;
    }
    Ok(per_s(cycles * jobs * steps::CHANGES, took))
}

/// Of one claim of five jobs.
#[derive(Clone, Copy, Debug)]
pub struct ClaimCost {
    /// Steps of SQLite's virtual machine, in all statements together.
    pub vm_steps: i64,
    /// Without BEGIN and COMMIT.
    pub took: Duration,
}

/// Claims five jobs that [`fill`](crate::bench::fill) has added, and gives them back.
///
/// # Errors
/// The file cannot be written, or there are less.
pub fn claim_cost(queue: &Queue) -> Result<ClaimCost> {
    let (vm_steps, took) = steps::of_claim(&queue.store, KIND, 5)?;
    Ok(ClaimCost { vm_steps, took })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fill;
    use crate::{Durability, Queue, State};

    #[test]
    fn jobs_can_be_changed_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::new(folder.path(), Queue::options(), Durability::Normal);
        assert!(changes_per_s(&setup, 3, 10_000, 2).unwrap() > 0.0);
    }

    #[test]
    fn a_measured_claim_counts_steps_and_leaves_jobs_pending() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path().join("claim.db")).unwrap();
        fill(&queue, 4, |job| job).unwrap();
        assert!(claim_cost(&queue).is_err(), "one is missing");
        fill(&queue, 2, |job| job).unwrap();
        let [first, second] = [(); 2].map(|()| claim_cost(&queue).unwrap());
        assert!(first.vm_steps > 100, "{first:?}");
        assert_eq!(first.vm_steps, second.vm_steps);
        assert_eq!(queue.counts().unwrap().get(State::Pending), 6);
    }
}
