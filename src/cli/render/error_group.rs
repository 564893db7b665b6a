//! A group of errors: its row.

use jiff::Timestamp;
use jobq::ErrorGroup;

use crate::cli::render::table::{Cell, Column, Fit};

pub(crate) const COLUMNS: [Column; 7] = [
    ("GROUP", Fit::Whole),
    ("JOBS", Fit::Number),
    ("LAST", Fit::Whole),
    ("FIRST", Fit::Spare),
    ("EXAMPLE", Fit::Number),
    ("KINDS", Fit::Name),
    ("ERROR", Fit::Shrinks),
];

/// A group's row under [`COLUMNS`].
pub(crate) fn row(group: &ErrorGroup, now: Timestamp) -> Vec<Cell> {
    vec![
        Cell::new(&group.id),
        Cell::new(group.jobs),
        Cell::time(Some(group.last_at), now),
        Cell::time(Some(group.first_at), now),
        Cell::new(group.example),
        Cell::new(group.kinds.join(",")),
        Cell::new(&group.message),
    ]
}
