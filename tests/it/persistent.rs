//! Persistent commands of a program of one's own, in the shell, and handlers that can run nothing at the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jobq::handlers::exec::{CommandHandler, PersistentHandler, PersistentOptions};
use jobq::{JobId, NewJob, Outcome, Queue, RunnerFilter, State, Why};

use crate::support::place::{Scene, job, result, wait_until_completed};
use crate::support::process::is_alive;
use crate::support::{PATIENCE, by, wait_until};

/// Answers each job with its own process id, and ends at the end of its stdin.
const ANSWERS: &str = r#"while read -r line; do
    job=${line#'{"job":'}; job=${job%%,*}
    echo "{\"jobq\":\"done\",\"job\":$job,\"result\":$$}"
done"#;

fn handler(script: &str) -> PersistentHandler {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned);
    let handler = CommandHandler::new(argv.to_vec()).unwrap();
    handler.persistent(PersistentOptions::new())
}

fn add(queue: &Queue) -> JobId {
    queue.enqueue(NewJob::new("k")).unwrap().id
}

fn pid(queue: &Queue, id: JobId) -> u32 {
    result(queue, id).unwrap().parse().unwrap()
}

#[test]
fn a_runner_of_ones_own_keeps_processes_and_ends_them() {
    let scene = Scene::new();
    let queue = scene.open();
    let deaf = format!("trap '' TERM; {ANSWERS}; sleep 600");
    let runner = queue.runner().kind("k", handler(&deaf)).start().unwrap();
    let ids = [add(&queue), add(&queue)];
    for id in ids {
        wait_until_completed(&queue, id);
    }
    let again = add(&queue);
    wait_until_completed(&queue, again);
    assert!(ids.map(|id| pid(&queue, id)).contains(&pid(&queue, again)));
    runner.stop().unwrap();
    assert!(!is_alive(pid(&queue, ids[0])) && !is_alive(pid(&queue, ids[1])));
}

#[test]
fn a_runner_ends_processes_that_a_reload_has_replaced() {
    let scene = Scene::new();
    let queue = scene.open();
    let deaf = format!("trap '' TERM; {ANSWERS}; sleep 600");
    let runner = queue.runner().kind("k", handler(&deaf)).start().unwrap();
    let id = add(&queue);
    wait_until_completed(&queue, id);
    let other = queue.runner().kind("other", by(|_| Outcome::Done(None)));
    runner.reloader().reload(other).unwrap();
    let other = queue.enqueue(NewJob::new("other")).unwrap().id;
    wait_until_completed(&queue, other);
    assert!(is_alive(pid(&queue, id)), "it has its time to leave");
    runner.stop().unwrap();
    assert!(!is_alive(pid(&queue, id)));
}

#[test]
fn the_end_of_a_runner_leaves_the_processes_of_others() {
    let [one, another] = [Scene::new(), Scene::new()];
    let (queue, other) = (one.open(), another.open());
    let slow = format!("{ANSWERS}; exec sleep 600");
    let once = PersistentOptions::new().max_jobs(1);
    let argv = ["/bin/sh", "-c", &slow].map(str::to_owned).to_vec();
    let leaves = CommandHandler::new(argv).unwrap().persistent(once);
    let other_runner = other.runner().kind("k", leaves).start().unwrap();
    let left = add(&other);
    wait_until_completed(&other, left);
    let runner = queue.runner().kind("k", handler(ANSWERS)).start().unwrap();
    let id = add(&queue);
    wait_until_completed(&queue, id);
    let began = Instant::now();
    runner.stop().unwrap();
    assert!(
        began.elapsed() < Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    assert!(is_alive(pid(&other, left)));
    other_runner.stop().unwrap();
    assert!(!is_alive(pid(&other, left)));
}

#[test]
fn a_run_in_the_calling_thread_keeps_a_process_until_its_end() {
    let scene = Scene::new();
    let queue = scene.open();
    let ids = [add(&queue), add(&queue), add(&queue)];
    queue
        .runner()
        .kind("k", handler(ANSWERS))
        .run_due()
        .unwrap();
    let pids = ids.map(|id| pid(&queue, id));
    assert_eq!(pids, [pids[0]; 3]);
    assert!(!is_alive(pids[0]));
    // What a runner has left is not in the way of the next.
    let next = add(&queue);
    queue
        .runner()
        .kind("k", handler(ANSWERS))
        .run_due()
        .unwrap();
    assert_ne!(pid(&queue, next), pids[0]);
}

#[test]
fn an_unavailable_handler_pauses_only_its_kind() {
    let scene = Scene::new();
    let queue = scene.open();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let down = by(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0..3 => Outcome::Unavailable {
            error: "the printer is off".to_owned(),
            pause: Duration::from_millis(300),
        },
        _ => Outcome::Done(None),
    });
    let runner = queue.runner().workers(1).kind("k", down);
    let runner = runner.kind("other", by(|_| Outcome::Done(None)));
    let runner = runner.start().unwrap();
    let ids = [add(&queue), add(&queue)];
    wait_until("why says so", PATIENCE, || {
        let why = queue.why(ids[1]).unwrap();
        matches!(why, Why::HandlerUnavailable { kind, reason, .. }
            if kind == "k" && reason == "the printer is off")
    });
    let other = queue.enqueue(NewJob::new("other")).unwrap().id;
    wait_until_completed(&queue, other);
    for id in ids {
        wait_until_completed(&queue, id);
        assert_eq!((job(&queue, id).retries, job(&queue, id).crashes), (0, 0));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 5);
    let known = || queue.runners(RunnerFilter::Now).unwrap().remove(0);
    wait_until("the reason is gone", PATIENCE, || {
        known().unavailable_kinds.is_empty()
    });
    assert_eq!(job(&queue, ids[0]).state, State::Completed);
    runner.stop().unwrap();
}
