//! How many jobs a queue takes, and how large the file may become.

use crate::error::Kind;
use crate::model::job::JobOptions;
use crate::model::job::NewJob;
use crate::model::job::update::JobUpdate;
use crate::model::limits::{EnqueueLimits, QueueLimitsUpdate, Update};
use crate::model::remedy::Remedy;
use crate::model::state::State;
use crate::store::jobs::quota::file_bytes;
use crate::store::jobs::validate::ValidatedJob;
use crate::store::jobs::{enqueue, queues, update};
use crate::store::tests::limits::{complete, jobs, limit};
use crate::store::tests::sandbox::{Sandbox, held};

fn checked(queue: &str, limits: &EnqueueLimits) -> ValidatedJob {
    ValidatedJob::new(NewJob::new("send").queue(queue), limits).unwrap()
}

#[test]
fn a_full_queue_accepts_no_more_and_a_batch_is_all_or_nothing() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    limit(&mut sandbox, "images", |to| to.max_size = Update::Set(3));
    jobs(&mut sandbox, "images", 2);
    let (images, mail) = (
        checked("images", &EnqueueLimits::default()),
        checked("mail", &EnqueueLimits::default()),
    );
    let refused = sandbox.try_write(|tx| {
        enqueue::enqueue(tx, &mail)?;
        enqueue::enqueue(tx, &images)?;
        enqueue::enqueue(tx, &images)
    });
    let refused = refused.unwrap_err();
    assert!(refused.is_queue_full());
    assert_eq!(
        refused.to_string(),
        "queue 'images' is full: it holds 3 jobs that have not ended, its limit is 3"
    );
    assert_eq!(
        refused.remedy(),
        Some(&Remedy::RaiseQueueLimit("images".to_owned()))
    );
    assert_eq!(
        sandbox.number("SELECT count(*) FROM jobq_job"),
        2,
        "all or nothing"
    );
    jobs(&mut sandbox, "images", 1);
    // A job that runs is live, one that has ended is not.
    let running = held(&sandbox.claim(one, 1)[0], one);
    let again = sandbox.try_write(|tx| enqueue::enqueue(tx, &images));
    assert!(again.unwrap_err().is_queue_full());
    complete(&mut sandbox, &running);
    jobs(&mut sandbox, "images", 1);
    sandbox.assert_counters_are_right();
}

#[test]
fn what_a_savepoint_took_back_takes_up_no_room() {
    let mut sandbox = Sandbox::new();
    limit(&mut sandbox, "images", |to| to.max_size = Update::Set(2));
    let images = checked("images", &EnqueueLimits::default());
    let done = sandbox.write(|tx| {
        for _ in 0..3 {
            let undone = tx.savepoint(|tx| {
                enqueue::enqueue(tx, &images)?;
                enqueue::enqueue(tx, &images)?;
                enqueue::enqueue(tx, &images)
            });
            assert!(undone.unwrap_err().is_queue_full());
        }
        enqueue::enqueue(tx, &images)?;
        // The counters are written in between, and a limit is raised.
        tx.flush_counts()?;
        enqueue::enqueue(tx, &images)?;
        assert!(enqueue::enqueue(tx, &images).is_err());
        let raised = QueueLimitsUpdate {
            max_size: Update::Set(3),
            ..QueueLimitsUpdate::default()
        };
        queues::set_limits(tx, "images", &raised)?;
        enqueue::enqueue(tx, &images)
    });
    assert_eq!(done.state, State::Pending);
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_job"), 3);
}

#[test]
fn the_usual_size_holds_where_a_queue_has_none_of_its_own() {
    let mut sandbox = Sandbox::new();
    limit(&mut sandbox, "own", |to| to.max_size = Update::Set(5));
    let limits = EnqueueLimits {
        max_queue_size: Some(1),
        ..EnqueueLimits::default()
    };
    let (own, other) = (checked("own", &limits), checked("other", &limits));
    sandbox.write(|tx| {
        // Somebody of the same transaction who is held to nothing.
        enqueue::enqueue(tx, &checked("other", &EnqueueLimits::default()))?;
        for _ in 0..5 {
            enqueue::enqueue(tx, &own)?;
        }
        assert!(enqueue::enqueue(tx, &own).unwrap_err().is_queue_full());
        let refused = enqueue::enqueue(tx, &other).unwrap_err();
        assert!(refused.is_queue_full());
        assert!(refused.hint().unwrap().contains("a limit of its own"));
        Ok(())
    });
}

#[test]
fn a_file_over_its_budget_accepts_no_jobs_and_the_rest_works() {
    let mut sandbox = Sandbox::new();
    let one = sandbox.runner("one");
    jobs(&mut sandbox, "mail", 2);
    let size = file_bytes(&sandbox.conn).unwrap();
    let with = |max_file_bytes| {
        let limits = EnqueueLimits {
            max_file_bytes: Some(max_file_bytes),
            ..EnqueueLimits::default()
        };
        checked("mail", &limits)
    };
    let refused = sandbox.try_write(|tx| enqueue::enqueue(tx, &with(size)));
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), Kind::OverBudget);
    assert!(refused.to_string().contains("size budget"), "{refused}");
    assert_eq!(refused.remedy(), Some(&Remedy::Prune));
    let running = sandbox.claim_one(one);
    complete(&mut sandbox, &running);
    sandbox.write(|tx| enqueue::enqueue(tx, &with(size * 2)));
    // A transaction that goes on for long is looked at again.
    let large = "x".repeat(4000);
    let limits = EnqueueLimits {
        max_file_bytes: Some(size + 1_000_000),
        ..EnqueueLimits::default()
    };
    let job = || NewJob::new("send").payload(&large);
    let job = ValidatedJob::new(job(), &limits).unwrap();
    let mut taken = 0;
    let refused = sandbox.try_write(|tx| {
        for _ in 0..5000 {
            enqueue::enqueue(tx, &job)?;
            taken += 1;
        }
        Ok(())
    });
    assert!(refused.unwrap_err().is_full());
    assert!((250..=1250).contains(&taken), "{taken}");
}

#[test]
fn a_live_job_is_not_moved_by_hand_to_a_queue_that_is_full() {
    let mut sandbox = Sandbox::new();
    limit(&mut sandbox, "images", |to| to.max_size = Update::Set(1));
    jobs(&mut sandbox, "images", 1);
    let id = sandbox.enqueue(NewJob::new("send"));
    let to_images = JobUpdate::from(JobOptions {
        queue: Some("images".to_owned()),
        ..JobOptions::default()
    });
    let refused =
        sandbox.try_write(|tx| update::edit(tx, id, &to_images, &EnqueueLimits::default()));
    assert!(refused.unwrap_err().is_queue_full());
    sandbox.cancel(id);
    sandbox.write(|tx| update::edit(tx, id, &to_images, &EnqueueLimits::default()));
    sandbox.assert_counters_are_right();
}
