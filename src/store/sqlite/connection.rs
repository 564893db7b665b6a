//! Opening connections to the file, and their settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use crate::clock::Clock;
use crate::error::Kind;
use crate::model::file_options::{Durability, LogAtClose, NetworkFs, OpenMode};
use crate::store::sqlite::file_identity::{FoundFile, OpenFile, replaced};
use crate::store::sqlite::schema::Schema;
use crate::store::sqlite::{file, foreign_log, ownership, schema};
use crate::{Error, Result};

/// How a file is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenConfig {
    pub(crate) path: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) network_fs: NetworkFs,
    pub(crate) log_at_close: LogAtClose,
    pub(crate) mode: OpenMode,
    pub(crate) clock: Clock,
    /// The file that this process has open already: no other file is opened instead.
    pub(crate) opened: Option<Arc<OpenFile>>,
}

/// Whether the file could be opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
    /// Read-only, in a folder where not even SQLite's shared memory can be made: no process writes.
    Immutable,
}

/// An opened file and its identity.
pub(crate) struct Opened {
    pub(crate) conn: Connection,
    pub(crate) access: Access,
    pub(crate) file: Arc<OpenFile>,
    /// Where a log of another file was put aside.
    pub(crate) foreign_log: Option<PathBuf>,
    pub(crate) schema: Schema,
}

/// How often a file may be replaced while it is being opened.
const OPEN_TRIES: u32 = 5;

/// Opens the file for the first time in this process, creates it if needed, and records its identity.
pub(crate) fn open_first(config: &OpenConfig) -> Result<Opened> {
    for _ in 0..OPEN_TRIES {
        file::find_or_make(&config.path, config.mode)?;
        let before = FoundFile::at(&config.path);
        let foreign_log = foreign_log::put_aside(&config.path)?;
        let (conn, access, schema) = open_unchecked(config)?;
        if let Some(file) = OpenFile::just_opened(&config.path, before) {
            let file = Arc::new(file);
            return Ok(Opened {
                conn,
                access,
                file,
                schema,
                foreign_log,
            });
        }
    }
    Err(replaced(
        &config.path,
        "database",
        "was replaced again and again",
    ))
}

/// Opens the file for writing if possible, and upgrades it if needed.
pub(crate) fn open(config: &OpenConfig) -> Result<(Connection, Access)> {
    if let Some(opened) = &config.opened {
        opened.check_file()?;
    }
    let (conn, access, _) = open_unchecked(config)?;
    if let Some(opened) = &config.opened {
        opened.check_file()?;
    }
    Ok((conn, access))
}

fn open_unchecked(config: &OpenConfig) -> Result<(Connection, Access, Schema)> {
    file::check_sqlite_version(rusqlite::version_number())?;
    match open_for_writing(config) {
        Err(error) if may_be_read_only(&error) => match open_for_reading(&config.path) {
            Ok((conn, access)) => Ok((conn, access, Schema::Current)),
            // A fault of the file's content explains more than that it cannot be written.
            Err(told) if told.is_older_schema() || told.is_newer_schema() || told.is_corrupt() => {
                Err(told.context(config.path.display()))
            }
            Err(_) => Err(ownership::explain(error, &config.path)),
        },
        Err(error) => Err(error),
        Ok((conn, schema)) => Ok((conn, Access::ReadWrite, schema)),
    }
}

fn may_be_read_only(error: &Error) -> bool {
    matches!(error.kind(), Kind::ReadOnly | Kind::Io)
}

fn open_for_writing(config: &OpenConfig) -> Result<(Connection, Schema)> {
    file::check_file_system(&config.path, config.network_fs)?;
    let at = |error: Error| error.context(config.path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(&config.path, flags)
        .map_err(Error::from)
        .map_err(at)?;
    configure(&conn, config.durability).map_err(at)?;
    if conn.is_readonly("main").map_err(Error::from).map_err(at)? {
        return Err(at(Error::new(Kind::ReadOnly, "the database is read-only")));
    }
    let schema = schema::ensure(&mut conn, config.mode, config.clock.now_ms()).map_err(at)?;
    Ok((conn, schema))
}

fn open_for_reading(path: &Path) -> Result<(Connection, Access)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    configure_reader(&conn)?;
    match schema::check(&conn) {
        Ok(()) => return Ok((conn, Access::ReadOnly)),
        // Without a log no process writes, and the file alone holds everything.
        Err(error) if may_be_read_only(&error) && !file::with_suffix(path, "-wal").exists() => {}
        Err(error) => return Err(error),
    }
    let conn = open_immutable(path)?;
    schema::check(&conn)?;
    Ok((conn, Access::Immutable))
}

/// A further connection for reading, to a file that was opened before.
pub(crate) fn open_reader(file: &OpenFile, access: Access) -> Result<Connection> {
    let conn = open_watcher(file, access)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// A connection that reads, and may try the write lock.
pub(crate) fn open_watcher(file: &OpenFile, access: Access) -> Result<Connection> {
    file.check()?;
    let conn = open_reader_unchecked(file.path(), access)?;
    file.check()?;
    Ok(conn)
}

fn open_reader_unchecked(path: &Path, access: Access) -> Result<Connection> {
    if access == Access::Immutable {
        return open_immutable(path);
    }
    let mode = match access {
        Access::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
        _ => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    configure_reader(&conn)?;
    Ok(conn)
}

pub(crate) fn sync_commits(conn: &Connection, durability: Durability) -> Result<()> {
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    Ok(conn.pragma_update(None, "synchronous", synchronous)?)
}

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
    sync_commits(conn, durability)?;
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
/// A writer that waits tries again within this time.
pub(crate) const LONGEST_BUSY_WAIT: Duration = Duration::from_micros(LONGEST_BUSY_WAIT_US);

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
