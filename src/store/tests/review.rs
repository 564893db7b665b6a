//! What a second look at the rules between jobs has found.

use crate::model::job::AttemptRef;
use crate::store::sqlite::statement::Statement;
use std::time::Duration;

use rusqlite::StatementStatus;

use crate::clock::ClockReading;
use crate::model::job::NewJob;
use crate::model::limits::EnqueueLimits;
use crate::model::outcome::Verdict;
use crate::model::state::State::*;
use crate::store::jobs::validate::ValidatedJob;
use crate::store::jobs::{concurrency_slots, dependencies, enqueue, job_row};
use crate::store::tests::sandbox::Sandbox;
use crate::store::upkeep::{clock_step, promote};

fn retry() -> Verdict {
    Verdict::Retry {
        error: "not now".to_owned(),
        after: Duration::from_secs(5),
    }
}

#[test]
fn a_unique_window_keeps_its_remainder_over_a_clock_step() {
    let mut sandbox = Sandbox::new();
    let reading = |offset_ms| ClockReading {
        boot: "this one",
        offset_ms,
    };
    sandbox.write(|tx| clock_step::follow(tx, reading(0)));
    let unique = NewJob::new("send")
        .unique("k")
        .unique_for(Duration::from_secs(60));
    let first = sandbox.enqueue(unique.clone());
    sandbox.complete(first);
    const YEAR_MS: i64 = 365 * 24 * 60 * 60 * 1000;
    for step_ms in [-YEAR_MS, YEAR_MS] {
        sandbox.now_ms += step_ms;
        let offset_ms = if step_ms < 0 { step_ms } else { 0 };
        sandbox.write(|tx| clock_step::follow(tx, reading(offset_ms)));
        sandbox.now_ms += 20_000;
        assert!(sandbox.try_enqueue(unique.clone()).unwrap().duplicate);
    }
    sandbox.now_ms -= YEAR_MS;
    sandbox.write(|tx| clock_step::follow(tx, reading(-YEAR_MS)));
    sandbox.now_ms += 20_000;
    assert!(!sandbox.try_enqueue(unique).unwrap().duplicate);
}

fn steps_of(sandbox: &Sandbox, statements: &[&[Statement]]) -> i64 {
    let of = |sql: &str| {
        let statement = sandbox.conn.prepare_cached(sql).unwrap();
        i64::from(statement.get_status(StatementStatus::VmStep))
    };
    statements
        .iter()
        .flat_map(|statements| statements.iter())
        .map(|statement| of(statement.sql))
        .sum()
}

#[test]
fn children_waiting_for_an_outside_job_cost_linear_time() {
    let [half, whole] = [500, 1000].map(|jobs| {
        let mut sandbox = Sandbox::new();
        let parent = sandbox.enqueue(NewJob::new("parent"));
        let outside = sandbox.enqueue(NewJob::new("outside"));
        let limits = EnqueueLimits::default();
        sandbox.write(|tx| {
            for _ in 0..jobs {
                let job = NewJob::new("child").parent(parent).after([outside]);
                enqueue::enqueue(tx, &ValidatedJob::new(job, &limits)?)?;
            }
            Ok(())
        });
        steps_of(&sandbox, &[job_row::STATEMENTS, dependencies::STATEMENTS])
    });
    assert!(
        whole as f64 <= half as f64 * 2.2,
        "{half} steps, then {whole}"
    );
}

#[test]
fn places_that_are_raised_are_given_away_in_linear_time() {
    let [half, whole] = [500, 1000].map(|jobs: u32| {
        let mut sandbox = Sandbox::new();
        for _ in 0..jobs {
            sandbox.enqueue(NewJob::new("send").key("k"));
        }
        let before = steps_of(&sandbox, &[concurrency_slots::STATEMENTS]);
        sandbox.write(|tx| concurrency_slots::set_number(tx, "k", jobs));
        assert_eq!(
            sandbox.number("SELECT count(*) FROM jobq_job WHERE state = 2"),
            i64::from(jobs)
        );
        steps_of(&sandbox, &[concurrency_slots::STATEMENTS]) - before
    });
    assert!(
        whole as f64 <= half as f64 * 2.2,
        "{half} steps, then {whole}"
    );
}

#[test]
fn places_are_counted_only_where_somebody_may_get_one() {
    let [few, many] = [10, 1000].map(|jobs| {
        let mut sandbox = Sandbox::new();
        let keyed = NewJob::new("send").key("k").key_limit(jobs);
        let first = sandbox.enqueue(keyed.clone());
        for _ in 1..jobs {
            sandbox.enqueue(keyed.clone());
        }
        let steps = |sandbox: &Sandbox| steps_of(sandbox, &[concurrency_slots::STATEMENTS]);
        let before = steps(&sandbox);
        sandbox.complete(first);
        let left = steps(&sandbox) - before;
        let [last, waits] = [(); 2].map(|()| sandbox.enqueue(keyed.clone()));
        assert_eq!(sandbox.states(&[last, waits]), [Pending, Blocked]);
        let before = steps(&sandbox);
        let behind = sandbox.enqueue(keyed);
        assert_eq!(sandbox.state(behind), Blocked);
        left + steps(&sandbox) - before
    });
    assert!(many < few * 2, "{few} steps, then {many}");
}

#[test]
fn a_retry_does_not_look_at_the_children_that_are_to_come() {
    let [few, many] = [10, 1000].map(|jobs| {
        let mut sandbox = Sandbox::new();
        let parent = sandbox.enqueue(NewJob::new("parent"));
        for _ in 0..jobs {
            sandbox.enqueue(NewJob::new("child").parent(parent));
        }
        let held = sandbox.start(parent);
        let before = steps_of(&sandbox, &[dependencies::STATEMENTS]);
        sandbox.settle(&held, &retry());
        steps_of(&sandbox, &[dependencies::STATEMENTS]) - before
    });
    assert!(many < few * 2, "{few} steps, then {many}");
}

#[test]
fn what_is_called_off_keeps_no_key_from_the_next_attempt() {
    let mut sandbox = Sandbox::new();
    let parent = sandbox.enqueue(NewJob::new("parent"));
    let hour = Duration::from_secs(3600);
    let spawn = |sandbox: &mut Sandbox| {
        let held = sandbox.start(parent);
        let by = AttemptRef {
            job: parent,
            attempt: held.attempt,
        };
        let child = NewJob::new("child").spawned(parent, by);
        let enqueued = sandbox.try_enqueue(child.unique("k").unique_for(hour));
        (held, enqueued.unwrap())
    };
    let (held, first) = spawn(&mut sandbox);
    sandbox.settle(&held, &retry());
    assert_eq!(sandbox.state(first.id), Cancelled);
    sandbox.now_ms += 5000;
    sandbox.write(|tx| promote::promote_due(tx, 10));
    let (held, second) = spawn(&mut sandbox);
    assert!(!second.duplicate, "the first was never there");
    sandbox.settle(&held, &Verdict::Complete { result: None });
    sandbox.complete(second.id);
    assert_eq!(sandbox.state(parent), Completed);
    sandbox.assert_books_are_right();
}
