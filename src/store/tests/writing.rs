//! The one writer of a process: what is sent from anywhere is committed together, and answered apart.

use crate::store::sqlite::file;
use crate::store::sqlite::schema::VERSION;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_channel::{Receiver, bounded};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::model::file_options::Durability;
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::limits::EnqueueLimits;
use crate::model::queue::QueueSelector;
use crate::store::Store;
use crate::store::jobs::queues::{COUNTS_ALL, COUNTS_RECOUNT};
use crate::store::jobs::validate::ValidatedJob;
use crate::store::jobs::{cancel, enqueue, queues};
use crate::store::sqlite::command::{Answer, Call, Command, Posted, ReplyTo};
use crate::store::sqlite::connection;
use crate::store::sqlite::connection::OpenConfig;
use crate::store::sqlite::file_watch::data_version;
use crate::store::sqlite::tx::{NewEvent, Tx};
use crate::store::sqlite::writer::Writer;
use crate::store::sqlite::writer_handle::WriterHandle;
use crate::{Error, Result};

/// What a write is called whose loss nobody here looks at.
const OUTPUT: Posted = Posted {
    job: JobId(1),
    what: "output",
};

/// A write that nobody waits for.
pub(super) fn post(
    writer: &WriterHandle,
    body: impl FnMut(&mut Tx<'_>) -> Result<()> + Send + 'static,
) -> Result<()> {
    writer.post((OUTPUT, writer.backlog().room_anyway(0)), body)
}

fn config(folder: &TempDir) -> OpenConfig {
    OpenConfig {
        path: folder.path().join("jobs.db"),
        durability: Durability::Normal,
        ..OpenConfig::default()
    }
}

pub(super) fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(config(&folder)).unwrap();
    (folder, store)
}

/// A writer of its own, and another connection that looks at its file.
fn writer() -> (TempDir, Writer, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let conn = connection::open_first(&config).unwrap().conn;
    let other = Connection::open(&config.path).unwrap();
    (
        folder,
        Writer::new(conn, (config, crate::store::JOB_RULES), Arc::default()),
        other,
    )
}

pub(super) fn new_job() -> ValidatedJob {
    job_in("default")
}

fn job_in(queue: &str) -> ValidatedJob {
    ValidatedJob::new(NewJob::new("send").queue(queue), &EnqueueLimits::default()).unwrap()
}

#[track_caller]
pub(super) fn jobs(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM jobq_job", [], |row| row.get(0))
        .unwrap()
}

#[track_caller]
fn assert_sound(conn: &Connection) {
    assert_eq!(
        queues::table(conn, COUNTS_ALL).unwrap(),
        queues::table(conn, COUNTS_RECOUNT).unwrap()
    );
    let events: i64 = conn
        .query_row(
            "SELECT count(*) FROM jobq_job WHERE enqueued_event > 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(events, jobs(conn), "each job has its event");
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

fn call<T: Send + 'static>(
    body: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
) -> (Box<dyn Command>, Receiver<Answer<T>>) {
    let (reply, answer) = bounded(1);
    (Box::new(Call::new(body, ReplyTo::Caller(reply))), answer)
}

/// Enqueues, and counts how often it was run.
fn counted(queue: &'static str) -> (Box<dyn Command>, Receiver<Answer<()>>, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&runs);
    let (command, answer) = call(move |tx| {
        seen.fetch_add(1, Ordering::SeqCst);
        set_max_pages(tx.conn, i64::from(u32::MAX) - 1);
        enqueue::enqueue(tx, &job_in(queue)).map(|_| ())
    });
    (command, answer, runs)
}

fn set_max_pages(conn: &Connection, pages: i64) {
    conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
        .unwrap();
}

/// Allows the file no more pages than it has.
fn forbid_growth(conn: &Connection) {
    let pages = conn
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    set_max_pages(conn, pages);
}

#[test]
fn jobs_of_sixteen_threads_are_visible_when_acknowledged() {
    let (_folder, store) = store();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let other = Connection::open(store.path()).unwrap();
                for _ in 0..25 {
                    let job = new_job();
                    let added = store.write(move |tx| enqueue::enqueue(tx, &job)).unwrap();
                    let found: bool = other
                        .query_row(
                            "SELECT count(*) FROM jobq_job WHERE id = ?1",
                            [added.id.0],
                            |row| row.get(0),
                        )
                        .unwrap();
                    assert!(
                        found,
                        "job {} was acknowledged before it was there",
                        added.id
                    );
                }
            });
        }
    });
    let reader = store.reader().unwrap();
    assert_eq!(jobs(&reader), 16 * 25);
    assert_sound(&reader);
}

#[test]
fn nobody_is_answered_before_the_commit() {
    let (_folder, mut writer, other) = writer();
    let (command, answer) = call(|tx| enqueue::enqueue(tx, &new_job()));
    let (entered, writing) = bounded(1);
    let (release, released) = bounded::<()>(1);
    let (write_lock, _) = call(move |_| {
        let _ = entered.send(());
        let _ = released.recv();
        Ok(())
    });
    std::thread::scope(|scope| {
        let committing =
            scope.spawn(move || writer.transact(&mut vec![command, write_lock], &mut |_| Ok(())));
        writing.recv().unwrap();
        assert!(answer.is_empty(), "answered inside the transaction");
        assert_eq!(jobs(&other), 0);
        release.send(()).unwrap();
        committing.join().unwrap().unwrap();
    });
    assert!(answer.recv().unwrap().done().is_ok());
    assert_eq!(jobs(&other), 1);
}

#[test]
fn a_command_that_fails_leaves_the_others_in() {
    let (_folder, mut writer, other) = writer();
    let (first, first_answer, runs) = counted("new");
    let (failing, failing_answer) = call(|tx| {
        enqueue::enqueue(tx, &job_in("new"))?;
        enqueue::enqueue(tx, &job_in("never"))?;
        Err::<(), _>(Error::invalid("it fails after it has worked"))
    });
    let (second, second_answer, _) = counted("new");
    let body = writer.transact(&mut vec![first, failing, second], &mut |tx| {
        enqueue::enqueue(tx, &new_job())
    });
    assert!(body.is_ok());
    assert!(first_answer.recv().unwrap().done().is_ok());
    assert!(
        failing_answer
            .recv()
            .unwrap()
            .done()
            .unwrap_err()
            .is_invalid_input()
    );
    assert!(second_answer.recv().unwrap().done().is_ok());
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(jobs(&other), 3);
    assert_sound(&other);
}

#[test]
fn a_body_that_fails_leaves_the_commands_in() {
    let (_folder, mut writer, other) = writer();
    let (command, answer, _) = counted("default");
    let error = writer.transact(&mut vec![command], &mut |tx| {
        enqueue::enqueue(tx, &new_job())?;
        Err::<(), _>(Error::invalid("it fails after it has worked"))
    });
    assert!(error.unwrap_err().is_invalid_input());
    assert!(answer.recv().unwrap().done().is_ok());
    assert_eq!(jobs(&other), 1);
    assert_sound(&other);
}

/// SQLITE_FULL rolls the whole transaction back from inside a savepoint.
#[test]
fn a_command_that_ends_the_transaction_harms_no_other_command() {
    let (_folder, mut writer, other) = writer();
    let (first, first_answer, first_runs) = counted("new");
    let (hog, hog_answer) = call(|tx| {
        forbid_growth(tx.conn);
        tx.conn.execute(
            "INSERT INTO jobq_meta (key, value) VALUES ('hog', zeroblob(1000000))",
            [],
        )?;
        Ok(())
    });
    let (second, second_answer, second_runs) = counted("new");
    let (failing, failing_answer) = call(|_| Err::<(), _>(Error::invalid("no")));
    let mut commands = vec![first, failing, second, hog];
    let (third, third_answer, _) = counted("new");
    commands.push(third);
    let body = writer.transact(&mut commands, &mut |tx| enqueue::enqueue(tx, &new_job()));
    assert!(body.is_ok(), "{body:?}");
    assert_eq!(
        first_runs.load(Ordering::SeqCst),
        2,
        "the transaction was not ended"
    );
    assert_eq!(second_runs.load(Ordering::SeqCst), 2);
    for answer in [first_answer, second_answer, third_answer] {
        answer.recv().unwrap().done().unwrap();
    }
    assert!(
        failing_answer
            .recv()
            .unwrap()
            .done()
            .unwrap_err()
            .is_invalid_input()
    );
    let error = hog_answer.recv().unwrap().done().unwrap_err();
    assert!(error.is_full(), "{error}");
    assert_eq!(jobs(&other), 4);
    assert_sound(&other);
}

/// Appends one event for which the file may not grow; events are held back until they must be written.
fn append_too_much(tx: &mut Tx<'_>) -> Result<()> {
    forbid_growth(tx.conn);
    let event = NewEvent::new(crate::EventKind::Stdout);
    tx.append(event.text(Some("x".repeat(1_000_000))))
}

#[test]
fn a_command_whose_events_do_not_fit_spoils_nobody_elses() {
    let (_folder, mut writer, other) = writer();
    let (first, first_answer, first_runs) = counted("new");
    let (hog, hog_answer) = call(append_too_much);
    let (second, second_answer, _) = counted("new");
    let body = writer.transact(&mut vec![first, second, hog], &mut |_| Ok(()));
    assert!(body.is_ok(), "{body:?}");
    assert_eq!(first_runs.load(Ordering::SeqCst), 2);
    first_answer.recv().unwrap().done().unwrap();
    second_answer.recv().unwrap().done().unwrap();
    let error = hog_answer.recv().unwrap().done().unwrap_err();
    assert!(error.is_full(), "{error}");
    assert_eq!(jobs(&other), 2);
    assert_sound(&other);
}

#[test]
fn a_body_whose_events_do_not_fit_leaves_the_commands_in() {
    let (_folder, mut writer, other) = writer();
    let (command, answer, runs) = counted("new");
    let error = writer.transact(&mut vec![command], &mut |tx| append_too_much(tx));
    assert!(error.unwrap_err().is_full());
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    answer.recv().unwrap().done().unwrap();
    assert_eq!(jobs(&other), 1);
    assert_sound(&other);
}

#[test]
fn a_command_that_panics_fails_alone_and_the_writer_goes_on() {
    let (_folder, store) = store();
    let error = store
        .write(|tx| -> Result<()> {
            enqueue::enqueue(tx, &new_job())?;
            panic!("a fault in the caller's code");
        })
        .unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    let job = new_job();
    store
        .write(move |tx| enqueue::enqueue(tx, &job).map(|_| ()))
        .unwrap();
    let reader = store.reader().unwrap();
    assert_eq!(jobs(&reader), 1);
    assert_sound(&reader);
}

#[test]
fn a_transaction_that_changes_nothing_writes_nothing() {
    let (_folder, store) = store();
    let other = Connection::open(store.path()).unwrap();
    let mail = || QueueSelector::Named("mail".to_owned());
    store.write(move |tx| queues::pause(tx, &mail())).unwrap();
    let log = file::with_suffix(store.path(), "-wal");
    let size = || std::fs::metadata(&log).unwrap().len();
    let before = (data_version(&other).unwrap(), size());
    for _ in 0..3 {
        store.write(|_| Ok(())).unwrap();
        assert!(!store.write(move |tx| queues::pause(tx, &mail())).unwrap());
        let failed = store.write(|tx| cancel::cancel(tx, JobId(99)));
        assert!(failed.is_err());
    }
    assert_eq!((data_version(&other).unwrap(), size()), before);
    // What does write is seen by the same look.
    assert!(store.write(move |tx| queues::resume(tx, &mail())).unwrap());
    let after = (data_version(&other).unwrap(), size());
    assert!(
        after.0 != before.0 && after.1 > before.1,
        "{before:?} {after:?}"
    );
}

#[test]
fn a_writer_stops_when_the_schema_was_upgraded_under_it() {
    let (_folder, store) = store();
    let other = Connection::open(store.path()).unwrap();
    let set = |version: i64| {
        let sql = "UPDATE jobq_meta SET value = ?1 WHERE key = 'schema_version'";
        other.execute(sql, [version]).unwrap();
    };
    let add = || store.write(|tx| enqueue::enqueue(tx, &new_job()).map(|_| ()));
    add().unwrap();
    set(99);
    let error = add().unwrap_err();
    assert!(error.is_newer_schema(), "{error}");
    assert!(error.to_string().contains("99"), "{error}");
    assert_eq!(jobs(&other), 1);
    set(VERSION);
    add().unwrap();
    assert_eq!(jobs(&other), 2);
}
