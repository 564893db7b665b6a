//! Batches by their content: the same batch goes on where it was left.

use rusqlite::{Connection, OptionalExtension, params};

use super::statement::statements;
use super::tx::Tx;
use crate::Result;
use crate::job::JobId;

statements! {
    hot BATCH_GET = "SELECT first_job_id, last_job_id FROM jobq_batch WHERE digest = ?1";
    hot BATCH_SET = "INSERT INTO jobq_batch (digest, first_job_id, last_job_id, added_at) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (digest) DO UPDATE SET first_job_id = excluded.first_job_id, last_job_id = excluded.last_job_id,
            added_at = excluded.added_at";
    /// The jobs of one batch: a range of the primary key, no more.
    cold BATCH_UNFINISHED = "SELECT count(*) FROM jobq_job WHERE id BETWEEN ?1 AND ?2 AND state < 5";
    cold BATCH_ENDED_BADLY = "SELECT count(*) FROM jobq_job WHERE id BETWEEN ?1 AND ?2 AND state IN (6, 7)";
}

/// The jobs of a batch: they were added in one transaction and have consecutive numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The first job.
    pub first: JobId,
    /// The last job.
    pub last: JobId,
}

impl Batch {
    /// How many jobs it had.
    pub fn len(&self) -> u64 {
        u64::try_from(self.last.0 - self.first.0 + 1).unwrap_or(0)
    }

    /// Never: an empty batch is not kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

pub(crate) fn find(conn: &Connection, digest: &str) -> Result<Option<Batch>> {
    let found = conn
        .prepare_cached(BATCH_GET)?
        .query_row([digest], |row| {
            Ok(Batch {
                first: JobId(row.get(0)?),
                last: JobId(row.get(1)?),
            })
        })
        .optional()?;
    Ok(found)
}

pub(crate) fn remember(tx: &Tx<'_>, digest: &str, batch: Batch) -> Result<()> {
    tx.conn.prepare_cached(BATCH_SET)?.execute(params![
        digest,
        batch.first.0,
        batch.last.0,
        tx.now_ms
    ])?;
    Ok(())
}

/// How many jobs of the batch are not final.
pub(crate) fn unfinished(conn: &Connection, batch: Batch) -> Result<u64> {
    Ok(conn.query_row(
        BATCH_UNFINISHED,
        params![batch.first.0, batch.last.0],
        |row| row.get(0),
    )?)
}

/// How many jobs of the batch failed or were cancelled.
pub(crate) fn ended_badly(conn: &Connection, batch: Batch) -> Result<u64> {
    Ok(conn.query_row(
        BATCH_ENDED_BADLY,
        params![batch.first.0, batch.last.0],
        |row| row.get(0),
    )?)
}
