//! What a second look at runners and rules has found.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jobq::{
    ChildPolicy, Context, EnqueueLimits, Filter, GROUP_KIND, JobId, NewJob, Outcome, Queue,
    Schedule, State,
};

use crate::support::place::{Scene, ailments, job};
use crate::support::{PATIENCE, by, wait_until};

fn add(queue: &Queue, job: NewJob) -> JobId {
    queue.enqueue(job).unwrap().id
}

#[test]
fn a_rule_stops_running_siblings_on_its_runner_in_a_second() {
    let scene = Scene::new();
    let queue = scene.open();
    let group = add(
        &queue,
        NewJob::new(GROUP_KIND).child_policy(ChildPolicy::CancelOthers),
    );
    let long = add(&queue, NewJob::new("long").parent(group));
    let _bad = add(&queue, NewJob::new("bad").max_retries(0).parent(group));
    let began = Arc::new(AtomicBool::new(false));
    let (begins, sees) = (Arc::clone(&began), Arc::clone(&began));
    let looks = queue.clone();
    let runner = queue
        .runner()
        .workers(2)
        .kind(
            "long",
            by(move |ctx: &Context| {
                begins.store(true, Ordering::SeqCst);
                let until = Instant::now() + Duration::from_secs(8);
                while Instant::now() < until {
                    if ctx.is_cancelled() {
                        return Outcome::Cancelled;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Outcome::Done(None)
            }),
        )
        .kind(
            "bad",
            by(move |_: &Context| {
                wait_until("the sibling runs", PATIENCE, || sees.load(Ordering::SeqCst));
                wait_until("its worker is noted", PATIENCE, || {
                    job(&looks, long).worker.is_some()
                });
                Outcome::Fail {
                    error: "broken".into(),
                }
            }),
        )
        .start()
        .unwrap();
    let ended = queue.wait(&[long], Some(PATIENCE)).unwrap().remove(0);
    assert_eq!(ended.state, State::Cancelled);
    runner.stop().unwrap();
    assert_eq!(ailments(&queue), [] as [String; 0]);
}

#[test]
fn a_savepoint_of_the_applications_own_takes_back_all_of_a_job() {
    let scene = Scene::new();
    let queue = scene.open();
    let (parent, kept) = queue
        .transaction(|tx| -> jobq::Result<_> {
            let parent = tx.enqueue(NewJob::new(GROUP_KIND))?.id;
            tx.connection().execute_batch("SAVEPOINT own")?;
            tx.enqueue(NewJob::new("new kind").queue("new queue").parent(parent))?;
            tx.connection()
                .execute_batch("ROLLBACK TO own; RELEASE own")?;
            let kept = tx.enqueue(NewJob::new("new kind").queue("other queue").parent(parent))?;
            Ok((parent, kept.id))
        })
        .unwrap();
    assert_eq!(
        queue.get(parent).unwrap().unwrap().children.unwrap().total,
        1
    );
    let kept = queue.get(kept).unwrap().unwrap();
    assert_eq!(
        (kept.kind.as_str(), kept.queue.as_str()),
        ("new kind", "other queue")
    );
    assert_eq!(ailments(&queue), [] as [String; 0]);
}

/// The second job had found the name that the first one added: it was remembered as one that stays,
/// and its number went to the next new name.
#[test]
fn a_name_that_a_savepoint_has_taken_back_is_nobody_elses() {
    let scene = Scene::new();
    let queue = scene.open();
    let kept = queue
        .transaction(|tx| -> jobq::Result<_> {
            tx.connection().execute_batch("SAVEPOINT own")?;
            tx.enqueue(NewJob::new("first"))?;
            tx.enqueue(NewJob::new("first"))?;
            tx.connection()
                .execute_batch("ROLLBACK TO own; RELEASE own")?;
            let kinds = ["second", "first"];
            kinds
                .map(|kind| tx.enqueue(NewJob::new(kind)))
                .into_iter()
                .collect::<jobq::Result<Vec<_>>>()
        })
        .unwrap();
    let kinds: Vec<_> = kept
        .iter()
        .map(|job| queue.get(job.id).unwrap().unwrap().kind)
        .collect();
    assert_eq!(kinds, ["second", "first"]);
}

#[test]
fn a_manually_removed_job_frees_its_unique_key() {
    let scene = Scene::new();
    let queue = scene.open();
    let unique = || {
        NewJob::new("k")
            .unique("u")
            .unique_for(Duration::from_secs(3600))
    };
    let id = queue.enqueue(unique()).unwrap().id;
    queue.cancel(id).unwrap();
    assert!(queue.enqueue(unique()).unwrap().duplicate, "the window");
    queue.remove(id).unwrap();
    assert!(!queue.enqueue(unique()).unwrap().duplicate);
    assert_eq!(ailments(&queue), [] as [String; 0]);
}

/// It was told as waiting, although nothing was left that it could wait for.
#[test]
fn a_retry_tells_the_state_that_its_rules_lead_to() {
    let scene = Scene::new();
    let queue = scene.open();
    let jobs = [
        NewJob::new(GROUP_KIND).label("group"),
        NewJob::new("k").parent_label("group"),
    ];
    let jobs = queue.enqueue_many(jobs).unwrap();
    let group = jobs[0].id;
    let done = by(|_: &Context| Outcome::Done(None));
    queue.runner().kind("k", done).run_due().unwrap();
    assert_eq!(queue.retry(group).unwrap(), State::Completed);
    assert_eq!(queue.state(group).unwrap(), Some(State::Completed));
}

#[test]
fn a_schedule_adds_nothing_to_a_file_over_its_budget() {
    let scene = Scene::new();
    let limits = EnqueueLimits {
        max_file_bytes: Some(1),
        ..EnqueueLimits::default()
    };
    let queue = Queue::options()
        .limits(limits)
        .open(scene.database())
        .unwrap();
    let often = Schedule::new("often", "@every 1s", NewJob::new("kind"));
    queue.add_schedule(often).unwrap();
    assert!(queue.run_schedule("often").unwrap_err().is_full());
    let runner = queue.runner().start().unwrap();
    wait_until("its slot has come", PATIENCE, || {
        queue.schedule("often").unwrap().unwrap().last_at.is_some()
    });
    runner.stop().unwrap();
    assert_eq!(queue.schedule("often").unwrap().unwrap().last_job, None);
    assert_eq!(queue.list(&Filter::default()).unwrap().len(), 0);
}
