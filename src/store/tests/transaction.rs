//! Enqueuing inside an application's own transaction.

use rusqlite::{Connection, TransactionBehavior};

use crate::model::job::NewJob;
use crate::model::remedy::Severity;
use crate::model::state::State;
use crate::queue::Queue;

/// An application's file with a table of its own, open as a queue and by the application.
struct Shared {
    _folder: tempfile::TempDir,
    queue: Queue,
    conn: Connection,
}

fn shared() -> Shared {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    conn.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        .unwrap();
    Shared {
        queue: Queue::open(&path).unwrap(),
        conn,
        _folder: folder,
    }
}

impl Shared {
    fn orders(&self) -> i64 {
        self.conn
            .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
            .unwrap()
    }

    #[track_caller]
    fn assert_sound(&self) {
        let findings = self.queue.check().unwrap();
        assert!(
            findings.iter().all(|found| found.severity == Severity::Ok),
            "{findings:?}"
        );
    }
}

#[test]
fn what_is_rolled_back_leaves_nothing() {
    let mut shared = shared();
    let before = shared.queue.last_event().unwrap();
    let tx = shared
        .conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    tx.execute("INSERT INTO orders VALUES (1)", []).unwrap();
    let job = NewJob::new("invoice").queue("a new one");
    shared.queue.enqueue_in(&tx, job).unwrap();
    tx.rollback().unwrap();
    assert_eq!(shared.orders(), 0);
    assert_eq!(shared.queue.counts().unwrap().total(), 0);
    assert_eq!(shared.queue.last_event().unwrap(), before);
    assert_eq!(shared.queue.queues().unwrap().len(), 0);
    shared.assert_sound();
    // The queue's own writer did not keep the number of a name that is not there.
    let job = NewJob::new("invoice").queue("a new one");
    shared.queue.enqueue(job).unwrap();
    shared.assert_sound();
}

#[test]
fn what_is_committed_is_visible_from_then_on_and_counted() {
    let mut shared = shared();
    shared.queue.enqueue(NewJob::new("invoice")).unwrap();
    let tx = shared
        .conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    tx.execute("INSERT INTO orders VALUES (1)", []).unwrap();
    let mut added = Vec::new();
    for at in 0..3 {
        let job = NewJob::new("invoice").payload(&at);
        added.push(shared.queue.enqueue_in(&tx, job).unwrap());
    }
    assert_eq!(
        shared.queue.get(added[0].id).unwrap().map(|job| job.id),
        None
    );
    assert_eq!(shared.queue.counts().unwrap().total(), 1);
    tx.commit().unwrap();
    assert_eq!(shared.orders(), 1);
    for (at, added) in added.iter().enumerate() {
        let job = shared.queue.get(added.id).unwrap().unwrap();
        assert_eq!(
            (job.state, job.payload.get()),
            (State::Pending, &*at.to_string())
        );
    }
    assert_eq!(shared.queue.counts().unwrap().get(State::Pending), 4);
    shared.assert_sound();
}

#[test]
fn outside_of_a_transaction_it_is_refused() {
    let shared = shared();
    let error = shared
        .queue
        .enqueue_in(&shared.conn, NewJob::new("invoice"))
        .unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    assert!(error.hint().unwrap().contains("Immediate"), "{error:?}");
    assert_eq!(shared.queue.counts().unwrap().total(), 0);
}

#[test]
fn an_unusable_job_is_refused_before_anything_is_written() {
    let mut shared = shared();
    let tx = shared
        .conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let bad = NewJob::new("invoice").payload_json("{");
    let error = shared.queue.enqueue_in(&tx, bad).unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    tx.commit().unwrap();
    assert_eq!(shared.queue.counts().unwrap().total(), 0);
    shared.assert_sound();
}

#[test]
fn a_connection_to_a_file_without_jobqs_tables_is_refused() {
    let shared = shared();
    let mut other = Connection::open_in_memory().unwrap();
    let tx = other.transaction().unwrap();
    let error = shared
        .queue
        .enqueue_in(&tx, NewJob::new("invoice"))
        .unwrap_err();
    assert!(error.to_string().contains("jobq_meta"), "{error}");
}

#[test]
fn a_newer_schema_is_refused_inside_the_transaction_too() {
    let mut shared = shared();
    shared
        .conn
        .execute(
            "UPDATE jobq_meta SET value = 99 WHERE key = 'schema_version'",
            [],
        )
        .unwrap();
    let tx = shared.conn.transaction().unwrap();
    let error = shared
        .queue
        .enqueue_in(&tx, NewJob::new("invoice"))
        .unwrap_err();
    assert!(error.is_newer_schema(), "{error}");
}
