//! Schedules, seen through the file: one job for each slot, whatever happens.

mod any_history;
mod declared;
mod stepped;

use crate::Result;
use crate::model::event::{EventData, EventFilter, EventKind};
use crate::model::id::JobId;
use crate::model::job::{Enqueued, NewJob};
use crate::model::limits::EnqueueLimits;
use crate::model::outcome::Verdict;
use crate::model::part::NO_PARTS;
use crate::model::schedule::{Missed, Overlap, Schedule, ScheduleChange, ScheduleRecord};
use crate::model::state::State;
use crate::store::jobs::quota::QuotaLimits;
use crate::store::read::events;
use crate::store::sqlite::tx::Tx;
use crate::store::tests::sandbox::{START_MS, Sandbox};
use crate::store::upkeep::promote::Schedules;
use crate::store::upkeep::schedules::ValidatedSchedule;
use crate::store::upkeep::{fire, promote, schedules};
use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
const MINUTE_MS: i64 = 60_000;

/// The first slot of `0 * * * *` after the sandbox begins.
const FIRST_MS: i64 = (START_MS / HOUR_MS + 1) * HOUR_MS;

fn hourly(name: &str) -> Schedule {
    Schedule::new(name, "0 * * * *", NewJob::new("send")).timezone("UTC")
}

fn checked(schedule: Schedule) -> ValidatedSchedule {
    ValidatedSchedule::new(schedule, None, &EnqueueLimits::default()).unwrap()
}

fn add(sandbox: &mut Sandbox, schedule: Schedule) -> ScheduleChange {
    let schedule = checked(schedule);
    sandbox.write(|tx| schedules::add(tx, &schedule))
}

fn get(sandbox: &Sandbox, name: &str) -> ScheduleRecord {
    schedules::get(&sandbox.conn, name).unwrap().unwrap()
}

fn next_ms(sandbox: &Sandbox, name: &str) -> i64 {
    get(sandbox, name).next_at.unwrap().as_millisecond()
}

fn fire_due(sandbox: &mut Sandbox) {
    sandbox.write(|tx| fire::fire_due(tx, 100, QuotaLimits::default()));
}

/// A turn at this moment; how many jobs it added.
fn fire_at(sandbox: &mut Sandbox, now_ms: i64) -> i64 {
    let before = jobs(sandbox);
    sandbox.now_ms = now_ms;
    fire_due(sandbox);
    sandbox.assert_counters_are_right();
    jobs(sandbox) - before
}

fn jobs(sandbox: &Sandbox) -> i64 {
    sandbox.number("SELECT count(*) FROM jobq_job")
}

/// What the events of a kind say, in order.
fn told(sandbox: &Sandbox, kind: EventKind) -> Vec<serde_json::Value> {
    let filter = EventFilter {
        kinds: vec![kind],
        limit: Some(100_000),
        ..EventFilter::default()
    };
    let page = events::read(&sandbox.conn, &filter).unwrap();
    let data = page.events.iter().filter_map(|event| event.data.as_ref());
    data.map(|data| serde_json::from_slice(EventData::as_bytes(data)).unwrap())
        .collect()
}

fn reasons(sandbox: &Sandbox) -> Vec<String> {
    let told = told(sandbox, EventKind::ScheduleSkipped);
    told.iter()
        .map(|data| data["reason"].as_str().unwrap().to_owned())
        .collect()
}

/// The clock is now so, and `shift_ms` ago it was not.
fn step_clock(sandbox: &mut Sandbox, shift_ms: Option<i64>) {
    sandbox.now_ms += shift_ms.unwrap_or(0);
    sandbox.write(|tx| fire::follow_clock(tx, shift_ms));
}

#[test]
fn a_slot_gets_one_job_however_many_runners_look() {
    let mut sandbox = Sandbox::new();
    add(&mut sandbox, hourly("report"));
    assert_eq!(next_ms(&sandbox, "report"), FIRST_MS);
    assert_eq!(fire::next_fire(&sandbox.conn).unwrap(), Some(FIRST_MS));
    assert_eq!(fire_at(&mut sandbox, FIRST_MS - 1), 0, "it is not due");
    assert_eq!(fire_at(&mut sandbox, FIRST_MS), 1);
    assert_eq!(fire_at(&mut sandbox, FIRST_MS + 5), 0, "another runner");
    let record = get(&sandbox, "report");
    assert_eq!(record.last_at.unwrap().as_millisecond(), FIRST_MS);
    assert_eq!(record.last_job, Some(JobId(1)));
    assert_eq!(next_ms(&sandbox, "report"), FIRST_MS + HOUR_MS);
    assert_eq!(
        sandbox.history(JobId(1)),
        [EventKind::Enqueued, EventKind::ScheduleFired]
    );
    assert_eq!(
        told(&sandbox, EventKind::ScheduleFired),
        [serde_json::json!({ "schedule": "report", "slot": "2023-11-14T23:00:00.000Z" })]
    );
}

/// Two runners of two processes, each with a connection of its own to the same file.
#[test]
fn two_runners_that_race_for_a_slot_enqueue_one_job() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let clock = crate::ManualClock::new(crate::clock::timestamp(START_MS));
    let open = || {
        crate::Queue::options()
            .clock(clock.clone())
            .open(&path)
            .unwrap()
    };
    let queues = [open(), open()];
    queues[0]
        .add_schedule(Schedule::new("tick", "* * * * * *", NewJob::new("send")).missed(Missed::All))
        .unwrap();
    for _ in 0..50 {
        clock.advance(Duration::from_secs(1));
        std::thread::scope(|scope| {
            for queue in &queues {
                scope.spawn(|| {
                    queue
                        .store
                        .write(|tx| fire::fire_due(tx, 100, QuotaLimits::default()))
                        .unwrap()
                });
            }
        });
    }
    let conn = queues[0].store.reader().unwrap();
    let count = |sql: &str| -> i64 { conn.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("SELECT count(*) FROM jobq_job"), 50);
    assert_eq!(
        count("SELECT count(DISTINCT data ->> 'slot') FROM jobq_log WHERE kind = 50"),
        50
    );
}

#[test]
fn a_runner_killed_between_the_steps_leaves_the_slot_alone() {
    let mut sandbox = Sandbox::new();
    add(&mut sandbox, hourly("report"));
    sandbox.now_ms = FIRST_MS;
    let killed: Result<()> = sandbox.try_write(|tx| {
        fire::fire_due(tx, 100, QuotaLimits::default())?;
        Err(crate::Error::invalid("killed before the commit"))
    });
    assert!(killed.is_err());
    assert_eq!((jobs(&sandbox), next_ms(&sandbox, "report")), (0, FIRST_MS));
    assert_eq!(fire_at(&mut sandbox, FIRST_MS), 1, "the next runner");
    assert_eq!(told(&sandbox, EventKind::ScheduleFired).len(), 1);
}

#[test]
fn a_slot_that_another_has_taken_meanwhile_changes_nothing() {
    let mut sandbox = Sandbox::new();
    add(&mut sandbox, hourly("report"));
    let advance = |tx: &mut Tx<'_>| {
        let advance = fire::SCHEDULE_ADVANCE_IF_NEXT_AT;
        Ok(tx
            .conn
            .execute(advance, [1, FIRST_MS, FIRST_MS + HOUR_MS, FIRST_MS])?)
    };
    assert_eq!(sandbox.write(advance), 1);
    assert_eq!(sandbox.write(advance), 0, "the guard");
}

#[test]
fn overlap_skip_skips_a_slot_while_the_last_job_is_unfinished() {
    let mut sandbox = Sandbox::new();
    add(&mut sandbox, hourly("alone").overlap(Overlap::Skip));
    assert_eq!(fire_at(&mut sandbox, FIRST_MS), 1);
    assert_eq!(fire_at(&mut sandbox, FIRST_MS + HOUR_MS), 0);
    let runner = sandbox.runner("one");
    let held = sandbox.claim_one(runner);
    assert_eq!(fire_at(&mut sandbox, FIRST_MS + 2 * HOUR_MS), 0);
    assert_eq!(
        reasons(&sandbox),
        ["overlap: job 1 is pending", "overlap: job 1 is running"]
    );
    let told = sandbox.history(JobId(1));
    assert!(
        told.contains(&EventKind::ScheduleSkipped),
        "it goes with the job"
    );
    sandbox.settle(&held, &Verdict::Complete { result: None });
    assert_eq!(fire_at(&mut sandbox, FIRST_MS + 3 * HOUR_MS), 1);
    assert_eq!(get(&sandbox, "alone").last_job, Some(JobId(2)));

    let mut sandbox = Sandbox::new();
    add(
        &mut sandbox,
        hourly("all").overlap(Overlap::Skip).missed(Missed::All),
    );
    assert_eq!(
        fire_at(&mut sandbox, FIRST_MS + 5 * HOUR_MS),
        1,
        "of six slots"
    );
    let mut sandbox = Sandbox::new();
    add(&mut sandbox, hourly("many"));
    assert_eq!(fire_at(&mut sandbox, FIRST_MS), 1);
    assert_eq!(fire_at(&mut sandbox, FIRST_MS + HOUR_MS), 1);
}

#[test]
fn the_slots_of_a_pause_do_not_count() {
    let mut sandbox = Sandbox::new();
    add(&mut sandbox, hourly("report").missed(Missed::All));
    assert!(sandbox.write(|tx| schedules::pause(tx, "report")));
    assert!(!sandbox.write(|tx| schedules::pause(tx, "report")));
    assert_eq!(fire::next_fire(&sandbox.conn).unwrap(), None);
    assert_eq!(fire_at(&mut sandbox, FIRST_MS + 3 * HOUR_MS), 0);
    // A changed definition does not resume it.
    add(&mut sandbox, hourly("report").missed(Missed::Skip));
    assert!(get(&sandbox, "report").paused_at.is_some());
    sandbox.now_ms += MINUTE_MS;
    assert!(sandbox.write(|tx| schedules::resume(tx, "report")));
    assert!(!sandbox.write(|tx| schedules::resume(tx, "report")));
    assert_eq!(next_ms(&sandbox, "report"), FIRST_MS + 4 * HOUR_MS);
    assert_eq!(fire_at(&mut sandbox, FIRST_MS + 4 * HOUR_MS), 1);
}

#[test]
fn adding_it_again_keeps_the_slot_unless_the_rule_changes() {
    let mut sandbox = Sandbox::new();
    assert_eq!(add(&mut sandbox, hourly("report")), ScheduleChange::Added);
    // It is overdue, and stays so: a restart of the program loses no slot.
    sandbox.now_ms = FIRST_MS + 10;
    let events = sandbox.number("SELECT count(*) FROM jobq_log");
    assert_eq!(
        add(&mut sandbox, hourly("report")),
        ScheduleChange::Unchanged
    );
    assert_eq!(sandbox.number("SELECT count(*) FROM jobq_log"), events);
    let other = hourly("report").missed(Missed::All);
    assert_eq!(add(&mut sandbox, other), ScheduleChange::Changed);
    assert_eq!(next_ms(&sandbox, "report"), FIRST_MS);
    for changed in [
        Schedule::new("report", "30 * * * *", NewJob::new("send")).timezone("UTC"),
        Schedule::new("report", "30 * * * *", NewJob::new("send")).timezone("Asia/Kathmandu"),
    ] {
        let before = next_ms(&sandbox, "report");
        assert_eq!(add(&mut sandbox, changed), ScheduleChange::Changed);
        let next = next_ms(&sandbox, "report");
        assert!(next != before && next > sandbox.now_ms);
    }
}

#[test]
fn a_schedule_that_is_removed_leaves_its_jobs() {
    let mut sandbox = Sandbox::new();
    add(&mut sandbox, hourly("report"));
    add(&mut sandbox, hourly("other"));
    assert_eq!(fire_at(&mut sandbox, FIRST_MS), 2);
    sandbox.write(|tx| schedules::remove(tx, "report"));
    assert_eq!(fire_at(&mut sandbox, FIRST_MS + HOUR_MS), 1);
    assert_eq!(jobs(&sandbox), 3);
    let gone = |error: crate::Error| error.is_not_found();
    for write in [
        |tx: &mut Tx<'_>| schedules::remove(tx, "report"),
        |tx: &mut Tx<'_>| schedules::pause(tx, "report").map(|_| ()),
        |tx: &mut Tx<'_>| schedules::resume(tx, "report").map(|_| ()),
        |tx: &mut Tx<'_>| schedules::run_now(tx, "report", QuotaLimits::default()).map(|_| ()),
    ] {
        assert!(sandbox.try_write(write).is_err_and(gone));
    }
}

#[test]
fn a_job_that_is_asked_for_comes_at_once_and_moves_no_slot() {
    let mut sandbox = Sandbox::new();
    add(&mut sandbox, hourly("report").overlap(Overlap::Skip));
    sandbox.write(|tx| schedules::pause(tx, "report"));
    for id in [1, 2] {
        let Enqueued { id: job, state, .. } =
            sandbox.write(|tx| schedules::run_now(tx, "report", QuotaLimits::default()));
        assert_eq!((job, state), (JobId(id), State::Pending));
    }
    let record = get(&sandbox, "report");
    assert_eq!(record.next_at.unwrap().as_millisecond(), FIRST_MS);
    assert_eq!((record.last_at, record.last_job), (None, Some(JobId(2))));
    let fired = told(&sandbox, EventKind::ScheduleFired);
    assert!(fired.iter().all(|data| data["slot"].is_null()), "{fired:?}");
}

#[test]
fn a_faulty_schedule_stops_neither_the_others_nor_itself() {
    let mut sandbox = Sandbox::new();
    for name in ["bad rule", "bad job", "refused", "good"] {
        add(&mut sandbox, hourly(name));
    }
    sandbox.sql(
        "UPDATE jobq_schedule SET cron = 'x' WHERE name = 'bad rule';
         UPDATE jobq_schedule SET job = '{' WHERE name = 'bad job';
         UPDATE jobq_schedule SET job = json_set(job, '$.kind', '') WHERE name = 'refused';",
    );
    assert_eq!(fire_at(&mut sandbox, FIRST_MS), 1);
    assert_eq!(fire_at(&mut sandbox, FIRST_MS + HOUR_MS), 1);
    let reasons = reasons(&sandbox);
    assert_eq!(reasons.len(), 1 + 2 * 2, "{reasons:?}");
    assert_eq!(
        reasons
            .iter()
            .filter(|why| why.contains("it stops"))
            .count(),
        1
    );
    assert_eq!(get(&sandbox, "bad rule").next_at, None);
    assert_eq!(next_ms(&sandbox, "refused"), FIRST_MS + 2 * HOUR_MS);
    // Once it can be read again, adding it makes it go on.
    add(&mut sandbox, hourly("bad rule"));
    assert_eq!(next_ms(&sandbox, "bad rule"), FIRST_MS + 2 * HOUR_MS);
}

#[test]
fn a_schedule_of_an_unknown_zone_waits_for_a_machine_knowing_it() {
    let mut sandbox = Sandbox::new();
    add(&mut sandbox, hourly("away"));
    let every = Schedule::new("every", "@every 1h", NewJob::new("send")).timezone("UTC");
    add(&mut sandbox, every);
    sandbox.sql("UPDATE jobq_schedule SET timezone = 'No/Where'");
    assert_eq!(fire::unreadable_here(&sandbox.conn).unwrap().len(), 1);
    let of_interval = next_ms(&sandbox, "every");
    assert_eq!(fire::next_fire(&sandbox.conn).unwrap(), Some(of_interval));
    assert_eq!(
        fire_at(&mut sandbox, of_interval),
        1,
        "an interval has no zone"
    );
    assert_eq!(
        next_ms(&sandbox, "away"),
        FIRST_MS,
        "nothing has become of its slot"
    );
    assert_eq!(
        fire::next_fire(&sandbox.conn).unwrap(),
        Some(of_interval + HOUR_MS),
        "nobody wakes for what cannot be done"
    );
    sandbox.sql("UPDATE jobq_schedule SET timezone = 'UTC'");
    assert_eq!(fire_at(&mut sandbox, of_interval + 1), 1);
    assert_eq!(reasons(&sandbox), Vec::<String>::new());
}

#[test]
fn a_row_that_is_no_text_stops_nobody() {
    let mut sandbox = Sandbox::new();
    add(&mut sandbox, hourly("good"));
    add(&mut sandbox, hourly("bad"));
    sandbox.sql(
        "UPDATE jobq_schedule SET name = CAST(x'ff' AS TEXT), timezone = CAST(x'fe' AS TEXT), job = CAST(x'fd' AS TEXT)
         WHERE name = 'bad'",
    );
    step_clock(&mut sandbox, Some(5));
    assert_eq!(fire_at(&mut sandbox, FIRST_MS), 1);
    assert_eq!(
        fire::next_fire(&sandbox.conn).unwrap(),
        Some(FIRST_MS + HOUR_MS)
    );
    assert_eq!(schedules::list(&sandbox.conn).unwrap().len(), 2);
}

/// Each row of the table but one, and how many events and jobs there are.
fn all_but(sandbox: &Sandbox, name: &str) -> Vec<String> {
    let records = schedules::list(&sandbox.conn).unwrap().into_iter();
    records
        .filter(|record| record.name != name)
        .map(|record| format!("{record:?}"))
        .collect()
}

#[test]
fn what_is_done_to_one_schedule_leaves_the_others_as_they_were() {
    let mut sandbox = Sandbox::new();
    for name in ["target", "twin"] {
        add(&mut sandbox, hourly(name));
    }
    let later = Schedule::new("later", "30 * * * *", NewJob::new("call")).timezone("UTC");
    add(&mut sandbox, later);
    sandbox.write(|tx| schedules::pause(tx, "twin"));
    let changed = checked(hourly("target").missed(Missed::All));
    type Act<'a> = &'a dyn Fn(&mut Tx<'_>) -> Result<()>;
    let acts: [(&str, Act<'_>); 6] = [
        ("changing", &|tx| schedules::add(tx, &changed).map(|_| ())),
        ("running", &|tx| {
            schedules::run_now(tx, "target", QuotaLimits::default()).map(|_| ())
        }),
        ("pausing", &|tx| schedules::pause(tx, "target").map(|_| ())),
        ("resuming", &|tx| {
            schedules::resume(tx, "target").map(|_| ())
        }),
        ("firing", &|tx| {
            fire::fire_due(tx, 100, QuotaLimits::default())
        }),
        ("removing", &|tx| schedules::remove(tx, "target")),
    ];
    for (what, act) in acts {
        // The later one has had its turn and is not due again with the target.
        sandbox.now_ms = if what == "firing" { FIRST_MS } else { START_MS };
        sandbox.sql(&format!(
            "UPDATE jobq_schedule SET next_at = {} WHERE name = 'later'",
            FIRST_MS + HOUR_MS / 2
        ));
        let before = (all_but(&sandbox, "target"), all_but(&sandbox, ""));
        sandbox.write(act);
        assert_eq!(all_but(&sandbox, "target"), before.0, "{what}");
        assert_ne!(all_but(&sandbox, ""), before.1, "{what} did nothing");
    }
}

#[test]
fn a_runner_that_drains_is_not_woken_by_schedules() {
    let mut sandbox = Sandbox::new();
    add(&mut sandbox, hourly("report"));
    let moment = |schedules| {
        promote::next_moment(&sandbox.conn, sandbox.now_ms, (schedules, &NO_PARTS)).unwrap()
    };
    assert_eq!(moment(Schedules::Fire), Some(FIRST_MS));
    assert_eq!(moment(Schedules::Leave), None);
    sandbox.enqueue(NewJob::new("send").delay(Duration::from_secs(1)));
    let moment = |schedules| {
        promote::next_moment(&sandbox.conn, sandbox.now_ms, (schedules, &NO_PARTS)).unwrap()
    };
    assert_eq!(moment(Schedules::Fire), Some(START_MS + 1000));
    assert_eq!(moment(Schedules::Leave), Some(START_MS + 1000));
}
