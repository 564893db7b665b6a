//! Removing old final jobs, in steps so small that nobody waits for them.

use rusqlite::{Connection, params};

use super::edit;
use super::runners::RUNNERS_FORGET;
use super::statement::statements;
use super::tx::Tx;
use crate::Result;
use crate::job::JobId;
use crate::state::State;

statements! {
    hot JOBS_FINAL_BEFORE = "SELECT id FROM jobq_job WHERE state = ?1 AND state >= 5 AND finished_at < ?2
        ORDER BY finished_at LIMIT ?3";
    cold JOBS_FINAL_BEFORE_COUNT = "SELECT count(*) FROM jobq_job WHERE state = ?1 AND state >= 5 AND finished_at < ?2";
}

/// So many jobs go in one transaction.
pub(crate) const STEP: usize = 200;
/// So many pages are given back to the file system after each.
const VACUUM_PAGES: usize = 1000;

/// Which final jobs are to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Old {
    pub(crate) state: State,
    pub(crate) before_ms: i64,
}

/// Removes at most [`STEP`] jobs; how many it were.
pub(crate) fn step(tx: &mut Tx<'_>, old: Old) -> Result<usize> {
    let ids: Vec<i64> = {
        let mut statement = tx.conn.prepare_cached(JOBS_FINAL_BEFORE)?;
        let rows = statement.query_map(
            params![old.state.code(), old.before_ms, STEP as i64],
            |row| row.get(0),
        )?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    for id in &ids {
        edit::remove(tx, JobId(*id))?;
    }
    Ok(ids.len())
}

pub(crate) fn forget_runners(tx: &Tx<'_>, before_ms: i64) -> Result<()> {
    tx.conn
        .prepare_cached(RUNNERS_FORGET)?
        .execute([before_ms])?;
    Ok(())
}

pub(crate) fn count(conn: &Connection, old: Old) -> Result<u64> {
    Ok(conn.query_row(
        JOBS_FINAL_BEFORE_COUNT,
        params![old.state.code(), old.before_ms],
        |row| row.get(0),
    )?)
}

/// Gives free pages back to the file system, where the file is of that mode; whether there are more.
pub(crate) fn give_back_space(conn: &Connection) -> Result<bool> {
    let free_pages = || conn.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
    let before = free_pages()?;
    if before == 0 {
        return Ok(false);
    }
    let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    let left = free_pages()?;
    // A file of another mode keeps its free pages, however often it is asked.
    Ok(left > 0 && left < before)
}
