//! A schedule: its JSON and its row.

use jiff::Timestamp;
use jobq::{ScheduleOrigin, ScheduleRecord};
use serde_json::value::RawValue;

use crate::cli::render::json::{Time, json_fields};
use crate::cli::render::style::Look;
use crate::cli::render::table::{Cell, Column, Fit};
use crate::cli::render::time::{relative, rfc3339};

json_fields! {
    /// A schedule. The names of these fields are a contract.
    ScheduleJson(schedule: &'a ScheduleRecord) {
        name: schedule.name,
        cron: schedule.rule,
        timezone: schedule.timezone,
        missed: schedule.missed,
        overlap: schedule.overlap,
        origin: schedule.origin,
        declared_by: schedule.declared_by.as_deref(),
        job: schedule.job,
        next_at: schedule.next_at.map(Time),
        last_at: schedule.last_at.map(Time),
        last_job_id: schedule.last_job,
        paused_at: schedule.paused_at.map(Time),
        created_at: Time(schedule.created_at),
        updated_at: Time(schedule.updated_at),
    }
}

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
