//! Unique jobs: a key is taken by one job that is not final, and for a while after its end.

use std::sync::Barrier;
use std::time::Duration;

use crate::clock::ClockReading;
use crate::model::event::EventKind;
use crate::model::family::{ChildPolicy, GROUP_KIND};
use crate::model::id::JobId;
use crate::model::job::Enqueued;
use crate::model::job::NewJob;
use crate::model::job::OnDuplicate;
use crate::model::job::When;
use crate::model::job::options::Priority;
use crate::model::limits::{QueueLimitsUpdate, Update};
use crate::model::outcome::Verdict;
use crate::model::state::State;
use crate::model::state::State::*;
use crate::queue::Queue;
use crate::store::jobs::{queues, remove, requeue};
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::{clock_step, promote};

fn unique() -> NewJob {
    NewJob::new("send").unique("u")
}

fn is_duplicate_of(enqueued: Enqueued, id: JobId) -> bool {
    enqueued.duplicate && enqueued.id == id
}

fn keys(sandbox: &Sandbox) -> i64 {
    sandbox.number("SELECT count(*) FROM jobq_unique")
}

#[test]
fn a_duplicate_returns_the_first_job_and_leaves_it_unchanged() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.try_enqueue(unique().payload(&1)).unwrap();
    assert!(!first.duplicate);
    let job = unique().payload(&2).priority(Priority::Urgent).queue("q");
    let second = sandbox.try_enqueue(job).unwrap();
    assert!(is_duplicate_of(second, first.id));
    assert_eq!(second.state, Pending);
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_job"), 1);
    let job = sandbox.job(first.id);
    assert_eq!((job.payload.get(), job.priority), ("1", Priority::Normal));
    assert_eq!(sandbox.history(first.id), [EventKind::Enqueued]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_duplicate_may_be_rejected_with_an_error_naming_the_first() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.enqueue(unique());
    let error = sandbox.refused(unique().on_duplicate(OnDuplicate::Reject));
    assert!(error.is_duplicate(), "{error}");
    let told = error.to_string();
    assert!(
        told.contains(&format!("job {first}")) && told.contains("'u'"),
        "{told}"
    );
    assert!(told.contains("pending"), "{told}");
    sandbox.assert_books_are_right();
}

#[test]
fn a_key_is_derived_from_kind_and_payload() {
    let mut sandbox = Sandbox::new();
    let job = |kind: &str, json: &str| NewJob::new(kind).payload_json(json).unique_by_payload();
    let first = sandbox.enqueue(job("send", r#"{"to": "a", "n": 1}"#));
    for (kind, json, duplicate) in [
        ("send", r#"{"n":1,"to":"a"}"#, true),
        ("send", r#"{"n":2,"to":"a"}"#, false),
        ("fetch", r#"{"n":1,"to":"a"}"#, false),
    ] {
        let enqueued = sandbox.try_enqueue(job(kind, json)).unwrap();
        assert_eq!(is_duplicate_of(enqueued, first), duplicate, "{kind} {json}");
    }
    assert_eq!(keys(&sandbox), 3);
    sandbox.assert_books_are_right();
}

#[test]
fn replacing_gives_the_first_job_the_seconds_payload() {
    let mut sandbox = Sandbox::new();
    let old = unique().payload(&1).tag("a", "1").tag("b", "2").tenant("x");
    let id = sandbox.enqueue(old);
    let deadline = jiff::Timestamp::from_millisecond(sandbox.now_ms + 9000).unwrap();
    let new = NewJob::new("call")
        .unique("u")
        .queue("phones")
        .payload(&2)
        .priority(Priority::High)
        .max_retries(7)
        .timeout(Duration::from_secs(3))
        .tenant("y")
        .tag("b", "3")
        .deadline(deadline)
        .on_duplicate(OnDuplicate::Replace);
    let enqueued = sandbox.try_enqueue(new).unwrap();
    assert!(is_duplicate_of(enqueued, id) && enqueued.replaced);
    let job = sandbox.job(id);
    assert_eq!((job.kind.as_str(), job.queue.as_str()), ("call", "phones"));
    assert_eq!((job.payload.get(), job.priority), ("2", Priority::High));
    assert_eq!((job.retry.max_retries, job.deadline), (7, Some(deadline)));
    assert_eq!(job.timeout, Some(Duration::from_secs(3)));
    assert_eq!(job.tenant.as_deref(), Some("y"));
    assert_eq!(
        job.tags.into_iter().collect::<Vec<_>>(),
        [("b".into(), "3".into())]
    );
    assert_eq!(sandbox.history(id).last(), Some(&EventKind::Edited));
    sandbox.assert_books_are_right();
    // And back to one without any of that.
    sandbox.enqueue(unique().on_duplicate(OnDuplicate::Replace));
    let job = sandbox.job(id);
    assert_eq!((job.deadline, job.tenant), (None, None));
    assert!(job.tags.is_empty());
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_deadline"), 0);
    sandbox.assert_books_are_right();
}

#[test]
fn a_replaced_jobs_delay_is_the_new_one_until_it_is_due() {
    let mut sandbox = Sandbox::new();
    let replace = || unique().on_duplicate(OnDuplicate::Replace);
    let id = sandbox.enqueue(replace().delay(Duration::from_secs(5)));
    sandbox.enqueue(replace().delay(Duration::from_secs(60)));
    let run_at = sandbox.job(id).run_at.unwrap().as_millisecond();
    assert_eq!(run_at, sandbox.now_ms + 60_000);
    let enqueued = sandbox.try_enqueue(replace().when(When::Now)).unwrap();
    assert_eq!(enqueued.state, Pending);
    assert_eq!(sandbox.state(id), Pending);
    sandbox.assert_books_are_right();
    let enqueued = sandbox.try_enqueue(replace().delay(Duration::from_secs(5)));
    assert_eq!(enqueued.unwrap().state, Pending, "what may run stays so");
    sandbox.assert_books_are_right();
}

#[test]
fn a_replaced_job_keeps_what_ties_it_to_others() {
    let mut sandbox = Sandbox::new();
    let group = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let first = sandbox.enqueue(NewJob::new("first"));
    let id = sandbox.enqueue(unique().parent(group).after([first]).key("k"));
    sandbox.enqueue(unique().payload(&2).on_duplicate(OnDuplicate::Replace));
    let job = sandbox.job(id);
    assert_eq!((job.parent, job.key.as_deref()), (Some(group), Some("k")));
    assert_eq!(job.state, Blocked);
    sandbox.assert_books_are_right();
    sandbox.complete(first);
    sandbox.complete(id);
    assert_eq!(sandbox.state(group), Completed);
    sandbox.assert_books_are_right();
}

#[test]
fn replacing_the_priority_moves_it_in_its_keys_line() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.enqueue(NewJob::new("send").key("k"));
    let second = sandbox.enqueue(NewJob::new("send").key("k"));
    let id = sandbox.enqueue(unique().key("k"));
    let urgent = unique().priority(Priority::Urgent);
    sandbox.enqueue(urgent.on_duplicate(OnDuplicate::Replace));
    sandbox.assert_books_are_right();
    sandbox.complete(first);
    assert_eq!(sandbox.states(&[second, id]), [Blocked, Pending]);
    sandbox.assert_books_are_right();
}

#[test]
fn a_running_or_waiting_job_is_not_replaced() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(unique().payload(&1));
    let replace = unique().payload(&2).on_duplicate(OnDuplicate::Replace);
    let held = sandbox.start(id);
    let enqueued = sandbox.try_enqueue(replace.clone()).unwrap();
    assert!(is_duplicate_of(enqueued, id));
    assert_eq!((enqueued.state, enqueued.replaced), (Running, false));
    sandbox.enqueue(NewJob::new("child").parent(id));
    sandbox.settle(&held, &Verdict::Complete { result: None });
    assert_eq!(sandbox.try_enqueue(replace).unwrap().state, Waiting);
    assert_eq!(sandbox.job(id).payload.get(), "1");
    sandbox.assert_books_are_right();
}

#[test]
fn the_key_is_free_as_soon_as_its_job_has_ended_however() {
    for end in [Completed, Failed, Cancelled] {
        let mut sandbox = Sandbox::new();
        let first = sandbox.enqueue(unique());
        match end {
            Completed => drop(sandbox.complete(first)),
            Failed => drop(sandbox.fail(first)),
            _ => drop(sandbox.cancel(first)),
        }
        assert_eq!(keys(&sandbox), 0, "{end}");
        let second = sandbox.try_enqueue(unique()).unwrap();
        assert!(!second.duplicate, "{end}");
        assert_ne!(second.id, first);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_job_that_waits_for_another_try_keeps_its_key() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(unique());
    let held = sandbox.start(id);
    let retry = Verdict::Retry {
        error: "not now".to_owned(),
        after: Duration::from_secs(5),
    };
    sandbox.settle(&held, &retry);
    assert!(is_duplicate_of(sandbox.try_enqueue(unique()).unwrap(), id));
    sandbox.now_ms += 5000;
    sandbox.write(|tx| promote::promote_due(tx, 1));
    assert!(is_duplicate_of(sandbox.try_enqueue(unique()).unwrap(), id));
    sandbox.assert_books_are_right();
}

#[test]
fn the_key_stays_taken_for_its_window_and_not_a_moment_longer() {
    for removed in [false, true] {
        let mut sandbox = Sandbox::new();
        let window = || unique().unique_for(Duration::from_secs(60));
        let id = sandbox.enqueue(window());
        sandbox.now_ms += 100_000;
        sandbox.complete(id);
        if removed {
            sandbox.write(|tx| remove::remove(tx, id));
        }
        sandbox.now_ms += 59_999;
        let enqueued = sandbox.try_enqueue(window()).unwrap();
        assert!(is_duplicate_of(enqueued, id));
        assert_eq!(enqueued.state, State::Completed);
        let reject = window().on_duplicate(OnDuplicate::Reject);
        assert!(sandbox.refused(reject).is_duplicate());
        let replace = window().payload(&2).on_duplicate(OnDuplicate::Replace);
        assert!(is_duplicate_of(sandbox.try_enqueue(replace).unwrap(), id));
        sandbox.now_ms += 1;
        let enqueued = sandbox.try_enqueue(window()).unwrap();
        assert!(!enqueued.duplicate, "removed: {removed}");
        assert_eq!(keys(&sandbox), 1);
        sandbox.assert_books_are_right();
    }
}

#[test]
fn a_retry_of_a_job_whose_key_is_taken_is_refused_whole() {
    let mut sandbox = Sandbox::new();
    let group = sandbox.enqueue(NewJob::new(GROUP_KIND));
    let plain = sandbox.enqueue(NewJob::new("plain").parent(group));
    let first = sandbox.enqueue(unique().parent(group));
    sandbox.fail(plain);
    sandbox.fail(first);
    let second = sandbox.enqueue(unique());
    for id in [first, group] {
        let error = sandbox
            .try_write(|tx| requeue::requeue(tx, id))
            .unwrap_err();
        assert!(error.is_duplicate(), "{error}");
        let told = error.to_string();
        assert!(
            told.contains(&format!("job {first} cannot be retried")),
            "{told}"
        );
        assert!(told.contains(&format!("job {second}")), "{told}");
        assert_eq!(sandbox.states(&[group, plain, first]), [Failed; 3]);
        sandbox.assert_books_are_right();
    }
    sandbox.complete(second);
    sandbox.requeue(group);
    assert!(is_duplicate_of(
        sandbox.try_enqueue(unique()).unwrap(),
        first
    ));
    sandbox.assert_books_are_right();
}

#[test]
fn a_jobs_own_window_does_not_keep_it_from_being_put_back() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(unique().unique_for(Duration::from_secs(60)));
    sandbox.fail(id);
    sandbox.requeue(id);
    assert_eq!(sandbox.state(id), Pending);
    sandbox.assert_books_are_right();
    sandbox.complete(id);
    assert_eq!(keys(&sandbox), 1);
    sandbox.assert_books_are_right();
}

#[test]
fn the_keys_of_a_cancelled_family_are_free() {
    let mut sandbox = Sandbox::new();
    let group = sandbox.enqueue(NewJob::new(GROUP_KIND).unique("group"));
    let first = sandbox.enqueue(unique().parent(group));
    let next = NewJob::new("next").unique("next").after([first]);
    sandbox.enqueue(next);
    assert_eq!(keys(&sandbox), 3);
    sandbox.cancel(group);
    assert_eq!(keys(&sandbox), 0);
    sandbox.assert_books_are_right();
}

#[test]
fn of_many_writers_that_race_for_a_key_one_gets_it() {
    const KEYS: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    drop(Queue::open(&path).unwrap());
    let barrier = Barrier::new(4);
    let enqueued: Vec<Vec<Enqueued>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    // Each with a writer of its own, as processes have.
                    let queue = Queue::open(&path).unwrap();
                    barrier.wait();
                    let job = |at| NewJob::new("send").unique(format!("key {at}"));
                    (0..KEYS)
                        .map(|at| *queue.enqueue(job(at)).unwrap())
                        .collect()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for at in 0..KEYS {
        let of_key: Vec<Enqueued> = enqueued.iter().map(|of| of[at]).collect();
        let first = of_key.iter().filter(|enqueued| !enqueued.duplicate);
        assert_eq!(first.count(), 1, "{of_key:?}");
        assert!(of_key.iter().all(|enqueued| enqueued.id == of_key[0].id));
    }
    let queue = Queue::open(&path).unwrap();
    assert_eq!(queue.counts().unwrap().total(), KEYS as u64);
}

#[test]
fn a_replaced_job_waiting_for_a_slot_first_waits_for_its_time() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.enqueue(NewJob::new("send").key("k"));
    let id = sandbox.enqueue(unique().key("k"));
    let later = unique().delay(Duration::from_secs(60));
    sandbox.enqueue(later.on_duplicate(OnDuplicate::Replace));
    assert_eq!(sandbox.state(id), Scheduled);
    sandbox.assert_books_are_right();
    sandbox.complete(first);
    assert_eq!(sandbox.state(id), Scheduled);
    sandbox.now_ms += 60_000;
    sandbox.write(|tx| promote::promote_due(tx, 10));
    assert_eq!(sandbox.state(id), Pending);
    sandbox.assert_books_are_right();
}

#[test]
fn a_replaced_group_has_the_new_ones_rules_for_its_children() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.enqueue(NewJob::new("first"));
    let group = || NewJob::new(GROUP_KIND).unique("u").after([first]);
    let id = sandbox.enqueue(group());
    let tolerant = group().child_policy(ChildPolicy::Tolerate);
    sandbox.enqueue(tolerant.on_duplicate(OnDuplicate::Replace));
    let child = sandbox.enqueue(NewJob::new("child").parent(id));
    sandbox.complete(first);
    assert_eq!(sandbox.complete(id), Waiting);
    sandbox.fail(child);
    assert_eq!(sandbox.state(id), Completed);
    sandbox.assert_books_are_right();
}

#[test]
fn a_replaced_job_does_not_go_to_a_queue_that_is_full() {
    let mut sandbox = Sandbox::new();
    let limits = QueueLimitsUpdate {
        max_size: Update::Set(1),
        ..QueueLimitsUpdate::default()
    };
    sandbox.write(|tx| queues::set_limits(tx, "small", &limits).map(|_| ()));
    sandbox.enqueue(NewJob::new("send").queue("small"));
    let id = sandbox.enqueue(unique());
    let moved = unique().queue("small").on_duplicate(OnDuplicate::Replace);
    assert!(sandbox.refused(moved).is_queue_full());
    assert_eq!(sandbox.job(id).queue, "default");
    sandbox.assert_books_are_right();
}

/// It went beyond what the column holds when the clock stepped, and nothing that follows the clock
/// could be written any more.
#[test]
fn a_window_without_end_stays_one_when_the_clock_steps() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(unique().unique_for(Duration::MAX));
    sandbox.complete(id);
    let reading = |offset_ms| ClockReading {
        boot: "boot",
        offset_ms,
    };
    for offset_ms in [0, 1_000_000_000_000] {
        sandbox.write(|tx| clock_step::follow(tx, reading(offset_ms)));
    }
    assert!(is_duplicate_of(sandbox.try_enqueue(unique()).unwrap(), id));
}

/// Another program may have removed it: the new one must not be lost as well.
#[test]
fn replacing_writes_a_payload_that_is_missing() {
    let mut sandbox = Sandbox::new();
    let id = sandbox.enqueue(unique().payload(&1));
    sandbox
        .conn
        .execute("DELETE FROM jobq_payload", [])
        .unwrap();
    let new = unique().payload(&2).on_duplicate(OnDuplicate::Replace);
    assert!(sandbox.try_enqueue(new).unwrap().replaced);
    assert_eq!(sandbox.job(id).payload.get(), "2");
}
