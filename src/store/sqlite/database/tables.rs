//! Tables that handlers fill, in a database of their own.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use crate::Result;
use crate::store::sqlite::database::{Database, GoesOn, ask_while_it_runs};

impl Database {
    /// An empty database that nobody else sees. It is in memory as long as it is small, and gone when it is
    /// closed.
    pub(crate) fn temporary(goes_on: GoesOn) -> Result<Database> {
        Database::to_fill(Connection::open("")?, goes_on)
    }

    /// The database in an empty file that nobody else knows, which the caller syncs.
    pub(crate) fn create(path: &Path, goes_on: GoesOn) -> Result<Database> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Database::to_fill(Connection::open_with_flags(path, flags)?, goes_on)
    }

    fn to_fill(conn: Connection, goes_on: GoesOn) -> Result<Database> {
        conn.pragma_update(None, "synchronous", "OFF")?;
        conn.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
        conn.pragma_update(None, "trusted_schema", false)?;
        ask_while_it_runs(&conn, &Arc::new(Mutex::new(goes_on)))?;
        conn.execute_batch("BEGIN")?;
        Ok(Database { conn })
    }

    /// Adds a table with these columns, which have no types.
    pub(crate) fn create_table(&self, table: &str, columns: &[String]) -> Result<()> {
        let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        let sql = format!("CREATE TABLE {} ({})", quoted(table), columns.join(", "));
        Ok(self.conn.execute_batch(&sql)?)
    }

    /// Adds a column to a table.
    pub(crate) fn add_column(&self, table: &str, column: &str) -> Result<()> {
        let sql = format!(
            "ALTER TABLE {} ADD COLUMN {}",
            quoted(table),
            quoted(column)
        );
        Ok(self.conn.execute_batch(&sql)?)
    }

    /// Adds a row, with a value for each of the first columns.
    pub(crate) fn insert(&self, table: &str, columns: &[String], values: &[Value]) -> Result<()> {
        let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        let marks = vec!["?"; columns.len()];
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({})",
            quoted(table),
            columns.join(", "),
            marks.join(", ")
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        statement.execute(params_from_iter(values))?;
        Ok(())
    }

    /// Keeps what was written.
    pub(crate) fn commit(self) -> Result<()> {
        self.conn.execute_batch("COMMIT")?;
        self.conn.close().map_err(|(_, error)| error)?;
        Ok(())
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
