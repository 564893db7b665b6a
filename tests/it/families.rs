//! Parents and children, prerequisites and keys, as handlers and their runner live them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use jobq::testing::TestQueue;
use jobq::{
    ChildPolicy, Context, EnqueueLimits, Failure, Filter, GROUP_KIND, Job, JobId, NewJob,
    OnDuplicate, Outcome, Phase, Queue, RunnerBuilder, State,
};
use serde::{Deserialize, Serialize};

use crate::support::place::{Scene, ailments};
use crate::support::{PATIENCE, by};

#[derive(Serialize, Deserialize)]
struct Sum {
    of: Vec<u64>,
}

impl Job for Sum {
    const KIND: &'static str = "sum";
    type Output = u64;
}

#[derive(Serialize, Deserialize)]
struct Square(u64);

impl Job for Square {
    const KIND: &'static str = "square";
    type Output = u64;
}

/// Adds up the squares that its children make.
fn sum(job: Sum, ctx: &Context) -> Result<u64, Failure> {
    if ctx.phase() == Phase::Finalize {
        let squares = ctx.children()?.into_iter().map(|child| {
            let result = child.result.expect("a child without a result");
            serde_json::from_str::<u64>(result.get()).expect("no number")
        });
        return Ok(squares.sum());
    }
    for number in job.of {
        ctx.spawn_child(Square(number))?;
    }
    ctx.finalize_after_children();
    Ok(0)
}

fn square(job: Square, _: &Context) -> Result<u64, Failure> {
    Ok(job.0 * job.0)
}

fn wait(queue: &Queue, id: JobId) -> jobq::JobRecord {
    queue.wait(&[id], Some(PATIENCE)).unwrap().remove(0)
}

fn add(queue: &Queue, job: NewJob) -> JobId {
    queue.enqueue(job).unwrap().id
}

fn calculator(queue: &Queue, workers: usize) -> RunnerBuilder {
    queue.runner().workers(workers).job(sum).job(square)
}

#[test]
fn a_parent_sees_child_results_and_waits_without_a_worker() {
    let scene = Scene::new();
    let queue = scene.open();
    let runner = calculator(&queue, 1).start().unwrap();
    let id = queue.enqueue(Sum { of: vec![1, 2, 3] }).unwrap().id;
    let parent = wait(&queue, id);
    assert_eq!(parent.state, State::Completed, "{:?}", parent.error);
    assert_eq!(queue.output::<Sum>(id).unwrap(), Some(14));
    let children = parent.children.unwrap();
    assert_eq!((children.total, children.done, children.failed), (3, 3, 0));
    assert_eq!(parent.attempt, 2, "its run phase and its finalize phase");
    runner.stop().unwrap();
    assert_eq!(ailments(&queue), [] as [String; 0]);
}

#[test]
fn what_a_failed_attempt_spawned_never_was() {
    let scene = Scene::new();
    let queue = scene.open();
    let handler = by(|ctx: &Context| {
        ctx.spawn_child(NewJob::new("leaf")).unwrap();
        ctx.spawn(NewJob::new("leaf").queue("others")).unwrap();
        match ctx.attempt() {
            1 => Outcome::Retry {
                error: "not yet".into(),
                after: Some(std::time::Duration::ZERO),
            },
            _ => Outcome::Done(None),
        }
    });
    let runner = queue
        .runner()
        .kind("tree", handler)
        .kind("leaf", by(|_: &Context| Outcome::Done(None)))
        .start()
        .unwrap();
    let id = add(&queue, NewJob::new("tree"));
    let parent = wait(&queue, id);
    assert_eq!(parent.state, State::Completed);
    assert_eq!(parent.children.unwrap().total, 1);
    runner.stop().unwrap();
    assert_eq!(
        queue.counts().unwrap().total(),
        3,
        "the parent, a child, and another job"
    );
}

/// What has been done has been done: it must not be lost because there is no room for what follows.
#[test]
fn spawned_jobs_are_accepted_though_the_queue_or_file_is_full() {
    let small_queue = EnqueueLimits {
        max_queue_size: Some(1),
        ..EnqueueLimits::default()
    };
    let small_file = EnqueueLimits {
        max_file_bytes: Some(400 * 1024),
        ..EnqueueLimits::default()
    };
    for limits in [small_queue, small_file] {
        let queue = TestQueue::with(|options| options.limits(limits));
        let id = queue.enqueue(Sum { of: vec![1, 2] }).unwrap().id;
        let filler = || NewJob::new("nobody").payload(&"x".repeat(10_000));
        let full = (0..1000).find_map(|_| queue.enqueue(filler()).err());
        let full = full.expect("it is never full");
        assert!(full.is_queue_full() || full.is_full(), "{full}");
        let runner = calculator(&queue, 2).start().unwrap();
        let parent = wait(&queue, id);
        assert_eq!((parent.state, parent.error), (State::Completed, None));
        assert_eq!(queue.output::<Sum>(id).unwrap(), Some(5));
        runner.stop().unwrap();
    }
}

#[test]
fn a_job_whose_spawned_job_is_refused_fails_alone_and_says_why() {
    let scene = Scene::new();
    let queue = scene.open();
    let first = add(&queue, NewJob::new("nobody").unique("one"));
    let spawner = add(&queue, NewJob::new("spawner"));
    let others: Vec<JobId> = (0..10).map(|_| add(&queue, NewJob::new("other"))).collect();
    let again = || {
        NewJob::new("nobody")
            .unique("one")
            .on_duplicate(OnDuplicate::Reject)
    };
    let runner = queue
        .runner()
        .kind(
            "spawner",
            by(move |ctx: &Context| {
                ctx.spawn(NewJob::new("nobody")).unwrap();
                ctx.spawn(again()).unwrap();
                Outcome::Done(None)
            }),
        )
        .kind("other", by(|_: &Context| Outcome::Done(None)))
        .start()
        .unwrap();
    let ended = wait(&queue, spawner);
    assert_eq!((ended.state, ended.attempt), (State::Failed, 1));
    let error = ended.error.unwrap();
    assert!(error.contains(&format!("job {first}")), "{error}");
    for other in others {
        assert_eq!(wait(&queue, other).state, State::Completed);
    }
    runner.stop().unwrap();
    let nobodys = Filter {
        kinds: vec!["nobody".to_owned()],
        ..Filter::default()
    };
    assert_eq!(queue.list(&nobodys).unwrap().len(), 1);
    assert_eq!(ailments(&queue), [] as [String; 0]);
}

#[test]
fn a_child_that_spawns_siblings_keeps_its_parent_waiting() {
    let scene = Scene::new();
    let queue = scene.open();
    let walk = by(|ctx: &Context| {
        let depth: u32 = ctx.payload_as().unwrap();
        if depth > 0 {
            ctx.spawn_sibling(NewJob::new("walk").payload(&(depth - 1)))
                .unwrap();
        }
        Outcome::Done(None)
    });
    let runner = queue
        .runner()
        .workers(2)
        .kind("walk", walk)
        .start()
        .unwrap();
    let group = add(&queue, NewJob::new(GROUP_KIND));
    assert_eq!(queue.get(group).unwrap().unwrap().state, State::Waiting);
    add(&queue, NewJob::new("walk").payload(&20u32).parent(group));
    let parent = wait(&queue, group);
    assert_eq!(parent.state, State::Completed);
    assert_eq!(parent.children.unwrap().done, 21);
    runner.stop().unwrap();
    assert_eq!(ailments(&queue), [] as [String; 0]);
}

#[test]
fn the_first_failure_ends_a_family_that_wants_it_so() {
    let scene = Scene::new();
    let queue = scene.open();
    let group = add(
        &queue,
        NewJob::new(GROUP_KIND).child_policy(ChildPolicy::CancelOthers),
    );
    let bad = add(&queue, NewJob::new("bad").max_retries(0).parent(group));
    let waits = add(&queue, NewJob::new("leaf").parent(group).delay(PATIENCE));
    let runner = queue
        .runner()
        .kind(
            "bad",
            by(|_: &Context| Outcome::Fail {
                error: "broken".into(),
            }),
        )
        .start()
        .unwrap();
    let parent = wait(&queue, group);
    assert_eq!(parent.state, State::Failed);
    assert_eq!(
        parent.error.as_deref(),
        Some(&*format!("child {bad} failed: broken"))
    );
    let other = wait(&queue, waits);
    assert_eq!(other.state, State::Cancelled);
    assert_eq!(
        other.error.as_deref(),
        Some(&*format!("its parent {group} failed"))
    );
    runner.stop().unwrap();
    assert_eq!(ailments(&queue), [] as [String; 0]);
}

/// Nobody else writes: the runner hears of it although the request is in its own transaction.
#[test]
fn the_first_failure_stops_siblings_in_the_same_runner() {
    let scene = Scene::new();
    let queue = scene.open();
    let policy = NewJob::new(GROUP_KIND).child_policy(ChildPolicy::CancelOthers);
    let group = add(&queue, policy);
    add(&queue, NewJob::new("bad").max_retries(0).parent(group));
    let long = add(&queue, NewJob::new("long").parent(group));
    let both_run = Arc::new(Barrier::new(2));
    let here = Arc::clone(&both_run);
    let bad = by(move |_: &Context| {
        here.wait();
        Outcome::Fail {
            error: "broken".into(),
        }
    });
    let long_one = by(move |ctx: &Context| {
        both_run.wait();
        match ctx.cancellation().wait(Duration::from_secs(10)) {
            true => Outcome::Cancelled,
            false => Outcome::Done(None),
        }
    });
    let runner = queue.runner().kind("bad", bad);
    let runner = runner.kind("long", long_one).start().unwrap();
    assert_eq!(wait(&queue, long).state, State::Cancelled);
    runner.stop().unwrap();
}

#[test]
fn a_key_runs_as_many_jobs_at_once_as_it_has_slots() {
    let scene = Scene::new();
    let queue = scene.open();
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (inside, peak) = (Arc::clone(&now), Arc::clone(&most));
    let handler = by(move |ctx: &Context| {
        let running = inside.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(running, Ordering::SeqCst);
        ctx.cancellation().wait(std::time::Duration::from_millis(2));
        inside.fetch_sub(1, Ordering::SeqCst);
        Outcome::Done(None)
    });
    let ids: Vec<JobId> = (0..60)
        .map(|_| add(&queue, NewJob::new("import").key("customer 7").key_limit(2)))
        .collect();
    let runner = queue.runner().kind("import", handler).start().unwrap();
    queue.wait(&ids, Some(PATIENCE)).unwrap();
    runner.stop().unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 2);
    assert_eq!(ailments(&queue), [] as [String; 0]);
}

#[test]
fn a_chain_is_run_in_its_order_and_falls_with_its_first_link() {
    let scene = Scene::new();
    let queue = scene.open();
    let mut chain = vec![add(&queue, NewJob::new("link"))];
    for _ in 0..20 {
        let last = chain[chain.len() - 1];
        chain.push(add(&queue, NewJob::new("link").after([last])));
    }
    let runner = queue
        .runner()
        .kind("link", by(|_: &Context| Outcome::Done(None)))
        .kind(
            "weak",
            by(|_: &Context| Outcome::Fail {
                error: "broken".into(),
            }),
        )
        .start()
        .unwrap();
    let links = queue.wait(&chain, Some(PATIENCE)).unwrap();
    assert!(links.iter().all(|link| link.state == State::Completed));
    let started: Vec<_> = links.iter().map(|link| link.started_at).collect();
    assert!(started.is_sorted());
    let weak = add(&queue, NewJob::new("weak"));
    let next = add(&queue, NewJob::new("link").after([weak]));
    let after = add(&queue, NewJob::new("link").after_any([next]));
    let ends = queue.wait(&[next, after], Some(PATIENCE)).unwrap();
    assert_eq!(ends[0].state, State::Cancelled);
    assert_eq!(
        ends[0].error.as_deref(),
        Some(&*format!("job {weak}, which it waits for, failed"))
    );
    assert_eq!(ends[1].state, State::Completed);
    runner.stop().unwrap();
    assert_eq!(ailments(&queue), [] as [String; 0]);
}
