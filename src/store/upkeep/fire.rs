//! Firing due schedules: enqueues the job and moves on to the next slot in one transaction, so each slot gets
//! one job, however many runners there are.

use crate::clock::timestamp;
use crate::error::Of;
use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::model::job::Enqueued;
use crate::model::part::Part;
use crate::model::schedule::firing::{Firing, Stand};
use crate::model::schedule::rule::{Rule, is_readable_here};
use crate::model::schedule::{JobOrigin, Overlap, firing};
use crate::model::state::State;
use crate::store::jobs::quota::QuotaLimits;
use crate::store::jobs::validate::ValidatedJob;
use crate::store::jobs::{enqueue, job_row};
use crate::store::sqlite::statement::{moment, statements};
use crate::store::sqlite::tx::{EventFields, NewEvent, Tx};
use crate::store::sqlite::{Connection, params};
use crate::store::upkeep::schedules;
use crate::store::upkeep::schedules::Stored;
use crate::{Error, Result};

statements! {
    /// One step in the index of next slots, and one more for each whose zone is unknown here.
    hot SCHEDULES_NEXT = "SELECT next_at, cron, timezone FROM jobq_schedule
        WHERE paused_at IS NULL AND next_at IS NOT NULL AND next_at >= ?1 ORDER BY next_at";
    hot SCHEDULES_DUE = "SELECT id, name, cron, timezone, missed, overlap, job, origin, next_at, last_at, last_job_id,
            paused_at, created_at, updated_at, declared_by
        FROM jobq_schedule WHERE paused_at IS NULL AND next_at IS NOT NULL AND next_at <= ?1
        ORDER BY next_at";
    /// The guard makes a slot one runner's, whatever else has happened since it was read. The last slot
    /// stays the latest while a clock that went back goes through earlier ones.
    hot SCHEDULE_ADVANCE_IF_NEXT_AT = "UPDATE jobq_schedule SET next_at = ?3, last_at = max(coalesce(last_at, ?4), ?4)
        WHERE id = ?1 AND next_at = ?2 AND paused_at IS NULL";
    hot SCHEDULE_FIRED = "UPDATE jobq_schedule SET last_job_id = ?2 WHERE id = ?1";
    /// Rare, and every schedule is looked at. No slot before its beginning is its own.
    cold SCHEDULES_AFTER_STEP = "SELECT id, cron, timezone, next_at, max(coalesce(last_at, created_at), created_at) FROM jobq_schedule WHERE paused_at IS NULL";
    cold SCHEDULE_GO_ON = "UPDATE jobq_schedule SET next_at = ?2 WHERE id = ?1";
}

/// When the next slot of a schedule comes that can be fired here, in milliseconds since 1970.
pub(crate) fn next_fire(conn: &Connection) -> Result<Option<i64>> {
    let mut statement = conn.prepare_cached(SCHEDULES_NEXT)?;
    let mut rows = statement.query([i64::MIN])?;
    while let Some(row) = rows.next()? {
        let (text, zone) = (schedules::text(row, 1)?, schedules::text(row, 2)?);
        if is_readable_here(&text, &zone) {
            return Ok(moment(row, 0)?);
        }
    }
    Ok(None)
}

/// The schedules that are not fired here because their zones are unknown, and the zones.
pub(crate) fn unreadable_here(conn: &Connection) -> Result<Vec<(String, String)>> {
    let schedules = schedules::list(conn)?.into_iter();
    let unreadable =
        schedules.filter(|schedule| !is_readable_here(&schedule.rule, &schedule.timezone));
    Ok(unreadable
        .map(|schedule| (schedule.name, schedule.timezone))
        .collect())
}

/// Enqueues the jobs of at most `limit` due schedules, and moves each to its next slot. An error of one schedule
/// is logged and does not stop the others. A schedule whose time zone is unknown here is left to a machine that
/// knows it.
pub(crate) fn fire_due(tx: &mut Tx<'_>, limit: usize, bounds: QuotaLimits) -> Result<()> {
    if tx.is_aside(Part::Schedules) {
        return Ok(());
    }
    for schedule in &due(tx, limit).of(Part::Schedules)? {
        let rule = Rule::stored(&schedule.record.rule, &schedule.record.timezone);
        let fired = match rule {
            Ok(rule) => fire(tx, schedule, (&rule, bounds)),
            Err(error) => stop(tx, schedule, &error),
        };
        fired.of(Part::Schedule(schedule.id))?;
    }
    Ok(())
}

fn due(tx: &Tx<'_>, limit: usize) -> Result<Vec<Stored>> {
    let mut statement = tx.conn.prepare_cached(SCHEDULES_DUE)?;
    let mut rows = statement.query([tx.now_ms])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let part = Part::Schedule(row.get(0)?);
        if tx.is_aside(part) {
            continue;
        }
        let stored = schedules::decode(row).of(part)?;
        if is_readable_here(&stored.record.rule, &stored.record.timezone) {
            due.push(stored);
        }
        if due.len() == limit {
            break;
        }
    }
    Ok(due)
}

/// Records the job of a slot; the slot is none if somebody asked the schedule for a job.
pub(crate) fn record_fired(
    tx: &mut Tx<'_>,
    name: &str,
    slot_ms: Option<i64>,
    enqueued: &Enqueued,
) -> Result<()> {
    let mut data = EventFields::new();
    data.insert("schedule".to_owned(), name.into());
    data.insert("slot".to_owned(), slot_ms.map(rfc3339).into());
    if enqueued.duplicate {
        data.insert("duplicate".to_owned(), true.into());
    }
    let event = NewEvent::job(EventKind::ScheduleFired, enqueued.id);
    tx.append_change(event, data)
}

/// After a step of the wall clock, by `shift_ms` if that is known: intervals keep their remaining time, no
/// schedule stays silent because the clock went back, and none fires twice when the clock is set right.
pub(crate) fn follow_clock(tx: &mut Tx<'_>, shift_ms: Option<i64>) -> Result<()> {
    type Row = (i64, String, String, Stand);
    let rows: Vec<Row> = {
        tx.all(SCHEDULES_AFTER_STEP, [], |row| {
            let text = |at| schedules::text(row, at);
            let stand = Stand {
                next_at: moment(row, 3)?,
                last_at: moment(row, 4)?,
            };
            Ok((row.get(0)?, text(1)?, text(2)?, stand))
        })?
    };
    for (id, text, zone, stand) in rows {
        // The error of one that cannot be read is logged when it is due.
        let Ok(rule) = Rule::stored(&text, &zone) else {
            continue;
        };
        let shift_ms = shift_ms.filter(|_| rule.is_interval()).unwrap_or(0);
        let shifted = Stand {
            next_at: stand.next_at.map(|at| at.saturating_add(shift_ms)),
            ..stand
        };
        let next_at = firing::after_step(&rule, shifted, tx.now_ms).or(shifted.next_at);
        if next_at != stand.next_at {
            tx.run(SCHEDULE_GO_ON, params![id, next_at])?;
        }
    }
    Ok(())
}

fn fire(tx: &mut Tx<'_>, schedule: &Stored, (rule, bounds): (&Rule, QuotaLimits)) -> Result<()> {
    let record = &schedule.record;
    let Some(next_at_ms) = record.next_at.map(|at| at.as_millisecond()) else {
        return Ok(());
    };
    let firing = firing::fire(rule, record.missed, next_at_ms, tx.now_ms);
    if !advance(tx, schedule.id, next_at_ms, &firing)? {
        return Ok(());
    }
    if let Some((first, last)) = firing.passed {
        tx.append(skipped(&record.name, (first, last), "missed"))?;
    }
    let mut last_job = record.last_job;
    for slot in &firing.slots {
        if record.overlap == Overlap::Skip
            && let Some((live, state)) = live(tx, last_job)?
        {
            let reason = format!("overlap: job {live} is {state}");
            let passed = skipped(&record.name, (*slot, *slot), &reason);
            // In the live job's history, and removed with it: a long job leaves one event for each slot.
            tx.append(NewEvent {
                job: Some(live),
                ..passed
            })?;
            continue;
        }
        match enqueue_slot(tx, schedule, (*slot, bounds)) {
            Ok(id) => last_job = Some(id),
            // The transaction was rolled back: the slot is enqueued by the next tick.
            Err(error) if tx.conn.is_autocommit() => return Err(error),
            Err(error) => {
                log::warn!(
                    "schedule '{}' could not enqueue its job: {error}",
                    record.name
                );
                tx.append(skipped(&record.name, (*slot, *slot), &error.to_string()))?;
            }
        }
    }
    Ok(())
}

fn advance(tx: &Tx<'_>, id: i64, next_at_ms: i64, firing: &Firing) -> Result<bool> {
    let changed = tx.run(
        SCHEDULE_ADVANCE_IF_NEXT_AT,
        params![id, next_at_ms, firing.next_at, firing.last_at],
    )?;
    Ok(changed == 1)
}

/// Whole or not at all: a job that is refused leaves nothing behind.
fn enqueue_slot(
    tx: &mut Tx<'_>,
    schedule: &Stored,
    (slot_ms, bounds): (i64, QuotaLimits),
) -> Result<JobId> {
    let record = &schedule.record;
    tx.savepoint(|tx| {
        let origin = JobOrigin {
            schedule: record.name.clone(),
            slot_ms: Some(slot_ms),
        };
        let job = ValidatedJob::stored(record.job.get(), Some(bounds))?.of_schedule(origin);
        let enqueued = enqueue::enqueue(tx, &job)?;
        tx.run(SCHEDULE_FIRED, params![schedule.id, enqueued.id.0])?;
        record_fired(tx, &record.name, Some(slot_ms), &enqueued)?;
        Ok(enqueued.id)
    })
}

/// The last job and its state, if it is not final.
fn live(tx: &Tx<'_>, last_job: Option<JobId>) -> Result<Option<(JobId, State)>> {
    let Some(id) = last_job else {
        return Ok(None);
    };
    Ok(job_row::state(tx.conn, id)?
        .filter(|state| !state.is_final())
        .map(|state| (id, state)))
}

/// A rule that can no longer be read has no next slot: it stops until it is added again.
fn stop(tx: &mut Tx<'_>, schedule: &Stored, error: &Error) -> Result<()> {
    let record = &schedule.record;
    let Some(next_at_ms) = record.next_at.map(|at| at.as_millisecond()) else {
        return Ok(());
    };
    let stopped = Firing {
        slots: Vec::new(),
        passed: None,
        last_at: next_at_ms,
        next_at: None,
    };
    if advance(tx, schedule.id, next_at_ms, &stopped)? {
        log::error!("schedule '{}' stops: {error}", record.name);
        let reason = format!("it stops: {error}");
        tx.append(skipped(&record.name, (next_at_ms, next_at_ms), &reason))?;
    }
    Ok(())
}

fn skipped(name: &str, (first, last): (i64, i64), reason: &str) -> NewEvent {
    let data = serde_json::json!({
        "schedule": name, "slot": rfc3339(first), "until": rfc3339(last), "reason": reason
    });
    NewEvent::new(EventKind::ScheduleSkipped).text(Some(data.to_string()))
}

fn rfc3339(ms: i64) -> String {
    format!("{:.3}", timestamp(ms))
}
