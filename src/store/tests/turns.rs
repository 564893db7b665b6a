//! The writer's handle: threads that write in turns, what nobody waits for, and a runner that takes the writer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use rusqlite::Connection;

use crate::error::Kind;
use crate::store::LogCopies;
use crate::store::jobs::enqueue;
use crate::store::jobs::validate::ValidatedJob;
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::writer::{RUNNER_CHECKPOINT_PAGES, Writer, log_pages};
use crate::store::sqlite::writer_handle::{GROUP, WriterHandle};
use crate::store::tests::writing::{jobs, new_job, post, store};
use crate::{EnqueueLimits, Error, NewJob, Result};

#[test]
fn what_has_queued_up_is_one_transaction() {
    let (_folder, store) = store();
    // Each transaction that writes leaves another token: commands of one see the same.
    let token = |tx: &mut Tx<'_>| -> Result<f64> {
        let sql = "SELECT total(value) FROM jobq_number WHERE what = -1";
        Ok(tx.conn.query_row(sql, [], |row| row.get(0))?)
    };
    // Once the first command runs, its group is complete: whatever comes now waits for the next.
    let (entered, running) = bounded(1);
    let (release, released) = bounded::<()>(1);
    post(&store.writer, move |_| {
        let _ = entered.send(());
        let _ = released.recv();
        Ok(())
    })
    .unwrap();
    running.recv().unwrap();
    let (tell, told) = bounded(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let (tell, job) = (tell.clone(), new_job());
                let body = move |tx: &mut Tx<'_>| {
                    enqueue::enqueue(tx, &job)?;
                    let _ = tell.send(token(tx)?);
                    Ok(())
                };
                post(&store.writer, body).unwrap();
            });
        }
    });
    release.send(()).unwrap();
    let tokens: Vec<f64> = (0..16).map(|_| told.recv().unwrap()).collect();
    assert!(tokens.iter().all(|seen| *seen == tokens[0]), "{tokens:?}");
    assert_ne!(
        store.write(token).unwrap(),
        tokens[0],
        "tokens tell transactions apart"
    );
    assert_eq!(jobs(&store.reader().unwrap()), 16);
}

/// The thread that writes output ends where it cannot write it: somebody else's call may have come meanwhile.
#[test]
fn a_call_is_written_although_output_before_it_cannot_be() {
    let (_folder, store) = store();
    let store = Arc::new(store);
    let (entered, running) = bounded(1);
    let (release, released) = bounded::<()>(1);
    let mut is_first = true;
    post(&store.writer, move |tx| {
        if std::mem::take(&mut is_first) {
            let _ = entered.send(());
            let _ = released.recv();
        }
        tx.conn.execute_batch("ROLLBACK")?;
        Err(Error::new(Kind::Full, "full"))
    })
    .unwrap();
    running.recv().unwrap();
    let (tell, told) = bounded(1);
    let caller = Arc::clone(&store);
    std::thread::spawn(move || {
        let written = caller.write(|tx| enqueue::enqueue(tx, &new_job()).map(|_| ()));
        let _ = tell.send(written);
    });
    while store.writer.waiting() == 0 {
        std::thread::yield_now();
    }
    release.send(()).unwrap();
    let written = told.recv_timeout(Duration::from_secs(20));
    written.expect("it is never written").unwrap();
    assert_eq!(jobs(&store.reader().unwrap()), 1);
}

#[test]
fn writes_posted_without_waiting_land_before_the_store_closes() {
    let (_folder, store) = store();
    let path = store.path().to_owned();
    for _ in 0..100 {
        let job = new_job();
        post(&store.writer, move |tx| {
            enqueue::enqueue(tx, &job).map(|_| ())
        })
        .unwrap();
    }
    drop(store);
    assert_eq!(jobs(&Connection::open(path).unwrap()), 100);
}

/// Nobody empties its inbox, which holds fewer messages than are sent here.
#[test]
fn a_read_only_file_refuses_every_write_and_never_blocks() {
    let (tell, told) = bounded(1);
    std::thread::spawn(move || {
        let writer = WriterHandle::new(std::path::Path::new("x"), None, Arc::default()).unwrap();
        for _ in 0..5000 {
            let error = writer.write(|_| Ok(())).unwrap_err();
            assert_eq!(error.kind(), Kind::ReadOnly);
            assert!(post(&writer, |_| Ok(())).unwrap_err().is_read_only());
        }
        assert!(writer.lease().err().unwrap().is_read_only());
        tell.send(()).unwrap();
    });
    told.recv_timeout(Duration::from_secs(30))
        .expect("it blocked, or a write was not refused");
}

#[test]
fn a_runner_takes_the_writer_with_its_inbox_and_returns_it() {
    let (_folder, store) = store();
    let add = || store.write(|tx| enqueue::enqueue(tx, &new_job()).map(|_| ()));
    add().unwrap();
    let mut lease = store.writer.lease().unwrap();
    let second = store.writer.lease().err().unwrap();
    assert!(second.is_wrong_state(), "{second}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(add);
        let mut commands = Vec::new();
        while commands.is_empty() {
            lease.inbox.take(GROUP, &mut commands);
            std::thread::yield_now();
        }
        lease
            .writer
            .transact(&mut commands, &mut |_| Ok(()))
            .unwrap();
        waiting.join().unwrap().unwrap();
    });
    // What comes in while the runner ends is not forgotten.
    let job = new_job();
    post(&store.writer, move |tx| {
        enqueue::enqueue(tx, &job).map(|_| ())
    })
    .unwrap();
    store.writer.give_back(lease);
    add().unwrap();
    assert_eq!(jobs(&store.reader().unwrap()), 4);
}

fn add_job(writer: &mut Writer, payload: &str) {
    let job = NewJob::new("send").payload(&payload);
    let job = ValidatedJob::new(job, &EnqueueLimits::default()).unwrap();
    let mut enqueue = |tx: &mut Tx<'_>| enqueue::enqueue(tx, &job).map(|_| ());
    writer.transact(&mut Vec::new(), &mut enqueue).unwrap();
}

#[test]
fn a_log_that_has_grown_is_copied_while_the_runner_writes_on() {
    let (_folder, store) = store();
    let mut lease = store.writer.lease().unwrap();
    let (writer, mut copies) = (&mut lease.writer, LogCopies::default());
    let size = || std::fs::metadata(store.path()).unwrap().len();
    let (before, large) = (size(), "x".repeat(200_000));
    while log_pages() < RUNNER_CHECKPOINT_PAGES {
        copies.tidy(&store.readers, writer, false);
        assert!(!copies.is_running());
        add_job(writer, &large);
    }
    let pages = log_pages();
    copies.tidy(&store.readers, writer, false);
    assert!(copies.is_running());
    // The writer goes on meanwhile, and ends it when the readers' thread is done.
    let began = Instant::now();
    for _ in 0..5 {
        add_job(writer, "");
    }
    while copies.is_running() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never ended");
        std::thread::sleep(Duration::from_millis(1));
        copies.tidy(&store.readers, writer, false);
    }
    assert!(size() > before + 4096 * RUNNER_CHECKPOINT_PAGES as u64 / 2);
    add_job(writer, "");
    assert!(log_pages() < pages / 2, "the log did not begin anew");
}
