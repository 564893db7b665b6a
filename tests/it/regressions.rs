//! Faults that were found by reading, each with its story.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jobq::rusqlite::Connection;
use jobq::testing::TestQueue;
use jobq::{Context, EventKind, Level, NewJob, Outcome, Retention, Snooze, State, Until, When};

use crate::support::child::RunnerRole;
use crate::support::place::{Scene, count_events, job, state, wait_until_completed};
use crate::support::process::Spawn;
use crate::support::task::Task;
use crate::support::{PATIENCE, by, wait_until};

/// The report went ahead of what its worker had written before, wherever that was more than one
/// transaction takes; the fence then refused the rest.
#[test]
fn what_a_job_logged_is_saved_before_its_end_however_much_it_is() {
    let scene = Scene::new();
    let queue = scene.open();
    let handler = by(|ctx: &Context| {
        for line in 0..4000 {
            ctx.log(Level::Debug, format!("line {line}"));
        }
        Outcome::Done(None)
    });
    let runner = queue.runner().kind("chatty", handler).start().unwrap();
    let ids: Vec<_> = (0..3)
        .map(|_| queue.enqueue(NewJob::new("chatty")).unwrap().id)
        .collect();
    for id in ids {
        wait_until_completed(&queue, id);
        assert_eq!(count_events(&queue, Some(id), EventKind::Log), 4000);
    }
    runner.stop().unwrap();
}

/// Retention shared the transaction with reports and claims: an application's own foreign key on a
/// job that was to go stopped every runner for good.
#[test]
fn an_application_row_referring_to_old_jobs_stops_no_runner() {
    let scene = Scene::new();
    let queue = scene.open();
    let old = queue.enqueue(NewJob::new("kind")).unwrap().id;
    let application = Connection::open(queue.path()).unwrap();
    application
        .execute_batch(&format!(
            "CREATE TABLE invoice (job_id INTEGER REFERENCES jobq_job (id));
             INSERT INTO invoice VALUES ({old})"
        ))
        .unwrap();
    let runner = queue
        .runner()
        .kind("kind", by(|_: &Context| Outcome::Done(None)))
        .retention(Retention {
            completed: Some(Duration::ZERO),
            failed: None,
            every: Duration::from_millis(20),
        })
        .start()
        .unwrap();
    wait_until_completed(&queue, old);
    for _ in 0..5 {
        let id = queue.enqueue(NewJob::new("kind")).unwrap().id;
        wait_until("the next job has run", PATIENCE, || {
            queue
                .get(id)
                .unwrap()
                .is_none_or(|job| job.state.is_final())
        });
    }
    assert_eq!(state(&queue, old), State::Completed);
    runner.stop().unwrap();
}

/// `i64::MAX` was stored, and the next step of the clock overflowed it in every turn.
#[test]
fn a_job_that_sleeps_for_ever_stops_nobody_when_the_clock_steps() {
    let queue = TestQueue::new();
    let handler = by(|ctx: &Context| match ctx.payload() {
        "\"never\"" => Outcome::Snooze(Snooze::For(Duration::MAX)),
        _ => Outcome::Done(None),
    });
    let runner = queue
        .runner()
        .heartbeat(Duration::from_millis(20), PATIENCE)
        .stop_timeout(Duration::MAX)
        .default_timeout(Duration::MAX)
        .kind("kind", handler)
        .start()
        .unwrap();
    let never = queue
        .enqueue(NewJob::new("kind").payload(&"never"))
        .unwrap()
        .id;
    wait_until("it sleeps", PATIENCE, || {
        state(&queue, never) == State::Scheduled
    });
    queue
        .clock()
        .step(TestQueue::START + SignedDuration::from_hours(24));
    let next = queue
        .enqueue(NewJob::new("kind").delay(Duration::from_millis(1)))
        .unwrap()
        .id;
    queue.advance(Duration::from_secs(1));
    wait_until_completed(&queue, next);
    assert_eq!(state(&queue, never), State::Scheduled);
    runner.stop().unwrap();
}

/// With no runner alive nobody had followed the clock, and the next runner moved also the waits that
/// were given after the step.
#[test]
fn a_wait_given_after_a_clock_step_is_not_moved_by_it() {
    let queue = TestQueue::new();
    let ten_minutes = || NewJob::new("kind").when(When::In(Duration::from_secs(600)));
    let before = queue.enqueue(ten_minutes()).unwrap().id;
    let stepped = TestQueue::START + SignedDuration::from_hours(1);
    queue.clock().step(stepped);
    let after = queue.enqueue(ten_minutes()).unwrap().id;
    let due = stepped + SignedDuration::from_mins(10);
    assert_eq!(job(&queue, after).run_at, Some(due));
    assert_eq!(
        job(&queue, before).run_at,
        Some(due),
        "it keeps what is left of it"
    );
}

/// Only jobq's own writer followed the clock.
#[test]
fn a_wait_in_an_apps_transaction_is_not_moved_by_an_old_step() {
    let queue = TestQueue::new();
    let ten_minutes = || NewJob::new("kind").delay(Duration::from_secs(600));
    queue.enqueue(ten_minutes()).unwrap();
    let stepped = TestQueue::START + SignedDuration::from_hours(1);
    queue.clock().step(stepped);
    let application = Connection::open(queue.path()).unwrap();
    application.execute_batch("BEGIN IMMEDIATE").unwrap();
    let after = queue.enqueue_in(&application, ten_minutes()).unwrap().id;
    application.execute_batch("COMMIT").unwrap();
    queue.run_due(|runner| runner.kind("kind", by(|_: &Context| Outcome::Done(None))));
    let due = stepped + SignedDuration::from_mins(10);
    assert_eq!(job(&queue, after).run_at, Some(due));
}

/// The drain looked only for retries, and the first thousand due jobs were ones it could not run.
#[test]
fn a_drain_checks_everything_due_before_it_ends() {
    let queue = TestQueue::new();
    let delayed = |kind: &str, seconds| NewJob::new(kind).delay(Duration::from_secs(seconds));
    queue
        .enqueue_many((0..2500).map(|_| delayed("nobody", 1)))
        .unwrap();
    let own = queue.enqueue(delayed("kind", 2)).unwrap().id;
    queue.advance(Duration::from_secs(10));
    let runner = queue
        .runner()
        .kind("kind", by(|_: &Context| Outcome::Done(None)))
        .until(Until::Drained)
        .start()
        .unwrap();
    let ended = runner.wait().unwrap();
    assert_eq!(state(&queue, own), State::Completed);
    assert_eq!(ended.stats.completed, 1);
    assert_eq!(ended.left.iter().map(|left| left.jobs).sum::<u64>(), 2500);
}

/// A turn cancelled the first thousand that were late and claimed from the others.
#[test]
fn no_job_begins_after_its_deadline_however_many_are_late() {
    let late = || {
        let queue = TestQueue::new();
        let job = || NewJob::new("kind").deadline(Duration::from_secs(1));
        queue.enqueue_many((0..2500).map(|_| job())).unwrap();
        queue.enqueue(NewJob::new("kind")).unwrap();
        queue.advance(Duration::from_secs(1));
        queue
    };
    let handler = || by(|_: &Context| Outcome::Done(None));
    let stats = late().run_due(|runner| runner.kind("kind", handler()));
    assert_eq!((stats.completed, stats.cancelled), (1, 2500));
    let queue = late();
    let runner = queue.runner().kind("kind", handler());
    let ended = runner.until(Until::Drained).start().unwrap().wait();
    let stats = ended.unwrap().stats;
    assert_eq!((stats.completed, stats.cancelled), (1, 2500));
    let queue = late();
    let done = queue.perform(NewJob::new("kind"), |runner| runner.kind("kind", handler()));
    assert_eq!(done.state, State::Completed);
    assert_eq!(queue.counts().unwrap().get(State::Cancelled), 2500);
}

/// Whether anything is late was looked at before the turn had the lock.
#[test]
fn a_tick_that_waited_for_the_lock_claims_nothing_late() {
    let scene = Scene::new();
    let queue = scene.open();
    let role = RunnerRole {
        workers: 1,
        beat_every: Duration::from_secs(600),
        hung_after: Duration::from_secs(6000),
        ..RunnerRole::default()
    };
    let runner = Spawn::new(&scene, "runner", role).start_runner(&queue);
    let first = Task::until(scene.file("gate")).job();
    let first = queue.enqueue(first).unwrap().id;
    scene.wait_until_begun(first, 1);
    // Then it has nothing to write any more but the report.
    wait_until("the worker is noted", PATIENCE, || {
        job(&queue, first).worker.is_some()
    });
    let urgent = Task::taking(Duration::ZERO).job();
    let urgent = urgent.deadline(Duration::from_secs(2));
    let urgent = queue.enqueue(urgent).unwrap().id;
    let deadline = job(&queue, urgent).deadline.unwrap();
    let lock = scene.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    scene.open_gate("gate");
    runner.wait_until_dispatcher_is_busy();
    wait_until("the deadline passes", PATIENCE, || {
        Timestamp::now() > deadline
    });
    lock.execute_batch("ROLLBACK").unwrap();
    wait_until("it has ended", PATIENCE, || {
        state(&queue, urgent).is_final()
    });
    assert_eq!(state(&queue, urgent), State::Cancelled);
    assert_eq!(scene.begins_of(urgent).len(), 0);
    runner.end();
}

/// An idle runner looked again and again, and took up most of a core.
#[test]
fn a_runner_cannot_look_for_old_jobs_without_a_pause() {
    let scene = Scene::new();
    let retention = Retention {
        every: Duration::ZERO,
        ..Retention::default()
    };
    let builder = scene.open().runner().retention(retention);
    let refused = builder.start().err().unwrap();
    assert!(refused.is_invalid_input(), "{refused}");
    assert!(refused.to_string().contains("pause"), "{refused}");
}
