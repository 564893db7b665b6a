//! Reading the history: its events, and the attempts of a job from them.

use std::time::Duration;

use crate::Result;
use crate::clock::timestamp;
use crate::model::event::{
    AttemptEnd, Event, EventData, EventFilter, EventId, EventKind, EventPage,
};
use crate::model::id::{JobId, RunnerId, WorkerId};
use crate::model::outcome::AttemptRecord;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::types::{Value, ValueRef};
use crate::store::sqlite::{Connection, Row, params, params_from_iter};

statements! {
    hot EVENTS_SINCE = "SELECT id, at, kind, job_id, attempt, runner_id, worker, took_us, data
        FROM jobq_event WHERE id > ?1 ORDER BY id LIMIT ?2";
    hot EVENTS_OF_JOB = "SELECT id, at, kind, job_id, attempt, runner_id, worker, took_us, data
        FROM jobq_event WHERE job_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    hot JOB_IS_OF_TENANT = "SELECT 1 FROM jobq_job WHERE id = ?1 AND tenant = ?2";
    hot JOB_HAS_TAG = "SELECT 1 FROM jobq_tag WHERE name = ?2 AND value = ?3 AND job_id = ?1";
    hot EVENT_LAST = "SELECT coalesce(max(id), 0) FROM jobq_event";
}

const PAGE: usize = 1000;

pub(crate) fn read(conn: &Connection, filter: &EventFilter) -> Result<EventPage> {
    let limit = filter.limit.unwrap_or(PAGE);
    let sql = if filter.job.is_some() {
        EVENTS_OF_JOB
    } else {
        EVENTS_SINCE
    };
    let mut arguments = vec![Value::Integer(filter.since.0), Value::Integer(limit as i64)];
    if let Some(job) = filter.job {
        arguments.insert(0, Value::Integer(job.0));
    }
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(arguments))?;
    let mut page = EventPage {
        events: Vec::new(),
        next: filter.since,
        at_end: true,
    };
    let mut looked_at = 0;
    while let Some(row) = rows.next()? {
        looked_at += 1;
        page.next = EventId(row.get(0)?);
        let Some(kind) = EventKind::from_code(row.get(2)?) else {
            continue;
        };
        let wanted = if filter.kinds.is_empty() {
            !kind.is_output()
        } else {
            filter.kinds.contains(&kind)
        };
        if wanted && is_of(conn, row.get(3)?, filter)? {
            page.events.push(decode(row, kind)?);
        }
    }
    page.at_end = looked_at < limit;
    Ok(page)
}

/// Whether the event's job matches the filter's tenant and tags.
fn is_of(conn: &Connection, job: Option<i64>, filter: &EventFilter) -> Result<bool> {
    if let Some(tenant) = &filter.tenant
        && !conn.has_row(JOB_IS_OF_TENANT, params![job, tenant])?
    {
        return Ok(false);
    }
    for (name, value) in &filter.tags {
        let mut find = conn.prepare_cached(JOB_HAS_TAG)?;
        if !find.exists(params![job, name, value])? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn decode(row: &Row<'_>, kind: EventKind) -> Result<Event> {
    let took_us: Option<u64> = row.get(7)?;
    let data = match row.get_ref(8)? {
        ValueRef::Text(text) => Some(match std::str::from_utf8(text) {
            Ok(text) => EventData::Text(text.to_owned()),
            Err(_) => EventData::Bytes(text.to_vec()),
        }),
        ValueRef::Blob(bytes) => Some(EventData::Bytes(bytes.to_vec())),
        _ => None,
    };
    Ok(Event {
        id: EventId(row.get(0)?),
        at: timestamp(row.get(1)?),
        kind,
        job: row.get::<_, Option<i64>>(3)?.map(JobId),
        attempt: row.get(4)?,
        runner: row.get::<_, Option<_>>(5)?.map(RunnerId),
        worker: row.get::<_, Option<_>>(6)?.map(WorkerId),
        took: took_us.map(Duration::from_micros),
        data,
    })
}

pub(crate) fn last(conn: &Connection) -> Result<EventId> {
    Ok(EventId(conn.one(EVENT_LAST, [], |row| row.get(0))?))
}

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
        let page = read(conn, &filter)?;
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
