//! Copies of the file: a backup is written, checked, and put in place of the file in one step, which also
//! removes the old log.
//!
//! A crash at any moment leaves the old file or the new one whole. The new file is created beside the old one
//! and takes its name by one rename. Before that the log's content is moved into the old file and the log is
//! removed. If processes still have the old file open, its log stays until after the rename: it names the old
//! file, so no process takes it for the new one's.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};

use crate::error::Kind;
use crate::model::file_options::{InUse, Replaced, Restored};
use crate::model::remedy::Remedy;
use crate::store::sqlite::connection::OpenConfig;
use crate::store::sqlite::database::{GoesOn, ask_while_it_runs, vacuum_into};
use crate::store::sqlite::file::with_suffix;
use crate::store::sqlite::file_identity::FoundFile;
use crate::store::sqlite::new_file::{NewFile, sync_folder};
use crate::store::sqlite::process_locks::Lock;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::{
    Connection, DbConfig, OpenFlags, connection, file, foreign_log, process_locks, schema,
};
use crate::store::upkeep::runners;
use crate::{Error, Result};

statements! {
    cold RESTORED_JOBS = "SELECT coalesce(sum(value), 0) FROM jobq_number WHERE what >= 0";
    cold RESTORED_LAST_ID = "SELECT coalesce(max(id), 0) FROM jobq_job";
    cold REPLACED_JOBS = "SELECT count(*), coalesce(sum(id > ?1), 0) FROM jobq_job";
}

/// How long to wait for other processes that have the old file.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn restore(config: &OpenConfig, from: &Path, in_use: InUse) -> Result<Restored> {
    let from = absolute(from)?;
    // A missing backup creates nothing.
    drop(open_backup(&from).map_err(|error| of_backup(error, &from))?);
    let to = file::prepare_folder(&config.path)?;
    file::check_file_system(&to, config.network_fs)?;
    let found = FoundFile::at(&from);
    if matches!(found, FoundFile::File(_)) && found == FoundFile::at(&to) {
        return Err(
            Error::invalid(format!("{} is the database itself", from.display()))
                .with_hint("name a backup, not the database"),
        );
    }
    let (new, jobs, last_id) = checked_copy(&from, &to)?;
    let old = Old::hold(&to, in_use)?;
    let counted = old.count(last_id);
    take_modes(&new, &to)?;
    new.sync()?;
    let kept = old.replace_by(new, &to)?;
    Ok(Restored {
        jobs,
        replaced: kept.map(|kept| Replaced {
            kept,
            jobs: counted.map(|(jobs, _)| jobs),
            newer: counted.map(|(_, newer)| newer),
        }),
    })
}

fn of_backup(error: Error, from: &Path) -> Error {
    error.context(format_args!("the backup {}", from.display()))
}

/// Creates a complete copy of a sound backup with its log's content, of this schema, with its own file id.
fn checked_copy(from: &Path, to: &Path) -> Result<(NewFile, u64, i64)> {
    let of_backup = |error| of_backup(error, from);
    let conn = open_backup(from).map_err(of_backup)?;
    sound(&conn).map_err(of_backup)?;
    refuse_applications(&conn).map_err(of_backup)?;
    let new = copy(&conn, to, Box::new(|| true))
        .map_err(|error| error.context("nothing was restored"))?;
    drop(conn);
    make_own(new.path(), CopySchema::Current).map_err(of_backup)?;
    let copy = connection::open_immutable(new.path())?;
    let jobs = copy.query_row(RESTORED_JOBS, [], |row| row.get(0))?;
    let last_id = copy.query_row(RESTORED_LAST_ID, [], |row| row.get(0))?;
    Ok((new, jobs, last_id))
}

fn open_backup(from: &Path) -> Result<Connection> {
    let found = fs::metadata(from).map_err(|error| Error::io("it cannot be read", error))?;
    if !found.is_file() {
        return Err(Error::invalid("it is not a regular file"));
    }
    if found.len() == 0 {
        return Err(Error::new(Kind::NotADatabase, "it is empty"));
    }
    // Without a log the file is all there is, and nothing has to be made beside it to read it.
    let conn = if with_suffix(from, "-wal").symlink_metadata().is_ok() {
        foreign_log::refuse(from)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(from, flags)?
    } else {
        connection::open_immutable(from)?
    };
    prepare(&conn)?;
    schema::known(&conn)?;
    Ok(conn)
}

fn prepare(conn: &Connection) -> Result<()> {
    conn.busy_timeout(PATIENCE)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

fn sound(conn: &Connection) -> Result<()> {
    let first: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if first == "ok" {
        return Ok(());
    }
    Err(Error::new(Kind::Corrupt, format!("it is damaged: {first}"))
        .with_hint("take another backup"))
}

fn refuse_applications(conn: &Connection) -> Result<()> {
    if schema::is_of_jobq(conn)? {
        return Ok(());
    }
    Err(Error::new(
        Kind::Unsupported,
        "it is an application's file that has tables besides jobq's",
    )
    .with_hint("restore it as the application restores its own file"))
}

/// The file to replace, locked against changes.
enum Old {
    Absent,
    /// No other process has it open, and its log is empty.
    Alone(Connection),
    /// Other processes have it open; none commits to it.
    Shared(Connection),
    /// It is damaged, and no process has it open.
    Unreadable,
}

impl Old {
    fn hold(to: &Path, in_use: InUse) -> Result<Old> {
        match fs::metadata(to) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Old::Absent),
            Err(error) => return Err(Error::io(format_args!("{}", to.display()), error)),
            Ok(found) if !found.is_file() => {
                return Err(Error::invalid(format!(
                    "{} is not a regular file",
                    to.display()
                )));
            }
            Ok(_) => {}
        }
        let held = foreign_log::put_aside(to).and_then(|_| match in_use {
            InUse::Refuse => alone(to).map(Old::Alone),
            InUse::Replace => alone(to)
                .map(Old::Alone)
                .or_else(|_| shared(to).map(Old::Shared)),
        });
        match held {
            Err(error)
                if in_use == InUse::Replace
                    || matches!(
                        error.kind(),
                        Kind::Corrupt | Kind::NotADatabase | Kind::NoDatabase
                    ) =>
            {
                if in_use == InUse::Refuse {
                    foreign_log::refuse_in_use(to)?;
                }
                // An application's file is never replaced.
                match error.kind() {
                    Kind::Unsupported => Err(error),
                    _ => Ok(Old::Unreadable),
                }
            }
            held => held.map_err(|error| error.context(to.display())),
        }
    }

    /// The number of its jobs, and of those with ids after the last one of the backup.
    fn count(&self, last_id: i64) -> Option<(u64, u64)> {
        let (Old::Alone(conn) | Old::Shared(conn)) = self else {
            return None;
        };
        conn.query_row(REPLACED_JOBS, [last_id], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .ok()
    }

    /// Replaces this file by the new one, after giving it another name.
    fn replace_by(self, new: NewFile, to: &Path) -> Result<Option<PathBuf>> {
        let [log, index] = ["-wal", "-shm"].map(|end| with_suffix(to, end));
        let kept = match &self {
            Old::Absent => None,
            Old::Alone(_) => Some(keep(to, None)?),
            Old::Shared(_) | Old::Unreadable => Some(keep(to, Some(&log))?),
        };
        let remove_log = || {
            for path in [&log, &index] {
                let _ = fs::remove_file(path);
            }
        };
        let replaced = match &self {
            // Whoever opens the new file in the meantime finds a log that is not its own and in use.
            Old::Shared(_) => new.replace(to).map(|()| remove_log()),
            _ => {
                remove_log();
                new.replace(to)
            }
        };
        if let (Err(_), Some(kept)) = (&replaced, &kept) {
            let _ = fs::remove_file(kept);
            let _ = fs::remove_file(with_suffix(kept, "-wal"));
        }
        replaced?;
        sync_folder(to)?;
        Ok(kept)
    }
}

/// The one connection to the file, with all of its log in the file.
fn alone(to: &Path) -> Result<Connection> {
    let conn = open_old(to)?;
    refuse_runners(&conn, to)?;
    drop(conn);
    let conn = open_old(to)?;
    conn.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    let held = conn
        .execute_batch("BEGIN EXCLUSIVE; COMMIT")
        .map_err(Error::from);
    held.map_err(|error| match error.kind() {
        Kind::Busy => Error::new(
            Kind::Busy,
            format!("another process has {} open", to.display()),
        )
        .with_hint("end it and try again")
        .with_remedy(Remedy::ReplaceInUse),
        _ => error,
    })?;
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy != 0 {
        return Err(Error::new(
            Kind::Busy,
            "its log could not be moved into the file",
        ));
    }
    Ok(conn)
}

/// A connection with the write lock.
fn shared(to: &Path) -> Result<Connection> {
    let conn = open_old(to)?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    Ok(conn)
}

fn open_old(to: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(to, flags)?;
    prepare(&conn)?;
    if schema::has_only_other_tables(&conn)? {
        return Err(Error::new(
            Kind::Unsupported,
            "it is a database with other tables than jobq's",
        )
        .with_hint("name the right file"));
    }
    schema::known(&conn)?;
    refuse_applications(&conn)?;
    Ok(conn)
}

fn refuse_runners(conn: &Connection, to: &Path) -> Result<()> {
    let folder = file::runners_folder(to);
    let mut alive = runners::alive(conn)?;
    alive.retain(|runner| process_locks::look(&folder, &runner.name) == Lock::Held);
    let Some(first) = alive.first() else {
        return Ok(());
    };
    let them = match alive.len() {
        1 => format!("runner {} is", first.id),
        more => format!("{more} runners are"),
    };
    Err(
        Error::wrong_state(format!("{them} running jobs from {}", to.display()))
            .with_hint("stop it first (Ctrl-C, or SIGTERM)")
            .with_remedy(Remedy::ReplaceInUse),
    )
}

/// Gives the file, and its log, one more name each.
fn keep(to: &Path, log: Option<&Path>) -> Result<PathBuf> {
    const NAMES: u32 = 10_000;
    for number in 1..NAMES {
        let end = match number {
            1 => ".before-restore".to_owned(),
            number => format!(".before-restore-{number}"),
        };
        let kept = with_suffix(to, &end);
        let kept_log = with_suffix(&kept, "-wal");
        if kept_log.symlink_metadata().is_ok() {
            continue;
        }
        match fs::hard_link(to, &kept) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => {
                return Err(Error::io(
                    format_args!("{} cannot be kept as {}", to.display(), kept.display()),
                    error,
                )
                .with_hint("move it away by hand, with its -wal, and restore again"));
            }
        }
        match log.map(|log| fs::hard_link(log, &kept_log)) {
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => {
                let _ = fs::remove_file(&kept);
                return Err(Error::io(format_args!("{}", kept_log.display()), error));
            }
            _ => return Ok(kept),
        }
    }
    Err(Error::invalid(format!(
        "there are too many files {}.before-restore-…",
        to.display()
    ))
    .with_hint("remove those that nobody needs"))
}

/// The new file has the mode and the owner of the old one, as far as this user may give them.
fn take_modes(new: &NewFile, to: &Path) -> Result<()> {
    let Ok(old) = fs::metadata(to) else {
        return Ok(());
    };
    let failed =
        |error: rustix::io::Errno| Error::io(format_args!("{}", to.display()), error.into());
    let made = new
        .file()
        .metadata()
        .map_err(|error| Error::io(format_args!("{}", to.display()), error))?;
    if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
        let owner = Some(Uid::from_raw(old.uid())).filter(|_| made.uid() != old.uid());
        fchown(new.file(), owner, Some(Gid::from_raw(old.gid()))).map_err(|error| {
            failed(error).with_hint("only root, or the owner of the file, can restore it")
        })?;
    }
    fchmod(new.file(), Mode::from_raw_mode(old.mode() & 0o777)).map_err(failed)
}

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
    let goes_on = Arc::new(Mutex::new(goes_on));
    let new = NewFile::beside(place)?;
    write_copy(conn, new.path(), &goes_on)?;
    new.sync()?;
    if !goes_on.lock().unwrap_or_else(PoisonError::into_inner)() {
        return Err(Error::wrong_state("it was interrupted"));
    }
    Ok(new)
}

/// Writes a copy, which is a file of its own, into an empty file.
#[cfg(feature = "backup")]
pub(crate) fn copy_into(conn: &Connection, to: &Path, goes_on: GoesOn) -> Result<()> {
    write_copy(conn, to, &Arc::new(Mutex::new(goes_on)))
}

fn write_copy(conn: &Connection, to: &Path, goes_on: &Arc<Mutex<GoesOn>>) -> Result<()> {
    ask_while_it_runs(conn, goes_on)?;
    let copied = vacuum_into(conn, to);
    conn.progress_handler(0, None::<fn() -> bool>)?;
    copied?;
    make_own(to, CopySchema::AsIs)
}

/// What to do with a copy of an older schema.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopySchema {
    /// The older jobq can still open it.
    AsIs,
    Current,
}

/// Makes a copy a separate file: gives it its own file id and a write-ahead log, which VACUUM does not set.
pub(crate) fn make_own(new: &Path, wanted: CopySchema) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(new, flags)?;
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
