//! Translates SQLite's errors for people and for callers.

use std::io;
use std::io::ErrorKind;

use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE};
use rusqlite::{Connection, ErrorCode};
use rustix::process::{Resource, getrlimit};

use crate::Result;
use crate::error::{Error, Kind};
use crate::model::remedy::Remedy;
use crate::store::sqlite::statement::{Statements, statements};

statements! {
    /// By the rows and by what is remembered: none is added behind either.
    cold NUMBERS_USED_UP = "SELECT which FROM (
            SELECT 'an event' AS which, max(id) AS last FROM jobq_feed
            UNION ALL SELECT 'a job', max(id) FROM jobq_job
            UNION ALL SELECT 'a runner', max(id) FROM jobq_runner
            UNION ALL SELECT 'a schedule', max(id) FROM jobq_schedule
            UNION ALL SELECT CASE id WHEN 1 THEN 'a job' ELSE 'an event' END, value FROM jobq_number
                WHERE what = -2 AND id IN (1, 2)
            UNION ALL SELECT CASE name WHEN 'jobq_runner' THEN 'a runner' ELSE 'a schedule' END, seq
                FROM sqlite_sequence WHERE name IN ('jobq_runner', 'jobq_schedule'))
        WHERE last = 9223372036854775807 LIMIT 1";
}

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
            .with_hint("try again"),
            Some(ErrorCode::DiskFull) => disk_full(),
            Some(ErrorCode::SystemIoFailure) => {
                cannot_grow(&error).unwrap_or_else(|| failed(&error))
            }
            Some(ErrorCode::ReadOnly) => Error::new(Kind::ReadOnly, "the database is read-only"),
            Some(ErrorCode::NotADatabase) => {
                Error::new(Kind::NotADatabase, "the file is not a SQLite database")
                    .with_hint("it is some other file: name the right one")
            }
            Some(ErrorCode::DatabaseCorrupt) => {
                Error::new(Kind::Corrupt, format!("the database is damaged: {error}"))
                    .with_remedy(Remedy::Restore)
            }
            Some(ErrorCode::TooBig) => {
                Error::invalid("the value is larger than a row may be (256 MiB)")
            }
            Some(ErrorCode::OutOfMemory) => Error::new(Kind::Io, "there is not enough memory")
                .with_hint("see `ulimit -v` and what else runs on the machine"),
            Some(ErrorCode::CannotOpen) => failed(&error),
            _ => Error::new(Kind::Sqlite, error.to_string()),
        };
        told.with_source(error)
    }
}

fn disk_full() -> Error {
    Error::new(Kind::Full, "the disk is full; nothing was changed")
        .with_hint("free some space and try again")
        .with_remedy(Remedy::Prune)
}

/// A file that may not grow. To SQLite a quota and a `ulimit -f` are errors of the disk; to who waits they
/// are a full one. What the system said last to this thread is why the write has failed.
fn cannot_grow(error: &rusqlite::Error) -> Option<Error> {
    let is_index = is_code(error, SQLITE_IOERR_SHMSIZE);
    let is_file = is_code(error, SQLITE_IOERR_WRITE) || is_code(error, SQLITE_IOERR_TRUNCATE);
    let limit = getrlimit(Resource::Fsize).current;
    match (io::Error::last_os_error().kind(), limit) {
        _ if !is_index && !is_file => None,
        (ErrorKind::FileTooLarge, Some(limit)) => Some(limit_reached(limit)),
        (ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge, _) => Some(
            Error::new(Kind::Full, "the disk quota is reached; nothing was changed")
                .with_hint("free some space or raise the quota, and try again")
                .with_remedy(Remedy::Prune),
        ),
        // SQLite does not say why it cannot make the index of its log any larger, and hardly anything but a
        // full disk or a limit can be.
        (_, Some(limit)) if is_index => Some(limit_reached(limit)),
        _ => is_index.then(disk_full),
    }
}

fn limit_reached(limit_bytes: u64) -> Error {
    Error::new(
        Kind::Full,
        format!("the file may not become larger than {limit_bytes} bytes; nothing was changed"),
    )
    .with_hint("raise the limit of this process (`ulimit -f unlimited`) and try again")
}

fn failed(error: &rusqlite::Error) -> Error {
    if let Some(why) = no_descriptors() {
        return Error::io("the database cannot be opened", why);
    }
    Error::new(
        Kind::Io,
        format!("the database cannot be read or written: {error}"),
    )
}

/// SQLite does not say why a file cannot be opened. What the system said last to this thread does, or the
/// next descriptor that is asked for.
fn no_descriptors() -> Option<io::Error> {
    let last = io::Error::last_os_error();
    let one_more = || rustix::io::fcntl_dupfd_cloexec(io::stderr(), 0).err();
    let errors = [Some(last), one_more().map(io::Error::from)];
    let mut errors = errors.into_iter().flatten();
    errors.find(|error| Error::hint_for_io(error).is_some())
}

fn is_code(error: &rusqlite::Error, extended_code: i32) -> bool {
    let of_sqlite = error.sqlite_error();
    of_sqlite.is_some_and(|error| error.extended_code == extended_code)
}

/// Whether the connection can no longer be trusted and must be opened anew.
pub(crate) fn breaks_connection(error: &Error) -> bool {
    use Kind::{Corrupt, Io, NotADatabase, Stuck};
    matches!(error.kind(), Io | Corrupt | NotADatabase | Stuck)
}

/// Which tables have no id left, in words.
pub(crate) fn ids_used_up(conn: &Connection) -> Result<Option<String>> {
    let found = conn.optional(NUMBERS_USED_UP, [], |row| row.get::<_, String>(0))?;
    Ok(found.map(|which| used_up(&which)))
}

fn used_up(which: &str) -> String {
    format!("the highest possible number of {which} is taken: no more can be added")
}

/// The error for ids that are used up.
pub(crate) fn ids_spent(which: &str) -> Error {
    damaged(&used_up(which))
}

/// The error for a file whose content cannot be right.
pub(crate) fn damaged(what: &str) -> Error {
    Error::new(Kind::Corrupt, format!("the database is damaged: {what}"))
        .with_remedy(Remedy::Restore)
}

/// The result of an insert. SQLite reports exhausted ids as a full disk.
pub(crate) fn inserted<T>(conn: &Connection, inserted: Result<T, impl Into<Error>>) -> Result<T> {
    inserted.map_err(|error| {
        let error = error.into();
        if !error.is_disk_full() {
            return error;
        }
        match ids_used_up(conn) {
            Ok(Some(what)) => damaged(&what),
            _ => error,
        }
    })
}
