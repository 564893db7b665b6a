//! A job: its row in a list, and its progress as a bar.

use jiff::Timestamp;
use jobq::api::job::{brief, whole};
use jobq::api::time::{relative, rfc3339};
use jobq::{JobRecord, State};

use crate::cli::render::table::{Cell, Column, Fit};

/// `████████░░░░░░░░░░░░`: a percentage as a bar.
pub(crate) fn bar(percent: f64) -> String {
    const WIDTH: usize = 20;
    let full = ((percent / 100.0).clamp(0.0, 1.0) * WIDTH as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(WIDTH - full))
}

/// The row of `jobq list`.
pub(crate) const COLUMNS: [Column; 8] = [
    ("ID", Fit::Number),
    ("STATE", Fit::Whole),
    ("KIND", Fit::Name),
    ("QUEUE", Fit::Name),
    ("PRIORITY", Fit::Spare),
    ("TRY", Fit::Number),
    ("WHEN", Fit::Whole),
    ("WHAT", Fit::Shrinks),
];

/// A job's row under [`COLUMNS`].
pub(crate) fn row(job: &JobRecord, now: Timestamp) -> Vec<Cell> {
    vec![
        Cell::new(job.id),
        Cell::state(job.state),
        Cell::new(&job.kind),
        Cell::new(&job.queue),
        Cell::new(job.priority),
        Cell::new(job.attempt),
        when(job, now),
        Cell::either(brief(job), whole(job)),
    ]
}

/// The moment that matters in its state.
fn when(job: &JobRecord, now: Timestamp) -> Cell {
    let at = match job.state {
        State::Scheduled => job.run_at,
        State::Running => job.started_at,
        state if state.is_final() => job.finished_at,
        _ => None,
    };
    let at = at.unwrap_or(job.created_at);
    Cell::either(relative(at, now), rfc3339(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_empty_at_the_start_and_full_at_the_end() {
        assert_eq!(bar(0.0), "░".repeat(20));
        assert_eq!(bar(50.0), "█".repeat(10) + &"░".repeat(10));
        assert_eq!(bar(100.0), "█".repeat(20));
    }
}
