//! Everything that is due is run in the calling thread, with nobody's help and in nobody's way.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::SignedDuration;
use jobq::testing::TestQueue;
use jobq::{
    AttemptRef, Context, EventKind, JobId, Level, NewJob, Outcome, Priority, Queue, RunnerFilter,
    State, UnknownKinds,
};

use crate::support::child::{Role, RunnerRole};
use crate::support::place::{
    Place, Scene, ailments, count_events, events, job, result, state, wait_until_completed,
};
use crate::support::process::Spawn;
use crate::support::task::{self, KILLER, TASK, Task};
use crate::support::{PATIENCE, by, wait_until};

const BEAT: Duration = Duration::from_millis(10);

fn done() -> Outcome {
    Outcome::Done(None)
}

fn add(queue: &Queue, job: NewJob) -> JobId {
    queue.enqueue(job).unwrap().id
}

fn beat_of(place: &Place, runner: jobq::RunnerId) -> i64 {
    let sql = "SELECT beat FROM jobq_runner WHERE id = ?1";
    let conn = place.connect();
    conn.query_row(sql, [runner.0], |row| row.get(0)).unwrap()
}

fn assert_nothing_is_left_of(queue: &Queue, lock_files: usize) {
    assert!(queue.runners(RunnerFilter::Now).unwrap().is_empty());
    assert_eq!(lock_files, 0);
    assert_eq!(ailments(queue), Vec::<String>::new());
}

#[test]
fn handlers_run_in_the_calling_thread_one_by_one_in_order() {
    let queue = TestQueue::new();
    let ran = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ran);
    let caller = std::thread::current().id();
    let handler = by(move |ctx: &Context| {
        assert_eq!(std::thread::current().id(), caller);
        let payload = ctx.payload().to_owned();
        if payload == "\"a\"" {
            let follow_up = NewJob::new("kind").payload(&"urgent follow-up");
            add(ctx.queue(), follow_up.priority(Priority::Urgent));
        }
        seen.lock().unwrap().push(payload);
        done()
    });
    for payload in ["a", "b"] {
        add(&queue, NewJob::new("kind").payload(&payload));
    }
    let first = NewJob::new("kind").payload(&"first");
    add(&queue, first.priority(Priority::High));
    let stats = queue.run_due(|runner| runner.kind("kind", handler));
    assert_eq!((stats.completed, stats.running), (4, 0));
    let expected = ["\"first\"", "\"a\"", "\"urgent follow-up\"", "\"b\""];
    assert_eq!(*ran.lock().unwrap(), expected);
}

#[test]
fn run_due_runs_what_became_due_and_leaves_unknown_kinds() {
    let queue = TestQueue::new();
    let later = |kind: &str| NewJob::new(kind).delay(Duration::from_secs(1));
    queue
        .enqueue_many((0..2500).map(|_| later("nobody")))
        .unwrap();
    let own = add(&queue, later("kind").delay(Duration::from_secs(2)));
    let paused = add(&queue, NewJob::new("kind").queue("paused"));
    queue
        .pause(jobq::QueueSelector::Named("paused".into()))
        .unwrap();
    queue.advance(Duration::from_secs(2));
    let stats = queue.run_due(|runner| runner.kind("kind", by(|_| done())));
    assert_eq!((stats.completed, stats.failed), (1, 0));
    assert_eq!(state(&queue, own), State::Completed);
    assert_eq!(job(&queue, paused).attempt, 0);
    let stats = queue.run_due(|runner| {
        runner
            .kind("kind", by(|_| done()))
            .unknown_kinds(UnknownKinds::Fail)
    });
    assert_eq!((stats.completed, stats.failed), (0, 2500));
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

#[test]
fn a_panic_fails_its_attempt_and_the_others_run() {
    let scene = Scene::new();
    let queue = scene.open();
    let handler = by(|ctx: &Context| match ctx.payload() {
        "2" => panic!("number {}", ctx.job_id()),
        _ => done(),
    });
    let at_once = |payload: &u32| {
        let job = NewJob::new("shaky").payload(payload);
        job.max_retries(2).retry_delay(Duration::ZERO)
    };
    let ids = [1, 2, 3].map(|payload| add(&queue, at_once(&payload)));
    let stats = queue.runner().kind("shaky", handler).run_due().unwrap();
    assert_eq!((stats.completed, stats.failed, stats.retried), (2, 1, 2));
    let failed = job(&queue, ids[1]);
    assert_eq!((failed.state, failed.attempt), (State::Failed, 3));
    assert_eq!(failed.error, Some(format!("panicked: number {}", ids[1])));
    assert_nothing_is_left_of(&queue, scene.lock_files());
}

/// The result is refused by a rule of the application's own; no other job is to suffer from it.
#[test]
fn an_outcome_that_cannot_be_saved_fails_its_job_alone() {
    let scene = Scene::new();
    let queue = scene.open();
    let rule = "CREATE TRIGGER no_seven BEFORE INSERT ON jobq_outcome WHEN new.result = '7'
        BEGIN SELECT raise(ABORT, 'no sevens here'); END";
    scene.connect().execute_batch(rule).unwrap();
    let ids = [6, 7, 8].map(|number| add(&queue, NewJob::new("echo").payload(&number)));
    let echo = by(|ctx: &Context| Outcome::Done(Some(ctx.payload().to_owned())));
    let stats = queue.runner().kind("echo", echo).run_due().unwrap();
    assert_eq!(
        ids.map(|id| state(&queue, id)),
        [State::Completed, State::Failed, State::Completed]
    );
    let error = job(&queue, ids[1]).error.unwrap();
    assert!(error.contains("no sevens here"), "{error}");
    assert_eq!(result(&queue, ids[2]).as_deref(), Some("8"));
    assert_eq!(stats.completed, 2);
    assert_nothing_is_left_of(&queue, scene.lock_files());
}

#[test]
fn a_job_with_an_unwritable_end_is_taken_over_by_the_next_run() {
    let scene = Scene::new();
    let queue = scene.open();
    let rule = "CREATE TRIGGER stuck BEFORE UPDATE OF state ON jobq_job WHEN old.state = 3
        BEGIN SELECT raise(ABORT, 'stuck'); END";
    scene.connect().execute_batch(rule).unwrap();
    let id = add(&queue, NewJob::new("kind"));
    let run = || queue.runner().kind("kind", by(|_| done())).run_due();
    let error = run().unwrap_err();
    assert!(error.to_string().contains("stuck"), "{error}");
    assert_eq!(state(&queue, id), State::Running);
    scene.connect().execute_batch("DROP TRIGGER stuck").unwrap();
    assert_eq!(run().unwrap().completed, 1);
    assert_eq!((job(&queue, id).attempt, job(&queue, id).crashes), (2, 1));
    assert_nothing_is_left_of(&queue, scene.lock_files());
}

#[test]
fn a_clock_step_keeps_the_remaining_delay_in_a_due_run() {
    let queue = TestQueue::new();
    let delayed = add(&queue, NewJob::new("kind").delay(Duration::from_secs(60)));
    let run = || queue.run_due(|runner| runner.kind("kind", by(|_| done())));
    run();
    queue
        .clock()
        .step(TestQueue::START + SignedDuration::from_hours(24 * 365));
    assert_eq!(run().completed, 0);
    queue.advance(Duration::from_secs(59));
    assert_eq!(run().completed, 0);
    queue.advance(Duration::from_secs(1));
    assert_eq!(run().completed, 1);
    assert_eq!(state(&queue, delayed), State::Completed);
}

#[test]
fn handler_logs_are_saved_before_its_end_with_whole_history() {
    let queue = TestQueue::new();
    let id = add(&queue, NewJob::new("chatty"));
    let chatty = by(|ctx: &Context| {
        for line in 0..3000 {
            ctx.log(Level::Debug, format!("line {line}"));
        }
        done()
    });
    queue.run_due(|runner| runner.kind("chatty", chatty));
    let kinds: Vec<EventKind> = events(&queue, Some(id)).iter().map(|e| e.kind).collect();
    assert_eq!(kinds.len(), 3003);
    assert_eq!(kinds[..2], [EventKind::Enqueued, EventKind::Started]);
    assert_eq!(kinds.last(), Some(&EventKind::Completed));
}

#[test]
fn due_run_beside_a_live_runner_is_not_taken_for_hung() {
    let scene = Scene::new();
    let (queue, own) = (scene.open(), scene.open());
    let live = queue
        .runner()
        .heartbeat(BEAT, BEAT * 5)
        .kind("theirs", by(|_| done()))
        .kind("both", by(|_| done()))
        .start()
        .unwrap();
    let watched = live.id();
    let (place, first) = ((*scene).clone(), beat_of(&scene, watched));
    let long = by(move |ctx: &Context| {
        let follow_up = add(ctx.queue(), NewJob::new("theirs"));
        wait_until_completed(ctx.queue(), follow_up);
        wait_until("it has beaten often enough to judge", PATIENCE, || {
            beat_of(&place, watched) > first + 30
        });
        done()
    });
    let id = add(&own, NewJob::new("long"));
    let shared: Vec<JobId> = (0..200).map(|_| add(&own, NewJob::new("both"))).collect();
    let builder = own.runner().kind("long", long);
    let stats = builder.kind("both", by(|_| done())).run_due().unwrap();
    own.wait(&shared, Some(PATIENCE)).unwrap();
    let left = job(&own, id);
    assert_eq!((left.state, left.attempt), (State::Completed, 1));
    assert_eq!(left.crashes, 0);
    let ended = live.stop().unwrap().stats;
    assert_eq!(stats.completed + ended.completed, 202);
    assert_eq!(count_events(&own, None, EventKind::Started), 202);
    assert_eq!(count_events(&own, None, EventKind::RunnerLost), 0);
    assert_nothing_is_left_of(&own, scene.lock_files());
}

#[test]
fn run_due_shares_a_queue_with_a_runner_and_with_handlers() {
    let scene = Scene::new();
    let queue = scene.open();
    let (tell, told) = mpsc::channel();
    let outer = by(move |ctx: &Context| {
        let inner = add(ctx.queue(), NewJob::new("inner"));
        let runner = ctx.queue().runner().kind("inner", by(|_| done()));
        tell.send((inner, runner.run_due().unwrap())).unwrap();
        done()
    });
    let runner = queue.runner().kind("outer", outer).start().unwrap();
    let id = add(&queue, NewJob::new("outer"));
    let (inner, stats) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (state(&queue, inner), stats.completed),
        (State::Completed, 1)
    );
    wait_until_completed(&queue, id);
    let own = add(&queue, NewJob::new("own"));
    let builder = queue.runner().kind("own", by(|_| done()));
    assert_eq!(builder.run_due().unwrap().completed, 1);
    assert_eq!(state(&queue, own), State::Completed);
    runner.stop().unwrap();
    assert_nothing_is_left_of(&queue, scene.lock_files());
}

#[test]
fn it_takes_over_from_a_runner_that_was_killed() {
    let scene = Scene::new();
    let queue = scene.open();
    let victim = Spawn::new(&scene, "victim", RunnerRole::default()).start();
    let gate = scene.file("gate");
    let id = add(&queue, Task::until(gate).job());
    scene.wait_until_begun(id, 1);
    victim.kill();
    scene.open_gate("gate");
    let builder = task::register(queue.runner(), &scene.effect_log(), "own");
    assert_eq!(builder.run_due().unwrap().completed, 1);
    let left = job(&queue, id);
    assert_eq!((left.attempt, left.crashes), (2, 1));
    assert_eq!(result(&queue, id).as_deref(), Some("\"own-2\""));
    assert_nothing_is_left_of(&queue, scene.lock_files());
}

#[test]
fn one_that_is_killed_is_taken_over_at_once() {
    let scene = Scene::new();
    let queue = scene.open();
    let fine = add(&queue, Task::taking(Duration::ZERO).job());
    let killer = add(&queue, NewJob::new(KILLER));
    let mut victim = Spawn::new(&scene, "victim", Role::DueRun).start();
    assert!(!victim.wait_to_exit().success());
    assert_eq!(state(&queue, fine), State::Completed);
    assert_eq!(state(&queue, killer), State::Running);
    let runner = queue.runner().kind(KILLER, by(|_| done())).start().unwrap();
    wait_until_completed(&queue, killer);
    assert_eq!(
        (job(&queue, killer).attempt, job(&queue, killer).crashes),
        (2, 1)
    );
    runner.stop().unwrap();
    assert_nothing_is_left_of(&queue, scene.lock_files());
}

/// A copy of the file has no lock files, and of a runner that never beats there is nothing else to see.
#[test]
fn a_copied_file_takes_over_the_due_runs_job_only_in_the_copy() {
    let (scene, copy) = (Scene::new(), Scene::new());
    let queue = scene.open();
    let id = add(&queue, Task::until(scene.file("gate")).job());
    let mut original = Spawn::new(&scene, "original", Role::DueRun).start();
    scene.wait_until_begun(id, 1);
    queue.backup(copy.database()).unwrap();
    let restored = copy.open();
    let builder = restored.runner().kind(TASK, by(|_| done()));
    assert_eq!(builder.run_due().unwrap().completed, 1);
    assert_eq!(
        (job(&restored, id).attempt, job(&restored, id).crashes),
        (2, 1)
    );
    assert_nothing_is_left_of(&restored, copy.lock_files());
    scene.open_gate("gate");
    assert!(original.wait_to_exit().success());
    assert_eq!(result(&queue, id).as_deref(), Some("\"original-1\""));
    assert_nothing_is_left_of(&queue, scene.lock_files());
}

#[test]
fn a_due_run_without_its_lock_file_loses_its_job_for_good() {
    let scene = Scene::new();
    let queue = scene.open();
    let (place, other) = ((*scene).clone(), scene.open());
    let handler = by(move |ctx: &Context| {
        if ctx.attempt() == 1 {
            place.remove_lock_files();
            let heir = other.runner().kind("kind", by(|_| done()));
            assert_eq!(heir.run_due().unwrap().completed, 1);
        }
        Outcome::Fail {
            error: "too late".into(),
        }
    });
    let id = add(&queue, NewJob::new("kind"));
    let error = queue.runner().kind("kind", handler).run_due();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("was taken for lost"), "{error}");
    assert_eq!(
        (job(&queue, id).state, job(&queue, id).attempt),
        (State::Completed, 2)
    );
    assert_nothing_is_left_of(&queue, scene.lock_files());
}

#[test]
fn a_cancel_request_is_heard_when_the_handler_would_be_retried() {
    let queue = TestQueue::new();
    let id = add(&queue, NewJob::new("kind").retry_delay(Duration::ZERO));
    let handler = by(|ctx: &Context| {
        ctx.queue().cancel(ctx.job_id()).unwrap();
        Outcome::Retry {
            error: "again".into(),
            after: None,
        }
    });
    let stats = queue.run_due(|runner| runner.kind("kind", handler));
    assert_eq!((stats.cancelled, stats.retried), (1, 0));
    assert_eq!(
        (state(&queue, id), job(&queue, id).attempt),
        (State::Cancelled, 1)
    );
}

/// It was told as a cancelled one, and a drain that had done everything failed by it.
#[test]
fn a_job_that_was_called_off_with_an_attempt_counts_as_none() {
    let queue = TestQueue::new();
    add(&queue, NewJob::new("kind").retry_delay(Duration::ZERO));
    let handler = by(|ctx: &Context| {
        let attempt = AttemptRef {
            job: ctx.job_id(),
            attempt: ctx.attempt(),
        };
        let child = NewJob::new("child").spawned(ctx.job_id(), attempt);
        ctx.queue().enqueue(child).unwrap();
        if ctx.attempt() > 1 {
            return Outcome::Done(None);
        }
        Outcome::Retry {
            error: "again".into(),
            after: None,
        }
    });
    let child = by(|_: &Context| Outcome::Done(None));
    let stats = queue.run_due(|runner| runner.kind("kind", handler).kind("child", child));
    assert_eq!((stats.completed, stats.cancelled), (2, 0));
    assert_eq!(queue.counts().unwrap().get(State::Cancelled), 1);
}

#[test]
fn a_setting_that_is_not_usable_registers_nobody() {
    let queue = TestQueue::new();
    let refused = queue.runner().workers(0).run_due().unwrap_err();
    assert!(refused.is_invalid_input(), "{refused}");
    assert_eq!(queue.runners(RunnerFilter::AllTimes).unwrap().len(), 0);
}

#[test]
fn an_unavailable_kind_keeps_no_other_from_running() {
    let queue = TestQueue::new();
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let down = |pause| {
        let counted = Arc::clone(&counted);
        by(move |_| {
            *counted.lock().unwrap() += 1;
            let error = "the printer is off".to_owned();
            Outcome::Unavailable { error, pause }
        })
    };
    let ids = [
        add(&queue, NewJob::new("off")),
        add(&queue, NewJob::new("brief")),
    ];
    let others = [
        add(&queue, NewJob::new("on")),
        add(&queue, NewJob::new("on")),
    ];
    let stats = queue.run_due(|runner| {
        let runner = runner.kind("off", down(Duration::from_secs(60)));
        let runner = runner.kind("brief", down(Duration::ZERO));
        runner.kind("on", by(|_| done()))
    });
    assert_eq!(stats.completed, 2);
    for id in others {
        assert_eq!(state(&queue, id), State::Completed);
    }
    for id in ids {
        assert_eq!(
            (state(&queue, id), job(&queue, id).retries),
            (State::Pending, 0)
        );
    }
    // Once, and until its pauses were too many.
    assert_eq!(*calls.lock().unwrap(), 1 + 4);
}
