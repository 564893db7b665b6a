//! Schedules: adding, removing, pausing, listing.

use serde_json::value::RawValue;

use crate::clock::timestamp;
use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::model::job::Enqueued;
use crate::model::job::template::JobTemplate;
use crate::model::limits::EnqueueLimits;
use crate::model::queue::check_name;
use crate::model::remedy::Remedy;
use crate::model::schedule::rule::Rule;
use crate::model::schedule::{
    JobOrigin, Missed, Overlap, Schedule, ScheduleChange, ScheduleOrigin, ScheduleRecord,
    SchedulesSynced, zone_or_local,
};
use crate::store::jobs::enqueue;
use crate::store::jobs::quota::QuotaLimits;
use crate::store::jobs::validate::ValidatedJob;
use crate::store::sqlite::error::inserted;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::{EventFields, NewEvent, Tx};
use crate::store::sqlite::{Connection, Row, RowResult, params, statement};
use crate::store::upkeep::fire;
use crate::{Error, Result};

macro_rules! select_schedules {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, cron, timezone, missed, overlap, job, origin, next_at, last_at, last_job_id,
                paused_at, created_at, updated_at, declared_by
            FROM jobq_schedule ",
            $rest
        )
    };
}

statements! {
    cold SCHEDULE_NAME = "SELECT name FROM jobq_schedule WHERE id = ?1";
    hot SCHEDULE_GET = select_schedules!("WHERE name = ?1");
    /// A row per schedule: people write them, so they are few.
    cold SCHEDULES_LIST = select_schedules!("ORDER BY name");
    /// Those that a configuration file has declared.
    cold SCHEDULES_OF_FILE = "SELECT name FROM jobq_schedule WHERE origin = ?1 AND declared_by = ?2 ORDER BY name";
    hot SCHEDULE_INSERT = "INSERT INTO jobq_schedule (name, cron, timezone, missed, overlap, job, origin, next_at,
            created_at, updated_at, declared_by)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10)";
    hot SCHEDULE_CHANGE = "UPDATE jobq_schedule SET cron = ?2, timezone = ?3, missed = ?4, overlap = ?5, job = ?6,
            origin = ?7, next_at = ?8, updated_at = ?9, declared_by = ?10
        WHERE name = ?1";
    hot SCHEDULE_DECLARE = "UPDATE jobq_schedule SET declared_by = ?2 WHERE name = ?1";
    hot SCHEDULE_REMOVE = "DELETE FROM jobq_schedule WHERE name = ?1";
    hot SCHEDULE_PAUSE_IF_RESUMED = "UPDATE jobq_schedule SET paused_at = ?2, updated_at = ?2
        WHERE name = ?1 AND paused_at IS NULL";
    hot SCHEDULE_RESUME_IF_PAUSED = "UPDATE jobq_schedule SET paused_at = NULL, next_at = ?2, updated_at = ?3
        WHERE name = ?1 AND paused_at IS NOT NULL";
    hot SCHEDULE_NOTE_JOB = "UPDATE jobq_schedule SET last_job_id = ?2 WHERE name = ?1";
}

/// A schedule that has been checked and lacks nothing.
#[derive(Clone, Debug)]
pub(crate) struct ValidatedSchedule {
    name: String,
    rule: Rule,
    missed: Missed,
    overlap: Overlap,
    job: String,
    /// The configuration file that declares it; none: it is added.
    declared_by: Option<String>,
}

impl ValidatedSchedule {
    pub(crate) fn new(
        schedule: Schedule,
        declared_by: Option<&str>,
        limits: &EnqueueLimits,
    ) -> Result<ValidatedSchedule> {
        check_name("schedule's name", &schedule.name)?;
        if schedule.name.starts_with('@') {
            return Err(Error::invalid(format!(
                "a schedule cannot be called '{}': rules like @daily begin so",
                schedule.name
            ))
            .with_hint("the name comes first, then the rule"));
        }
        let checked = || -> Result<ValidatedSchedule> {
            ValidatedJob::new(schedule.job.clone(), limits)?;
            Ok(ValidatedSchedule {
                name: schedule.name.clone(),
                rule: Rule::parse(&schedule.rule, &zone_or_local(schedule.timezone.as_deref()))?,
                missed: schedule.missed,
                overlap: schedule.overlap,
                job: JobTemplate::new(schedule.job.clone(), &limits.retry)?.to_json()?,
                declared_by: declared_by.map(str::to_owned),
            })
        };
        checked().map_err(|error| error.context(format_args!("schedule '{}'", schedule.name)))
    }

    fn origin(&self) -> ScheduleOrigin {
        match self.declared_by {
            Some(_) => ScheduleOrigin::Config,
            None => ScheduleOrigin::Added,
        }
    }
}

/// A row, with what only the store looks at.
pub(crate) struct Stored {
    pub(crate) id: i64,
    pub(crate) record: ScheduleRecord,
}

/// Adds the schedule, or makes the one of this name what it is to be. One that stays as it is keeps
/// its next slot; so does one whose rule and zone stay.
pub(crate) fn add(tx: &mut Tx<'_>, schedule: &ValidatedSchedule) -> Result<ScheduleChange> {
    let rule = &schedule.rule;
    let known = find(tx.conn, &schedule.name)?.map(|stored| stored.record);
    let same_slots = known
        .as_ref()
        .filter(|known| known.rule == rule.text() && known.timezone == rule.zone());
    let next_at_ms = same_slots.and_then(|known| known.next_at);
    let unchanged = next_at_ms.is_some()
        && same_slots.is_some_and(|known| {
            known.job.get() == schedule.job
                && (known.missed, known.overlap) == (schedule.missed, schedule.overlap)
                && known.origin == schedule.origin()
        });
    if unchanged {
        if known.is_some_and(|known| known.declared_by != schedule.declared_by) {
            tx.run(
                SCHEDULE_DECLARE,
                params![schedule.name, schedule.declared_by],
            )?;
        }
        return Ok(ScheduleChange::Unchanged);
    }
    let next_at_ms = match next_at_ms {
        Some(next_at) => Some(next_at.as_millisecond()),
        None => rule.first(tx.now_ms),
    };
    let (change, sql) = match known {
        Some(_) => (ScheduleChange::Changed, SCHEDULE_CHANGE),
        None => (ScheduleChange::Added, SCHEDULE_INSERT),
    };
    let written = tx.run(
        sql,
        params![
            schedule.name,
            rule.text(),
            rule.zone(),
            schedule.missed.code(),
            schedule.overlap.code(),
            schedule.job,
            schedule.origin().code(),
            next_at_ms,
            tx.now_ms,
            schedule.declared_by,
        ],
    );
    inserted(tx.conn, written)?;
    let data = [
        ("schedule", schedule.name.as_str()),
        ("cron", rule.text()),
        ("timezone", rule.zone()),
    ];
    let data = data.map(|(name, value)| (name.to_owned(), value.into()));
    tx.append_change(
        NewEvent::new(EventKind::ScheduleAdded),
        EventFields::from_iter(data),
    )?;
    Ok(change)
}

/// Makes the schedules that a configuration file has declared those that are given. What another one
/// has declared stays, unless it is given here as well; so does what a jobq of schema 2 has added for a
/// file that it did not note.
pub(crate) fn sync(
    tx: &mut Tx<'_>,
    file: &str,
    schedules: &[ValidatedSchedule],
) -> Result<SchedulesSynced> {
    let mut synced = SchedulesSynced::default();
    let known: Vec<String> = {
        let mut statement = tx.conn.prepare_cached(SCHEDULES_OF_FILE)?;
        let of_file = params![ScheduleOrigin::Config.code(), file];
        let rows = statement.query_map(of_file, |row| row.get(0))?;
        rows.collect::<RowResult<_>>()?
    };
    for name in known {
        if !schedules.iter().any(|schedule| schedule.name == name) {
            remove(tx, &name)?;
            synced.removed.push(name);
        }
    }
    for schedule in schedules {
        let declared_by = get(tx.conn, &schedule.name)?.and_then(|known| known.declared_by);
        if let Some(other) = declared_by.filter(|other| other != file) {
            synced.taken_over.push((schedule.name.clone(), other));
        }
        match add(tx, schedule)? {
            ScheduleChange::Added => synced.added.push(schedule.name.clone()),
            ScheduleChange::Changed => synced.changed.push(schedule.name.clone()),
            ScheduleChange::Unchanged => {}
        }
    }
    Ok(synced)
}

/// Its jobs stay.
pub(crate) fn remove(tx: &mut Tx<'_>, name: &str) -> Result<()> {
    match tx.run(SCHEDULE_REMOVE, [name])? {
        0 => Err(unknown(name)),
        _ => record(tx, EventKind::ScheduleRemoved, name),
    }
}

/// Whether anything changed.
pub(crate) fn pause(tx: &mut Tx<'_>, name: &str) -> Result<bool> {
    let changed = tx.run(SCHEDULE_PAUSE_IF_RESUMED, params![name, tx.now_ms])?;
    if changed == 0 {
        return find(tx.conn, name)?
            .map(|_| false)
            .ok_or_else(|| unknown(name));
    }
    record(tx, EventKind::SchedulePaused, name)?;
    Ok(true)
}

/// Goes on with the next slot from now: those of the pause do not count. Whether anything changed.
pub(crate) fn resume(tx: &mut Tx<'_>, name: &str) -> Result<bool> {
    let known = find(tx.conn, name)?.ok_or_else(|| unknown(name))?.record;
    if known.paused_at.is_none() {
        return Ok(false);
    }
    let rule = Rule::parse(&known.rule, &known.timezone)?;
    let next_at_ms = rule.first(tx.now_ms);
    tx.run(
        SCHEDULE_RESUME_IF_PAUSED,
        params![name, next_at_ms, tx.now_ms],
    )?;
    record(tx, EventKind::ScheduleResumed, name)?;
    Ok(true)
}

/// Enqueues its job now, also while it is paused or its last job lives; its slots stay as they are.
pub(crate) fn run_now(tx: &mut Tx<'_>, name: &str, bounds: QuotaLimits) -> Result<Enqueued> {
    let known = find(tx.conn, name)?.ok_or_else(|| unknown(name))?.record;
    let origin = JobOrigin {
        schedule: name.to_owned(),
        slot_ms: None,
    };
    let job = ValidatedJob::stored(known.job.get(), Some(bounds))?.of_schedule(origin);
    let enqueued = enqueue::enqueue(tx, &job)?;
    tx.run(SCHEDULE_NOTE_JOB, params![name, enqueued.id.0])?;
    fire::record_fired(tx, name, None, &enqueued)?;
    Ok(enqueued)
}

pub(crate) fn get(conn: &Connection, name: &str) -> Result<Option<ScheduleRecord>> {
    Ok(find(conn, name)?.map(|stored| stored.record))
}

pub(crate) fn list(conn: &Connection) -> Result<Vec<ScheduleRecord>> {
    let mut statement = conn.prepare_cached(SCHEDULES_LIST)?;
    let rows = statement.query_map([], decode)?;
    rows.map(|stored| Ok(stored?.record)).collect()
}

fn find(conn: &Connection, name: &str) -> Result<Option<Stored>> {
    conn.optional(SCHEDULE_GET, [name], decode)
}

fn record(tx: &mut Tx<'_>, kind: EventKind, name: &str) -> Result<()> {
    let data = EventFields::from_iter([("schedule".to_owned(), name.into())]);
    tx.append_change(NewEvent::new(kind), data)
}

fn unknown(name: &str) -> Error {
    Error::not_found(format!("no schedule '{name}'")).with_remedy(Remedy::ListSchedules)
}

/// A row that somebody has spoilt is shown as far as it can be: it must not hide the others.
/// How a schedule is called, where that can be read.
pub(crate) fn called(conn: &Connection, id: i64) -> Option<String> {
    let mut statement = conn.prepare_cached(SCHEDULE_NAME).ok()?;
    statement.query_row([id], |row| row.get(0)).ok()
}

pub(crate) fn decode(row: &Row<'_>) -> RowResult<Stored> {
    let time = |at: usize| -> RowResult<Option<jiff::Timestamp>> {
        Ok(row.get::<_, Option<i64>>(at)?.map(timestamp))
    };
    let job = match text(row, 6)? {
        job if job.is_empty() => RawValue::NULL.to_owned(),
        job => statement::readable_json(job),
    };
    Ok(Stored {
        id: row.get(0)?,
        record: ScheduleRecord {
            name: text(row, 1)?,
            rule: text(row, 2)?,
            timezone: text(row, 3)?,
            missed: Missed::from_code(row.get(4)?).unwrap_or_default(),
            overlap: Overlap::from_code(row.get(5)?).unwrap_or_default(),
            job,
            origin: ScheduleOrigin::from_code(row.get(7)?).unwrap_or(ScheduleOrigin::Added),
            next_at: time(8)?,
            last_at: time(9)?,
            last_job: row.get::<_, Option<i64>>(10)?.map(JobId),
            paused_at: time(11)?,
            created_at: timestamp(row.get(12)?),
            updated_at: timestamp(row.get(13)?),
            declared_by: statement::text(row.get_ref(14)?),
        },
    })
}

pub(crate) fn text(row: &Row<'_>, at: usize) -> RowResult<String> {
    Ok(statement::text(row.get_ref(at)?).unwrap_or_default())
}
