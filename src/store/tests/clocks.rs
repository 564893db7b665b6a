//! A machine whose clock is wrong after its start, and is set right later or never.

use crate::model::part::NO_PARTS;
use std::time::Duration;

use crate::clock::{ClockReading, UNKNOWN_BOOT};
use crate::model::id::JobId;
use crate::model::job::NewJob;
use crate::model::limits::{Rate, Update};
use crate::store::jobs::remove;
use crate::store::tests::limits::{jobs, limit};
use crate::store::tests::sandbox::{START_MS, Sandbox};
use crate::store::upkeep::promote::Schedules;
use crate::store::upkeep::{clock_step, promote};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Without a clock chip it begins in 1970. One whose battery is empty, or that was never set, is off by
/// less, either way.
const WRONG_BY_MS: [i64; 4] = [-START_MS, -DAY_MS, 0, 3650 * DAY_MS];

/// A machine that can be started again.
struct Machine {
    sandbox: Sandbox,
    starts: u32,
    up_ms: i64,
    wrong_by_ms: i64,
}

impl Machine {
    fn new() -> Machine {
        let mut machine = Machine {
            sandbox: Sandbox::new(),
            starts: 1,
            up_ms: DAY_MS,
            wrong_by_ms: 0,
        };
        machine.follow_clock();
        machine
    }

    fn follow_clock(&mut self) {
        let boot = format!("start {}", self.starts);
        let reading = ClockReading {
            boot: &boot,
            offset_ms: self.sandbox.now_ms - self.up_ms,
        };
        self.sandbox.write(|tx| clock_step::follow(tx, reading));
    }

    fn pass(&mut self, ms: i64) {
        self.up_ms += ms;
        self.sandbox.now_ms += ms;
        self.follow_clock();
    }

    /// The clock is set so that it is wrong by so much.
    fn set(&mut self, wrong_by_ms: i64) {
        self.sandbox.now_ms += wrong_by_ms - self.wrong_by_ms;
        self.wrong_by_ms = wrong_by_ms;
        self.follow_clock();
    }

    fn start_again(&mut self, wrong_by_ms: i64) {
        self.starts += 1;
        self.up_ms = 0;
        self.set(wrong_by_ms);
    }
}

/// A start that lay in the future kept its queue from starting for so long, a day or 53 years.
#[test]
fn a_rate_survives_any_wall_clock_after_a_boot() {
    for wrong_by_ms in WRONG_BY_MS {
        for is_set_right in [true, false] {
            let mut machine = Machine::new();
            let one = machine.sandbox.runner("one");
            let rate = Rate {
                jobs: 1,
                per: Duration::from_secs(2),
            };
            limit(&mut machine.sandbox, "mail", |to| {
                to.rate = Update::Set(rate);
            });
            jobs(&mut machine.sandbox, "mail", 9);
            assert_eq!(machine.sandbox.claim(one, 5).len(), 1);
            machine.start_again(wrong_by_ms);
            machine.pass(500);
            if is_set_right {
                machine.set(0);
            }
            machine.pass(1500);
            for start in 1..=3 {
                assert_eq!(machine.sandbox.claim(one, 5).len(), 1, "start {start}");
                let now_ms = machine.sandbox.now_ms;
                let next = promote::next_moment(
                    &machine.sandbox.conn,
                    now_ms,
                    (Schedules::Fire, &NO_PARTS),
                );
                assert_eq!(next.unwrap(), Some(now_ms + 2000));
                machine.pass(1999);
                assert_eq!(machine.sandbox.claim(one, 5).len(), 0, "start {start}");
                machine.pass(1);
            }
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MS: i64 = 3_600_000;

impl Machine {
    /// One that may begin in an hour and must within two, in a minute's time from its enqueuing.
    fn enqueue(&mut self) -> JobId {
        let job = NewJob::new("send").delay(HOUR).deadline(HOUR * 2);
        let id = self.sandbox.enqueue(job);
        self.pass(60_000);
        id
    }

    /// How far it is to a job's times.
    fn left_ms(&self, id: JobId) -> (i64, i64) {
        let job = self.sandbox.job(id);
        let watched = format!("SELECT at FROM jobq_deadline WHERE job_id = {id}");
        let deadline_ms = job.deadline.unwrap().as_millisecond();
        assert_eq!(self.sandbox.number(&watched), deadline_ms);
        let run_at_ms = job.run_at.unwrap().as_millisecond();
        (
            run_at_ms - self.sandbox.now_ms,
            deadline_ms - self.sandbox.now_ms,
        )
    }
}

/// The step that put the clock right moved what a right clock had given before: 5 s became 53 years.
#[test]
fn a_wait_keeps_its_remainder_when_a_boot_clock_is_set_right() {
    for wrong_by_ms in WRONG_BY_MS {
        let mut machine = Machine::new();
        let before = machine.enqueue();
        machine.start_again(wrong_by_ms);
        let since = machine.enqueue();
        machine.set(0);
        assert_eq!(
            machine.left_ms(before),
            (HOUR_MS - 120_000, 2 * HOUR_MS - 120_000),
            "{wrong_by_ms}"
        );
        let left = (HOUR_MS - 60_000, 2 * HOUR_MS - 60_000);
        assert_eq!(machine.left_ms(since), left, "{wrong_by_ms}");
        machine.set(DAY_MS);
        assert_eq!(machine.left_ms(since), left, "{wrong_by_ms}");
    }
}

/// Nothing but the wall clock tells how long the machine was off. With one that is behind, what was given
/// before is late by so much; it is never early.
#[test]
fn on_a_wrong_clock_only_jobs_from_before_the_start_are_late() {
    let mut machine = Machine::new();
    let before = machine.enqueue();
    machine.start_again(-DAY_MS);
    let since = machine.enqueue();
    let left_ms = HOUR_MS - 120_000 + DAY_MS;
    assert_eq!(machine.left_ms(before), (left_ms, left_ms + HOUR_MS));
    let left_ms = HOUR_MS - 60_000;
    assert_eq!(machine.left_ms(since), (left_ms, left_ms + HOUR_MS));
}

/// How much is left of the window of the key `u`.
fn window_ms(machine: &Machine) -> i64 {
    let until = "SELECT until FROM jobq_unique WHERE key = 'u'";
    machine.sandbox.number(until) - machine.sandbox.now_ms
}

#[test]
fn unique_windows_never_exceed_their_length_on_a_wrong_clock() {
    for wrong_by_ms in WRONG_BY_MS {
        for is_removed in [false, true] {
            let mut machine = Machine::new();
            let job = NewJob::new("send").unique("u").unique_for(HOUR);
            let id = machine.sandbox.enqueue(job);
            machine.sandbox.complete(id);
            if is_removed {
                machine.sandbox.write(|tx| remove::remove(tx, id));
            }
            machine.start_again(wrong_by_ms);
            machine.pass(60_000);
            assert!(is_removed || window_ms(&machine) < HOUR_MS);
            machine.set(0);
            let left_ms = window_ms(&machine);
            assert!(left_ms < HOUR_MS, "{wrong_by_ms}: {left_ms}");
            if wrong_by_ms == 0 || is_removed {
                assert_eq!(left_ms, HOUR_MS - 60_000);
            }
        }
    }
}

/// A restart counted there as a step by the time that the machine had been up.
#[test]
fn without_boot_ids_nothing_moves_and_each_step_counts_once() {
    let mut sandbox = Sandbox::new();
    let to = [
        (UNKNOWN_BOOT, 0, true),
        (UNKNOWN_BOOT, 0, false),
        (UNKNOWN_BOOT, DAY_MS, true),
        (UNKNOWN_BOOT, 0, true),
        ("start 1", 0, true),
        // Another process, which cannot tell.
        (UNKNOWN_BOOT, 0, false),
        (UNKNOWN_BOOT, HOUR_MS, true),
        ("start 2", HOUR_MS, true),
    ];
    for (boot, offset_ms, is_followed) in to {
        let now = ClockReading { boot, offset_ms };
        let has_stepped = |sandbox: &Sandbox| {
            let known = clock_step::KnownClock::read(&sandbox.conn).unwrap();
            now.has_stepped_since(known.as_ref().map(clock_step::KnownClock::reading))
        };
        assert_eq!(has_stepped(&sandbox), is_followed, "{now:?}");
        let id = sandbox.enqueue(NewJob::new("send").delay(HOUR).deadline(HOUR * 2));
        let before = sandbox.job(id);
        sandbox.write(|tx| clock_step::follow(tx, now));
        let after = sandbox.job(id);
        assert_eq!(
            (after.run_at, after.deadline),
            (before.run_at, before.deadline)
        );
        assert!(!has_stepped(&sandbox), "once");
    }
}
