//! Backups: complete copies of the file, synced, under a new name.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::sqlite::new_file::NewFile;
use crate::store::sqlite::{Connection, OpenFlags, schema};
use crate::{Error, Result};

/// Whether a copy goes on; called many times a second.
pub(crate) type GoesOn = Box<dyn FnMut() -> bool + Send>;

/// Writes a consistent copy of the live file in one read transaction, which blocks no writer.
pub(crate) fn backup(conn: &Connection, to: &Path, goes_on: GoesOn) -> Result<()> {
    let to = &absolute(to)?;
    let taken = || {
        Error::invalid(format!("{} is there already", to.display()))
            .with_hint("name a file that does not exist yet")
    };
    if to.symlink_metadata().is_ok() {
        return Err(taken());
    }
    let made = copy(conn, to, goes_on).and_then(|copy| copy.publish(to));
    match made {
        Ok(true) => Ok(()),
        Ok(false) => Err(taken()),
        Err(error) => Err(error.context("the backup was not made")),
    }
}

/// The copy while it is being made.
pub(crate) fn copy(conn: &Connection, place: &Path, goes_on: GoesOn) -> Result<NewFile> {
    /// Steps of SQLite's virtual machine between two checks: a row takes a few, however large it is.
    const LOOK_EVERY: i32 = 100;
    let goes_on = Arc::new(Mutex::new(goes_on));
    let asked = Arc::clone(&goes_on);
    let ask = |goes_on: &Mutex<GoesOn>| goes_on.lock().unwrap_or_else(PoisonError::into_inner)();
    let new = NewFile::beside(place)?;
    let name = new
        .path()
        .to_str()
        .ok_or_else(|| Error::invalid(format!("{} is not UTF-8", place.display())))?;
    conn.progress_handler(LOOK_EVERY, Some(move || !ask(&asked)))?;
    // VACUUM is refused on a connection that may only read, although it writes to another file.
    let query_only: bool = conn.pragma_query_value(None, "query_only", |row| row.get(0))?;
    conn.pragma_update(None, "query_only", false)?;
    let copied = conn.execute("VACUUM INTO ?1", [name]);
    conn.pragma_update(None, "query_only", query_only)?;
    conn.progress_handler(0, None::<fn() -> bool>)?;
    copied?;
    make_own(&new, CopySchema::AsIs)?;
    new.sync()?;
    if !ask(&goes_on) {
        return Err(Error::wrong_state("it was interrupted"));
    }
    Ok(new)
}

/// What to do with a copy of an older schema.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopySchema {
    /// The older jobq can still open it.
    AsIs,
    Current,
}

/// Makes a copy a separate file: gives it its own file id and a write-ahead log, which VACUUM does not set.
pub(crate) fn make_own(new: &NewFile, wanted: CopySchema) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(new.path(), flags)?;
    // No other process knows the file, and it is synced as a whole at the end.
    conn.pragma_update(None, "synchronous", "OFF")?;
    conn.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(()))?;
    if wanted == CopySchema::Current {
        schema::upgrade_copy(&mut conn)?;
    }
    let tx = conn.transaction()?;
    schema::renew_file_id(&tx)?;
    tx.commit()?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.close().map_err(|(_, error)| error)?;
    Ok(())
}

pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::io(format_args!("{}", path.display()), error))
}
