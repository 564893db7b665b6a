//! Reports of a running attempt: progress, log entries, output, its result. All are fenced: an attempt that
//! has lost its job changes nothing.

use crate::model::event::{EventKind, LogEntry};
use crate::model::job::{AttemptRef, Progress};
use crate::store::jobs::job_row;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::{NewEvent, Tx};
use crate::store::sqlite::types::Value;
use crate::{Error, Result};

statements! {
    hot JOB_IS_HELD = "SELECT 1 FROM jobq_job WHERE id = ?1 AND state = 3 AND attempt = ?2";
    hot PROGRESS_SET = "INSERT INTO jobq_progress (job_id, attempt, percent, processed, total, message)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (job_id) DO UPDATE SET attempt = excluded.attempt, percent = excluded.percent,
            processed = excluded.processed, total = excluded.total,
            message = CASE WHEN attempt = excluded.attempt THEN coalesce(excluded.message, message)
                ELSE excluded.message END";
    hot OUTCOME_STORE_RESULT = "INSERT INTO jobq_outcome (job_id, result) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET result = excluded.result";
}

impl AttemptRef {
    pub(crate) fn check(self, tx: &Tx<'_>) -> Result<()> {
        if self.is_held(tx)? {
            return Ok(());
        }
        let state =
            job_row::state(tx.conn, self.job)?.ok_or_else(|| Error::no_such_job(self.job))?;
        Err(Error::wrong_state(format!(
            "attempt {} no longer holds job {}, which is {state}",
            self.attempt, self.job
        )))
    }

    pub(crate) fn is_held(self, tx: &Tx<'_>) -> Result<bool> {
        tx.has_row(JOB_IS_HELD, params![self.job.0, self.attempt])
    }

    fn event(self, kind: EventKind) -> NewEvent {
        NewEvent {
            attempt: Some(self.attempt),
            ..NewEvent::job(kind, self.job)
        }
    }
}

pub(crate) fn progress(tx: &mut Tx<'_>, attempt: AttemptRef, progress: &Progress) -> Result<()> {
    attempt.check(tx)?;
    tx.run(
        PROGRESS_SET,
        params![
            attempt.job.0,
            attempt.attempt,
            progress.percent,
            progress.processed,
            progress.total,
            progress.message
        ],
    )?;
    let data = serde_json::to_string(progress).ok();
    tx.append(attempt.event(EventKind::Progress).text(data))
}

pub(crate) fn log(tx: &mut Tx<'_>, attempt: AttemptRef, entry: &LogEntry) -> Result<()> {
    attempt.check(tx)?;
    append_log(tx, attempt, entry)
}

/// The same for an attempt that need not hold its job any more.
pub(super) fn append_log(tx: &mut Tx<'_>, attempt: AttemptRef, entry: &LogEntry) -> Result<()> {
    let data = serde_json::to_string(entry).ok();
    tx.append(attempt.event(EventKind::Log).text(data))
}

/// A piece of a command's output: as text if it is UTF-8, else as bytes.
pub(crate) fn output(
    tx: &mut Tx<'_>,
    attempt: AttemptRef,
    kind: EventKind,
    bytes: &[u8],
) -> Result<()> {
    attempt.check(tx)?;
    let data = match std::str::from_utf8(bytes) {
        Ok(text) => Value::Text(text.to_owned()),
        Err(_) => Value::Blob(bytes.to_vec()),
    };
    tx.append(NewEvent {
        data,
        ..attempt.event(kind)
    })
}

pub(crate) fn result(tx: &mut Tx<'_>, attempt: AttemptRef, json: &str) -> Result<()> {
    attempt.check(tx)?;
    tx.run(OUTCOME_STORE_RESULT, params![attempt.job.0, json])?;
    Ok(())
}
