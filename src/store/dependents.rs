//! The jobs that depended on others, and were cancelled for that.

use std::collections::{BTreeSet, VecDeque};

use rusqlite::Connection;

use super::prerequisites;
use super::records;
use super::statement::statements;
use crate::Result;
use crate::job::JobId;

statements! {
    /// A range of the primary key: those that need a job to complete, were not released by it, and
    /// are cancelled. Each with its reason: somebody may have called it off by hand.
    hot CANCELLED_THAT_NEED = "SELECT p.job_id, o.error FROM jobq_prerequisite p
        CROSS JOIN jobq_job j ON j.id = p.job_id
        CROSS JOIN jobq_outcome o ON o.job_id = p.job_id
        WHERE p.needs_id = ?1 AND p.rule = 0 AND p.met = 0 AND j.state = 7 AND o.error IS NOT NULL";
}

/// The jobs that were cancelled because one of these ended otherwise than they needed, or because one
/// of them did: the first `most` that are found.
pub(crate) fn cancelled_because_of(
    conn: &Connection,
    jobs: &[JobId],
    most: usize,
) -> Result<Vec<JobId>> {
    let mut found = BTreeSet::new();
    let mut followed: VecDeque<JobId> = jobs.iter().copied().collect();
    while let Some(needs) = followed.pop_front() {
        for job in direct(conn, needs)? {
            if found.len() == most {
                return Ok(found.into_iter().collect());
            }
            if found.insert(job) {
                followed.push_back(job);
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn direct(conn: &Connection, needs: JobId) -> Result<Vec<JobId>> {
    let reason = prerequisites::reason(needs);
    let mut statement = conn.prepare_cached(CANCELLED_THAT_NEED)?;
    let mut rows = statement.query([needs.0])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        if records::text(row.get_ref(1)?).is_some_and(|error| error.starts_with(&reason)) {
            jobs.push(JobId(row.get(0)?));
        }
    }
    Ok(jobs)
}
