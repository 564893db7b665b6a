//! Undoing changes by hand: what an event keeps for it, and whether what it is about has changed since.

use std::time::Duration;

use serde::Deserialize;

use crate::model::event::{Event, EventData, EventId, EventKind};
use crate::model::id::JobId;
use crate::model::limits::{QueueLimitsUpdate, Rate, Update};
use crate::model::queue::QueueSelector;
use crate::model::undone::Undone;
use crate::store::jobs::edited_options::EditedOptions;
use crate::store::jobs::was::Was;
use crate::store::jobs::{queues, undo_cancel, update};
use crate::store::sqlite::statement::{Statements, statements, text};
use crate::store::sqlite::tx::{NO_JOB, Tx};
use crate::store::sqlite::{Connection, params};
use crate::store::upkeep::schedules;
use crate::{Error, Result};

statements! {
    /// What has happened since to a job, or (0) to queues and schedules; without what jobs print.
    hot LOG_SINCE = "SELECT kind, iif(kind BETWEEN 30 AND 59, data, NULL) FROM jobq_log
        WHERE job_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
}

/// Maximum number of later entries that are looked at for a change.
const MAX_LATER: usize = 10_000;

/// The change that an event records, with what is needed to undo it.
enum Change {
    Cancel(JobId),
    Edit(JobId, Box<EditedOptions>),
    Pause(QueueSelector),
    Resume(QueueSelector),
    Limits(String, QueueLimitsUpdate),
    PauseSchedule(String),
    ResumeSchedule(String),
}

/// The data of an event, as far as an undo reads it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ChangeSubject {
    queue: Option<String>,
    schedule: Option<String>,
}

#[derive(Deserialize)]
struct OptionsBefore {
    before: Box<EditedOptions>,
}

#[derive(Deserialize)]
struct LimitsBefore {
    before: serde_json::Map<String, serde_json::Value>,
}

impl Change {
    /// None if an event of this kind cannot be undone, or keeps nothing for it.
    fn of(event: &Event) -> Option<Change> {
        let data = match &event.data {
            Some(EventData::Text(json)) => json.as_str(),
            _ => "{}",
        };
        let kept: ChangeSubject = serde_json::from_str(data).unwrap_or_default();
        let which = || {
            kept.queue
                .clone()
                .map_or(QueueSelector::All, QueueSelector::Named)
        };
        Some(match event.kind {
            EventKind::Cancelled => {
                // One that followed from another is undone with that.
                Was::parse(Some(data)).filter(|was| was.of.is_none())?;
                Change::Cancel(event.job?)
            }
            EventKind::Edited => {
                let OptionsBefore { before } = serde_json::from_str(data).ok()?;
                Change::Edit(event.job?, before)
            }
            EventKind::QueuePaused => Change::Pause(which()),
            EventKind::QueueResumed => Change::Resume(which()),
            EventKind::QueueLimited => {
                let LimitsBefore { before } = serde_json::from_str(data).ok()?;
                Change::Limits(kept.queue?, limits(&before))
            }
            EventKind::SchedulePaused => Change::PauseSchedule(kept.schedule?),
            EventKind::ScheduleResumed => Change::ResumeSchedule(kept.schedule?),
            _ => return None,
        })
    }

    /// Whether a later event is a change of the same thing.
    fn is_followed_by(&self, kind: EventKind, kept: &ChangeSubject) -> bool {
        use EventKind::*;
        let name = kept.queue.as_deref();
        match self {
            Change::Cancel(_) => matches!(kind, Cancelled | Requeued | Edited),
            Change::Edit(..) => matches!(kind, Requeued | Edited),
            Change::Pause(which) | Change::Resume(which) => {
                let is_same = match which {
                    QueueSelector::All => name.is_none(),
                    QueueSelector::Named(queue) => name == Some(queue),
                };
                matches!(kind, QueuePaused | QueueResumed) && is_same
            }
            Change::Limits(queue, _) => kind == QueueLimited && name == Some(queue),
            Change::PauseSchedule(name) | Change::ResumeSchedule(name) => {
                let is_of_schedule = matches!(
                    kind,
                    ScheduleAdded | ScheduleRemoved | SchedulePaused | ScheduleResumed
                );
                is_of_schedule && kept.schedule.as_deref() == Some(name)
            }
        }
    }

    /// What the change is about, in words.
    fn subject(&self) -> String {
        match self {
            Change::Cancel(job) | Change::Edit(job, _) => format!("job {job}"),
            Change::Pause(QueueSelector::All) | Change::Resume(QueueSelector::All) => {
                "the pause of all queues".to_owned()
            }
            Change::Pause(QueueSelector::Named(name))
            | Change::Resume(QueueSelector::Named(name))
            | Change::Limits(name, _) => format!("queue '{name}'"),
            Change::PauseSchedule(name) | Change::ResumeSchedule(name) => {
                format!("schedule '{name}'")
            }
        }
    }

    fn undo(self, tx: &mut Tx<'_>, event: EventId) -> Result<Undone> {
        let must_change = |is_changed: bool| match is_changed {
            true => Ok(()),
            false => Err(Error::wrong_state(format!(
                "event {} cannot be undone: nothing of it is left",
                event.0
            ))),
        };
        Ok(match self {
            Change::Cancel(job) => {
                let (state, others) = undo_cancel::undo(tx, (job, event))?;
                Undone::Cancel { job, state, others }
            }
            Change::Edit(job, before) => {
                update::undo(tx, job, &before)?;
                Undone::Edit(job)
            }
            Change::Pause(which) => {
                must_change(queues::resume(tx, &which)?)?;
                Undone::QueuePause(which)
            }
            Change::Resume(which) => {
                must_change(queues::pause(tx, &which)?)?;
                Undone::QueueResume(which)
            }
            Change::Limits(name, limits) => {
                must_change(queues::set_limits(tx, &name, &limits)?)?;
                Undone::QueueLimits(name)
            }
            Change::PauseSchedule(name) => {
                must_change(schedules::resume(tx, &name)?)?;
                Undone::SchedulePause(name)
            }
            Change::ResumeSchedule(name) => {
                must_change(schedules::pause(tx, &name)?)?;
                Undone::ScheduleResume(name)
            }
        })
    }
}

/// The limits that a queue had, of those that were changed.
fn limits(before: &serde_json::Map<String, serde_json::Value>) -> QueueLimitsUpdate {
    let number = |name: &str| match before.get(name) {
        None => Update::Keep,
        Some(value) => value.as_u64().map_or(Update::Clear, Update::Set),
    };
    let small = |name: &str| number(name).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let rate = match (small("rate_jobs"), number("rate_ms")) {
        (Update::Keep, _) | (_, Update::Keep) => Update::Keep,
        (Update::Set(jobs), Update::Set(ms)) => Update::Set(Rate {
            jobs,
            per: Duration::from_millis(ms),
        }),
        _ => Update::Clear,
    };
    QueueLimitsUpdate {
        concurrency: small("concurrency"),
        rate,
        max_size: number("max_size"),
        weight: small("weight"),
    }
}

/// Undoes the change that an event records, unless what it is about has changed since.
pub(crate) fn undo(tx: &mut Tx<'_>, event: &Event) -> Result<Undone> {
    let id = event.id;
    let change = Change::of(event).ok_or_else(|| {
        Error::wrong_state(format!(
            "event {} is {}, which cannot be undone",
            id.0, event.kind
        ))
        .with_hint("cancels of jobs that did not run, edits, pauses, resumes and limits can")
    })?;
    check_unchanged(tx.conn, event, &change)?;
    tx.undoes = Some(id);
    let undone = change.undo(tx, id);
    tx.undoes = None;
    undone.map_err(|error| match error.is_duplicate() {
        true => Error::wrong_state(format!("event {} cannot be undone: {error}", id.0)),
        false => error,
    })
}

fn check_unchanged(conn: &Connection, event: &Event, change: &Change) -> Result<()> {
    let job = event.job.map_or(NO_JOB, |job| job.0);
    let limit = MAX_LATER as i64 + 1;
    let later = conn.all(LOG_SINCE, params![job, event.id.0, limit], |row| {
        Ok((row.get::<_, i64>(0)?, text(row.get_ref(1)?)))
    })?;
    if later.len() > MAX_LATER {
        return Err(Error::wrong_state(format!(
            "event {} is too long ago to be undone",
            event.id.0
        )));
    }
    let is_change = |(kind, data): &(i64, Option<String>)| {
        let kept = data.as_deref().map(serde_json::from_str);
        let kept = kept.and_then(|kept| kept.ok()).unwrap_or_default();
        EventKind::from_code(*kind).is_some_and(|kind| change.is_followed_by(kind, &kept))
    };
    match later.iter().any(is_change) {
        true => Err(Error::wrong_state(format!(
            "event {} cannot be undone: {} has changed since",
            event.id.0,
            change.subject()
        ))
        .with_hint("undo the later change first")),
        false => Ok(()),
    }
}

/// Whether an event records a change that can be undone, as far as what has happened since shows it.
pub(crate) fn may_undo(conn: &Connection, event: &Event) -> bool {
    let change = Change::of(event);
    change.is_some_and(|change| check_unchanged(conn, event, &change).is_ok())
}

/// The kinds of changes of which some can be undone.
pub(crate) const UNDOABLE: [EventKind; 7] = [
    EventKind::Cancelled,
    EventKind::Edited,
    EventKind::QueuePaused,
    EventKind::QueueResumed,
    EventKind::QueueLimited,
    EventKind::SchedulePaused,
    EventKind::ScheduleResumed,
];
