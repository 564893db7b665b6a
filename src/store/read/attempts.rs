//! A job's attempts, reconstructed from its history.

use crate::Result;
use crate::model::attempt::AttemptRecord;
use crate::model::event::{AttemptEnd, Event, EventFilter, EventId, EventKind};
use crate::model::id::JobId;
use crate::store::read::events;
use crate::store::sqlite::Connection;

pub(crate) fn of_job(conn: &Connection, job: JobId) -> Result<Vec<AttemptRecord>> {
    let mut filter = EventFilter {
        job: Some(job),
        kinds: EventKind::ALL
            .iter()
            .copied()
            .filter(|kind| kind.ends_attempt() || *kind == EventKind::Started)
            .collect(),
        ..EventFilter::default()
    };
    let mut attempts = Vec::new();
    loop {
        let page = events::read(conn, &filter)?;
        for event in &page.events {
            apply(&mut attempts, event);
        }
        if page.at_end {
            return Ok(attempts);
        }
        filter.since = EventId(page.next.0);
    }
}

/// Applies one event.
fn apply(attempts: &mut Vec<AttemptRecord>, event: &Event) {
    let Some(number) = event.attempt else { return };
    if event.kind == EventKind::Started {
        attempts.push(AttemptRecord {
            attempt: number,
            outcome: None,
            end: AttemptEnd::default(),
            started_at: Some(event.at),
            finished_at: None,
            took: None,
            runner: event.runner,
            worker: None,
        });
        return;
    }
    let Some(attempt) = attempts
        .iter_mut()
        .rev()
        .find(|attempt| attempt.attempt == number)
    else {
        return;
    };
    attempt.outcome = Some(event.kind);
    attempt.finished_at = Some(event.at);
    attempt.took = event.took;
    attempt.worker = event.worker;
    if let Some(data) = &event.data {
        attempt.end = serde_json::from_slice(data.as_bytes()).unwrap_or_default();
    }
    if let Some(began) = event.took.and_then(|took| event.at.checked_sub(took).ok()) {
        attempt.started_at = attempt.started_at.map(|claimed| claimed.max(began));
    }
}
