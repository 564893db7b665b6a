//! Clocks that jump: missed slots, and schedules that go on.

use super::*;
use crate::clock::ClockReading;
use crate::store::upkeep::clock_step;

#[test]
fn a_clock_far_ahead_means_missed_slots_and_no_flood() {
    for (missed, hours, jobs_of) in [
        (Missed::Skip, 3, 0),
        (Missed::Once, 3, 1),
        (Missed::All, 3, 4),
        (Missed::Skip, 87_600, 0),
        (Missed::Once, 87_600, 1),
        (Missed::All, 87_600, 100),
    ] {
        let mut sandbox = Sandbox::new();
        add(&mut sandbox, hourly("report").missed(missed));
        let now = FIRST_MS + hours * HOUR_MS + 2 * MINUTE_MS;
        assert_eq!(fire_at(&mut sandbox, now), jobs_of, "{missed}, {hours} h");
        assert_eq!(fire_at(&mut sandbox, now + 5), 0);
        let next = FIRST_MS + (hours + 1) * HOUR_MS;
        assert_eq!(next_ms(&sandbox, "report"), next);
        assert_eq!(fire_at(&mut sandbox, next), 1, "and on it goes");
        let skipped = told(&sandbox, EventKind::ScheduleSkipped);
        assert_eq!(skipped.is_empty(), jobs_of == 4);
    }
}

#[test]
fn a_clock_step_back_repeats_no_slot_and_silences_no_schedule() {
    for missed in Missed::ALL {
        let mut sandbox = Sandbox::new();
        add(&mut sandbox, hourly("report").missed(missed));
        assert_eq!(fire_at(&mut sandbox, FIRST_MS + 1000), 1);
        // An hour back: the slot that has been comes again on the clock, and is not enqueued again.
        step_clock(&mut sandbox, Some(-HOUR_MS));
        assert_eq!(next_ms(&sandbox, "report"), FIRST_MS + HOUR_MS);
        assert_eq!(fire_at(&mut sandbox, FIRST_MS + 1000), 0);
        assert_eq!(fire_at(&mut sandbox, FIRST_MS + HOUR_MS), 1);
        // Ten years ahead by mistake, and back.
        let ahead = 10 * YEAR_MS;
        step_clock(&mut sandbox, Some(ahead));
        fire_due(&mut sandbox);
        assert!(next_ms(&sandbox, "report") > START_MS + ahead);
        step_clock(&mut sandbox, Some(-ahead));
        assert_eq!(next_ms(&sandbox, "report"), FIRST_MS + 2 * HOUR_MS);
        assert_eq!(fire_at(&mut sandbox, FIRST_MS + 2 * HOUR_MS), 1);
        // The machine starts with a clock that has lost its time: the step is not known.
        sandbox.now_ms -= 20 * YEAR_MS;
        step_clock(&mut sandbox, None);
        let next = next_ms(&sandbox, "report");
        assert!(next > sandbox.now_ms && next <= sandbox.now_ms + HOUR_MS);
    }
}

#[test]
fn an_interval_keeps_what_is_left_of_it_when_the_clock_steps() {
    let mut sandbox = Sandbox::new();
    let every = Schedule::new("tick", "@every 10m", NewJob::new("send")).timezone("UTC");
    add(&mut sandbox, every);
    let left = |sandbox: &Sandbox| next_ms(sandbox, "tick") - sandbox.now_ms;
    sandbox.now_ms += 4 * MINUTE_MS;
    for shift_ms in [HOUR_MS, -HOUR_MS, 10 * YEAR_MS, -10 * YEAR_MS] {
        step_clock(&mut sandbox, Some(shift_ms));
        assert_eq!(left(&sandbox), 6 * MINUTE_MS, "{shift_ms}");
    }
    assert_eq!(jobs(&sandbox), 0);
    let due = sandbox.now_ms + 6 * MINUTE_MS;
    assert_eq!(fire_at(&mut sandbox, due), 1);
    assert_eq!(left(&sandbox), 10 * MINUTE_MS);
}

#[test]
fn following_the_clock_follows_it_for_schedules_too() {
    let mut sandbox = Sandbox::new();
    let every = Schedule::new("tick", "@every 10m", NewJob::new("send")).timezone("UTC");
    add(&mut sandbox, every);
    let reading = |boot: &'static str, offset_ms| ClockReading { boot, offset_ms };
    let follow = |sandbox: &mut Sandbox, reading: ClockReading| {
        sandbox.write(|tx| clock_step::follow(tx, reading));
    };
    follow(&mut sandbox, reading("one", 0));
    sandbox.now_ms += HOUR_MS;
    follow(&mut sandbox, reading("one", HOUR_MS));
    assert_eq!(
        next_ms(&sandbox, "tick"),
        START_MS + HOUR_MS + 10 * MINUTE_MS
    );
    // Another start of the machine, with the clock far back: nothing is known, and it goes on.
    sandbox.now_ms -= YEAR_MS;
    follow(&mut sandbox, reading("two", 5));
    assert_eq!(next_ms(&sandbox, "tick"), sandbox.now_ms + 10 * MINUTE_MS);
}

/// The last slot, or the last hundred, got another job at each start of a board without a clock chip.
#[test]
fn a_wrong_boot_clock_repeats_no_slot_nor_silences_a_schedule() {
    let half_past = FIRST_MS + HOUR_MS + 30 * MINUTE_MS;
    for missed in Missed::ALL {
        for wrong_by_ms in [-START_MS, -24 * HOUR_MS, 10 * YEAR_MS] {
            let mut sandbox = Sandbox::new();
            add(&mut sandbox, hourly("report").missed(missed));
            assert_eq!(fire_at(&mut sandbox, FIRST_MS), 1);
            assert_eq!(fire_at(&mut sandbox, FIRST_MS + HOUR_MS), 1);
            sandbox.now_ms = half_past + wrong_by_ms;
            step_clock(&mut sandbox, None);
            let bound = if wrong_by_ms > 0 { 100 } else { 0 };
            let wrong_ms = sandbox.now_ms;
            assert!(fire_at(&mut sandbox, wrong_ms) <= bound);
            let next = next_ms(&sandbox, "report");
            assert!(next > wrong_ms && next <= wrong_ms + HOUR_MS);
            step_clock(&mut sandbox, Some(-wrong_by_ms));
            assert_eq!(fire_at(&mut sandbox, half_past), 0, "{missed}");
            assert_eq!(next_ms(&sandbox, "report"), FIRST_MS + 2 * HOUR_MS);
            assert_eq!(fire_at(&mut sandbox, FIRST_MS + 2 * HOUR_MS), 1);
        }
    }
}

#[test]
fn slots_missed_while_off_are_made_up_once_the_clock_is_right() {
    for (missed, jobs_of) in [(Missed::Skip, 0), (Missed::Once, 1), (Missed::All, 3)] {
        let mut sandbox = Sandbox::new();
        add(&mut sandbox, hourly("report").missed(missed));
        assert_eq!(fire_at(&mut sandbox, FIRST_MS), 1);
        sandbox.now_ms = MINUTE_MS;
        step_clock(&mut sandbox, None);
        let now = FIRST_MS + 3 * HOUR_MS + 30 * MINUTE_MS;
        step_clock(&mut sandbox, Some(now - MINUTE_MS));
        assert_eq!(fire_at(&mut sandbox, now), jobs_of, "{missed}");
    }
}

#[test]
fn a_schedule_goes_on_by_a_clock_that_stays_wrong() {
    for missed in Missed::ALL {
        for wrong_by_ms in [-START_MS, -24 * HOUR_MS] {
            let mut sandbox = Sandbox::new();
            add(&mut sandbox, hourly("report").missed(missed));
            assert_eq!(fire_at(&mut sandbox, FIRST_MS), 1);
            sandbox.now_ms += wrong_by_ms;
            step_clock(&mut sandbox, None);
            for _ in 0..3 {
                let next = next_ms(&sandbox, "report");
                assert!(next <= sandbox.now_ms + HOUR_MS);
                assert_eq!(fire_at(&mut sandbox, next), 1);
            }
        }
    }
}

/// What was fired by the wrong clock hid what had been fired before it: that came a second time.
#[test]
fn a_slot_is_not_repeated_after_earlier_ones_by_a_wrong_clock() {
    for missed in Missed::ALL {
        let mut sandbox = Sandbox::new();
        add(&mut sandbox, hourly("report").missed(missed));
        assert_eq!(fire_at(&mut sandbox, FIRST_MS), 1);
        step_clock(&mut sandbox, Some(-5 * HOUR_MS));
        assert_eq!(fire_at(&mut sandbox, FIRST_MS - 4 * HOUR_MS), 1);
        step_clock(&mut sandbox, Some(5 * HOUR_MS));
        let now = FIRST_MS + HOUR_MS - MINUTE_MS;
        assert_eq!(fire_at(&mut sandbox, now), 0, "{missed}");
        assert_eq!(fire_at(&mut sandbox, FIRST_MS + HOUR_MS), 1);
    }
}

#[test]
fn no_slot_from_before_it_was_added_is_made_up_for() {
    for missed in Missed::ALL {
        let mut sandbox = Sandbox::new();
        let yearly = Schedule::new("report", "@yearly", NewJob::new("send")).timezone("UTC");
        add(&mut sandbox, yearly.missed(missed));
        let next = next_ms(&sandbox, "report");
        for shift_ms in [-10 * YEAR_MS, 10 * YEAR_MS] {
            step_clock(&mut sandbox, Some(shift_ms));
            fire_due(&mut sandbox);
        }
        assert_eq!((jobs(&sandbox), next_ms(&sandbox, "report")), (0, next));
    }
}
