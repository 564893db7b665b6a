//! What SQLite's errors mean to a person and to a caller.

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE};
use rustix::process::{Resource, getrlimit};

use crate::error::{Error, Kind};

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        let code = error.sqlite_error_code();
        let told = match code {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::new(
                Kind::Busy,
                "the database is busy: another process kept it locked",
            )
            .hint("try again"),
            Some(ErrorCode::DiskFull) => disk_full(),
            Some(ErrorCode::SystemIoFailure) => match (cannot_grow(&error), file_limit()) {
                // EFBIG is no ENOSPC for SQLite.
                (Some(_), Some(limit)) => limit_reached(limit),
                (Some(Grows::Index), None) => disk_full(),
                (Some(Grows::File) | None, _) => io(&error),
            },
            Some(ErrorCode::ReadOnly) => Error::new(Kind::ReadOnly, "the database is read-only"),
            Some(ErrorCode::NotADatabase) => {
                Error::new(Kind::NotADatabase, "the file is not a SQLite database")
                    .hint("it is some other file: name the right one")
            }
            Some(ErrorCode::DatabaseCorrupt) => {
                Error::new(Kind::Corrupt, format!("the database is damaged: {error}"))
                    .hint("see `jobq doctor`, and restore a backup")
            }
            Some(ErrorCode::TooBig) => {
                Error::invalid("the value is larger than SQLite can hold (1 GB)")
            }
            Some(ErrorCode::CannotOpen) => io(&error),
            _ => Error::new(Kind::Sqlite, error.to_string()),
        };
        told.with_source(error)
    }
}

fn disk_full() -> Error {
    Error::new(Kind::Full, "the disk is full; nothing was changed")
        .hint("free some space (`jobq prune` removes old jobs) and try again")
}

/// No file of this process may become larger than this.
fn file_limit() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

fn limit_reached(limit_bytes: u64) -> Error {
    Error::new(
        Kind::Full,
        format!("the file may not become larger than {limit_bytes} bytes; nothing was changed"),
    )
    .hint("raise the limit of this process (`ulimit -f unlimited`) and try again")
}

fn io(error: &rusqlite::Error) -> Error {
    Error::new(
        Kind::Io,
        format!("the database cannot be read or written: {error}"),
    )
}

/// What could not be made larger.
enum Grows {
    /// The index of the log: SQLite does not say why, and hardly anything but a full disk can be.
    Index,
    /// The file or its log: of a full disk SQLite says so.
    File,
}

fn cannot_grow(error: &rusqlite::Error) -> Option<Grows> {
    if is_code(error, SQLITE_IOERR_SHMSIZE) {
        return Some(Grows::Index);
    }
    let is_file = is_code(error, SQLITE_IOERR_WRITE) || is_code(error, SQLITE_IOERR_TRUNCATE);
    is_file.then_some(Grows::File)
}

fn is_code(error: &rusqlite::Error, extended_code: i32) -> bool {
    let of_sqlite = error.sqlite_error();
    of_sqlite.is_some_and(|error| error.extended_code == extended_code)
}

/// Whether the connection can no longer be trusted: it is to be closed and opened anew.
pub(crate) fn breaks_connection(error: &Error) -> bool {
    matches!(error.kind(), Kind::Io | Kind::Corrupt | Kind::NotADatabase)
}
