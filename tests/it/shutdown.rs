//! How a runner ends: what has not begun goes back free of charge, what runs is waited for, what
//! does not listen is left behind.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use jobq::{
    CancelReason, Context, EventKind, Handler, JobId, NewJob, Outcome, Queue, Runner, RunnerFilter,
    RunnerState, State,
};

use crate::support::place::{
    Scene, ailments, count_events, job, result, state, wait_until_completed,
};
use crate::support::{PATIENCE, assert_stays, by, wait_until};

const LONG: Duration = Duration::from_secs(60);

/// A handler that tells its job's number when it begins and goes on when it gets a word.
fn gated(begun: mpsc::Sender<JobId>, gate: Receiver<()>) -> impl Handler {
    by(move |ctx| {
        begun.send(ctx.job_id()).unwrap();
        gate.recv().unwrap();
        Outcome::Done(None)
    })
}

/// A handler that goes on until it is told to stop, and tells why it was.
fn obedient(told: mpsc::Sender<Option<CancelReason>>) -> impl Handler {
    by(move |ctx| {
        told.send(None).unwrap();
        assert!(ctx.cancellation().wait(LONG), "it is told to stop");
        told.send(ctx.cancellation().reason()).unwrap();
        Outcome::Cancelled
    })
}

fn add(queue: &Queue, kind: &str) -> JobId {
    queue.enqueue(NewJob::new(kind)).unwrap().id
}

fn is_stopping(queue: &Queue) -> bool {
    let runners = queue.runners(RunnerFilter::Now).unwrap();
    runners
        .iter()
        .any(|runner| runner.state == RunnerState::Stopping)
}

#[test]
fn a_stopped_runner_claims_no_more_and_waits_for_what_runs() {
    let scene = Scene::new();
    let queue = scene.open();
    let (begun, begins) = mpsc::channel();
    let (open, gate) = bounded(0);
    let runner = queue
        .runner()
        .workers(1)
        .kind("slow", gated(begun, gate))
        .start()
        .unwrap();
    let running = add(&queue, "slow");
    assert_eq!(begins.recv_timeout(PATIENCE), Ok(running));
    let waiting = add(&queue, "slow");
    runner.stopper().stop();
    wait_until("the runner is stopping", PATIENCE, || is_stopping(&queue));
    let late = add(&queue, "slow");
    assert_stays("whether it runs", Duration::from_millis(200), || {
        runner.has_ended()
    });
    open.send(()).unwrap();
    let ended = runner.wait().unwrap();

    assert_eq!(ended.stats.completed, 1);
    assert_eq!(state(&queue, running), State::Completed);
    for id in [waiting, late] {
        assert_eq!(
            (state(&queue, id), job(&queue, id).attempt),
            (State::Pending, 0)
        );
    }
    let [record] = &queue.runners(RunnerFilter::AllTimes).unwrap()[..] else {
        panic!("one runner")
    };
    assert_eq!(record.state, RunnerState::Offline);
    assert_eq!(count_events(&queue, None, EventKind::RunnerStopped), 1);
    assert_eq!(scene.lock_files(), 0, "its lock file is gone");
}

/// Short jobs are claimed ahead of the workers; in their middle is one that stops them.
#[test]
fn a_prefetched_job_returned_unbegun_costs_no_retry() {
    let scene = Scene::new();
    let queue = scene.open();
    let (begun, begins) = mpsc::channel();
    let (open, gate) = bounded(0);
    let handler = by(move |ctx| {
        if ctx.payload() == "true" {
            begun.send(ctx.job_id()).unwrap();
            gate.recv().unwrap();
        }
        Outcome::Done(None)
    });
    let quick = || (0..300).map(|_| NewJob::new("quick").payload(&false));
    let jobs = quick()
        .chain([NewJob::new("quick").payload(&true)])
        .chain(quick());
    let added = queue.enqueue_many(jobs).unwrap();
    let runner = queue
        .runner()
        .workers(1)
        .kind("quick", handler)
        .start()
        .unwrap();
    let running = begins.recv_timeout(PATIENCE).unwrap();
    assert_eq!(running, added[300].id);
    wait_until("some are claimed ahead", PATIENCE, || {
        queue.counts().unwrap().get(State::Running) > 1
    });
    runner.stopper().stop();
    wait_until("what has not begun goes back", PATIENCE, || {
        queue.counts().unwrap().get(State::Running) == 1
    });
    open.send(()).unwrap();
    runner.wait().unwrap();

    let returned: Vec<_> = added[301..]
        .iter()
        .map(|added| job(&queue, added.id))
        .inspect(|job| assert_eq!(job.state, State::Pending))
        .filter(|job| job.attempt > 0)
        .collect();
    assert!(!returned.is_empty());
    for job in returned {
        assert_eq!(
            (job.retries_left(), job.retries, job.crashes),
            (job.retry.max_retries, 0, 0)
        );
        let events = count_events(&queue, Some(job.id), EventKind::Returned);
        assert_eq!(
            events, job.attempt as usize,
            "each attempt of it was given back"
        );
    }
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

#[test]
fn after_the_stop_timeout_an_interrupted_attempt_costs_no_retry() {
    let scene = Scene::new();
    let queue = scene.open();
    let (told, word) = mpsc::channel();
    let builder = queue
        .runner()
        .workers(1)
        .stop_timeout(Duration::from_millis(400));
    let runner = builder.kind("long", obedient(told)).start().unwrap();
    let id = queue
        .enqueue(NewJob::new("long").max_retries(0))
        .unwrap()
        .id;
    assert_eq!(word.recv_timeout(PATIENCE), Ok(None));
    let stopped_at = Instant::now();
    runner.stop().unwrap();
    assert!(
        stopped_at.elapsed() >= Duration::from_millis(200),
        "it was given its time"
    );
    assert_eq!(word.try_recv(), Ok(Some(CancelReason::Shutdown)));
    let job = job(&queue, id);
    assert_eq!(
        (job.state, job.attempt, job.retries, job.crashes),
        (State::Pending, 1, 0, 0)
    );
}

#[test]
fn a_hurried_stop_tells_the_handlers_at_once() {
    let scene = Scene::new();
    let queue = scene.open();
    let (told, word) = mpsc::channel();
    let runner = queue
        .runner()
        .workers(1)
        .kind("long", obedient(told))
        .start()
        .unwrap();
    let id = add(&queue, "long");
    assert_eq!(word.recv_timeout(PATIENCE), Ok(None));
    let stopper = runner.stopper();
    stopper.stop();
    wait_until("the runner is stopping", PATIENCE, || is_stopping(&queue));
    assert!(word.try_recv().is_err(), "it has 60 s");
    stopper.stop_now();
    stopper.stop();
    runner.wait().unwrap();
    assert_eq!(word.try_recv(), Ok(Some(CancelReason::Shutdown)));
    assert_eq!(
        (state(&queue, id), job(&queue, id).retries),
        (State::Pending, 0)
    );
}

#[test]
fn a_handler_that_ignores_shutdown_loses_its_late_result() {
    let scene = Scene::new();
    let queue = scene.open();
    let (begun, begins) = mpsc::channel();
    let (open, gate) = bounded(0);
    let (late, returns) = mpsc::channel();
    let deaf = by(move |ctx: &Context| {
        begun.send(ctx.job_id()).unwrap();
        gate.recv().unwrap();
        ctx.progress(jobq::Progress::percent(77.0));
        late.send(()).unwrap();
        Outcome::Done(Some("\"late\"".to_owned()))
    });
    let short = Duration::from_millis(100);
    let builder = queue
        .runner()
        .workers(1)
        .stop_timeout(short * 2)
        .grace(short);
    let runner = builder.kind("deaf", deaf).start().unwrap();
    let id = add(&queue, "deaf");
    assert_eq!(begins.recv_timeout(PATIENCE), Ok(id));
    let stopped_at = Instant::now();
    runner.stop().unwrap();
    assert!(
        stopped_at.elapsed() < Duration::from_secs(10),
        "it does not wait for the handler"
    );
    assert_eq!(
        (state(&queue, id), job(&queue, id).retries),
        (State::Pending, 0)
    );

    let heir = by(|_: &Context| Outcome::Done(Some("\"heir\"".to_owned())));
    let runner = queue.runner().kind("deaf", heir).start().unwrap();
    wait_until_completed(&queue, id);
    let left = format!("{:?}", job(&queue, id));
    open.send(()).unwrap();
    returns.recv_timeout(PATIENCE).unwrap();
    assert_stays("the job", Duration::from_millis(300), || {
        format!("{:?}", job(&queue, id))
    });
    runner.stop().unwrap();
    assert_eq!(format!("{:?}", job(&queue, id)), left);
    assert_eq!(result(&queue, id).as_deref(), Some("\"heir\""));
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

#[test]
fn a_runner_is_stopped_any_number_of_times() {
    let scene = Scene::new();
    let queue = scene.open();
    let runner = queue.runner().start().unwrap();
    let stopper = runner.stopper();
    stopper.stop();
    stopper.stop();
    wait_until("it has ended", PATIENCE, || runner.has_ended());
    stopper.stop();
    stopper.stop_now();
    assert!(runner.stop().is_ok());
    stopper.stop();
    drop(queue.runner().start().unwrap());
}

#[test]
fn a_queue_has_one_runner_and_another_when_that_has_ended() {
    let scene = Scene::new();
    let queue = scene.open();
    let quick = || by(|_: &Context| Outcome::Done(None));
    let start = || -> jobq::Result<Runner> { queue.runner().kind("quick", quick()).start() };
    let first = start().unwrap();
    let refused = start().map(|_| ()).unwrap_err();
    assert!(refused.is_wrong_state(), "{refused}");
    wait_until_completed(&queue, add(&queue, "quick"));
    first.stop().unwrap();

    let id = add(&queue, "quick");
    assert_eq!(
        state(&queue, id),
        State::Pending,
        "there is a writer without a runner"
    );
    let second = start().unwrap();
    wait_until_completed(&queue, id);
    second.stop().unwrap();
    assert_eq!(count_events(&queue, None, EventKind::RunnerStopped), 2);
}

/// The writer changes hands at each start and each end, while others write.
#[test]
fn enqueuing_goes_on_while_runners_come_and_go() {
    let scene = Scene::new();
    let queue = scene.open();
    let (stop, is_stopped) = bounded::<()>(0);
    let enqueuers: Vec<_> = (0..3)
        .map(|_| {
            let (queue, is_stopped) = (queue.clone(), is_stopped.clone());
            std::thread::spawn(move || {
                let mut added = Vec::new();
                while is_stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
                    added.push(add(&queue, "quick"));
                }
                added
            })
        })
        .collect();
    for _ in 0..25 {
        let quick = by(|_: &Context| Outcome::Done(None));
        let runner = queue
            .runner()
            .workers(2)
            .kind("quick", quick)
            .start()
            .unwrap();
        wait_until("it runs a job", PATIENCE, || runner.stats().completed > 0);
        runner.stop().unwrap();
    }
    drop(stop);
    let mut added: Vec<JobId> = enqueuers
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    added.sort_unstable();
    let there: Vec<JobId> = crate::support::place::all_jobs(&queue)
        .iter()
        .map(|job| job.id)
        .collect();
    assert_eq!(there, added);
    assert_eq!(queue.counts().unwrap().get(State::Running), 0);
    assert_eq!(ailments(&queue), Vec::<String>::new());
}
