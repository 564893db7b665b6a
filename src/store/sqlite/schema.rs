//! The schema: creating, checking and upgrading it.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::error::Kind;
use crate::model::file_options::OpenMode;
use crate::model::remedy::Remedy;
use crate::store::sqlite::connection::wait_while_busy;
use crate::store::sqlite::statement::statements;
use crate::store::sqlite::tables;
use crate::store::sqlite::tables::SCHEMA;
use crate::{Error, Result};

/// The schema that this jobq reads and writes.
pub(crate) const VERSION: i64 = 9;

/// One step from a version to the next.
pub(crate) struct Upgrade {
    /// The version after the step.
    pub(crate) to: i64,
    pub(crate) sql: &'static str,
}

/// Every step since version 1, in order.
const UPGRADES: &[Upgrade] = &[
    Upgrade {
        to: 2,
        sql: include_str!("upgrade_2.sql"),
    },
    Upgrade {
        to: 3,
        sql: include_str!("upgrade_3.sql"),
    },
    Upgrade {
        to: 4,
        sql: include_str!("upgrade_4.sql"),
    },
    Upgrade {
        to: 5,
        sql: include_str!("upgrade_5.sql"),
    },
    Upgrade {
        to: 6,
        sql: include_str!("upgrade_6.sql"),
    },
    Upgrade {
        to: 7,
        sql: include_str!("upgrade_7.sql"),
    },
    Upgrade {
        to: 8,
        sql: include_str!("upgrade_8.sql"),
    },
    Upgrade {
        to: 9,
        sql: include_str!("upgrade_9.sql"),
    },
];

statements! {
    cold SCHEMA_VERSION = "SELECT value FROM jobq_meta WHERE key = 'schema_version'";
    cold SCHEMA_VERSION_SET = "INSERT INTO jobq_meta (key, value) VALUES ('schema_version', ?1)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    cold META_SET = "INSERT INTO jobq_meta (key, value) VALUES (?1, ?2)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    /// By a statement, which sees what another process has just made; a connection's own idea of its
    /// tables is not looked up again.
    cold META_EXISTS = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'jobq_meta'";
    cold FILE_ID_RENEW = "INSERT INTO jobq_meta (key, value) VALUES ('file_id', lower(hex(randomblob(16))))
        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    /// The page that it is on is written by every commit: see `foreign_log.rs`.
    cold NUMBERS_FILE_ID_RENEW = "INSERT OR REPLACE INTO jobq_number (what, id, value, text)
        SELECT -2, 0, 0, 'jobq file ' || value FROM jobq_meta WHERE key = 'file_id'";
    cold FILE_ID = "SELECT value FROM jobq_meta WHERE key = 'file_id'";
    cold CREATED_BY = "SELECT value FROM jobq_meta WHERE key = 'created_by'";
    cold TABLES_COUNT = "SELECT count(*) FROM sqlite_schema";
}

/// What the row of `jobq_number` that names the file begins with.
pub(crate) const FILE_ID_PREFIX: &str = "jobq file ";

/// The schema of an opened file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    Current,
    /// It was of this version before.
    UpgradedFrom(i64),
    /// It is of this version still.
    Older(i64),
}

/// Whether the file is jobq's own: jobq sets modes only in its own files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Jobq,
    Application,
}

/// Creates the schema in an empty file or in an application's, upgrades an older one, refuses a newer one.
pub(crate) fn ensure(conn: &mut Connection, mode: OpenMode, now_ms: i64) -> Result<Schema> {
    tables::check(conn)?;
    match version(conn)? {
        Some(found) if found > VERSION => Err(newer(found)),
        Some(found) => {
            // First: a file that is refused is left as it is.
            if found < VERSION && mode == OpenMode::AsIs {
                return Ok(Schema::Older(found));
            }
            keep_wal(conn)?;
            if found == VERSION {
                return Ok(Schema::Current);
            }
            upgrade(conn, UPGRADES, VERSION, found)?;
            Ok(Schema::UpgradedFrom(found))
        }
        None if mode == OpenMode::Create => {
            create(conn, now_ms)?;
            keep_wal(conn)?;
            Ok(Schema::Current)
        }
        None => Err(no_tables()),
    }
}

/// A copy made by SQLite's own tools has no write-ahead log.
fn keep_wal(conn: &Connection) -> Result<()> {
    let Err(error) = require_wal(conn) else {
        return Ok(());
    };
    match is_of_jobq(conn)? {
        true => set_modes(conn),
        false => Err(error),
    }
}

/// Refuses a file that is not exactly of this version, for readers that cannot upgrade it.
pub(crate) fn check(conn: &Connection) -> Result<()> {
    tables::check(conn)?;
    match version(conn)? {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => Err(newer(found)),
        Some(found) => Err(Error::new(
            Kind::OlderSchema,
            format!("the database has schema {found}, this jobq needs {VERSION}, and the file is read-only"),
        )
        .with_hint("let its owner run jobq on it once, or upgrade a copy that you may write")),
        None => Err(no_tables()),
    }
}

fn no_tables() -> Error {
    Error::new(Kind::NoDatabase, "the database holds no jobq tables")
}

/// The error for reading an older file: an older jobq may be using it, and an upgrade would stop it.
pub(crate) fn older(found: i64) -> Error {
    Error::new(
        Kind::OlderSchema,
        format!("the database has schema {found}, this jobq reads {VERSION}; looking does not upgrade it"),
    )
    .with_hint("stop runners of the older jobq first")
    .with_remedy(Remedy::Upgrade)
}

/// Refuses a file that no upgrade could bring to this version.
pub(crate) fn known(conn: &Connection) -> Result<()> {
    match version(conn)? {
        Some(found) if found > VERSION => Err(newer(found)),
        Some(_) => Ok(()),
        None => Err(no_tables()),
    }
}

/// Whether it is a database without any jobq tables.
pub(crate) fn has_only_other_tables(conn: &Connection) -> Result<bool> {
    let tables: i64 = conn.query_row(TABLES_COUNT, [], |row| row.get(0))?;
    Ok(tables > 0 && version(conn)?.is_none())
}

/// Whether the file is jobq's own, not an application's file with jobq's tables.
pub(crate) fn is_of_jobq(conn: &Connection) -> Result<bool> {
    let created_by: Option<String> = conn
        .query_row(CREATED_BY, [], |row| row.get(0))
        .optional()?;
    Ok(created_by.as_deref() == Some("jobq"))
}

/// The version check of each write transaction: the file may have been upgraded under its writer.
pub(crate) fn check_unchanged(found: i64) -> Result<()> {
    if found == VERSION {
        return Ok(());
    }
    Err(Error::new(
        Kind::NewerSchema,
        format!("the database was upgraded to schema {found} while it was open; this jobq knows {VERSION}"),
    )
    .with_hint("start the newer jobq in place of this one"))
}

/// The version that is stored, of a file that has one.
pub(crate) fn stored_version(conn: &Connection) -> Result<i64> {
    Ok(conn.query_row(SCHEMA_VERSION, [], |row| row.get(0))?)
}

fn version(conn: &Connection) -> Result<Option<i64>> {
    if !conn.prepare(META_EXISTS)?.exists([])? {
        return Ok(None);
    }
    let found = conn
        .query_row(SCHEMA_VERSION, [], |row| row.get(0))
        .optional()?;
    found.map(Some).ok_or_else(|| {
        Error::new(
            Kind::Corrupt,
            "the database has jobq's tables but no schema version",
        )
        .with_hint("put a backup in its place: jobq restore BACKUP")
    })
}

fn newer(found: i64) -> Error {
    Error::new(
        Kind::NewerSchema,
        format!("the database has schema {found}, this jobq knows {VERSION}"),
    )
    .with_hint("install a newer jobq")
}

fn create(conn: &mut Connection, now_ms: i64) -> Result<()> {
    let tables: i64 = conn.query_row(TABLES_COUNT, [], |row| row.get(0))?;
    let owner = if tables == 0 {
        Owner::Jobq
    } else {
        Owner::Application
    };
    match owner {
        Owner::Jobq => set_modes(conn)?,
        Owner::Application => require_wal(conn)?,
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it already.
    if version(&tx)?.is_none() {
        tx.execute_batch(SCHEMA)?;
        tx.execute(SCHEMA_VERSION_SET, [VERSION])?;
        let owner = if owner == Owner::Jobq {
            "jobq"
        } else {
            "application"
        };
        tx.execute(META_SET, params!["created_by", owner])?;
        tx.execute(META_SET, params!["created_at", now_ms])?;
        renew_file_id(&tx)?;
    }
    tx.commit()?;
    Ok(())
}

/// The file's own id.
pub(crate) fn file_id(conn: &Connection) -> rusqlite::Result<String> {
    conn.query_row(FILE_ID, [], |row| row.get(0))
}

/// Brings a copy to this version, whatever its journal is.
pub(crate) fn upgrade_copy(conn: &mut Connection) -> Result<()> {
    match version(conn)? {
        Some(found) if found != VERSION => upgrade(conn, UPGRADES, VERSION, found),
        Some(_) => Ok(()),
        None => Err(no_tables()),
    }
}

/// Gives a new file or a copy its own id. A file of an older schema gets its id by the upgrade.
pub(crate) fn renew_file_id(conn: &Connection) -> Result<()> {
    if version(conn)? != Some(VERSION) {
        return Ok(());
    }
    conn.execute(FILE_ID_RENEW, [])?;
    conn.execute(NUMBERS_FILE_ID_RENEW, [])?;
    Ok(())
}

/// Sets the modes of jobq's own file. Switching to WAL needs exclusive access for a moment and does not call
/// the busy handler, so processes that create the same file at once retry.
fn set_modes(conn: &Connection) -> Result<()> {
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    for tries in 0.. {
        let switched = conn
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match switched.map_err(Error::from) {
            Ok(mode) if mode == "wal" => break,
            Ok(mode) => return Err(no_wal(&mode)),
            Err(error) if error.is_busy() && wait_while_busy(tries) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn require_wal(conn: &Connection) -> Result<()> {
    let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode == "wal" {
        Ok(())
    } else {
        Err(no_wal(&mode))
    }
}

fn no_wal(mode: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("the database is in journal mode '{mode}'; jobq needs WAL, so that readers and the writer do not wait for each other"),
    )
    .with_hint("run `PRAGMA journal_mode = WAL` in the application that owns the file")
}

/// Runs the steps after version `found` up to `target` in one transaction: a kill leaves the old
/// version or the new one.
pub(crate) fn upgrade(
    conn: &mut Connection,
    steps: &[Upgrade],
    target: i64,
    found: i64,
) -> Result<()> {
    if found > target {
        return Err(newer(found));
    }
    // A table that is made anew would take the rows along that refer to it.
    let is_on: bool = conn.pragma_query_value(None, "foreign_keys", |row| row.get(0))?;
    conn.pragma_update(None, "foreign_keys", false)?;
    let upgraded = run_steps(conn, steps, target, found);
    conn.pragma_update(None, "foreign_keys", is_on)?;
    upgraded
}

fn run_steps(conn: &mut Connection, steps: &[Upgrade], target: i64, found: i64) -> Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut at = version(&tx)?.unwrap_or(found);
    for step in steps
        .iter()
        .filter(|step| step.to > found && step.to <= target)
    {
        if step.to <= at {
            continue;
        }
        tx.execute_batch(step.sql).map_err(|error| {
            Error::from(error).context(format_args!("the upgrade to schema {}", step.to))
        })?;
        at = step.to;
    }
    if at != target {
        return Err(Error::new(
            Kind::Unsupported,
            format!("there is no upgrade from schema {found} to {target}"),
        ));
    }
    tx.execute(SCHEMA_VERSION_SET, [target])?;
    tx.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Upgrade] = &[
        Upgrade {
            to: 2,
            sql: "ALTER TABLE jobq_queue ADD COLUMN weight INTEGER NOT NULL DEFAULT 1;",
        },
        Upgrade {
            to: 3,
            sql: "CREATE TABLE jobq_tag (job_id INTEGER, tag TEXT) STRICT;",
        },
    ];

    fn fresh() -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        let tx = conn.transaction().unwrap();
        tx.execute_batch(include_str!("../../../tests/data/schema_1.sql"))
            .unwrap();
        tx.execute(SCHEMA_VERSION_SET, [1]).unwrap();
        tx.execute("INSERT INTO jobq_queue (name) VALUES ('images')", [])
            .unwrap();
        tx.commit().unwrap();
        conn
    }

    #[test]
    fn the_schema_names_its_version() {
        let first = SCHEMA.lines().next().unwrap();
        assert!(
            first.ends_with(&format!("schema version {VERSION}.")),
            "{first}"
        );
    }

    #[test]
    fn an_older_schema_is_upgraded_step_by_step_and_keeps_its_rows() {
        let mut conn = fresh();
        upgrade(&mut conn, STEPS, 3, 1).unwrap();
        assert_eq!(version(&conn).unwrap(), Some(3));
        let kept: (String, i64) = conn
            .query_row("SELECT name, weight FROM jobq_queue", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(kept, ("images".to_owned(), 1));
    }

    #[test]
    fn an_upgrade_that_fails_midway_leaves_the_old_schema() {
        let mut conn = fresh();
        let broken = [
            Upgrade {
                to: 2,
                sql: STEPS[0].sql,
            },
            Upgrade {
                to: 3,
                sql: "CREATE TABLE jobq_queue (id INTEGER)",
            },
        ];
        let error = upgrade(&mut conn, &broken, 3, 1).unwrap_err();
        assert!(error.to_string().contains("schema 3"), "{error}");
        assert_eq!(version(&conn).unwrap(), Some(1));
        assert!(conn.prepare("SELECT weight FROM jobq_queue").is_err());
    }

    #[test]
    fn a_newer_schema_is_refused_and_a_missing_step_too() {
        let mut conn = fresh();
        assert!(
            upgrade(&mut conn, STEPS, 1, 4)
                .unwrap_err()
                .is_newer_schema()
        );
        assert!(upgrade(&mut conn, &[], 2, 1).is_err());
        assert_eq!(version(&conn).unwrap(), Some(1));
    }
}
