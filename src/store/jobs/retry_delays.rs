//! Lists of delays before retries. A flag says which jobs have one; the others have no row here.

use std::time::Duration;

use crate::Result;
use crate::clock::millis;
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::store::jobs::job_row;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::{statements, text};
use crate::store::sqlite::tx::Tx;

statements! {
    hot RETRY_DELAYS_GET = "SELECT delays_ms FROM jobq_retry_delays WHERE job_id = ?1";
    hot RETRY_DELAYS_SET = "INSERT INTO jobq_retry_delays (job_id, delays_ms) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET delays_ms = excluded.delays_ms";
    hot RETRY_DELAYS_REMOVE = "DELETE FROM jobq_retry_delays WHERE job_id = ?1";
    hot JOB_WITHOUT_RETRY_DELAYS = "UPDATE jobq_job SET links = links & ~1024 WHERE id = ?1";
}

/// The list of a job with these flags; empty if it has none.
pub(crate) fn of_job(tx: &Tx<'_>, job: JobId, flags: JobFlags) -> Result<Vec<Duration>> {
    if !flags.has(JobFlags::RETRY_DELAYS) {
        return Ok(Vec::new());
    }
    let json = tx.optional(RETRY_DELAYS_GET, [job.0], |row| Ok(text(row.get_ref(0)?)))?;
    Ok(parse(json.flatten().as_deref()))
}

/// A list as it is stored. Another program may have written anything: such a job is retried by its backoff.
pub(crate) fn parse(json: Option<&str>) -> Vec<Duration> {
    let delays_ms: Vec<u64> = json
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    delays_ms.into_iter().map(Duration::from_millis).collect()
}

/// Stores the list of a job, unless it is empty. The job's flags say that it has one, or will.
pub(crate) fn add(tx: &Tx<'_>, job: JobId, delays: &[Duration]) -> Result<()> {
    if !delays.is_empty() {
        let delays_ms: Vec<i64> = delays.iter().copied().map(millis).collect();
        let json = serde_json::Value::from(delays_ms).to_string();
        tx.run(RETRY_DELAYS_SET, params![job.0, json])?;
    }
    Ok(())
}

/// Gives a job with these flags another list, or none if it is empty.
pub(crate) fn replace(
    tx: &Tx<'_>,
    (job, flags): (JobId, JobFlags),
    delays: &[Duration],
) -> Result<()> {
    if !delays.is_empty() {
        add(tx, job, delays)?;
        return job_row::set_flags(tx.conn, job, JobFlags::RETRY_DELAYS);
    }
    if flags.has(JobFlags::RETRY_DELAYS) {
        tx.run(RETRY_DELAYS_REMOVE, [job.0])?;
        tx.run(JOB_WITHOUT_RETRY_DELAYS, [job.0])?;
    }
    Ok(())
}
