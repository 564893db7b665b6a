//! Batches, recognised by their content: the same batch is resumed.

use crate::Result;
use crate::model::id::{Batch, JobId};
use crate::model::part::{Part, Parts};
use crate::store::sqlite::statement::{Statements, statements};
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::{Connection, params};

statements! {
    hot BATCH_GET = "SELECT first_job_id, last_job_id FROM jobq_batch WHERE digest = ?1";
    hot BATCH_SET = "INSERT INTO jobq_batch (digest, first_job_id, last_job_id, added_at) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (digest) DO UPDATE SET first_job_id = excluded.first_job_id, last_job_id = excluded.last_job_id,
            added_at = excluded.added_at";
    hot BATCHES_FROM = "SELECT digest, first_job_id, last_job_id FROM jobq_batch WHERE digest >= ?1
        ORDER BY digest LIMIT ?2";
    /// The first remaining job, in a range of the primary key.
    hot BATCH_IS_THERE = "SELECT 1 FROM jobq_job WHERE id BETWEEN ?1 AND ?2";
    hot BATCH_FORGET = "DELETE FROM jobq_batch WHERE digest = ?1";
    /// The jobs of one batch: a range of the primary key, no more.
    cold BATCH_UNFINISHED = "SELECT count(*) FROM jobq_job WHERE id BETWEEN ?1 AND ?2 AND state < 5";
    /// Asked only when nothing else is left to drain; by the index of what runs, which is little, however
    /// large the batch is.
    cold BATCH_RUNS = "SELECT id FROM jobq_job INDEXED BY jobq_job_running WHERE state = 3 AND id BETWEEN ?1 AND ?2";
    cold BATCH_UNDONE = "SELECT id FROM jobq_job WHERE id BETWEEN ?1 AND ?2 AND state IN (6, 7) ORDER BY id";
    cold BATCH_ENDED_BADLY = "SELECT count(*) FROM jobq_job WHERE id BETWEEN ?1 AND ?2 AND state IN (6, 7)";
}

pub(crate) fn find(conn: &Connection, digest: &str) -> Result<Option<Batch>> {
    let found = conn.optional(BATCH_GET, [digest], |row| {
        Ok(Batch {
            first: JobId(row.get(0)?),
            last: JobId(row.get(1)?),
        })
    })?;
    Ok(found)
}

pub(crate) fn remember(tx: &Tx<'_>, digest: &str, batch: Batch) -> Result<()> {
    tx.run(
        BATCH_SET,
        params![digest, batch.first.0, batch.last.0, tx.now_ms],
    )?;
    Ok(())
}

/// Checks some batches, in the order of their digests, and forgets those without remaining jobs. Returns
/// where to continue; none after the last.
pub(crate) fn forget_gone(tx: &Tx<'_>, from: &str, limit: usize) -> Result<Option<String>> {
    let mut found: Vec<(String, i64, i64)> = {
        tx.all(BATCHES_FROM, params![from, limit as i64 + 1], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
    };
    let next = if found.len() > limit {
        found.pop()
    } else {
        None
    };
    for (digest, first, last) in &found {
        if !tx.has_row(BATCH_IS_THERE, [first, last])? {
            tx.run(BATCH_FORGET, [digest])?;
        }
    }
    Ok(next.map(|(digest, ..)| digest))
}

/// Whether any runner runs a job of the batch. A job that is set aside may stay running forever.
pub(crate) fn is_running(conn: &Connection, batch: Batch, aside: &Parts) -> Result<bool> {
    let mut statement = conn.prepare_cached(BATCH_RUNS)?;
    let mut rows = statement.query([batch.first.0, batch.last.0])?;
    while let Some(row) = rows.next()? {
        if !aside.has(Part::Job(JobId(row.get(0)?))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The number of jobs of the batch that are not final.
pub(crate) fn unfinished(conn: &Connection, batch: Batch) -> Result<u64> {
    Ok(conn.query_row(
        BATCH_UNFINISHED,
        params![batch.first.0, batch.last.0],
        |row| row.get(0),
    )?)
}

/// The number of jobs of the batch that failed or were cancelled.
pub(crate) fn ended_badly(conn: &Connection, batch: Batch) -> Result<u64> {
    Ok(conn.query_row(
        BATCH_ENDED_BADLY,
        params![batch.first.0, batch.last.0],
        |row| row.get(0),
    )?)
}

/// The jobs of the batch that failed or were cancelled, oldest first.
pub(crate) fn undone(conn: &Connection, batch: Batch) -> Result<Vec<JobId>> {
    conn.all(BATCH_UNDONE, params![batch.first.0, batch.last.0], |row| {
        row.get(0).map(JobId)
    })
}
