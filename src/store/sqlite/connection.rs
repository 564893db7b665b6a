//! Opening connections to the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use crate::clock::Clock;
use crate::error::Kind;
use crate::model::file_options::{Durability, LogAtClose, NetworkFs, OpenMode};
use crate::store::sqlite::connection_setup::{configure, configure_reader, open_immutable};
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
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}
