//! Unowned jobs: running by the file, although the runner that held them has ended. It had set them aside,
//! because their rows could not be written. Once the rows are repaired the jobs run again.

use crate::error::Kind;
use crate::model::id::JobId;
use crate::store::sqlite::Connection;
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::Tx;
use crate::store::upkeep::runners::{decode_claim, recover};
use crate::{Error, Result};

statements! {
    /// By the index of what runs, over all runners: as many rows as there are workers, and some ahead.
    hot JOBS_UNOWNED = "SELECT j.id FROM jobq_job j INDEXED BY jobq_job_running WHERE j.state = 3 AND NOT EXISTS
        (SELECT 1 FROM jobq_runner r WHERE r.id = j.runner_id AND r.state <= 2)";
    hot JOB_UNOWNED = "SELECT j.id, j.queue_id, j.attempt, j.claim, j.retries, j.crashes, j.max_retries, j.backoff,
            j.retry_delay_ms, j.jitter, j.timeout_ms, j.cancel, j.links, j.parent_id, j.runner_id
        FROM jobq_job j WHERE j.id = ?1 AND j.state = 3 AND NOT EXISTS
        (SELECT 1 FROM jobq_runner r WHERE r.id = j.runner_id AND r.state <= 2)";
}

/// Why the attempt does not count against the job.
const EXCUSE: &str = "its runner had set it aside, as its row was damaged";

pub(crate) fn find(conn: &Connection) -> Result<Vec<JobId>> {
    conn.all(JOBS_UNOWNED, [], |row| row.get(0).map(JobId))
}

pub(crate) fn is_unowned(conn: &Connection, job: JobId) -> Result<bool> {
    conn.has_row(JOB_UNOWNED, [job.0])
}

/// Ends the attempt of an unowned job; returns false if it is not one.
pub(crate) fn take_over(tx: &mut Tx<'_>, job: JobId) -> Result<bool> {
    let held = tx.optional(JOB_UNOWNED, [job.0], |row| {
        let runner = row.get_ref(14)?.as_i64().unwrap_or(0);
        decode_claim(row, runner)
    })?;
    let Some(held) = held else {
        return Ok(false);
    };
    recover(tx, &held, Some(EXCUSE))?;
    if is_unowned(tx.conn, job)? {
        let error = "it runs without a runner, and its row does not say which attempt that is";
        return Err(Error::new(Kind::Sqlite, error));
    }
    Ok(true)
}
