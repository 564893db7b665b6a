//! SQL functions of jobq's own.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

use crate::Result;
use crate::model::error_group;
use crate::store::sqlite::statement::text;

/// Adds `jobq_error_group(error)`, the id of the group that an error belongs to. It is added where a filter needs it:
/// most connections never do.
pub(crate) fn add_error_group(conn: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_DIRECTONLY;
    conn.create_scalar_function("jobq_error_group", 1, flags, |context| {
        Ok(text(context.get_raw(0)).map(|error| error_group::id_of(&error)))
    })?;
    Ok(())
}
