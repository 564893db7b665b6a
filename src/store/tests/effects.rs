//! An application's own writes: alone, whole or not at all, and in turn with the writer of the process.

use crate::clock::ManualClock;
use crate::store::sqlite::connection::Access;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::params;
use tempfile::TempDir;

use crate::error::Kind;
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::job::options::Priority;
use crate::model::retry::{Backoff, Jitter};
use crate::queue::Queue;
use crate::store::Store;
use crate::store::jobs::queues::{COUNTS_ALL, COUNTS_RECOUNT};
use crate::store::jobs::{enqueue, queues};
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::write_lock::WriteLock;
use crate::store::sqlite::writer_handle::WriterHandle;
use crate::store::tests::writing::{new_job, post, store};
use crate::{Error, Result};

/// A file with a table of the application's.
fn shop() -> (TempDir, Queue) {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(folder.path().join("app.db")).unwrap();
    let tables =
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT UNIQUE ON CONFLICT ROLLBACK);
        CREATE TABLE part (of INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)";
    queue
        .transaction(|tx| -> Result<()> { Ok(tx.connection().execute_batch(tables)?) })
        .unwrap();
    (folder, queue)
}

/// How many orders and jobs there are; the counters must agree.
#[track_caller]
fn orders_and_jobs(queue: &Queue) -> (i64, u64) {
    let reader = queue.store.reader().unwrap();
    assert_eq!(
        queues::table(&reader, COUNTS_ALL).unwrap(),
        queues::table(&reader, COUNTS_RECOUNT).unwrap(),
        "kept on the left, counted anew on the right"
    );
    let orders = reader.query_row("SELECT count(*) FROM orders", [], |row| row.get(0));
    (orders.unwrap(), queue.counts().unwrap().total())
}

fn order(queue: &Queue, item: &str) -> Result<JobId> {
    queue.transaction(|tx| {
        tx.connection()
            .execute("INSERT INTO orders (item) VALUES (?1)", [item])?;
        Ok(tx.enqueue(NewJob::new("invoice").queue(item))?.id)
    })
}

#[test]
fn orders_and_their_jobs_are_committed_together() {
    let (_folder, queue) = shop();
    let id = order(&queue, "lamp").unwrap();
    assert_eq!(queue.get(id).unwrap().unwrap().queue, "lamp");
    assert_eq!(orders_and_jobs(&queue), (1, 1));
}

#[test]
fn an_error_takes_everything_back_and_comes_out_as_it_was() {
    #[derive(Debug, PartialEq)]
    struct OutOfStock(&'static str);
    impl From<Error> for OutOfStock {
        fn from(_: Error) -> OutOfStock {
            OutOfStock("an error of jobq's")
        }
    }
    let (_folder, queue) = shop();
    let told = queue.transaction(|tx| -> Result<(), OutOfStock> {
        tx.connection()
            .execute("INSERT INTO orders (item) VALUES ('lamp')", [])
            .unwrap();
        tx.enqueue(NewJob::new("invoice").queue("a new one"))?;
        Err(OutOfStock("lamps"))
    });
    assert_eq!(told, Err(OutOfStock("lamps")));
    assert_eq!(orders_and_jobs(&queue), (0, 0));
    // The number of a name that is not there was not kept either.
    order(&queue, "a new one").unwrap();
    assert_eq!(orders_and_jobs(&queue), (1, 1));
}

#[test]
fn a_panic_rolls_back_and_propagates_and_the_next_may_write() {
    let (_folder, queue) = shop();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        queue.transaction(|tx| -> Result<()> {
            tx.connection()
                .execute("INSERT INTO orders (item) VALUES ('lamp')", [])?;
            tx.enqueue(NewJob::new("invoice"))?;
            panic!("out of lamps")
        })
    }));
    let message = panicked.unwrap_err();
    assert_eq!(message.downcast_ref(), Some(&"out of lamps"));
    assert_eq!(orders_and_jobs(&queue), (0, 0));
    order(&queue, "lamp").unwrap();
    queue.enqueue(NewJob::new("other")).unwrap();
    assert_eq!(orders_and_jobs(&queue), (1, 2));
}

#[test]
fn commit_and_rollback_by_hand_are_refused_and_do_no_harm() {
    let (_folder, queue) = shop();
    for by_hand in ["COMMIT", "ROLLBACK", "END", "BEGIN"] {
        queue
            .transaction(|tx| -> Result<()> {
                tx.connection()
                    .execute("INSERT INTO orders (item) VALUES (?1)", [by_hand])?;
                let refused = tx.connection().execute_batch(by_hand).unwrap_err();
                assert!(refused.to_string().contains("not authorized"), "{refused}");
                tx.enqueue(NewJob::new("invoice")).map(|_| ())
            })
            .unwrap();
    }
    assert_eq!(orders_and_jobs(&queue), (4, 4));
}

/// By a statement that jobq has left in the cache, which is not prepared anew.
#[test]
fn a_transaction_ended_by_its_closure_is_an_error_once() {
    let (_folder, queue) = shop();
    for by_hand in [&["COMMIT"][..], &["COMMIT", "BEGIN IMMEDIATE"]] {
        // The connection is a new one each time.
        order(&queue, by_hand.last().unwrap()).unwrap();
        let told = queue.transaction(|tx| -> Result<()> {
            for sql in by_hand {
                tx.connection().prepare_cached(sql)?.execute([])?;
            }
            Ok(())
        });
        let error = told.unwrap_err();
        assert!(error.is_wrong_state(), "{error:?}");
        assert!(error.to_string().contains("ended from inside"), "{error}");
    }
    order(&queue, "lamp").unwrap();
    assert_eq!(orders_and_jobs(&queue), (3, 3));
}

/// `ON CONFLICT ROLLBACK` ends a transaction as a full disk does.
#[test]
fn an_error_that_ended_the_transaction_cannot_be_swallowed() {
    let (_folder, queue) = shop();
    order(&queue, "lamp").unwrap();
    let told = queue.transaction(|tx| -> Result<()> {
        tx.enqueue(NewJob::new("invoice"))?;
        let _ = tx
            .connection()
            .execute("INSERT INTO orders (item) VALUES ('lamp')", []);
        Ok(())
    });
    assert!(told.unwrap_err().is_wrong_state());
    assert_eq!(orders_and_jobs(&queue), (1, 1));
    assert!(order(&queue, "lamp").is_err());
    order(&queue, "chair").unwrap();
    assert_eq!(orders_and_jobs(&queue), (2, 2));
}

#[test]
fn what_is_refused_at_commit_is_taken_back_and_told() {
    let (_folder, queue) = shop();
    let told = queue.transaction(|tx| -> Result<()> {
        tx.connection()
            .execute("INSERT INTO orders (id) VALUES (1)", [])?;
        tx.connection().execute("INSERT INTO part VALUES (2)", [])?;
        tx.enqueue(NewJob::new("invoice")).map(|_| ())
    });
    assert!(told.unwrap_err().to_string().contains("FOREIGN KEY"));
    assert_eq!(orders_and_jobs(&queue), (0, 0));
    order(&queue, "lamp").unwrap();
}

#[test]
fn a_job_that_cannot_be_added_leaves_the_transaction_usable() {
    let (_folder, queue) = shop();
    let refuse = "CREATE TEMP TRIGGER refuse BEFORE INSERT ON jobq_payload WHEN new.payload = '13'
        BEGIN SELECT RAISE(ABORT, 'no such number'); END";
    queue
        .transaction(|tx| -> Result<()> {
            tx.connection().execute_batch(refuse)?;
            let numbered = |number: u8| NewJob::new("invoice").payload(&number);
            assert!(tx.enqueue(numbered(13)).is_err());
            assert!(tx.enqueue_many([12, 13].map(numbered)).is_err());
            let error = tx.enqueue_many([numbered(1), NewJob::new("")]).unwrap_err();
            assert!(error.to_string().starts_with("job 2: "), "{error}");
            let added = tx.enqueue_many([14, 15].map(numbered))?;
            assert_eq!(added[1].id.0, added[0].id.0 + 1);
            assert_eq!(tx.attempt(), None);
            Ok(())
        })
        .unwrap();
    assert_eq!(orders_and_jobs(&queue), (0, 2));
}

#[test]
fn whatever_would_wait_for_itself_from_inside_is_refused() {
    let (_folder, queue) = shop();
    queue
        .transaction(|tx| -> Result<()> {
            let waiting = [
                queue.enqueue(NewJob::new("inside")).map(|_| ()),
                queue.repair().map(|_| ()),
                order(&queue, "inside").map(|_| ()),
                queue.runner().start().map(|_| ()),
            ];
            for refused in waiting {
                let error = refused.unwrap_err();
                assert!(error.to_string().contains("wait for itself"), "{error}");
            }
            assert_eq!(queue.counts()?.total(), 0, "reading is free");
            tx.enqueue(NewJob::new("invoice")).map(|_| ())
        })
        .unwrap();
    queue.enqueue(NewJob::new("outside")).unwrap();
    assert_eq!(orders_and_jobs(&queue), (0, 2));
}

#[test]
fn a_file_that_can_only_be_read_is_not_lent() {
    let writer =
        WriterHandle::new(std::path::Path::new("x"), None, std::sync::Arc::default()).unwrap();
    assert!(writer.write(|_| Ok(())).unwrap_err().is_read_only());
    let (_folder, mut store) = store();
    store.access = Access::ReadOnly;
    let told = store.write_alone(|_| -> Result<()> { panic!("it was lent") });
    assert!(told.unwrap_err().is_read_only());
}

fn append(tx: &mut Tx<'_>, what: &str) -> Result<()> {
    enqueue::enqueue(tx, &new_job())?;
    tx.conn
        .execute("INSERT INTO written VALUES (?1)", params![what])?;
    Ok(())
}

fn written(store: &Store) -> Vec<String> {
    let reader = store.reader().unwrap();
    let mut statement = reader
        .prepare("SELECT what FROM written ORDER BY rowid")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

fn store_with_a_list() -> (TempDir, Store) {
    let (folder, store) = store();
    store
        .write(|tx| Ok(tx.conn.execute_batch("CREATE TABLE written (what TEXT)")?))
        .unwrap();
    (folder, store)
}

fn wait_in_line(write_lock: &WriteLock, expected: u64) {
    let began = Instant::now();
    while write_lock.waiting() < expected {
        assert!(began.elapsed() < Duration::from_secs(30), "nobody waits");
        thread::yield_now();
    }
}

#[test]
fn a_transaction_alone_precedes_what_is_sent_after_it() {
    let (_folder, store) = store_with_a_list();
    let write_lock = store.user_transactions.write_lock();
    thread::scope(|scope| {
        let pass = write_lock.enter();
        post(&store.writer, |tx| append(tx, "first")).unwrap();
        wait_in_line(&write_lock, 1);
        scope.spawn(|| store.write_alone(|tx| append(tx, "alone")).unwrap());
        wait_in_line(&write_lock, 2);
        for _ in 0..3 {
            post(&store.writer, |tx| append(tx, "later")).unwrap();
        }
        drop(pass);
    });
    store.write(|_| Ok(())).unwrap();
    assert_eq!(
        written(&store),
        ["first", "alone", "later", "later", "later"]
    );
}

/// None ends before all have come so far: one that starved would keep the others here forever.
#[test]
fn writers_that_never_rest_and_users_of_transactions_all_get_on() {
    const ROUNDS: usize = 40;
    let (_folder, store) = &store_with_a_list();
    let names = ["writer 1", "writer 2", "alone 1", "alone 2"];
    let all_have = &|| {
        let written = written(store);
        let rounds = |name: &&str| written.iter().filter(|what| what == name).count();
        names.iter().all(|name| rounds(name) >= ROUNDS)
    };
    thread::scope(|scope| {
        for name in names {
            scope.spawn(move || {
                while !all_have() {
                    match name.starts_with("alone") {
                        true => store.write_alone(|tx| append(tx, name)).unwrap(),
                        false => store.write(move |tx| append(tx, name)).unwrap(),
                    }
                }
            });
        }
    });
}

/// Every option is the same whichever way a job is added.
#[test]
fn the_options_of_a_job_hold_in_transactions_too() {
    let job = |queue: &Queue| {
        let earlier = queue.enqueue(NewJob::new("earlier")).unwrap().id;
        NewJob::new("invoice")
            .payload(&[1, 2])
            .queue("billing")
            .priority(Priority::Urgent)
            .delay(Duration::from_secs(90))
            .max_retries(7)
            .backoff(Backoff::Quadratic)
            .retry_delay(Duration::from_millis(1500))
            .jitter(Jitter::Off)
            .timeout(Duration::from_secs(33))
            .deadline(jiff::Timestamp::from_millisecond(9_000_000_000_000).unwrap())
            .unique("one")
            .unique_for(Duration::from_secs(60))
            .after_any([earlier])
            .key("printer")
            .tenant("acme")
            .tag("region", "eu")
            .finalize()
    };
    type Add = fn(&Queue, NewJob) -> Result<JobId>;
    let ways: [Add; 3] = [
        |queue, job| Ok(queue.enqueue(job)?.id),
        |queue, job| queue.transaction(|tx| Ok(tx.enqueue(job)?.id)),
        |queue, job| {
            let mut conn = rusqlite::Connection::open(queue.path())?;
            let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let added = queue.enqueue_in(&tx, job)?;
            tx.commit()?;
            Ok(added.id)
        },
    ];
    let [plain, alone, own] = ways.map(|add| {
        let folder = tempfile::tempdir().unwrap();
        let clock =
            ManualClock::new(jiff::Timestamp::from_millisecond(super::sandbox::START_MS).unwrap());
        let queue = Queue::options()
            .clock(clock)
            .open(folder.path().join("app.db"))
            .unwrap();
        let id = add(&queue, job(&queue)).unwrap();
        let reader = queue.store.reader().unwrap();
        let counted = queues::table(&reader, COUNTS_ALL).unwrap();
        (format!("{:?}", queue.get(id).unwrap().unwrap()), counted)
    });
    assert!(plain.0.contains("Quadratic"), "{plain:?}");
    assert_eq!(alone, plain);
    assert_eq!(own, plain);
}

/// Such a lock stays until all connections of the process are closed.
#[test]
fn a_transaction_blocked_by_its_own_process_closes_the_readers() {
    let (_folder, store) = store();
    let impatient = |tx: &mut Tx<'_>| -> Result<()> { Ok(tx.conn.busy_timeout(Duration::ZERO)?) };
    store.write_alone(impatient).unwrap();
    drop(store.reader().unwrap());
    let holder = rusqlite::Connection::open(store.path()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.write_alone(|_| -> Result<()> { Ok(()) });
    assert_eq!(error.unwrap_err().kind(), Kind::Stuck);
    assert!(!store.readers.is_open());
    drop(holder);
    store.write_alone(|_| -> Result<()> { Ok(()) }).unwrap();
}
