//! What the model does when the clock was set.

use crate::model::state::State;
use crate::store::tests::model::plain::Model;

impl Model {
    /// What waits for a duration keeps what is left of it.
    pub(super) fn follow_clock(&mut self) {
        let offset = self.offset;
        let step = offset - self.known_offset.unwrap_or(offset);
        if self.known_offset.is_some() && step.abs() < 1000 {
            return;
        }
        self.known_offset = Some(offset);
        self.shift_starts(step);
        self.clock_was_set();
        for (holder, until) in self.uniques.values_mut() {
            // That of a removed job stays where it is.
            if self.jobs.contains_key(holder) {
                *until = until.map(|until| until + step);
            }
        }
        for job in self.jobs.values_mut() {
            let unmet = job.edges.values().any(|edge| !edge.met);
            let waits = job.state == State::Scheduled || (job.state == State::Blocked && unmet);
            if let Some(wait) = job.wait.as_mut().filter(|wait| waits && !wait.fixed) {
                wait.at += step;
            }
            if let Some(at) = job
                .deadline
                .as_mut()
                .filter(|_| job.watched && job.deadline_moves)
            {
                *at += step;
            }
        }
    }
}
