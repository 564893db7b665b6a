//! The read pool.

use std::sync::Barrier;

use crossbeam_channel::bounded;

use crate::store::jobs::enqueue;
use crate::store::tests::writing::{jobs, new_job, store};

#[test]
fn a_reader_cannot_write() {
    let (_folder, store) = store();
    let reader = store.reader().unwrap();
    let error = reader
        .execute("INSERT INTO jobq_kind (name) VALUES ('x')", [])
        .unwrap_err();
    assert_eq!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::ReadOnly)
    );
}

#[test]
fn readers_do_not_wait_for_the_writer_or_see_uncommitted_data() {
    let (_folder, store) = store();
    let job = new_job();
    let (entered, writing) = bounded(1);
    let (release, released) = bounded::<()>(1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            store.write(move |tx| {
                enqueue::enqueue(tx, &job)?;
                let _ = entered.send(());
                let _ = released.recv();
                Ok(())
            })
        });
        writing.recv().unwrap();
        assert_eq!(jobs(&store.reader().unwrap()), 0);
        release.send(()).unwrap();
        writer.join().unwrap().unwrap();
    });
    assert_eq!(jobs(&store.reader().unwrap()), 1);
}

#[test]
fn more_readers_than_connections_take_turns() {
    let (_folder, store) = store();
    let job = new_job();
    store
        .write(move |tx| enqueue::enqueue(tx, &job).map(|_| ()))
        .unwrap();
    let barrier = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..20 {
                    assert_eq!(jobs(&store.reader().unwrap()), 1);
                }
            });
        }
    });
}
