//! The row of a schedule.

use jiff::Timestamp;
use jobq::api::time::{relative, rfc3339};
use jobq::{ScheduleOrigin, ScheduleRecord};
use serde_json::value::RawValue;

use crate::cli::render::style::Look;
use crate::cli::render::table::{Cell, Column, Fit};

pub(crate) const COLUMNS: [Column; 11] = [
    ("NAME", Fit::Name),
    ("CRON", Fit::Whole),
    ("ZONE", Fit::Whole),
    ("NEXT", Fit::Whole),
    ("LAST", Fit::Spare),
    ("JOB", Fit::Number),
    ("KIND", Fit::Name),
    ("PAUSED", Fit::Whole),
    ("MISSED", Fit::Extra),
    ("OVERLAP", Fit::Extra),
    ("DECLARED_BY", Fit::Extra),
];

/// A schedule's row under [`COLUMNS`].
pub(crate) fn row(schedule: &ScheduleRecord, now: Timestamp) -> Vec<Cell> {
    vec![
        Cell::new(&schedule.name),
        Cell::new(&schedule.rule),
        Cell::new(&schedule.timezone),
        match schedule.next_at {
            Some(at) => Cell::time(Some(at), now),
            None => Cell::new("never").look(Look::Warn),
        },
        Cell::time(schedule.last_at, now),
        Cell::maybe(schedule.last_job),
        Cell::new(kind(&schedule.job)),
        match schedule.paused_at {
            Some(at) => Cell::either(relative(at, now), rfc3339(at)).look(Look::Warn),
            None => Cell::new(""),
        },
        Cell::new(schedule.missed),
        Cell::new(schedule.overlap),
        match schedule.origin {
            ScheduleOrigin::Added => Cell::new(""),
            ScheduleOrigin::Config => {
                Cell::new(schedule.declared_by.as_deref().unwrap_or("unknown"))
            }
        },
    ]
}

fn kind(job: &RawValue) -> String {
    #[derive(Default, serde::Deserialize)]
    struct JobKind {
        kind: String,
    }
    serde_json::from_str::<JobKind>(job.get())
        .unwrap_or_default()
        .kind
}
