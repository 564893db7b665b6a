//! Calling jobs off, wherever they run.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use jobq::{CancelReason, Cancelled, Context, JobId, NewJob, Outcome, Queue, State};

use crate::support::child::RunnerRole;
use crate::support::place::{Scene, job, state, wait_until_completed};
use crate::support::process::Spawn;
use crate::support::task::Task;
use crate::support::{PATIENCE, by, wait_until};

fn add(queue: &Queue, job: NewJob) -> JobId {
    queue.enqueue(job).unwrap().id
}

/// How long it takes until a running job is cancelled, by whichever queue.
fn time_to_cancel(by: &Queue, id: JobId) -> Duration {
    let asked = Instant::now();
    assert_eq!(by.cancel(id).unwrap(), Cancelled::Requested);
    wait_until("the running job is cancelled", PATIENCE, || {
        state(by, id).is_final()
    });
    assert_eq!(state(by, id), State::Cancelled);
    asked.elapsed()
}

#[test]
fn a_running_job_is_cancelled_in_a_second_from_any_queue() {
    let scene = Scene::new();
    let queue = scene.open();
    let other = scene.open();
    let (begun, begins) = mpsc::channel();
    let (told, word) = mpsc::channel();
    let listening = by(move |ctx: &Context| {
        begun.send(()).unwrap();
        ctx.cancellation().wait(PATIENCE);
        told.send(ctx.cancellation().reason()).unwrap();
        Outcome::Retry {
            error: "interrupted".into(),
            after: None,
        }
    });
    let runner = queue.runner().kind("long", listening).start().unwrap();
    for by in [&queue, &other] {
        let id = add(by, NewJob::new("long"));
        begins.recv_timeout(PATIENCE).unwrap();
        let took = time_to_cancel(by, id);
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(word.try_recv(), Ok(Some(CancelReason::Requested)));
        assert!(by.cancel(id).unwrap_err().is_wrong_state());
    }
    runner.stop().unwrap();
}

#[test]
fn a_job_that_another_process_runs_is_cancelled_within_a_second() {
    let scene = Scene::new();
    let queue = scene.open();
    let runner = Spawn::new(&scene, "runner", RunnerRole::default()).start_runner(&queue);
    let id = add(&queue, Task::until(scene.file("never")).job());
    scene.wait_until_begun(id, 1);
    let took = time_to_cancel(&queue, id);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(
        scene
            .effects()
            .iter()
            .any(|effect| effect.what == "cancelled")
    );
    runner.end();
}

#[test]
fn a_job_that_does_not_run_is_cancelled_at_once_and_never_runs() {
    let scene = Scene::new();
    let queue = scene.open();
    let pending = add(&queue, NewJob::new("kind"));
    let scheduled = add(
        &queue,
        NewJob::new("kind").delay(Duration::from_millis(100)),
    );
    for id in [pending, scheduled] {
        assert_eq!(queue.cancel(id).unwrap(), Cancelled::Now);
    }
    let last = add(
        &queue,
        NewJob::new("kind").delay(Duration::from_millis(200)),
    );
    let runner = queue
        .runner()
        .kind("kind", by(|_: &Context| Outcome::Done(None)))
        .start()
        .unwrap();
    wait_until_completed(&queue, last);
    runner.stop().unwrap();
    for id in [pending, scheduled] {
        assert_eq!(
            (state(&queue, id), job(&queue, id).attempt),
            (State::Cancelled, 0)
        );
    }
}
