//! Setting up connections: pragmas, limits, and waiting for a lock.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use crate::Result;
use crate::model::file_options::Durability;

/// The log is cut back to this after a checkpoint, so that one large batch does not hold the disk.
const WAL_SIZE_LIMIT_BYTES: i64 = 16 * 1024 * 1024;
const STATEMENT_CACHE: usize = 128;

pub(crate) fn open_immutable(path: &Path) -> Result<Connection> {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(uri, flags)?;
    configure_reader(&conn)?;
    Ok(conn)
}

pub(crate) fn configure(conn: &Connection, durability: Durability) -> Result<()> {
    configure_reader(conn)?;
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update_and_check(None, "journal_size_limit", WAL_SIZE_LIMIT_BYTES, |_| Ok(()))?;
    Ok(())
}

pub(crate) fn configure_reader(conn: &Connection) -> Result<()> {
    conn.busy_handler(Some(wait_while_busy))?;
    // The checkpoint at the last close costs a short-lived process several syncs: see `Writer::drop`.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Without it, SQLite prepares a statement with `LIMIT ?` anew whenever it is bound.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    conn.pragma_update(None, "trusted_schema", false)?;
    // What a statement needs to undo its changes, and what it sorts, is in memory: a folder for temporary
    // files may be missing, full, or not to be written. A statement changes and sorts a bounded number of rows.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    bound(conn)
}

/// Maximum size of a value or row, in bytes. A payload is far smaller; a damaged or hostile file cannot make
/// this process allocate more.
const MAX_VALUE_BYTES: i32 = 256 * 1024 * 1024;
/// Maximum operations of a compiled statement; jobq's have a few hundred.
const MAX_OPERATIONS: i32 = 100_000;
/// What a pattern is compared with may be long: the time is their product.
const MAX_PATTERN_BYTES: i32 = 1000;

/// Limits the cost of a schema that others have made. [`unbound`] removes the limits.
pub(crate) fn bound(conn: &Connection) -> Result<()> {
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)?;
    conn.set_limit(Limit::SQLITE_LIMIT_VDBE_OP, MAX_OPERATIONS)?;
    conn.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN_BYTES)?;
    // VACUUM INTO attaches its target.
    conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 1)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    // jobq reads from no view. (Triggers on its tables are refused when the file is opened.)
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    Ok(())
}

/// For a connection that is lent to an application, which may use its whole schema. jobq's tables were
/// checked when the file was opened.
pub(crate) fn unbound(conn: &Connection) -> Result<()> {
    for limit in [
        Limit::SQLITE_LIMIT_LENGTH,
        Limit::SQLITE_LIMIT_VDBE_OP,
        Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
        Limit::SQLITE_LIMIT_ATTACHED,
    ] {
        // SQLite clamps it to the maximum that it was built for.
        conn.set_limit(limit, i32::MAX)?;
    }
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    Ok(())
}

/// After this time in total a busy database is reported.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(20);
const LONGEST_BUSY_WAIT_US: u64 = 5_000;

/// SQLite's own handler sleeps 1, 2, 5, 10 … 100 ms, which makes a few writers wait for seconds.
/// This one starts at 50 µs, doubles up to 5 ms, and makes part of each wait random.
pub(crate) fn wait_while_busy(tries: i32) -> bool {
    let tries = u32::try_from(tries).unwrap_or(0);
    let wait_us = LONGEST_BUSY_WAIT_US.min(50 << tries.min(10));
    let waited_us = u64::from(tries) * wait_us;
    if u128::from(waited_us) > BUSY_TIMEOUT.as_micros() {
        return false;
    }
    std::thread::sleep(Duration::from_micros(fastrand::u64(wait_us / 2..=wait_us)));
    true
}
