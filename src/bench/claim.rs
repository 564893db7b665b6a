//! What a claim costs, whatever else is in the file.

use std::time::Duration;

use crate::bench::setup::KIND;
use crate::store::steps;
use crate::{Queue, Result};

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
    use crate::State;
    use crate::bench::fill;

    #[test]
    fn a_claim_that_is_measured_counts_its_steps_and_leaves_the_jobs_pending() {
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
