//! Databases that are not the queue's, for the handlers that read or copy them.

pub(crate) mod query;
mod tables;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::Kind;
use crate::store::sqlite::connection;
use crate::store::sqlite::statement::statements;
use crate::{Error, Result, clock};

statements! {
    cold TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'";
}

/// Whether something that takes long goes on; called many times a second.
pub(crate) type GoesOn = Box<dyn FnMut() -> bool + Send>;

/// How long to wait for a lock of another process.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open database.
pub(crate) struct Database {
    conn: Connection,
}

impl Database {
    /// Opens a file to read it.
    pub(crate) fn open(path: &Path, goes_on: GoesOn) -> Result<Database> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(PATIENCE)?;
        conn.pragma_update(None, "trusted_schema", false)?;
        ask_while_it_runs(&conn, &Arc::new(Mutex::new(goes_on)))?;
        Ok(Database { conn })
    }

    /// Begins to read: all that follows sees the file as it is now. Waits for whoever holds a lock, as long as that is
    /// worth it.
    pub(crate) fn begin_reading(&self, mut goes_on: GoesOn) -> Result<()> {
        // The first read takes the lock, and nothing interrupts SQLite while it waits for one.
        const BEGIN: &str = "BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1";
        const AT_A_TIME: Duration = Duration::from_millis(100);
        self.conn.busy_timeout(AT_A_TIME)?;
        let began = clock::instant();
        loop {
            match self.conn.execute_batch(BEGIN).map_err(Error::from) {
                Err(error) if error.is_busy() && began.elapsed() < PATIENCE && goes_on() => {
                    self.conn.execute_batch("ROLLBACK")?;
                }
                begun => return begun,
            }
        }
    }

    /// Opens a file that nobody writes, without any lock and without a file beside it.
    pub(crate) fn open_immutable(path: &Path, goes_on: GoesOn) -> Result<Database> {
        let conn = connection::open_immutable(path)?;
        ask_while_it_runs(&conn, &Arc::new(Mutex::new(goes_on)))?;
        Ok(Database { conn })
    }

    /// Writes a compact copy, in one read transaction, into an empty file.
    pub(crate) fn copy_into(&self, to: &Path) -> Result<()> {
        vacuum_into(&self.conn, to)
    }

    /// Checks the structure of the file. Returns the number of its rows.
    pub(crate) fn check(&self) -> Result<u64> {
        let first: String = self
            .conn
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if first != "ok" {
            return Err(Error::new(Kind::Corrupt, format!("it is damaged: {first}")));
        }
        let mut tables = self.conn.prepare(TABLES)?;
        let tables = tables.query_map([], |row| row.get::<_, String>(0))?;
        let mut rows = 0;
        for table in tables {
            let count = format!("SELECT count(*) FROM \"{}\"", table?.replace('"', "\"\""));
            rows += self
                .conn
                .query_row(&count, [], |row| row.get::<_, u64>(0))?;
        }
        Ok(rows)
    }
}

/// Ends a statement of the connection with an error as soon as it is not to go on.
pub(crate) fn ask_while_it_runs(conn: &Connection, goes_on: &Arc<Mutex<GoesOn>>) -> Result<()> {
    /// Steps of SQLite's virtual machine between two checks: a row takes a few, however large it is.
    const LOOK_EVERY: i32 = 100;
    let goes_on = Arc::clone(goes_on);
    let is_over = move || !goes_on.lock().unwrap_or_else(PoisonError::into_inner)();
    Ok(conn.progress_handler(LOOK_EVERY, Some(is_over))?)
}

/// Writes a compact copy of the connection's database into an empty file.
pub(crate) fn vacuum_into(conn: &Connection, to: &Path) -> Result<()> {
    let name = to
        .to_str()
        .ok_or_else(|| Error::invalid(format!("{} is not UTF-8", to.display())))?;
    // VACUUM is refused on a connection that may only read, although it writes to another file.
    let query_only: bool = conn.pragma_query_value(None, "query_only", |row| row.get(0))?;
    conn.pragma_update(None, "query_only", false)?;
    let copied = conn.execute("VACUUM INTO ?1", [name]);
    conn.pragma_update(None, "query_only", query_only)?;
    copied?;
    Ok(())
}
