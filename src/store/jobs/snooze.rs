//! Snoozes that running attempts ask for. Such an attempt ends as snoozed if it succeeds. A flag of its job says
//! so until the attempt has ended: see [`finish_attempt`](crate::store::jobs::finish_attempt).

use std::time::Duration;

use crate::Result;
use crate::clock::millis;
use crate::model::event::{Level, LogEntry};
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::outcome::{Snooze, Verdict};
use crate::model::state::State;
use crate::store::jobs::{attempt_reports, job_row};
use crate::store::sqlite::params;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tx::Tx;

statements! {
    hot OUTCOME_STORE_SNOOZE = "INSERT INTO jobq_outcome (job_id, snooze_ms) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET snooze_ms = excluded.snooze_ms";
    hot OUTCOME_SNOOZE = "SELECT snooze_ms FROM jobq_outcome WHERE job_id = ?1 AND snooze_ms IS NOT NULL";
    hot OUTCOME_FORGET_SNOOZE = "UPDATE jobq_outcome SET snooze_ms = NULL WHERE job_id = ?1";
    hot JOB_WITHOUT_SNOOZE = "UPDATE jobq_job SET links = links & ~2048 WHERE id = ?1";
}

/// Stores how long the job waits once this attempt has succeeded.
pub(crate) fn ask(tx: &mut Tx<'_>, attempt: AttemptRef, wait: Duration) -> Result<()> {
    attempt.check(tx)?;
    tx.run(OUTCOME_STORE_SNOOZE, params![attempt.job.0, millis(wait)])?;
    job_row::set_flags(tx.conn, attempt.job, JobFlags::SNOOZE)
}

/// What the running attempt of a job with these flags has asked for.
pub(super) fn asked(tx: &Tx<'_>, job: JobId, flags: JobFlags) -> Result<Option<Snooze>> {
    if !flags.has(JobFlags::SNOOZE) {
        return Ok(None);
    }
    let wait_ms: Option<i64> = tx.optional(OUTCOME_SNOOZE, [job.0], |row| row.get(0))?;
    let wait = wait_ms.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs()));
    Ok(wait.map(Snooze::For))
}

/// Forgets what an attempt that has ended has asked for. Returns the verdict that takes the place of the one on the
/// attempt if that has succeeded: its job is snoozed.
pub(super) fn settle(
    tx: &mut Tx<'_>,
    attempt: AttemptRef,
    (verdict, to, flags): (&Verdict, State, JobFlags),
) -> Result<Option<Verdict>> {
    let Some(snooze) = take(tx, attempt.job, flags)? else {
        return Ok(None);
    };
    match (verdict, to) {
        (Verdict::Complete { .. }, State::Scheduled) => return Ok(Some(Verdict::Snooze(snooze))),
        (Verdict::Snooze(_), _) | (_, State::Cancelled) => {}
        _ => log_dropped(tx, attempt)?,
    }
    Ok(None)
}

/// Forgets what the job's attempt has asked for, and returns it.
pub(super) fn take(tx: &Tx<'_>, job: JobId, flags: JobFlags) -> Result<Option<Snooze>> {
    let asked = asked(tx, job, flags)?;
    if flags.has(JobFlags::SNOOZE) {
        tx.run(OUTCOME_FORGET_SNOOZE, [job.0])?;
        tx.run(JOB_WITHOUT_SNOOZE, [job.0])?;
    }
    Ok(asked)
}

/// Logs that the attempt has not succeeded, so that its job is not snoozed.
fn log_dropped(tx: &mut Tx<'_>, attempt: AttemptRef) -> Result<()> {
    let entry = LogEntry {
        level: Level::Warn,
        message: "not snoozed, as the attempt did not succeed".to_owned(),
        fields: None,
    };
    attempt_reports::append_log(tx, attempt, &entry)
}
