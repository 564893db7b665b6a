//! The traces that jobs belong to. A flag says which jobs have one; the others have no row here.

use crate::Result;
use crate::model::flags::JobFlags;
use crate::model::id::JobId;
use crate::model::job::Traceparent;
use crate::store::jobs::job_row;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::{statements, text};
use crate::store::sqlite::tx::Tx;

statements! {
    hot TRACEPARENT_GET = "SELECT traceparent FROM jobq_traceparent WHERE job_id = ?1";
    hot TRACEPARENT_SET = "INSERT INTO jobq_traceparent (job_id, traceparent) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET traceparent = excluded.traceparent";
    hot TRACEPARENT_REMOVE = "DELETE FROM jobq_traceparent WHERE job_id = ?1";
    hot JOB_WITHOUT_TRACEPARENT = "UPDATE jobq_job SET links = links & ~32768 WHERE id = ?1";
}

/// That of a job with these flags.
pub(crate) fn of_job(tx: &Tx<'_>, job: JobId, flags: JobFlags) -> Result<Option<Box<Traceparent>>> {
    if !flags.has(JobFlags::TRACED) {
        return Ok(None);
    }
    let stored = tx.optional(TRACEPARENT_GET, [job.0], |row| Ok(text(row.get_ref(0)?)))?;
    Ok(parse(stored.flatten().as_deref()).map(Box::new))
}

/// One as it is stored. Another program may have written anything.
pub(crate) fn parse(stored: Option<&str>) -> Option<Traceparent> {
    stored?.parse().ok()
}

/// Stores that of a job. The job's flags say that it has one, or will.
pub(crate) fn add(tx: &Tx<'_>, job: JobId, traceparent: Option<Traceparent>) -> Result<()> {
    if let Some(traceparent) = traceparent {
        tx.run(TRACEPARENT_SET, params![job.0, traceparent.to_string()])?;
    }
    Ok(())
}

/// Gives a job with these flags another one, or none.
pub(crate) fn replace(
    tx: &Tx<'_>,
    (job, flags): (JobId, JobFlags),
    traceparent: Option<Traceparent>,
) -> Result<()> {
    add(tx, job, traceparent)?;
    if traceparent.is_some() {
        return job_row::set_flags(tx.conn, job, JobFlags::TRACED);
    }
    if flags.has(JobFlags::TRACED) {
        tx.run(TRACEPARENT_REMOVE, [job.0])?;
        tx.run(JOB_WITHOUT_TRACEPARENT, [job.0])?;
    }
    Ok(())
}
