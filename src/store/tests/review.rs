//! What a second look at the rules between jobs has found.

use rusqlite::StatementStatus;

use super::sandbox::Sandbox;
use crate::family::GROUP;
use crate::job::{JobId, NewJob, When};
use crate::outcome::Verdict;
use crate::state::State::*;
use crate::store::checked::{CheckedJob, Limits};
use crate::store::due::{self, ClockReading};
use crate::store::{enqueue, places, prerequisites};
use std::time::Duration;

fn retry() -> Verdict {
    Verdict::Retry {
        error: "not now".to_owned(),
        after: Duration::from_secs(5),
    }
}

#[test]
fn the_children_of_a_group_that_was_cancelled_before_it_began_run_when_it_is_put_back() {
    let mut sandbox = Sandbox::new();
    let later = When::In(Duration::from_secs(60));
    let first = sandbox.enqueue(NewJob::new("send"));
    for group in [
        NewJob::new(GROUP).when(later),
        NewJob::new(GROUP).after([first]),
    ] {
        let group = sandbox.enqueue(group);
        let child = sandbox.enqueue(NewJob::new("child").parent(group));
        sandbox.cancel(group);
        assert_eq!(sandbox.states(&[group, child]), [Cancelled, Cancelled]);
        sandbox.requeue(group);
        assert_eq!(sandbox.state(child), Blocked);
        if sandbox.state(group) == Blocked {
            sandbox.complete(first);
        }
        assert_eq!(sandbox.complete(group), Waiting);
        sandbox.complete(child);
        assert_eq!(sandbox.states(&[group, child]), [Completed, Completed]);
        sandbox.assert_books_are_right();
    }
    assert_eq!(
        sandbox.state(first),
        Completed,
        "the second group waited for it again"
    );
}

#[test]
fn a_unique_keys_window_keeps_what_is_left_of_it_when_the_clock_steps() {
    let mut sandbox = Sandbox::new();
    let reading = |offset_ms| ClockReading {
        boot: "this one".to_owned(),
        offset_ms,
    };
    sandbox.write(|tx| due::follow_clock(tx, &reading(0)));
    let unique = NewJob::new("send")
        .unique("k")
        .unique_for(Duration::from_secs(60));
    let first = sandbox.enqueue(unique.clone());
    sandbox.complete(first);
    const YEAR_MS: i64 = 365 * 24 * 60 * 60 * 1000;
    for step_ms in [-YEAR_MS, YEAR_MS] {
        sandbox.now_ms += step_ms;
        let offset_ms = if step_ms < 0 { step_ms } else { 0 };
        sandbox.write(|tx| due::follow_clock(tx, &reading(offset_ms)));
        sandbox.now_ms += 20_000;
        assert!(sandbox.try_enqueue(unique.clone()).unwrap().duplicate);
    }
    sandbox.now_ms -= YEAR_MS;
    sandbox.write(|tx| due::follow_clock(tx, &reading(-YEAR_MS)));
    sandbox.now_ms += 20_000;
    assert!(!sandbox.try_enqueue(unique).unwrap().duplicate);
}

#[test]
fn a_sibling_that_comes_after_its_spawner_is_called_off_with_the_attempt() {
    let mut sandbox = Sandbox::new();
    let group = sandbox.enqueue(NewJob::new(GROUP));
    let spawner = sandbox.enqueue(NewJob::new("spawner").parent(group));
    let sibling = |held: &crate::store::settle::Held| {
        let by = crate::job::AttemptRef {
            job: held.job,
            attempt: held.attempt,
        };
        NewJob::new("sibling").spawned(group, by).after([held.job])
    };
    let held = sandbox.start(spawner);
    let first = sandbox.enqueue(sibling(&held));
    sandbox.settle(&held, &retry());
    assert_eq!(
        sandbox.state(first),
        Cancelled,
        "the next attempt spawns it anew"
    );
    sandbox.now_ms += 5000;
    sandbox.write(|tx| due::promote_due(tx, 10));
    let held = sandbox.start(spawner);
    let second = sandbox.enqueue(sibling(&held));
    sandbox.settle(&held, &Verdict::Complete { result: None });
    assert_eq!(sandbox.state(second), Pending);
    sandbox.complete(second);
    assert_eq!(sandbox.state(group), Completed);
    sandbox.assert_books_are_right();
}

fn steps_of(sandbox: &Sandbox, statements: &[&[crate::store::statement::Statement]]) -> i64 {
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
fn children_that_wait_for_each_other_are_enqueued_in_linear_time() {
    let [half, whole] = [500, 1000].map(|jobs| {
        let mut sandbox = Sandbox::new();
        let parent = sandbox.enqueue(NewJob::new("parent"));
        let mut last: Option<JobId> = None;
        let limits = Limits::default();
        sandbox.write(|tx| {
            for _ in 0..jobs {
                let job = NewJob::new("child").parent(parent).after(last);
                last = Some(enqueue::enqueue(tx, &CheckedJob::new(job, &limits)?)?.id);
            }
            Ok(())
        });
        steps_of(&sandbox, &[prerequisites::STATEMENTS])
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
        let before = steps_of(&sandbox, &[places::STATEMENTS]);
        sandbox.write(|tx| places::set_number(tx, "k", jobs));
        assert_eq!(
            sandbox.number("SELECT count(*) FROM jobq_job WHERE state = 2"),
            i64::from(jobs)
        );
        steps_of(&sandbox, &[places::STATEMENTS]) - before
    });
    assert!(
        whole as f64 <= half as f64 * 2.2,
        "{half} steps, then {whole}"
    );
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
        let before = steps_of(&sandbox, &[prerequisites::STATEMENTS]);
        sandbox.settle(&held, &retry());
        steps_of(&sandbox, &[prerequisites::STATEMENTS]) - before
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
        let by = crate::job::AttemptRef {
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
    sandbox.write(|tx| due::promote_due(tx, 10));
    let (held, second) = spawn(&mut sandbox);
    assert!(!second.duplicate, "the first was never there");
    sandbox.settle(&held, &Verdict::Complete { result: None });
    sandbox.complete(second.id);
    assert_eq!(sandbox.state(parent), Completed);
    sandbox.assert_books_are_right();
}
