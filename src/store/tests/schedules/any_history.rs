//! One schedule through any history: time that passes, steps of the clock, looks, deaths, pauses.

use crate::model::schedule::rule::Rule;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Move {
    Pass(i64),
    Step(i64),
    Restart(i64),
    Look,
    Die,
    Pause,
    Resume,
    AddAgain,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let span = prop_oneof![0i64..HOUR_MS * 3, Just(1000), Just(HOUR_MS), Just(YEAR_MS)];
    let step = prop_oneof![
        -HOUR_MS * 5..HOUR_MS * 5,
        Just(10 * YEAR_MS),
        Just(-10 * YEAR_MS)
    ];
    let one = prop_oneof![
        6 => span.prop_map(Move::Pass),
        2 => step.clone().prop_map(Move::Step),
        1 => step.prop_map(Move::Restart),
        8 => Just(Move::Look),
        2 => Just(Move::Die),
        1 => Just(Move::Pause),
        1 => Just(Move::Resume),
        1 => Just(Move::AddAgain),
    ];
    prop::collection::vec(one, 1..60)
}

fn rules() -> impl Strategy<Value = Schedule> {
    let rule = prop_oneof![
        Just("0 * * * *"),
        Just("*/7 * * * *"),
        Just("@every 25m"),
        Just("30 2 * * *"),
        Just("*/20 * * * * *"),
    ];
    let missed = prop::sample::select(&Missed::ALL[..]);
    let zone = prop::sample::select(&["UTC", "Europe/Berlin", "Australia/Lord_Howe"][..]);
    (rule, missed, zone).prop_map(|(rule, missed, zone)| {
        Schedule::new("any", rule, NewJob::new("send"))
            .timezone(zone)
            .missed(missed)
    })
}

proptest! {
    /// Whatever happens: one job for a slot unless the clock went back over it, never more than the
    /// bound at a look, and the next slot is never further off than the second one from now.
    #[test]
    fn has_one_job_for_each_slot_and_is_neither_a_flood_nor_silence(
        (schedule, moves) in (rules(), moves())
    ) {
        let mut sandbox = Sandbox::new();
        let rule = Rule::parse(
            &schedule.rule, schedule.timezone.as_deref().unwrap()).unwrap();
        add(&mut sandbox, schedule.clone());
        let mut slots = BTreeSet::new();
        for one in moves {
            let before = get(&sandbox, "any").next_at;
            let stepped = matches!(one, Move::Step(_) | Move::Restart(_));
            match one {
                Move::Pass(ms) => sandbox.now_ms += ms,
                Move::Step(ms) => {
                    step_clock(&mut sandbox, Some(ms));
                }
                Move::Restart(ms) => {
                    sandbox.now_ms += ms;
                    step_clock(&mut sandbox, None);
                }
                Move::Look => {
                    let from = sandbox.number("SELECT coalesce(max(value), 0) FROM jobq_number WHERE what = -2 AND id = 2");
                    let now = sandbox.now_ms;
                    let jobs = fire_at(&mut sandbox, now);
                    prop_assert!(jobs <= 100);
                    let filter = EventFilter {
                        since: crate::EventId(from),
                        kinds: vec![EventKind::ScheduleFired],
                        ..EventFilter::default()
                    };
                    let fired = events::read(&sandbox.conn, &filter).unwrap().events;
                    prop_assert_eq!(fired.len() as i64, jobs);
                    for event in fired {
                        let data: serde_json::Value =
                            serde_json::from_slice(event.data.unwrap().as_bytes()).unwrap();
                        let slot: jiff::Timestamp = data["slot"].as_str().unwrap().parse().unwrap();
                        prop_assert!(slot.as_millisecond() <= sandbox.now_ms);
                        prop_assert!(slots.insert(slot), "{} came twice", slot);
                    }
                    prop_assert_eq!(fire_at(&mut sandbox, now), 0, "a second look");
                }
                Move::Die => {
                    let before = all_but(&sandbox, "");
                    let died: Result<()> = sandbox.try_write(|tx| {
                        fire::fire_due(tx, 100, QuotaLimits::default())?;
                        Err(crate::Error::invalid("killed"))
                    });
                    prop_assert!(died.is_err());
                    prop_assert_eq!(all_but(&sandbox, ""), before);
                }
                Move::Pause => { sandbox.write(|tx| schedules::pause(tx, "any")); }
                Move::Resume => { sandbox.write(|tx| schedules::resume(tx, "any")); }
                Move::AddAgain => {
                    prop_assert_eq!(add(&mut sandbox, schedule.clone()), ScheduleChange::Unchanged);
                }
            }
            let record = get(&sandbox, "any");
            if stepped && record.next_at != before || record.paused_at.is_some() {
                // It goes on from another moment, which may be one that has been.
                slots.clear();
            }
            if record.paused_at.is_none() {
                let first = rule.first(sandbox.now_ms).unwrap();
                let second = rule.after(first, first).unwrap();
                let next = record.next_at.unwrap().as_millisecond();
                prop_assert!(next <= second, "silent until {}", record.next_at.unwrap());
            }
        }
    }
}
