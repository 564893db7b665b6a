//! Row ids that are never reused, and their exhaustion. Counting never gets there, but a damaged row may have
//! the last id.

use rusqlite::Connection;

use crate::error::Kind;
use crate::model::remedy::Remedy;
use crate::store::sqlite::statement::{Statements, statements};
use crate::{Error, Result};

statements! {
    /// By the rows and by what SQLite remembers: it adds none behind either.
    cold NUMBERS_USED_UP = "SELECT what FROM (
            SELECT 'an event' AS what, max(id) AS last FROM jobq_event
            UNION ALL SELECT 'a job', max(id) FROM jobq_job
            UNION ALL SELECT 'a runner', max(id) FROM jobq_runner
            UNION ALL SELECT 'a schedule', max(id) FROM jobq_schedule
            UNION ALL SELECT CASE name WHEN 'jobq_event' THEN 'an event' WHEN 'jobq_job' THEN 'a job'
                WHEN 'jobq_runner' THEN 'a runner' ELSE 'a schedule' END, seq FROM sqlite_sequence
                WHERE name IN ('jobq_event', 'jobq_job', 'jobq_runner', 'jobq_schedule'))
        WHERE last = 9223372036854775807 LIMIT 1";
}

/// Which tables have no id left, in words.
pub(crate) fn used_up(conn: &Connection) -> Result<Option<String>> {
    let found = conn.optional(NUMBERS_USED_UP, [], |row| row.get::<_, String>(0))?;
    Ok(found.map(|what| {
        format!("the highest possible number of {what} is taken: no more can be added")
    }))
}

/// The result of an insert. SQLite reports exhausted ids as a full disk.
pub(crate) fn inserted<T>(conn: &Connection, inserted: Result<T, impl Into<Error>>) -> Result<T> {
    inserted.map_err(|error| {
        let error = error.into();
        if !error.is_disk_full() {
            return error;
        }
        match used_up(conn) {
            Ok(Some(what)) => Error::new(Kind::Corrupt, format!("the database is damaged: {what}"))
                .with_remedy(Remedy::Restore),
            _ => error,
        }
    })
}
