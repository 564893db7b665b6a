//! What a file has written down besides its rows: every attempt of every job, and nothing of jobs that
//! are gone.

use rusqlite::Connection;

use crate::model::event::{EventFilter, EventKind};
use crate::model::id::JobId;
use crate::model::remedy::Severity;
use crate::model::state::State;
use crate::store::read::events;
use crate::store::tests::model::plain::Model;
use crate::store::upkeep::doctor::audit;

/// Tables whose rows belong to a job.
const BELONGINGS: [&str; 8] = [
    "jobq_payload",
    "jobq_outcome",
    "jobq_progress",
    "jobq_tag",
    "jobq_family",
    "jobq_place",
    "jobq_deadline",
    "jobq_prerequisite",
];

pub(super) fn check_history(conn: &Connection, model: &Model) -> Result<(), String> {
    for (id, job) in &model.jobs {
        let history = kinds(conn, Some(JobId(*id)));
        let wrong = |what: &str| Err(format!("job {id} {what}: {history:?}"));
        if history.first() != Some(&EventKind::Enqueued) {
            return wrong("was never enqueued");
        }
        let last = history.iter().rev().find_map(|kind| leads_to(*kind));
        let is_told = match last {
            // It goes on from there as its rules say.
            Some(None) | None => !job.state.is_final() && job.state != State::Running,
            Some(Some(state)) => state == job.state,
        };
        if !is_told {
            return wrong(&format!("is {}", job.state));
        }
        let attempts = events::of_job(conn, JobId(*id)).map_err(|error| error.to_string())?;
        if attempts.len() != job.attempt as usize {
            return wrong(&format!("has had {} attempts", job.attempt));
        }
        for (at, attempt) in attempts.iter().enumerate() {
            let is_open = at + 1 == attempts.len() && job.state == State::Running;
            if attempt.attempt as usize != at + 1 || attempt.outcome.is_none() != is_open {
                return wrong(&format!("has the attempt {attempt:?}"));
            }
        }
    }
    nothing_is_left(conn, model)?;
    let mut faults = audit::faults(conn).map_err(|error| error.to_string())?;
    faults.retain(|(severity, _)| *severity == Severity::Error);
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("the doctor finds {faults:?}"))
}

fn kinds(conn: &Connection, job: Option<JobId>) -> Vec<EventKind> {
    let filter = EventFilter {
        job,
        limit: Some(usize::MAX >> 1),
        ..EventFilter::default()
    };
    let events = events::read(conn, &filter).unwrap().events;
    events.into_iter().map(|event| event.kind).collect()
}

/// The state that an event says its job went to; an inner none for one of several.
fn leads_to(kind: EventKind) -> Option<Option<State>> {
    Some(match kind {
        EventKind::Started => Some(State::Running),
        EventKind::Completed => Some(State::Completed),
        EventKind::Failed => Some(State::Failed),
        EventKind::Cancelled => Some(State::Cancelled),
        EventKind::Enqueued
        | EventKind::Waiting
        | EventKind::Released
        | EventKind::Requeued
        | EventKind::Retry
        | EventKind::Snoozed
        | EventKind::Returned
        | EventKind::Recovered => None,
        _ => return None,
    })
}

fn nothing_is_left(conn: &Connection, model: &Model) -> Result<(), String> {
    let filter = EventFilter {
        limit: Some(usize::MAX >> 1),
        ..EventFilter::default()
    };
    for event in events::read(conn, &filter).unwrap().events {
        let is_known = event.job.is_none_or(|job| model.jobs.contains_key(&job.0));
        // A late report on a removed job says so itself.
        if !is_known && event.kind != EventKind::ReportDropped {
            return Err(format!("of a job that is gone: {event:?}"));
        }
    }
    for table in BELONGINGS {
        let sql =
            format!("SELECT count(*) FROM {table} WHERE job_id NOT IN (SELECT id FROM jobq_job)");
        let left: i64 = conn.query_row(&sql, [], |row| row.get(0)).unwrap();
        if left > 0 {
            return Err(format!("{left} rows of {table} are of jobs that are gone"));
        }
    }
    Ok(())
}
