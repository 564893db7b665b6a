//! `jobq schedule list`.

use std::io::Write;

use jiff::Timestamp;
use jobq::{JobId, Missed, Overlap, ScheduleOrigin, ScheduleRecord};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::clock::now;
use crate::cli::exit::{CliResult, Exit};
use crate::cli::output::json::{Time, write_line};
use crate::cli::output::style::Look;
use crate::cli::output::table::{Cell, Column, Fit, Rows};
use crate::cli::output::time::{relative, rfc3339};
use crate::cli::session::Session;

/// A schedule. The names of these fields are a contract.
#[derive(Serialize)]
struct ScheduleJson<'a> {
    name: &'a str,
    cron: &'a str,
    timezone: &'a str,
    missed: Missed,
    overlap: Overlap,
    origin: ScheduleOrigin,
    declared_by: Option<&'a str>,
    job: &'a RawValue,
    next_at: Option<Time>,
    last_at: Option<Time>,
    last_job_id: Option<JobId>,
    paused_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
}

impl<'a> ScheduleJson<'a> {
    fn new(schedule: &'a ScheduleRecord) -> ScheduleJson<'a> {
        ScheduleJson {
            name: &schedule.name,
            cron: &schedule.rule,
            timezone: &schedule.timezone,
            missed: schedule.missed,
            overlap: schedule.overlap,
            origin: schedule.origin,
            declared_by: schedule.declared_by.as_deref(),
            job: &schedule.job,
            next_at: schedule.next_at.map(Time),
            last_at: schedule.last_at.map(Time),
            last_job_id: schedule.last_job,
            paused_at: schedule.paused_at.map(Time),
            created_at: Time(schedule.created_at),
            updated_at: Time(schedule.updated_at),
        }
    }
}

const COLUMNS: [Column; 11] = [
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

pub(super) fn run(session: &Session) -> CliResult {
    let schedules = session.queue()?.schedules()?;
    if session.output.is_json() {
        let mut out = session.output.stdout();
        for schedule in &schedules {
            write_line(&mut out, &ScheduleJson::new(schedule))?;
        }
        out.flush()?;
        return Ok(Exit::Done);
    }
    let mut rows = Rows::new(&session.output, &COLUMNS);
    for schedule in &schedules {
        rows.push(row(schedule, now()))?;
    }
    rows.finish()?;
    Ok(Exit::Done)
}

/// A schedule's row under [`COLUMNS`].
fn row(schedule: &ScheduleRecord, now: Timestamp) -> Vec<Cell> {
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
    struct Job {
        kind: String,
    }
    serde_json::from_str::<Job>(job.get())
        .unwrap_or_default()
        .kind
}
