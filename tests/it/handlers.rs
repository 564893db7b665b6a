//! What handlers may do, and what becomes of their jobs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use jobq::testing::TestQueue;
use jobq::{
    Backoff, CancelReason, Context, EventKind, Failure, Jitter, Job, JobId, KindOptions, Level,
    LogEntry, NewJob, Outcome, Progress, Queue, RunStats, RunnerFilter, State, UnknownKinds, Until,
    WaitReason,
};
use serde::{Deserialize, Serialize};

use crate::support::place::{
    Scene, ailments, count_events, events, job, result, state, wait_until_completed,
};
use crate::support::{PATIENCE, assert_stays, by, wait_until};

fn done() -> Outcome {
    Outcome::Done(None)
}

/// One that is tried again at once, so often.
fn at_once(kind: &str, retries: u32) -> NewJob {
    NewJob::new(kind)
        .max_retries(retries)
        .backoff(Backoff::Fixed)
        .retry_delay(Duration::ZERO)
        .jitter(Jitter::Off)
}

fn add(queue: &Queue, job: NewJob) -> JobId {
    queue.enqueue(job).unwrap().id
}

fn wait_until_final(queue: &Queue, id: JobId) -> jobq::JobRecord {
    queue.wait(&[id], Some(PATIENCE)).unwrap().remove(0)
}

#[test]
fn a_job_returned_for_lack_of_resources_costs_no_retry() {
    let scene = Scene::new();
    let queue = scene.open();
    let short = || {
        by(|ctx: &Context| match ctx.attempt() {
            1..=3 => Outcome::OutOfResources {
                error: "no memory".to_owned(),
            },
            _ => done(),
        })
    };
    let id = add(&queue, NewJob::new("large").max_retries(0));
    // A run in the calling thread does not wait.
    let builder = queue.runner().kind("large", short());
    assert_eq!(builder.run_due().unwrap(), RunStats::default());
    assert_eq!(state(&queue, id), State::Pending);
    let runner = queue.runner().kind("large", short()).start().unwrap();
    let ended = wait_until_final(&queue, id);
    assert_eq!((ended.state, ended.attempt), (State::Completed, 4));
    assert_eq!((ended.retries, ended.crashes), (0, 0));
    assert_eq!(count_events(&queue, Some(id), EventKind::Returned), 3);
    let told = queue.runners(RunnerFilter::Now).unwrap().remove(0).short_of;
    assert_eq!(told.as_deref(), Some("no memory"));
    drop(runner);
}

#[test]
fn a_panic_fails_its_attempt_and_nothing_else() {
    let scene = Scene::new();
    let queue = scene.open();
    let handler = by(|ctx: &Context| match ctx.payload() {
        "1" if ctx.attempt() == 1 => panic!("a first try"),
        "2" => panic!("number {}", ctx.job_id()),
        _ => done(),
    });
    let runner = queue
        .runner()
        .workers(1)
        .kind("shaky", handler)
        .start()
        .unwrap();
    let ids = [1, 2, 3].map(|number| add(&queue, at_once("shaky", 1).payload(&number)));
    let [once, always, never] = ids.map(|id| wait_until_final(&queue, id));
    assert_eq!(
        (once.state, once.attempt, once.retries),
        (State::Completed, 2, 1)
    );
    assert_eq!((always.state, always.attempt), (State::Failed, 2));
    assert_eq!(
        always.error,
        Some(format!("panicked: number {}", always.id))
    );
    assert_eq!((never.state, never.attempt), (State::Completed, 1));
    assert!(runner.is_alive());
    assert_eq!(runner.stop().unwrap().stats.completed, 2);
}

#[test]
fn a_handler_that_ignores_its_timeout_loses_slot_and_result() {
    let scene = Scene::new();
    let queue = scene.open();
    let (open, gate) = bounded::<()>(0);
    let (late, returns) = mpsc::channel();
    let deaf = by(move |ctx: &Context| {
        if ctx.attempt() == 1 {
            gate.recv().unwrap();
            ctx.progress(Progress::percent(1.0));
            late.send(ctx.cancellation().reason()).unwrap();
        }
        Outcome::Done(Some(ctx.attempt().to_string()))
    });
    let builder = queue.runner().workers(1).grace(Duration::from_millis(100));
    let runner = builder
        .kind("deaf", deaf)
        .kind("other", by(|_| done()))
        .start()
        .unwrap();
    let id = add(
        &queue,
        at_once("deaf", 1).timeout(Duration::from_millis(100)),
    );
    wait_until("its worker is noted", PATIENCE, || {
        job(&queue, id).worker.is_some()
    });
    let other = add(&queue, NewJob::new("other"));
    wait_until_completed(&queue, other);
    wait_until_completed(&queue, id);
    let left = job(&queue, id);
    assert_eq!((left.attempt, left.retries, left.crashes), (2, 1, 0));
    assert_eq!(result(&queue, id).as_deref(), Some("2"));
    let retry = events(&queue, Some(id))
        .into_iter()
        .find(|event| event.kind == EventKind::Retry);
    let text = retry.unwrap().data.unwrap();
    assert!(String::from_utf8_lossy(text.as_bytes()).contains("timed out after 100ms"));

    open.send(()).unwrap();
    assert_eq!(
        returns.recv_timeout(PATIENCE),
        Ok(Some(CancelReason::Timeout))
    );
    assert_stays("the job", Duration::from_millis(300), || {
        format!("{:?}", job(&queue, id))
    });
    assert_eq!(format!("{left:?}"), format!("{:?}", job(&queue, id)));
    wait_until_completed(&queue, add(&queue, NewJob::new("other")));
    runner.stop().unwrap();
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

#[test]
fn a_handler_that_listens_ends_at_its_timeout() {
    let scene = Scene::new();
    let queue = scene.open();
    let listening = by(|ctx: &Context| {
        assert!(ctx.time_left().unwrap() <= Duration::from_millis(150));
        assert!(ctx.cancellation().wait(PATIENCE));
        Outcome::Cancelled
    });
    let runner = queue.runner().kind("long", listening).start().unwrap();
    let limited = at_once("long", 0).timeout(Duration::from_millis(150));
    let started = Instant::now();
    let job = wait_until_final(&queue, add(&queue, limited));
    assert!(started.elapsed() >= Duration::from_millis(150));
    assert_eq!((job.state, job.attempt), (State::Failed, 1));
    assert_eq!(job.error.as_deref(), Some("timed out after 150ms"));
    runner.stop().unwrap();
}

#[test]
fn kind_and_runner_timeouts_apply_where_a_job_sets_none() {
    let scene = Scene::new();
    let queue = scene.open();
    let listening = || {
        by(|ctx: &Context| {
            ctx.cancellation().wait(PATIENCE);
            Outcome::Cancelled
        })
    };
    let runner = queue
        .runner()
        .default_timeout(Duration::from_millis(120))
        .kind_options(
            "limited",
            KindOptions::new().timeout(Duration::from_millis(60)),
        )
        .kind("limited", listening())
        .kind("unlimited", listening())
        .start()
        .unwrap();
    let ids = ["limited", "unlimited"].map(|kind| add(&queue, at_once(kind, 0)));
    let errors = ids.map(|id| wait_until_final(&queue, id).error.unwrap());
    assert_eq!(errors, ["timed out after 60ms", "timed out after 120ms"]);
    runner.stop().unwrap();
}

#[test]
fn retries_are_spent_and_then_the_job_fails_with_its_last_error() {
    let queue = TestQueue::new();
    let failing = |ctx: &Context| Outcome::Retry {
        error: format!("try {} with {} left", ctx.attempt(), ctx.retries_left()),
        after: None,
    };
    let id = add(&queue, at_once("failing", 2));
    queue.run_due(|runner| runner.kind("failing", by(failing)));
    let failed = job(&queue, id);
    assert_eq!(
        (failed.state, failed.attempt, failed.retries),
        (State::Failed, 3, 2)
    );
    assert_eq!(failed.error.as_deref(), Some("try 3 with 0 left"));
    assert_eq!(count_events(&queue, Some(id), EventKind::Retry), 2);
    queue.retry(id).unwrap();
    queue.run_due(|runner| runner.kind("failing", by(failing)));
    let again = job(&queue, id);
    assert_eq!(
        (again.state, again.attempt, again.retries),
        (State::Failed, 6, 2)
    );
}

#[test]
fn handler_delays_snoozes_and_permanent_failures_are_counted() {
    let queue = TestQueue::new();
    let pause = Duration::from_secs(300);
    let handler = move |ctx: &Context| match (ctx.payload(), ctx.attempt()) {
        ("\"delay\"", 1) => Outcome::Retry {
            error: "not yet".into(),
            after: Some(pause),
        },
        ("\"snooze\"", 1..=3) => Outcome::Snooze(jobq::Snooze::For(pause / 6)),
        ("\"fail\"", _) => Outcome::Fail {
            error: "never".into(),
        },
        _ => done(),
    };
    // By their own policy they would wait for an hour.
    let patient = |what: &str| {
        NewJob::new("kind")
            .payload(&what)
            .retry_delay(Duration::from_secs(3600))
    };
    let ids = ["delay", "snooze", "fail"].map(|what| add(&queue, patient(what)));
    let run = || queue.run_due(|runner| runner.kind("kind", by(handler)));
    run();
    assert_eq!(job(&queue, ids[0]).wait_reason, Some(WaitReason::Retry));
    assert_eq!(job(&queue, ids[0]).run_at, Some(TestQueue::START + pause));
    while queue.advance_to_next() {
        run();
    }
    assert_eq!(queue.now(), TestQueue::START + pause);
    let [delayed, snoozed, failed] = ids.map(|id| job(&queue, id));
    assert_eq!(
        (delayed.state, delayed.attempt, delayed.retries),
        (State::Completed, 2, 1)
    );
    assert_eq!(
        (snoozed.state, snoozed.attempt, snoozed.retries),
        (State::Completed, 4, 0)
    );
    assert_eq!(
        count_events(&queue, Some(snoozed.id), EventKind::Snoozed),
        3
    );
    assert_eq!(
        (failed.state, failed.attempt, failed.retries),
        (State::Failed, 1, 0)
    );
    assert_eq!(failed.error.as_deref(), Some("never"));
}

#[test]
fn last_progress_is_saved_and_a_new_attempt_starts_without_it() {
    let scene = Scene::new();
    let queue = scene.open();
    let handler = by(|ctx: &Context| {
        for step in 1..=1000 {
            ctx.progress(Progress::of(step, 1000).message(format!("step {step}")));
        }
        match ctx.attempt() {
            1 => Outcome::Retry {
                error: "again".into(),
                after: Some(Duration::ZERO),
            },
            _ => done(),
        }
    });
    let runner = queue.runner().kind("steps", handler).start().unwrap();
    let id = add(&queue, NewJob::new("steps"));
    let progress = wait_until_final(&queue, id).progress.unwrap();
    assert_eq!(progress, Progress::of(1000, 1000).message("step 1000"));
    let saved = count_events(&queue, Some(id), EventKind::Progress);
    assert!((4..200).contains(&saved), "{saved} of 2000 were saved");
    runner.stop().unwrap();
}

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Greeting {
    text: String,
    number: u32,
}

impl Job for Greet {
    const KIND: &'static str = "greet";
    type Output = Greeting;
}

/// What the application shares with its handlers.
struct Greeted(AtomicU32);

fn greet(job: Greet, ctx: &Context) -> Result<Greeting, Failure> {
    let greeted = ctx
        .data::<Greeted>()
        .ok_or_else(|| Failure::permanent("no state"))?;
    assert!(ctx.data::<String>().is_none(), "that was not registered");
    let number = greeted.0.fetch_add(1, Ordering::Relaxed) + 1;
    ctx.log(Level::Debug, format!("greeting {}", job.name));
    ctx.log_fields(Level::Warn, "done", serde_json::json!({ "number": number }));
    let _: u32 = job
        .name
        .parse::<u32>()
        .or_else(|error| match job.name.as_str() {
            "number" => Err(error),
            _ => Ok(0),
        })?;
    Ok(Greeting {
        text: format!("hello {}", job.name),
        number,
    })
}

#[test]
fn a_typed_job_has_its_state_its_log_and_its_output() {
    let queue = TestQueue::new();
    let greeted = Greeted(AtomicU32::new(6));
    let job = queue.perform(Greet { name: "you".into() }, |runner| {
        runner.data(greeted).job(greet)
    });
    let id = job.id;
    let output = queue.output::<Greet>(id).unwrap().unwrap();
    assert_eq!(
        output,
        Greeting {
            text: "hello you".into(),
            number: 7
        }
    );
    assert_eq!(job.decode::<Greet>().unwrap().name, "you");
    let log: Vec<LogEntry> = events(&queue, Some(id))
        .iter()
        .filter(|event| event.kind == EventKind::Log)
        .map(|event| serde_json::from_slice(event.data.as_ref().unwrap().as_bytes()).unwrap())
        .collect();
    let said: Vec<_> = log
        .iter()
        .map(|entry| (entry.level, entry.message.as_str()))
        .collect();
    assert_eq!(
        said,
        [(Level::Debug, "greeting you"), (Level::Warn, "done")]
    );
    assert_eq!(log[1].fields, Some(serde_json::json!({ "number": 7 })));
}

#[test]
fn an_error_is_retried_and_an_unfitting_payload_is_not() {
    let queue = TestQueue::new();
    let failing = NewJob::of(&Greet {
        name: "number".into(),
    })
    .max_retries(1)
    .retry_delay(Duration::ZERO);
    let odd = NewJob::new("greet").payload(&[1, 2]);
    let ids = [failing, odd].map(|job| add(&queue, job));
    let greeted = Greeted(AtomicU32::new(0));
    queue.run_due(|runner| runner.data(greeted).job(greet));
    let [failed, odd] = ids.map(|id| job(&queue, id));
    assert_eq!((failed.state, failed.attempt), (State::Failed, 2));
    assert_eq!(
        failed.error.as_deref(),
        Some("invalid digit found in string")
    );
    assert_eq!((odd.state, odd.attempt), (State::Failed, 1));
    assert!(odd.error.unwrap().contains("does not fit 'greet'"));
}

#[test]
fn jobs_without_a_handler_stay_unless_they_are_to_fail() {
    let scene = Scene::new();
    let queue = scene.open();
    let unknown = add(&queue, NewJob::new("unknown"));
    let known = || by(|_: &Context| done());
    let keep = queue.runner().kind("known", known()).until(Until::Drained);
    let ended = keep.start().unwrap().wait().unwrap();
    assert_eq!(
        (state(&queue, unknown), job(&queue, unknown).attempt),
        (State::Pending, 0)
    );
    assert!(
        ended
            .left
            .iter()
            .any(|left| left.jobs == 1 && left.why.contains("'unknown'")),
        "{ended:?}"
    );

    let fail = queue
        .runner()
        .kind("known", known())
        .unknown_kinds(UnknownKinds::Fail);
    let runner = fail.start().unwrap();
    let failed = wait_until_final(&queue, unknown);
    assert_eq!(failed.state, State::Failed);
    assert!(
        failed
            .error
            .unwrap()
            .contains("no handler for kind 'unknown'")
    );
    wait_until_completed(&queue, add(&queue, NewJob::new("known")));
    runner.stop().unwrap();
    assert_eq!(ailments(&queue), Vec::<String>::new());
}

#[test]
fn what_can_never_be_spawned_fails_the_job_at_its_first_try() {
    let too_large = "x".repeat(jobq::MAX_PAYLOAD_BYTES + 1);
    type Spawn = fn(&Context, NewJob) -> Result<(), Failure>;
    let bad: [Spawn; 2] = [|ctx, job| ctx.spawn_child(job), |ctx, job| ctx.spawn(job)];
    for spawn in bad {
        for job in [
            NewJob::new(""),
            NewJob::new("child").queue("no\nqueue"),
            NewJob::new("child").payload(&too_large),
        ] {
            let scene = Scene::new();
            let queue = scene.open();
            let parent = add(&queue, at_once("parent", 3));
            let handler = move |ctx: &Context| match spawn(ctx, job.clone()) {
                Ok(()) => done(),
                Err(failure) => failure.into(),
            };
            let runner = queue.runner().kind("parent", by(handler));
            runner.run_due().unwrap();
            let parent = queue.get(parent).unwrap().unwrap();
            assert_eq!((parent.state, parent.attempt), (State::Failed, 1));
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Divide(f64, f64);

impl Job for Divide {
    const KIND: &'static str = "divide";
    type Output = f64;
}

/// serde_json would write `null`, which is another payload, and no result.
#[test]
fn a_number_json_lacks_is_refused_as_payload_and_as_result() {
    let queue = TestQueue::new();
    for number in [f64::NAN, f64::INFINITY] {
        let error = queue.enqueue(Divide(1.0, number)).unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
        let why = format!("{number} is not a number in JSON");
        assert!(error.to_string().contains(&why), "{error}");
    }
    let divide = |job: Divide, _: &Context| -> Result<f64, Failure> { Ok(job.0 / job.1) };
    let whole = queue.perform(Divide(4.0, 2.0), |runner| runner.job(divide));
    assert_eq!(whole.result.unwrap().get(), "2.0");
    let none = queue.perform(Divide(1.0, 0.0), |runner| runner.job(divide));
    assert_eq!(none.state, State::Failed);
    assert_eq!(
        none.error.as_deref(),
        Some("the output cannot be written as JSON: inf is not a number in JSON")
    );
}
