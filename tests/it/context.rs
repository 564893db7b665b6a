//! What a handler sees of its attempt, from several threads.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jobq::testing::TestQueue;
use jobq::{
    Context, EventKind, Failure, Job, Level, NewJob, Outcome, Progress, State, Traceparent,
};
use serde::{Deserialize, Serialize};

use crate::support::by;
use crate::support::place::events;

const _: () = {
    const fn is_sync<T: Sync>() {}
    is_sync::<Context>();
};

#[derive(Serialize, Deserialize)]
struct Many;

impl Job for Many {
    const KIND: &'static str = "many";
    type Output = ();
}

const THREADS: u64 = 8;
const EACH: u64 = 50;

/// Logs and reports from threads of its own.
fn log_from_threads(ctx: &Context) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for entry in 0..EACH {
                    ctx.log(Level::Info, format!("{thread} {entry}"));
                    ctx.progress(Progress::of(entry + 1, EACH));
                }
            });
        }
    });
}

fn assert_all_is_logged_in_order(queue: &TestQueue, id: jobq::JobId) {
    let mut next = [0; THREADS as usize];
    for event in events(queue, Some(id)) {
        if event.kind != EventKind::Log {
            continue;
        }
        let data: serde_json::Value =
            serde_json::from_slice(event.data.as_ref().unwrap().as_bytes()).unwrap();
        let (thread, entry) = data["message"].as_str().unwrap().split_once(' ').unwrap();
        let next = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(entry.parse::<u64>().unwrap(), *next);
        *next += 1;
    }
    assert_eq!(next, [EACH; THREADS as usize]);
}

#[test]
fn scoped_threads_log_each_in_its_order_and_report_progress() {
    let queue = TestQueue::new();
    let job = queue.perform(Many, |runner| {
        runner.job(|_: Many, ctx| {
            log_from_threads(ctx);
            Ok(())
        })
    });
    assert_eq!(job.state, State::Completed);
    assert_eq!(job.progress, Some(Progress::of(EACH, EACH)));
    assert_all_is_logged_in_order(&queue, job.id);
}

#[test]
fn what_threads_log_inside_a_completion_is_saved_with_it() {
    let queue = TestQueue::new();
    let job = queue.perform(Many, |runner| {
        runner.job(|_: Many, ctx| {
            ctx.complete_in(|_| -> Result<(), Failure> {
                log_from_threads(ctx);
                Ok(())
            })
        })
    });
    assert_eq!(job.state, State::Completed);
    assert_all_is_logged_in_order(&queue, job.id);
}

#[test]
fn an_idempotency_key_is_stable_over_attempts_and_per_file() {
    let key_of = |queue: &TestQueue| {
        let keys = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&keys);
        let job = queue.perform(NewJob::new("pay").retry_delay(Duration::ZERO), |runner| {
            runner.kind(
                "pay",
                by(move |ctx| {
                    seen.lock().unwrap().push(ctx.idempotency_key().unwrap());
                    match ctx.attempt() {
                        1 => Failure::retry("the bank did not answer").into(),
                        _ => Outcome::Done(None),
                    }
                }),
            )
        });
        assert_eq!(job.attempt, 1);
        queue.run_due(|runner| {
            let seen = Arc::clone(&keys);
            runner.kind(
                "pay",
                by(move |ctx| {
                    seen.lock().unwrap().push(ctx.idempotency_key().unwrap());
                    Outcome::Done(None)
                }),
            )
        });
        let keys = keys.lock().unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0], keys[1]);
        keys[0].clone()
    };
    let (one, other) = (TestQueue::new(), TestQueue::new());
    let (first, second) = (key_of(&one), key_of(&one));
    assert_ne!(first, second, "two jobs");
    assert_ne!(first, key_of(&other), "the first jobs of two files");
}

#[test]
fn scoped_threads_spawn_jobs() {
    let queue = TestQueue::new();
    queue.perform(Many, |runner| {
        runner.job(|_: Many, ctx| {
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| ctx.spawn(NewJob::new("next")).unwrap());
                }
            });
            Ok(())
        })
    });
    assert_eq!(queue.enqueued_of_kind("next").len(), THREADS as usize);
}

#[test]
fn what_an_attempt_adds_belongs_to_its_trace() {
    let [own, other]: [Traceparent; 2] = [
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    ]
    .map(|text| text.parse().unwrap());
    let queue = TestQueue::new();
    queue
        .enqueue(NewJob::new("parent").traceparent(own))
        .unwrap();
    let add = move |ctx: &Context| {
        assert_eq!(ctx.traceparent(), Some(own));
        ctx.spawn_child(NewJob::new("child"))?;
        ctx.spawn(NewJob::new("other").traceparent(other))?;
        ctx.complete_in(|tx| {
            tx.enqueue(NewJob::new("with"))?;
            Ok(())
        })
    };
    let run = by(move |ctx| match add(ctx) {
        Ok(()) => Outcome::Done(None),
        Err(failure) => failure.into(),
    });
    queue.run_due(|runner| runner.kind("parent", run));
    for (kind, trace) in [("child", own), ("other", other), ("with", own)] {
        let job = queue.enqueued_of_kind(kind).remove(0);
        assert_eq!(job.traceparent, Some(trace), "{kind}");
    }
}
