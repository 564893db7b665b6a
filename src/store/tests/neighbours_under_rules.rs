//! What changes with a job under rules is what it is tied to, and nothing of its neighbours' ties.

use std::time::Duration;

use jiff::Timestamp;

use crate::Result;
use crate::model::family::GROUP_KIND;
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::job::JobOptions;
use crate::model::job::NewJob;
use crate::model::job::OnDuplicate;
use crate::model::job::options::Priority;
use crate::model::job::update::JobUpdate;
use crate::model::limits::EnqueueLimits;
use crate::model::outcome::{Snooze, Verdict};
use crate::model::state::State;
use crate::store::jobs::finish_attempt::{AttemptMeasures, ClaimToken};
use crate::store::jobs::validate::ValidatedJob;
use crate::store::jobs::{
    cancel, concurrency_slots, deadlines, enqueue, finish_attempt, remove, requeue, update,
};
use crate::store::sqlite::tx::Tx;
use crate::store::tests::sandbox::{START_MS, Sandbox};
use crate::store::tests::town::{Who, held, job, touches_in, town};
use crate::store::upkeep::promote;

const DEADLINE_MS: i64 = START_MS + 1000;

fn checked(job: NewJob) -> ValidatedJob {
    ValidatedJob::new(job, &EnqueueLimits::default()).unwrap()
}

fn mail() -> NewJob {
    NewJob::new("send").queue("mail")
}

fn pending_target() -> JobId {
    job(Who::Target, State::Pending)
}

/// A job under every rule, whose prerequisite is the pending target and whose parent is a group (25).
fn ruled() -> NewJob {
    let deadline = Timestamp::from_millisecond(DEADLINE_MS).unwrap();
    mail()
        .parent(JobId(25))
        .after([pending_target()])
        .key("own")
        .unique("own")
        .tag("colour", "red")
        .tag("size", "1")
        .deadline(deadline)
        .tenant("x")
}

fn group(town: &mut Sandbox) {
    let group = NewJob::new(GROUP_KIND).queue("mail");
    assert_eq!(town.enqueue(group), JobId(25));
}

#[test]
fn enqueuing_a_job_under_rules_adds_its_own_ties() {
    let mut town = town();
    group(&mut town);
    let ruled = checked(ruled().key_limit(2));
    touches_in(
        &mut town,
        |tx| enqueue::enqueue(tx, &ruled).map(|_| ()),
        &[
            "+ job new 26",
            "+ payload new 26",
            "+ event job_enqueued of new 26",
            "~ count mail blocked",
            "+ unique own",
            "+ key own",
            "+ deadline of new 26",
            "+ tag colour of new 26",
            "+ tag size of new 26",
            "+ prerequisite target pending of new 26",
            "~ job target pending",
            "~ family new 25",
        ],
    );
}

fn finish(tx: &mut Tx<'_>, held: &ClaimToken) -> Result<()> {
    let done = Verdict::Complete { result: None };
    finish_attempt::finish(tx, held, &done, &AttemptMeasures::default()).map(|_| ())
}

/// In the town: the group and the job under every rule, which has become pending.
fn released(town: &mut Sandbox) -> JobId {
    group(town);
    let id = town.enqueue(ruled());
    let target = pending_target();
    let held = town.claim(1, 1)[0].token(1);
    assert_eq!(held.job, target);
    town.settle(&held, &Verdict::Complete { result: None });
    assert_eq!(town.state(id), State::Pending);
    id
}

#[test]
fn the_end_of_a_prerequisite_releases_its_own_dependents_alone() {
    let mut town = town();
    group(&mut town);
    town.enqueue(ruled());
    let held = town.claim(1, 1)[0].token(1);
    touches_in(
        &mut town,
        |tx| finish(tx, &held),
        &[
            "~ job target pending",
            "~ outcome target pending",
            "+ event job_completed of target pending",
            "~ prerequisite target pending of new 26",
            "~ job new 26",
            "+ slot own of new 26",
            "+ event job_released of new 26",
            "~ count mail running",
            "~ count mail completed",
            "~ count mail blocked",
            "~ count mail pending",
        ],
    );
}

#[test]
fn a_finished_job_frees_its_key_and_counts_for_its_parent() {
    let mut town = town();
    let id = released(&mut town);
    // Another holds the one place of a key, and one more waits for it.
    let [_, next] = [(); 2].map(|()| town.enqueue(mail().key("other")));
    let line = town.enqueue(mail().key("own"));
    assert_eq!(town.states(&[next, line]), [State::Blocked; 2]);
    town.sql("UPDATE jobq_job SET priority = 3 WHERE id = 26");
    let held = town.claim(1, 1)[0].token(1);
    assert_eq!(held.job, id);
    touches_in(
        &mut town,
        |tx| finish(tx, &held),
        &[
            "~ job new 26",
            "+ event job_completed of new 26",
            "- slot own of new 26",
            "- unique own",
            "- deadline of new 26",
            // The next in line of its key, and of no other.
            "- slot own of new 29",
            "+ slot own of new 29",
            "~ job new 29",
            "+ event job_released of new 29",
            // Its family.
            "~ family new 25",
            "~ job new 25",
            "+ event job_completed of new 25",
            "~ count mail running",
            "~ count mail completed",
            "~ count mail waiting",
            "~ count mail blocked",
            "~ count mail pending",
        ],
    );
}

#[test]
fn cancelling_a_family_cancels_its_own_members_alone() {
    let mut town = town();
    group(&mut town);
    town.enqueue(ruled());
    touches_in(
        &mut town,
        |tx| cancel::cancel(tx, JobId(25)).map(|_| ()),
        &[
            "~ job new 25",
            "+ event job_cancelled of new 25",
            "~ family new 25",
            "~ job new 26",
            "+ outcome new 26",
            "+ event job_cancelled of new 26",
            "- unique own",
            "- deadline of new 26",
            "~ count mail waiting",
            "~ count mail blocked",
            "~ count mail cancelled",
        ],
    );
    touches_in(
        &mut town,
        |tx| requeue::requeue(tx, JobId(25)),
        &[
            "~ job new 25",
            "+ event job_requeued of new 25",
            "~ family new 25",
            "~ job new 26",
            "- outcome new 26",
            "+ event job_requeued of new 26",
            "+ unique own",
            "~ count mail waiting",
            "~ count mail blocked",
            "~ count mail cancelled",
        ],
    );
}

#[test]
fn replacing_a_unique_job_touches_it_alone() {
    let mut town = town();
    group(&mut town);
    town.enqueue(ruled());
    let second = mail()
        .unique("own")
        .tag("size", "2")
        .priority(Priority::High)
        .on_duplicate(OnDuplicate::Replace);
    let second = checked(second);
    touches_in(
        &mut town,
        |tx| enqueue::enqueue(tx, &second).map(|_| ()),
        &[
            "~ job new 26",
            "- deadline of new 26",
            "- tag colour of new 26",
            "- tag size of new 26",
            "+ tag size of new 26",
            "+ event job_edited of new 26",
        ],
    );
    // A duplicate that is kept touches nothing.
    let third = checked(mail().unique("u"));
    touches_in(
        &mut town,
        |tx| {
            let enqueued = enqueue::enqueue(tx, &third)?;
            assert!(enqueued.duplicate && enqueued.id == JobId(-5));
            Ok(())
        },
        &[],
    );
}

#[test]
fn a_missed_deadline_cancels_its_own_job_alone() {
    let mut town = town();
    group(&mut town);
    town.enqueue(ruled());
    town.now_ms = DEADLINE_MS;
    touches_in(
        &mut town,
        |tx| deadlines::cancel_late(tx, 100),
        &[
            "~ job new 26",
            "+ outcome new 26",
            "+ event job_cancelled of new 26",
            "- deadline of new 26",
            "- unique own",
            "~ family new 25",
            "~ job new 25",
            "+ outcome new 25",
            "+ event job_failed of new 25",
            "~ count mail blocked",
            "~ count mail cancelled",
            "~ count mail waiting",
            "~ count mail failed",
        ],
    );
}

#[test]
fn a_keys_places_are_its_own() {
    let mut town = town();
    for _ in 0..3 {
        town.enqueue(mail().key("own"));
    }
    touches_in(
        &mut town,
        |tx| concurrency_slots::set_number(tx, "own", 2),
        &[
            "+ key own",
            "- slot own of new 26",
            "+ slot own of new 26",
            "~ job new 26",
            "+ event job_released of new 26",
            "~ count mail blocked",
            "~ count mail pending",
        ],
    );
    let urgent = JobUpdate::from(JobOptions {
        priority: Some(Priority::Urgent),
        ..JobOptions::default()
    });
    touches_in(
        &mut town,
        |tx| update::edit(tx, JobId(27), &urgent, &EnqueueLimits::default()),
        &[
            "~ job new 27",
            "- slot own of new 27",
            "+ slot own of new 27",
            "+ event job_edited of new 27",
        ],
    );
}

#[test]
fn a_due_job_with_a_key_takes_a_place_of_that_key_alone() {
    let mut town = town();
    town.enqueue(mail().key("own").delay(Duration::from_secs(1)));
    town.now_ms = START_MS + 1000;
    touches_in(
        &mut town,
        |tx| promote::promote_due(tx, 100).map(|_| ()),
        &[
            "~ job new 25",
            "+ slot own of new 25",
            "~ count mail scheduled",
            "~ count mail pending",
        ],
    );
}

#[test]
fn what_an_attempt_has_spawned_is_called_off_alone() {
    let mut town = town();
    let running = job(Who::Target, State::Running);
    let by = AttemptRef {
        job: running,
        attempt: 2,
    };
    town.enqueue(mail().spawned(running, by));
    touches_in(
        &mut town,
        |tx| {
            let snooze = Verdict::Snooze(Snooze::For(Duration::ZERO));
            finish_attempt::finish(tx, &held(), &snooze, &AttemptMeasures::default()).map(|_| ())
        },
        &[
            "~ job target running",
            "+ event job_snoozed of target running",
            "~ family target running",
            "~ job new 25",
            "+ outcome new 25",
            "+ event job_cancelled of new 25",
            "~ count mail running",
            "~ count mail scheduled",
            "~ count mail blocked",
            "~ count mail cancelled",
        ],
    );
}

#[test]
fn removing_a_job_under_rules_takes_its_own_ties_alone() {
    let mut town = town();
    group(&mut town);
    town.enqueue(ruled().unique_for(Duration::from_secs(60)));
    town.cancel(JobId(26));
    let cancelled = town.number("SELECT id FROM jobq_log WHERE job_id = 26");
    // Its key stays taken for a while.
    touches_in(
        &mut town,
        |tx| remove::remove(tx, JobId(26)).map(|_| ()),
        &[
            &format!("- log {cancelled} of new 26"),
            "- job new 26",
            "- payload new 26",
            "- tag colour of new 26",
            "- tag size of new 26",
            "- prerequisite target pending of new 26",
            "~ count mail cancelled",
        ],
    );
}
