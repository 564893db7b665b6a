//! Runners sleep until there is something to do, and wake when there is.

use std::time::Duration;

use jobq::rusqlite::{Connection, TransactionBehavior};
use jobq::{Context, Failure, JobId, NewJob, Outcome, Queue, State};

use crate::support::child::RunnerRole;
use crate::support::place::{Place, Scene, state, wait_until_completed};
use crate::support::process::{Process, Spawn};
use crate::support::task::{TASK, Task};
use crate::support::{PATIENCE, assert_stays, by, monotonic, wait_until};

/// Long enough that a runner which wakes others, or itself, is caught.
const WATCHED: Duration = Duration::from_millis(1500);
/// Sooner than the safety poll that would notice it too; a disk that others keep busy takes seconds.
const SOON: Duration = Duration::from_secs(10);

/// A runner with one worker that has no reason to wake for minutes.
fn quiet(place: &Place, name: &str, queue: &Queue) -> Process {
    let role = RunnerRole {
        workers: 1,
        beat_every: Duration::from_secs(600),
        hung_after: Duration::from_secs(6000),
        ..RunnerRole::default()
    };
    Spawn::new(place, name, role).start_runner(queue)
}

/// What shows every write: the version that an idle connection sees, and the log's length.
struct Writes {
    conn: Connection,
    place: Place,
}

impl Writes {
    fn of(place: &Place) -> Writes {
        Writes {
            conn: place.connect(),
            place: place.clone(),
        }
    }

    fn look(&self) -> (i64, u64) {
        let version = self
            .conn
            .query_row("PRAGMA data_version", [], |row| row.get(0))
            .unwrap();
        (
            version,
            std::fs::metadata(self.place.log_of_writes()).unwrap().len(),
        )
    }

    /// Waits until nothing has been written for a while: a start writes a few things.
    fn wait_until_quiet(&self) {
        let (mut last, mut since) = (self.look(), monotonic());
        wait_until("the writes come to an end", PATIENCE, || {
            let now = self.look();
            if now != last {
                (last, since) = (now, monotonic());
            }
            monotonic() - since > Duration::from_millis(400)
        });
    }

    fn assert_none(&self) {
        assert_stays("the file", WATCHED, || self.look());
    }
}

#[test]
fn an_idle_runner_writes_nothing_and_sleeps() {
    let scene = Scene::new();
    let queue = scene.open();
    let runner = quiet(&scene, "runner", &queue);
    queue
        .enqueue(NewJob::new("of a kind that nobody handles"))
        .unwrap();
    wait_until_completed(&queue, queue.enqueue(Task::default().job()).unwrap().id);
    let writes = Writes::of(&scene);
    writes.wait_until_quiet();
    let slept = runner.dispatcher_sleeps();
    writes.assert_none();
    let woken = runner.dispatcher_sleeps() - slept;
    assert!(woken <= 3, "woken {woken} times in {WATCHED:?}");
    runner.end();
}

#[test]
fn busy_runners_do_not_wake_each_other_over_unclaimable_jobs() {
    let scene = Scene::new();
    let queue = scene.open();
    let runners = ["one", "two"].map(|name| quiet(&scene, name, &queue));
    let gated = Task::until(scene.file("gate")).job();
    let ids: Vec<JobId> = (0..6)
        .map(|_| queue.enqueue(gated.clone()).unwrap().id)
        .collect();
    wait_until("both are busy", PATIENCE, || {
        scene.effect_log().count() == 2
    });
    let writes = Writes::of(&scene);
    writes.wait_until_quiet();
    let slept = runners.each_ref().map(Process::dispatcher_sleeps);
    writes.assert_none();
    for (runner, before) in runners.iter().zip(slept) {
        let woken = runner.dispatcher_sleeps() - before;
        assert!(
            woken <= 3,
            "{} was woken {woken} times in {WATCHED:?}",
            runner.name
        );
    }
    assert_eq!(queue.counts().unwrap().get(State::Pending), 4);
    scene.open_gate("gate");
    queue.wait(&ids, Some(PATIENCE)).unwrap();
    runners.into_iter().for_each(Process::end);
}

#[test]
fn a_job_of_another_process_begins_at_once() {
    let scene = Scene::new();
    let queue = scene.open();
    let runner = quiet(&scene, "runner", &queue);
    let writes = Writes::of(&scene);
    for _ in 0..20 {
        wait_until("the runner is idle", PATIENCE, || {
            let slept = runner.dispatcher_sleeps();
            let look = writes.look();
            assert_stays("time", Duration::from_millis(20), || ());
            slept == runner.dispatcher_sleeps() && look == writes.look()
        });
        let enqueued_at = monotonic();
        let id = queue.enqueue(Task::default().job()).unwrap().id;
        let took = scene.wait_until_begun(id, 1).at - enqueued_at;
        assert!(took < SOON, "{took:?}");
        wait_until_completed(&queue, id);
    }
    runner.end();
}

/// The job's end is seen while its worker is still busy, so nothing new comes with the worker's report.
#[test]
fn a_worker_that_lingers_after_its_jobs_end_goes_on() {
    let scene = Scene::new();
    let queue = scene.open();
    let linger = |ctx: &Context| {
        let done = ctx.complete_in(|_| Ok::<_, Failure>(()));
        assert_stays("time", Duration::from_millis(60), || ());
        done.map_or_else(Outcome::from, |()| Outcome::Done(None))
    };
    let builder = queue.runner().workers(1).kind("linger", by(linger));
    // After short jobs some may be claimed ahead, but not those of a kind that takes long.
    let builder = builder.kind("short", by(|_| Outcome::Done(None)));
    let runner = builder.start().unwrap();
    let short = queue.enqueue(NewJob::new("short")).unwrap().id;
    wait_until_completed(&queue, short);
    let jobs = queue.enqueue_many((0..5).map(|_| NewJob::new("linger")));
    let ids: Vec<JobId> = jobs.unwrap().iter().map(|added| added.id).collect();
    queue.wait(&ids, Some(PATIENCE)).unwrap();
    runner.stop().unwrap();
}

#[test]
fn a_job_that_becomes_due_or_is_retried_by_hand_begins_at_once() {
    let scene = Scene::new();
    let queue = scene.open();
    let runner = quiet(&scene, "runner", &queue);
    let delay = Duration::from_millis(400);
    let enqueued_at = monotonic();
    let id = queue
        .enqueue(Task::default().job().delay(delay))
        .unwrap()
        .id;
    let took = scene.wait_until_begun(id, 1).at - enqueued_at;
    assert!(delay <= took && took < delay + SOON, "{took:?}");
    wait_until_completed(&queue, id);
    let asked_at = monotonic();
    queue.retry(id).unwrap();
    let took = scene.wait_until_begun(id, 2).at - asked_at;
    assert!(took < SOON, "{took:?}");
    wait_until_completed(&queue, id);
    runner.end();
}

#[test]
fn a_job_in_an_apps_transaction_wakes_a_runner_at_commit() {
    let scene = Scene::new();
    let queue = scene.open();
    let runner = quiet(&scene, "runner", &queue);
    let mut conn = scene.connect();
    conn.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        .unwrap();
    let begin = |conn: &mut Connection| {
        conn.transaction_with_behavior(TransactionBehavior::Immediate)
            .map(|tx| {
                tx.execute("INSERT INTO orders DEFAULT VALUES", []).unwrap();
                let id = queue.enqueue_in(&tx, Task::default().job()).unwrap().id;
                (tx.commit(), id)
            })
            .unwrap()
    };
    let (committed, id) = begin(&mut conn);
    committed.unwrap();
    let committed_at = monotonic();
    let took = scene
        .wait_until_begun(id, 1)
        .at
        .saturating_sub(committed_at);
    assert!(took < SOON, "{took:?}");
    wait_until_completed(&queue, id);

    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let open = queue.enqueue_in(&tx, Task::default().job()).unwrap().id;
    assert_stays("what is seen of it", Duration::from_millis(300), || {
        (
            queue.get(open).unwrap().is_some(),
            scene.begins_of(open).len(),
        )
    });
    assert!(queue.get(open).unwrap().is_none());
    tx.rollback().unwrap();
    assert_eq!(queue.counts().unwrap().total(), 1);
    let kind = NewJob::new(TASK).payload(&Task::default());
    assert!(
        queue
            .enqueue_in(&conn, kind)
            .unwrap_err()
            .is_invalid_input(),
        "no open transaction"
    );

    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let late = queue.enqueue_in(&tx, Task::default().job()).unwrap().id;
    assert!(queue.get(late).unwrap().is_none());
    let committed_at = monotonic();
    tx.commit().unwrap();
    let took = scene
        .wait_until_begun(late, 1)
        .at
        .saturating_sub(committed_at);
    assert!(took < SOON, "{took:?}");
    wait_until("it completes", PATIENCE, || {
        state(&queue, late) == State::Completed
    });
    runner.end();
}
