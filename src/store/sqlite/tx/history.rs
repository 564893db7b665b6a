//! The events that a write transaction appends to the history.

use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection};

use crate::Result;
use crate::model::event::EventKind;
use crate::model::id::JobId;
use crate::store::sqlite::error::inserted;
use crate::store::sqlite::statement::statements;

macro_rules! append {
    ($($row:literal)+) => {
        concat!(
            // FAIL: an append that cannot be completed ends its transaction or savepoint anyway, and
            // ABORT would need a statement journal for more than one row.
            "INSERT OR FAIL INTO jobq_event (at, kind, job_id, attempt, runner_id, worker, took_us, data) VALUES ",
            $($row, "(?, ?, ?, ?, ?, ?, ?, ?)"),+
        )
    };
}

statements! {
    hot EVENT_APPEND = append!("");
    /// Many at once: a third of an append is the statement itself and the AUTOINCREMENT counter.
    hot EVENTS_APPEND_16 = append!("" "," "," "," "," "," "," "," "," "," "," "," "," "," "," ",");
}

/// An event to append. Fields that do not apply are none.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub(crate) kind: EventKind,
    pub(crate) job: Option<JobId>,
    pub(crate) attempt: Option<u32>,
    pub(crate) runner: Option<i64>,
    pub(crate) worker: Option<u32>,
    pub(crate) took: Option<Duration>,
    pub(crate) data: Value,
}

impl NewEvent {
    pub(crate) fn new(kind: EventKind) -> NewEvent {
        NewEvent {
            kind,
            job: None,
            attempt: None,
            runner: None,
            worker: None,
            took: None,
            data: Value::Null,
        }
    }

    pub(crate) fn job(kind: EventKind, job: JobId) -> NewEvent {
        NewEvent {
            job: Some(job),
            ..NewEvent::new(kind)
        }
    }

    pub(crate) fn text(mut self, data: Option<String>) -> NewEvent {
        self.data = data.map_or(Value::Null, Value::Text);
        self
    }
}

/// The events that a transaction must append, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventBuffer(Vec<NewEvent>);

const ROWS: usize = 16;
const COLUMNS: usize = 8;

impl EventBuffer {
    pub(crate) fn push(&mut self, event: NewEvent) {
        self.0.push(event);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= ROWS
    }

    /// Writes the buffered events.
    pub(crate) fn flush(&mut self, conn: &Connection, now_ms: i64) -> Result<()> {
        let (many, few) = self.0.as_chunks::<ROWS>();
        for (events, sql) in many
            .iter()
            .map(|events| (&events[..], EVENTS_APPEND_16))
            .chain(
                few.iter()
                    .map(|event| (std::slice::from_ref(event), EVENT_APPEND)),
            )
        {
            let mut append = conn.prepare_cached(sql)?;
            for (row, event) in events.iter().enumerate() {
                bind(&mut append, row * COLUMNS, (event, now_ms))?;
            }
            inserted(conn, append.raw_execute())?;
        }
        self.0.clear();
        Ok(())
    }
}

fn bind(
    append: &mut CachedStatement<'_>,
    at: usize,
    (event, now_ms): (&NewEvent, i64),
) -> Result<()> {
    let took_us = event
        .took
        .map(|took| i64::try_from(took.as_micros()).unwrap_or(i64::MAX));
    append.raw_bind_parameter(at + 1, now_ms)?;
    append.raw_bind_parameter(at + 2, event.kind.code())?;
    append.raw_bind_parameter(at + 3, event.job.map(|job| job.0))?;
    append.raw_bind_parameter(at + 4, event.attempt)?;
    append.raw_bind_parameter(at + 5, event.runner)?;
    append.raw_bind_parameter(at + 6, event.worker)?;
    append.raw_bind_parameter(at + 7, took_us)?;
    append.raw_bind_parameter(at + 8, &event.data)?;
    Ok(())
}
