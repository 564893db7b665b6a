//! What SQLite's errors mean to a person and to a caller.

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use crate::error::{Error, Kind};

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        let code = error.sqlite_error_code();
        let told = match code {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed,
            ) => Error::new(
                Kind::Busy,
                "the database is busy: another process kept it locked",
            )
            .hint("try again"),
            Some(ErrorCode::DiskFull) => disk_full(),
            // The index of the log is a file that SQLite cannot make any larger.
            Some(ErrorCode::SystemIoFailure) if is_code(&error, SQLITE_IOERR_SHMSIZE) => {
                disk_full()
            }
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
            Some(ErrorCode::OutOfMemory) => Error::new(Kind::Io, "there is not enough memory")
                .hint("see `ulimit -v` and what else runs on the machine"),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => Error::new(
                Kind::Io,
                format!("the database cannot be read or written: {error}"),
            ),
            _ => Error::new(Kind::Sqlite, error.to_string()),
        };
        told.with_source(error)
    }
}

fn disk_full() -> Error {
    Error::new(Kind::Full, "the disk is full; nothing was changed")
        .hint("free some space (`jobq prune` removes old jobs) and try again")
}

fn is_code(error: &rusqlite::Error, extended_code: i32) -> bool {
    let of_sqlite = error.sqlite_error();
    of_sqlite.is_some_and(|error| error.extended_code == extended_code)
}

/// Whether the connection can no longer be trusted: it is to be closed and opened anew.
pub(crate) fn breaks_connection(error: &Error) -> bool {
    matches!(error.kind(), Kind::Io | Kind::Corrupt | Kind::NotADatabase)
}
