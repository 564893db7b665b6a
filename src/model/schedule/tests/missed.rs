//! What becomes of slots that nobody saw in time, and of a clock that is set.

use super::*;

const HOUR_MS: i64 = 3_600_000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
const NOW: &str = "2024-05-01T12:00:00Z";

fn hourly() -> Rule {
    rule("0 * * * *", "UTC")
}

#[test]
fn a_slot_that_is_on_time_is_enqueued_by_every_policy() {
    let slot = ms(NOW);
    for missed in Missed::ALL {
        for late in [0, 40, 60_000] {
            let firing = firing::fire(&hourly(), missed, slot, slot + late);
            assert_eq!(firing.slots, [slot], "{missed}, {late} ms late");
            assert_eq!(firing.passed, None);
            assert_eq!(firing.next_at, Some(slot + HOUR_MS));
            assert_eq!(firing.last_at, slot);
        }
    }
}

#[test]
fn the_policy_says_what_becomes_of_slots_that_were_missed() {
    let slot = ms(NOW);
    let now = slot + 3 * HOUR_MS + 60_001;
    let last = slot + 3 * HOUR_MS;
    let fire = |missed| firing::fire(&hourly(), missed, slot, now);

    let skip = fire(Missed::Skip);
    assert_eq!((skip.slots, skip.passed), (vec![], Some((slot, last))));
    let once = fire(Missed::Once);
    let passed = Some((slot, last - HOUR_MS));
    assert_eq!((once.slots, once.passed), (vec![last], passed));
    let all = fire(Missed::All);
    let each: Vec<i64> = (0..=3).map(|hour| slot + hour * HOUR_MS).collect();
    assert_eq!((all.slots, all.passed), (each, None));
    for firing in [skip.next_at, once.next_at, all.next_at] {
        assert_eq!(firing, Some(slot + 4 * HOUR_MS));
    }
    // What a later slot has overtaken was missed; the later one is on time.
    let skip = firing::fire(&hourly(), Missed::Skip, slot, slot + HOUR_MS);
    assert_eq!(skip.slots, [slot + HOUR_MS]);
    assert_eq!(skip.passed, Some((slot, slot)));
}

#[test]
fn ten_years_of_seconds_take_no_time_and_no_more_than_the_bound() {
    let every_second = rule("* * * * * *", "Europe/Berlin");
    let interval = rule("@every 1s", "UTC");
    let slot = ms(NOW);
    let now = slot + 10 * YEAR_MS + 500;
    let began = crate::clock::instant();
    for rule in [&every_second, &interval] {
        for (missed, jobs) in [
            (Missed::Skip, 1),
            (Missed::Once, 1),
            (Missed::All, MOST_MISSED),
        ] {
            let firing = firing::fire(rule, missed, slot, now);
            assert_eq!(firing.slots.len(), jobs, "{missed}");
            assert_eq!(firing.slots.last(), Some(&(now - 500)));
            let first = firing.slots[0];
            assert_eq!(firing.passed, Some((slot, first - 1000)));
            assert_eq!(firing.next_at, Some(now + 500));
            assert!(
                firing
                    .slots
                    .windows(2)
                    .all(|pair| pair[1] - pair[0] == 1000)
            );
        }
    }
    let took = began.elapsed();
    assert!(took.as_millis() < 1000, "{took:?}");
}

#[test]
fn a_slot_moved_by_its_zone_is_enqueued_when_promised() {
    // Half past is no slot of the rule.
    let promised = ms("2024-05-01T12:30:00Z");
    let firing = firing::fire(&hourly(), Missed::Once, promised, promised + 5);
    assert_eq!(firing.slots, [promised]);
    assert_eq!(firing.next_at, Some(ms("2024-05-01T13:00:00Z")));
}

#[test]
fn after_step_neither_repeats_slots_nor_silences_a_schedule() {
    let next_at = ms(NOW);
    let stand = Stand {
        next_at: Some(next_at),
        last_at: Some(next_at - HOUR_MS),
    };
    let at = |hours_back: i64, minutes: i64| {
        let now = next_at - hours_back * HOUR_MS + minutes * 60_000;
        firing::after_step(&hourly(), stand, now)
    };
    assert_eq!(at(1, 30), None, "as it should be");
    assert_eq!(at(2, 0), None, "the slot of 11:00 has been enqueued");
    assert_eq!(
        at(3, 30),
        Some(next_at - 2 * HOUR_MS),
        "else silent for 2.5 hours"
    );
    assert_eq!(
        at(24 * 3650, 1),
        Some(next_at - 24 * 3650 * HOUR_MS + HOUR_MS)
    );
    // Ahead: that is for `fire`, once the slot is seen to have come.
    assert_eq!(at(-5, 0), None);
    let stopped = Stand {
        next_at: None,
        ..stand
    };
    let first = Some(next_at + HOUR_MS);
    assert_eq!(firing::after_step(&hourly(), stopped, next_at), first);
}

#[test]
fn slots_before_a_backward_step_are_not_made_up_for_later() {
    let last_at = ms(NOW);
    let at = |now: i64| {
        let stand = Stand {
            next_at: Some(HOUR_MS),
            last_at: Some(last_at),
        };
        firing::after_step(&hourly(), stand, now)
    };
    assert_eq!(at(5), None, "it goes on in 1970");
    assert_eq!(at(last_at - 1), None, "still behind: what is due is due");
    let first = Some(last_at + HOUR_MS);
    assert_eq!(at(last_at), first);
    assert_eq!(at(last_at + 5 * HOUR_MS), first, "four slots were missed");
}
