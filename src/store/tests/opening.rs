//! Opening what is there, and making what is not.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::error::Kind;
use crate::model::job::NewJob;
use crate::model::remedy::Severity;
use crate::queue::Queue;
use crate::store::sqlite::file::with_suffix;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    (folder, path)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn pragma(conn: &Connection, name: &str) -> String {
    let value: rusqlite::types::Value = conn
        .pragma_query_value(None, name, |row| row.get(0))
        .unwrap();
    match value {
        rusqlite::types::Value::Text(text) => text,
        rusqlite::types::Value::Integer(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn created_by(conn: &Connection) -> String {
    conn.query_row(
        "SELECT value FROM jobq_meta WHERE key = 'created_by'",
        [],
        |row| row.get(0),
    )
    .unwrap()
}

/// Opening is refused with this kind of error, and leaves the file and its folder as they were.
#[track_caller]
fn refused(path: &Path, kind: Kind) -> crate::Error {
    let before = (std::fs::read(path).ok(), beside(path));
    let error = Queue::open(path).err().expect("it was opened");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(
        error.to_string().contains("jobs.db"),
        "the file is not named: {error}"
    );
    assert_eq!((std::fs::read(path).ok(), beside(path)), before);
    error
}

fn beside(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn sixteen_that_make_the_same_file_at_once_all_get_it() {
    for _ in 0..4 {
        let (_folder, path) = folder();
        let path = path.with_file_name("deep").join("jobs.db");
        let barrier = Barrier::new(16);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    barrier.wait();
                    let queue = Queue::open(&path).unwrap();
                    queue.enqueue(NewJob::new("send")).unwrap();
                });
            }
        });
        let queue = Queue::open(&path).unwrap();
        assert_eq!(queue.counts().unwrap().total(), 16);
        let findings = queue.check().unwrap();
        assert!(
            findings.iter().all(|found| found.severity == Severity::Ok),
            "{findings:?}"
        );
        let conn = Connection::open(&path).unwrap();
        assert_eq!(created_by(&conn), "jobq");
    }
}

#[test]
fn a_new_file_is_its_owners_alone_and_set_up_for_many_readers() {
    let (folder, _) = folder();
    let path = folder.path().join("state/jobq/jobs.db");
    let queue = Queue::open(&path).unwrap();
    queue.enqueue(NewJob::new("send")).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&with_suffix(&path, "-wal")), 0o600);
    assert_eq!(mode(&with_suffix(&path, "-shm")), 0o600);
    assert_eq!(mode(&folder.path().join("state")), 0o700);
    assert_eq!(mode(&folder.path().join("state/jobq")), 0o700);
    let conn = Connection::open(&path).unwrap();
    assert_eq!(pragma(&conn, "journal_mode"), "wal");
    assert_eq!(pragma(&conn, "auto_vacuum"), "2", "incremental");
    assert_eq!(pragma(&conn, "user_version"), "0");
}

#[test]
fn a_folder_that_is_there_keeps_its_mode() {
    let (folder, path) = folder();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    Queue::open(&path).unwrap();
    assert_eq!(mode(folder.path()), 0o755);
}

#[test]
fn an_empty_file_becomes_jobqs_own() {
    let (_folder, path) = folder();
    std::fs::write(&path, b"").unwrap();
    let queue = Queue::open(&path).unwrap();
    queue.enqueue(NewJob::new("send")).unwrap();
    let conn = Connection::open(&path).unwrap();
    assert_eq!(created_by(&conn), "jobq");
    assert_eq!(pragma(&conn, "journal_mode"), "wal");
    assert_eq!(pragma(&conn, "auto_vacuum"), "2");
}

#[test]
fn what_was_enqueued_is_there_when_the_file_is_opened_again() {
    let (_folder, path) = folder();
    let id = Queue::open(&path)
        .unwrap()
        .enqueue(NewJob::new("send").payload(&"x"))
        .unwrap()
        .id;
    let first = Queue::open(&path).unwrap();
    let second = Queue::open(&path).unwrap();
    assert_eq!(first.get(id).unwrap().unwrap().payload.get(), "\"x\"");
    second.enqueue(NewJob::new("send")).unwrap();
    assert_eq!(first.counts().unwrap().total(), 2);
}

/// An application's file with a table, in the given journal mode.
fn application(path: &Path, journal: &str) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "auto_vacuum", "FULL").unwrap();
    conn.pragma_update(None, "journal_mode", journal).unwrap();
    conn.execute_batch(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT);
         INSERT INTO orders VALUES (1, 'soap'), (2, 'bread');
         PRAGMA user_version = 42; PRAGMA application_id = 7;",
    )
    .unwrap();
    conn
}

#[test]
fn an_applications_file_keeps_what_it_has_and_gets_jobqs_tables() {
    let (_folder, path) = folder();
    let conn = application(&path, "WAL");
    let file_mode = mode(&path);
    let queue = Queue::open(&path).unwrap();
    let id = queue.enqueue(NewJob::new("send")).unwrap().id;
    assert_eq!(pragma(&conn, "user_version"), "42");
    assert_eq!(pragma(&conn, "application_id"), "7");
    assert_eq!(pragma(&conn, "auto_vacuum"), "1", "full");
    assert_eq!(pragma(&conn, "journal_mode"), "wal");
    assert_eq!(mode(&path), file_mode);
    assert_eq!(created_by(&conn), "application");
    let foreign: Vec<String> = conn
        .prepare("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'jobq_%' AND name NOT LIKE 'sqlite_%'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    assert_eq!(foreign, ["orders"]);
    let orders: String = conn
        .query_row("SELECT group_concat(id || what) FROM orders", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(orders, "1soap,2bread");
    drop(queue);
    assert!(Queue::open(&path).unwrap().get(id).unwrap().is_some());
}

#[test]
fn an_apps_file_without_a_wal_is_refused_and_left_alone() {
    for journal in ["DELETE", "TRUNCATE", "PERSIST"] {
        let (_folder, path) = folder();
        drop(application(&path, journal));
        let error = refused(&path, Kind::Unsupported);
        let hint = error.hint().unwrap();
        assert!(hint.contains("journal_mode = WAL"), "{hint}");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    for content in ["hello".to_owned(), "hello, world\n".repeat(2000)] {
        let (_folder, path) = folder();
        std::fs::write(&path, content).unwrap();
        refused(&path, Kind::NotADatabase);
    }
}

#[test]
fn a_folder_in_place_of_a_file_is_refused() {
    let (_folder, path) = folder();
    std::fs::create_dir(&path).unwrap();
    refused(&path, Kind::NotADatabase);
}

#[test]
fn a_file_in_place_of_its_folder_is_refused() {
    let (folder, _) = folder();
    std::fs::write(folder.path().join("file"), b"").unwrap();
    let error = Queue::open(folder.path().join("file/jobs.db"))
        .err()
        .unwrap();
    assert!(error.to_string().contains("file"), "{error}");
}

/// A file with jobs, closed and without a log.
fn filled(path: &Path) {
    let queue = Queue::open(path).unwrap();
    let payload = "x".repeat(1000);
    let jobs = (0..500).map(|_| NewJob::new("send").payload(&payload));
    queue.enqueue_many(jobs).unwrap();
    drop(queue);
    let conn = Connection::open(path).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
}

#[test]
fn a_file_that_was_cut_off_is_refused_as_damaged() {
    let (_folder, path) = folder();
    filled(&path);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    assert!(length > 100_000);
    file.set_len(length / 2).unwrap();
    drop(file);
    let error = Queue::open(&path).err().expect("it was opened");
    assert!(error.is_corrupt(), "{error:?}");
    assert_eq!(error.remedy(), Some(&crate::Remedy::Restore), "{error:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length / 2);
}

#[test]
fn a_file_whose_first_page_is_rubbish_is_refused_as_damaged() {
    let (_folder, path) = folder();
    filled(&path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..4096].fill(0xA5);
    std::fs::write(&path, &bytes).unwrap();
    let error = Queue::open(&path).err().expect("it was opened");
    assert!(error.is_corrupt(), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let (_folder, path) = folder();
    filled(&path);
    let conn = Connection::open(&path).unwrap();
    conn.execute(
        "UPDATE jobq_meta SET value = 99 WHERE key = 'schema_version'",
        [],
    )
    .unwrap();
    drop(conn);
    let before = std::fs::read(&path).unwrap();
    let error = Queue::open(&path).err().expect("it was opened");
    assert!(error.is_newer_schema(), "{error:?}");
    assert!(error.to_string().contains("schema 99"), "{error}");
    assert!(error.hint().unwrap().contains("newer jobq"), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn jobqs_tables_without_a_version_are_refused_as_damaged() {
    let (_folder, path) = folder();
    filled(&path);
    let conn = Connection::open(&path).unwrap();
    conn.execute("DELETE FROM jobq_meta WHERE key = 'schema_version'", [])
        .unwrap();
    drop(conn);
    let error = Queue::open(&path).err().expect("it was opened");
    assert!(error.is_corrupt(), "{error:?}");
}
