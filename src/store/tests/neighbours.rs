//! What people and upkeep do to one job, queue or runner leaves every other row as it was.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::ClockReading;
use crate::model::id::Batch;
use crate::model::id::JobId;
use crate::model::job::JobOptions;
use crate::model::job::NewJob;
use crate::model::job::When;
use crate::model::job::options::Priority;
use crate::model::job::update::JobUpdate;
use crate::model::limits::EnqueueLimits;
use crate::model::queue::QueueSelector;
use crate::model::retry::Backoff;
use crate::model::state::State;
use crate::store::jobs::validate::ValidatedJob;
use crate::store::jobs::{cancel, enqueue, queues, remove, requeue, update};
use crate::store::tests::sandbox::START_MS;
use crate::store::tests::town::{
    RULED, Snapshot, TARGET_DUE_MS, TARGET_ENDED_MS, Who, job, told, touches, touches_in, town,
};
use crate::store::upkeep::prune::{PrunePass, Sweep};
use crate::store::upkeep::runners::Registration;
use crate::store::upkeep::{batches, clock_step, doctor, promote, prune, runners};

fn target(state: State) -> JobId {
    job(Who::Target, state)
}

#[test]
fn an_update_without_where_is_noticed() {
    let mut town = town();
    let before = Snapshot::of(&town.conn);
    town.write(|tx| {
        tx.conn
            .execute("UPDATE jobq_job SET updated_at = updated_at + 1", [])?;
        Ok(())
    });
    let told = told(&town, &before, &Snapshot::of(&town.conn));
    assert_eq!(told.len(), 24 + RULED, "{told:?}");
    assert!(told.contains(&"~ job stranger waiting".to_owned()));
}

#[test]
fn every_sort_of_row_is_compared() {
    let mut town = town();
    let before = Snapshot::of(&town.conn);
    assert!(before.rows() > 24 * 6, "{}", before.rows());
    town.write(|tx| {
        tx.conn.execute_batch(
            "UPDATE jobq_payload SET payload = '2' WHERE job_id = 1; DELETE FROM jobq_outcome WHERE job_id = 2;
             UPDATE jobq_progress SET percent = 51.0 WHERE job_id = 3; UPDATE jobq_log SET at = 3 WHERE job_id = 4; DELETE FROM jobq_attempt WHERE job_id = 5;
             UPDATE jobq_runner SET beat = 0 WHERE id = 4; UPDATE jobq_batch SET added_at = 3 WHERE digest = 'abc';
             UPDATE jobq_queue SET paused_at = 6 WHERE id = 3; UPDATE jobq_number SET value = 0 WHERE what = -1 AND id = 1;
             UPDATE jobq_meta SET value = 2 WHERE key = 'schema_version'; UPDATE jobq_kind SET name = 'x' WHERE id = 1;
             UPDATE jobq_family SET done = 2 WHERE job_id = -1; UPDATE jobq_key SET slots = 8 WHERE name = 'wide';
             UPDATE jobq_concurrency_slot SET urgency = 1 WHERE job_id = -4; DELETE FROM jobq_prerequisite WHERE needs_id = -2;
             UPDATE jobq_unique SET until = 5 WHERE key = 'v'; DELETE FROM jobq_deadline; DELETE FROM jobq_rate;
             UPDATE jobq_tag SET value = 'blue' WHERE job_id = -5; UPDATE jobq_schedule SET missed = 2 WHERE id = 1;",
        )?;
        Ok(())
    });
    let told = told(&town, &before, &Snapshot::of(&town.conn));
    assert_eq!(
        told,
        [
            "+ slot k of neighbour 4",
            "+ tag colour of neighbour 5",
            "- attempt 1 of target waiting",
            "- deadline of neighbour 6",
            "- outcome target blocked",
            "- prerequisite neighbour 2 of neighbour 5",
            "- rate 2",
            "- slot k of neighbour 4",
            "- tag colour of neighbour 5",
            "~ batch abc",
            "~ family neighbour 1",
            "~ key wide",
            "~ kind 1",
            "~ log 104 of target running",
            "~ meta schema_version",
            "~ payload target scheduled",
            "~ progress target pending",
            "~ queue 3",
            "~ runner 4",
            "~ schedule 1",
            "~ unique v",
        ]
    );
}

#[test]
fn enqueuing_adds_one_job() {
    let new = |job: NewJob| ValidatedJob::new(job, &EnqueueLimits::default()).unwrap();
    let pending = new(NewJob::new("send").queue("mail"));
    touches(
        |tx| enqueue::enqueue(tx, &pending).map(|_| ()),
        &[
            "+ job new 25",
            "+ payload new 25",
            "+ event job_enqueued of new 25",
            "~ count mail pending",
        ],
    );
    let scheduled = NewJob::new("call")
        .queue("phones")
        .delay(Duration::from_secs(1));
    let scheduled = new(scheduled);
    touches(
        |tx| enqueue::enqueue(tx, &scheduled).map(|_| ()),
        &[
            "+ job new 25",
            "+ payload new 25",
            "+ event job_enqueued of new 25",
            "+ count phones scheduled",
            "+ queue 4",
            "+ kind 3",
            "+ block 0",
            "+ block 1",
        ],
    );
}

#[test]
fn cancelling_a_job_that_does_not_run_touches_it_alone() {
    for state in [
        State::Scheduled,
        State::Blocked,
        State::Pending,
        State::Waiting,
    ] {
        touches(
            |tx| cancel::cancel(tx, target(state)).map(|_| ()),
            &[
                &format!("~ job target {state}"),
                &format!("~ outcome target {state}"),
                &format!("+ event job_cancelled of target {state}"),
                &format!("~ count mail {state}"),
                "~ count mail cancelled",
            ],
        );
    }
}

#[test]
fn asking_a_running_job_to_stop_touches_it_alone() {
    touches(
        |tx| cancel::cancel(tx, target(State::Running)).map(|_| ()),
        &[
            "~ job target running",
            "~ outcome target running",
            "+ event job_cancel_requested of target running",
        ],
    );
}

#[test]
fn retrying_a_final_job_touches_it_alone() {
    for state in [State::Completed, State::Failed, State::Cancelled] {
        let mut town = town();
        // A result that is to be forgotten.
        town.sql("UPDATE jobq_outcome SET result = '1'");
        touches_in(
            &mut town,
            |tx| requeue::requeue(tx, target(state)),
            &[
                &format!("~ job target {state}"),
                &format!("~ outcome target {state}"),
                &format!("+ event job_requeued of target {state}"),
                &format!("~ count mail {state}"),
                "~ count mail pending",
            ],
        );
    }
}

#[test]
fn editing_a_job_touches_it_alone() {
    let mut change = JobUpdate::from(JobOptions {
        priority: Some(Priority::Urgent),
        max_retries: Some(9),
        backoff: Some(Backoff::Fixed),
        retry_delay: Some(Duration::from_secs(1)),
        timeout: Some(Duration::from_secs(2)),
        ..JobOptions::default()
    });
    change.payload = Some("{}".to_owned());
    for state in State::ALL {
        if state == State::Running {
            continue;
        }
        touches(
            |tx| update::edit(tx, target(state), &change, &EnqueueLimits::default()),
            &[
                &format!("~ job target {state}"),
                &format!("~ payload target {state}"),
                &format!("+ event job_edited of target {state}"),
            ],
        );
    }
}

#[test]
fn moving_a_job_to_another_queue_or_time_touches_it_alone() {
    let elsewhere = JobUpdate::from(JobOptions {
        queue: Some("images".to_owned()),
        ..JobOptions::default()
    });
    touches(
        |tx| {
            update::edit(
                tx,
                target(State::Pending),
                &elsewhere,
                &EnqueueLimits::default(),
            )
        },
        &[
            "~ job target pending",
            "+ event job_edited of target pending",
            "~ count mail pending",
            "~ count images pending",
        ],
    );
    let now = JobUpdate::from(JobOptions {
        queue: Some("images".to_owned()),
        when: Some(When::Now),
        ..JobOptions::default()
    });
    touches(
        |tx| {
            update::edit(
                tx,
                target(State::Scheduled),
                &now,
                &EnqueueLimits::default(),
            )
        },
        &[
            "~ job target scheduled",
            "+ event job_edited of target scheduled",
            "~ count mail scheduled",
            "~ count images pending",
        ],
    );
}

#[test]
fn removing_a_final_job_takes_its_own_rows_and_no_other() {
    for (state, entry) in [
        (State::Completed, 106),
        (State::Failed, 107),
        (State::Cancelled, 108),
    ] {
        touches(
            |tx| remove::remove(tx, target(state)).map(|_| ()),
            &[
                &format!("- job target {state}"),
                &format!("- payload target {state}"),
                &format!("- outcome target {state}"),
                &format!("- progress target {state}"),
                &format!("- attempt 1 of target {state}"),
                &format!("- log {entry} of target {state}"),
                &format!("~ count mail {state}"),
            ],
        );
    }
}

#[test]
fn pruning_takes_only_what_is_old_and_of_its_state() {
    let pass = PrunePass::of(vec![Sweep::new(1, State::Failed, TARGET_ENDED_MS + 1)]);
    touches(
        |tx| prune::step(tx, &pass, prune::no_end()).map(|_| ()),
        &[
            "- job target failed",
            "- payload target failed",
            "- outcome target failed",
            "- progress target failed",
            "- attempt 1 of target failed",
            "- log 107 of target failed",
            "~ count mail failed",
        ],
    );
    let runners = PrunePass {
        runners_before_ms: Some(TARGET_ENDED_MS + 1),
        ..PrunePass::default()
    };
    touches(
        |tx| prune::step(tx, &runners, prune::no_end()).map(|_| ()),
        &["- runner 4"],
    );
    let mut town = town();
    town.sql("UPDATE jobq_batch SET first_job_id = 501, last_job_id = 503 WHERE digest = 'abc'");
    touches_in(
        &mut town,
        |tx| prune::step(tx, &PrunePass::of(Vec::new()), prune::no_end()).map(|_| ()),
        &["- batch abc"],
    );
}

#[test]
fn promoting_touches_only_what_is_due() {
    let mut town = town();
    town.now_ms = TARGET_DUE_MS;
    touches_in(
        &mut town,
        |tx| promote::promote_due(tx, 100).map(|_| ()),
        &[
            "~ job target scheduled",
            "~ count mail scheduled",
            "~ count mail pending",
        ],
    );
    // The next two are due, but only one is asked for: the earlier one.
    town.now_ms = TARGET_DUE_MS + 1000;
    touches_in(
        &mut town,
        |tx| promote::promote_due(tx, 1).map(|_| ()),
        &[
            "~ job twin scheduled",
            "~ count mail scheduled",
            "~ count mail pending",
        ],
    );
}

#[test]
fn following_the_clock_moves_only_waits_given_as_durations() {
    let stepped = ClockReading {
        boot: "boot",
        offset_ms: 61_000,
    };
    touches(
        |tx| {
            assert_eq!(clock_step::follow(tx, stepped)?, 2);
            Ok(())
        },
        &[
            "~ job target scheduled",
            "~ job stranger scheduled",
            "~ rate 2",
            "~ schedule 1",
            "~ unique v",
            "~ meta clock_offset_ms",
            "+ meta clock_set_boot_ms",
        ],
    );
    let rebooted = ClockReading {
        boot: "another",
        offset_ms: 61_000,
    };
    touches(
        |tx| clock_step::follow(tx, rebooted).map(|_| ()),
        &[
            "~ job target scheduled",
            "~ job stranger scheduled",
            "~ schedule 1",
            "~ meta clock_boot",
            "~ meta clock_offset_ms",
            "+ meta clock_set_boot_ms",
        ],
    );
    let as_ever = ClockReading {
        boot: "boot",
        offset_ms: 1999,
    };
    touches(|tx| clock_step::follow(tx, as_ever).map(|_| ()), &[]);
}

#[test]
fn pausing_and_resuming_touch_one_queue() {
    touches(
        |tx| queues::pause(tx, &QueueSelector::Named("mail".to_owned())).map(|_| ()),
        &["~ queue 1", "+ event queue_paused"],
    );
    touches(
        |tx| queues::resume(tx, &QueueSelector::Named("sleepy".to_owned())).map(|_| ()),
        &["~ queue 3", "+ event queue_resumed"],
    );
    touches(
        |tx| queues::pause(tx, &QueueSelector::Named("sleepy".to_owned())).map(|_| ()),
        &[],
    );
    let mut town = town();
    touches_in(
        &mut town,
        |tx| queues::pause(tx, &QueueSelector::All).map(|_| ()),
        &["+ meta paused_at", "+ event queue_paused"],
    );
    touches_in(
        &mut town,
        |tx| queues::resume(tx, &QueueSelector::All).map(|_| ()),
        &["- meta paused_at", "+ event queue_resumed"],
    );
}

#[test]
fn a_runner_writes_its_own_row_alone() {
    touches(
        |tx| runners::write_heartbeat(tx, 1).map(|_| ()),
        &["~ runner 1"],
    );
    touches(|tx| runners::write_heartbeat(tx, 3).map(|_| ()), &[]);
    touches(|tx| runners::stopping(tx, 1), &["~ runner 1"]);
    touches(
        |tx| runners::stopped(tx, 1),
        &["~ runner 1", "+ event runner_stopped"],
    );
    touches(|tx| runners::stopped(tx, 4), &[]);
    let registration = Registration {
        name: "five".to_owned(),
        pid: 5,
        host: "h".to_owned(),
        workers: 5,
        kinds: Vec::new(),
        queues: None,
        heartbeat_mode: runners::HeartbeatMode::Regular,
    };
    touches(
        |tx| runners::register(tx, &registration, &HashMap::new()).map(|_| ()),
        &["+ runner 5", "+ event runner_started"],
    );
}

#[test]
fn remembering_a_batch_touches_that_batch_alone() {
    let batch = Batch {
        first: JobId(1),
        last: JobId(24),
    };
    touches(|tx| batches::remember(tx, "abc", batch), &["~ batch abc"]);
    touches(|tx| batches::remember(tx, "ghi", batch), &["+ batch ghi"]);
}

#[test]
fn a_recount_repairs_the_wrong_counter_and_no_other() {
    let mut town = town();
    town.sql("UPDATE jobq_number SET value = 77 WHERE id = 1 AND what = 6");
    touches_in(&mut town, doctor::recount, &["~ count mail failed"]);
    touches_in(&mut town, doctor::recount, &[]);
}

#[test]
fn the_town_is_as_its_description_says() {
    let town = town();
    assert_eq!(
        town.number("SELECT count(*) FROM jobq_job"),
        24 + RULED as i64
    );
    let running = town.job(target(State::Running));
    assert_eq!(
        (running.runner, running.attempt),
        (Some(crate::RunnerId(1)), 2)
    );
    assert_eq!(
        town.job(target(State::Scheduled))
            .run_at
            .unwrap()
            .as_millisecond(),
        START_MS + 10_000
    );
    town.assert_counters_are_right(); // The three that are blocked stand for jobs of which the reason does not matter.
    town.sql(
        "DELETE FROM jobq_job WHERE state = 1 AND links = 0; DELETE FROM jobq_number WHERE what = 1;
         INSERT INTO jobq_number (what, id, value) SELECT 1, queue_id, count(*) FROM jobq_job WHERE state = 1 GROUP BY queue_id",
    );
    town.assert_books_are_right();
}
