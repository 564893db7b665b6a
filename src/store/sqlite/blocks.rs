//! The blocks of ids that hold jobs of a kind or of a queue: a listing by one of them reads no other block.
//!
//! A writer remembers what it has noted of one block only, that of the newest job. Rows of that block are never
//! removed, so what it remembers stays true whatever other processes do.

use rusqlite::Connection;

use crate::Result;
use crate::model::id::JobId;
use crate::store::sqlite::statement::{Statements, statements};

statements! {
    hot BLOCK_ADD = "INSERT OR IGNORE INTO jobq_block (what, id, block) VALUES (?1, ?2, ?3)";
    hot BLOCK_JOBS_FIRST = "SELECT min(id) FROM jobq_job";
    hot BLOCKS_FORGET = "DELETE FROM jobq_block WHERE what = ?1 AND id = ?2 AND block IN
        (SELECT block FROM jobq_block WHERE what = ?1 AND id = ?2 AND block < ?3 ORDER BY block LIMIT ?4)";
    cold BLOCKS_NAMED = "SELECT 0, id FROM jobq_kind UNION ALL SELECT 1, id FROM jobq_queue";
    cold BLOCKS_MISSING = "SELECT j.id FROM jobq_job j
        WHERE NOT EXISTS (SELECT 1 FROM jobq_block b WHERE b.what = 0 AND b.id = j.kind_id AND b.block = j.id >> 8)
            OR NOT EXISTS (SELECT 1 FROM jobq_block b WHERE b.what = 1 AND b.id = j.queue_id AND b.block = j.id >> 8)";
    cold BLOCKS_ADD_OF_KINDS = "INSERT OR IGNORE INTO jobq_block (what, id, block) SELECT 0, kind_id, id >> 8 FROM jobq_job";
    cold BLOCKS_ADD_OF_QUEUES = "INSERT OR IGNORE INTO jobq_block (what, id, block) SELECT 1, queue_id, id >> 8 FROM jobq_job";
}

/// Whose jobs a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockOf {
    Kind(i64),
    Queue(i64),
}

impl BlockOf {
    /// What it is in a row, and its id.
    pub(crate) const fn key(self) -> (i64, i64) {
        match self {
            BlockOf::Kind(id) => (0, id),
            BlockOf::Queue(id) => (1, id),
        }
    }
}

/// The block of a job.
pub(crate) const fn block(job: i64) -> i64 {
    job >> 8
}

/// The rows of a block that a writer knows to exist. Forget it after a rollback.
#[derive(Debug, Default)]
pub(crate) struct KnownBlock {
    block: i64,
    has: Vec<BlockOf>,
}

impl KnownBlock {
    /// Notes that the block of a new job holds a job of this queue and of this kind.
    pub(crate) fn add(
        &mut self,
        conn: &Connection,
        job: JobId,
        (queue, kind): (i64, i64),
    ) -> Result<()> {
        let block = block(job.0);
        if block != self.block {
            self.has.clear();
            self.block = block;
        }
        for of in [BlockOf::Kind(kind), BlockOf::Queue(queue)] {
            if !self.has.contains(&of) {
                add(conn, of, job)?;
                self.has.push(of);
            }
        }
        Ok(())
    }
}

/// Notes that the block of this job holds a job of the kind or queue.
pub(crate) fn add(conn: &Connection, of: BlockOf, job: JobId) -> Result<()> {
    let (what, id) = of.key();
    conn.run(BLOCK_ADD, [what, id, block(job.0)])?;
    Ok(())
}

/// Removes at most `most` rows of blocks that hold no job and into which none can come. Returns whether there may be
/// more.
pub(crate) fn forget_empty(conn: &Connection, last_job: i64, most: usize) -> Result<bool> {
    let first: Option<i64> = conn.one(BLOCK_JOBS_FIRST, [], |row| row.get(0))?;
    let before = block(first.unwrap_or(last_job).min(last_job));
    let mut left = most;
    let key = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    for (what, id) in conn.all::<(i64, i64)>(BLOCKS_NAMED, [], key)? {
        left -= conn.run(BLOCKS_FORGET, (what, id, before, left as i64))?;
        if left == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds the rows that lack.
pub(crate) fn add_missing(conn: &Connection) -> Result<()> {
    conn.run(BLOCKS_ADD_OF_KINDS, [])?;
    conn.run(BLOCKS_ADD_OF_QUEUES, [])?;
    Ok(())
}
