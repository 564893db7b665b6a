//! What a file has written down besides its rows: every attempt of every job, and nothing of jobs that
//! are gone.

use rusqlite::Connection;

use crate::model::event::{Event, EventFilter, EventKind};
use crate::model::id::JobId;
use crate::model::remedy::Severity;
use crate::model::state::State;
use crate::store::read::{attempts, events};
use crate::store::tests::model::plain::Model;
use crate::store::upkeep::doctor::audit;

/// Tables whose rows belong to a job.
const BELONGINGS: [&str; 14] = [
    "jobq_log",
    "jobq_attempt",
    "jobq_payload",
    "jobq_outcome",
    "jobq_progress",
    "jobq_tag",
    "jobq_retry_delays",
    "jobq_hook",
    "jobq_hook_job",
    "jobq_traceparent",
    "jobq_family",
    "jobq_concurrency_slot",
    "jobq_deadline",
    "jobq_prerequisite",
];

pub(super) fn check_history(conn: &Connection, model: &Model) -> Result<(), String> {
    let feed = events(conn, None);
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
        let attempts = attempts::of_job(conn, JobId(*id)).map_err(|error| error.to_string())?;
        if attempts.len() != job.attempt as usize {
            return wrong(&format!("has had {} attempts", job.attempt));
        }
        for (at, attempt) in attempts.iter().enumerate() {
            let is_open = at + 1 == attempts.len() && job.state == State::Running;
            if attempt.attempt as usize != at + 1 || attempt.outcome.is_none() != is_open {
                return wrong(&format!("has the attempt {attempt:?}"));
            }
        }
        let in_feed = feed.iter().filter(|event| event.job == Some(JobId(*id)));
        let own = events(conn, Some(JobId(*id)));
        let both = |event: &Event| (event.id, event.kind, event.attempt);
        if !in_feed.map(both).eq(own.iter().map(both)) {
            return wrong("has other events in the feed");
        }
    }
    nothing_is_left(conn)?;
    let mut faults = audit::faults(conn).map_err(|error| error.to_string())?;
    faults.retain(|(severity, _)| *severity == Severity::Error);
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("the doctor finds {faults:?}"))
}

fn kinds(conn: &Connection, job: Option<JobId>) -> Vec<EventKind> {
    let events = events(conn, job);
    events.into_iter().map(|event| event.kind).collect()
}

fn events(conn: &Connection, job: Option<JobId>) -> Vec<Event> {
    let filter = EventFilter {
        job,
        limit: Some(usize::MAX >> 1),
        ..EventFilter::default()
    };
    events::read(conn, &filter).unwrap().events
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

fn nothing_is_left(conn: &Connection) -> Result<(), String> {
    for table in BELONGINGS {
        let sql = format!(
            "SELECT count(*) FROM {table} WHERE job_id <> 0 AND job_id NOT IN (SELECT id FROM jobq_job)"
        );
        let left: i64 = conn.query_row(&sql, [], |row| row.get(0)).unwrap();
        if left > 0 {
            return Err(format!("{left} rows of {table} are of jobs that are gone"));
        }
    }
    Ok(())
}
