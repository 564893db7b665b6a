//! The file and the model side by side.

use crate::store::tests::sandbox::START_MS;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::timestamp;
use crate::error::Kind as Refused;
use crate::model::state::State;
use crate::store::sqlite::tx::Tx;
use crate::store::tests::model::action::Action;
use crate::store::tests::model::check::{check, check_nothing_is_stuck, check_steps};
use crate::store::tests::model::history::check_history;
use crate::store::tests::model::ops::{End, Op};
use crate::store::tests::model::plain::{Job, Model};
use crate::store::tests::model::world;
use crate::store::tests::model::world::World;
use crate::{Error, Result};

/// What a sequence has led to, to see that the random ones lead everywhere.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) steps: BTreeSet<(State, State)>,
    pub(super) refused: BTreeSet<String>,
}

impl Seen {
    pub(super) fn add(&mut self, more: Seen) {
        self.steps.extend(more.steps);
        self.refused.extend(more.refused);
    }
}

/// Whether a sequence fails, from an empty file.
pub(super) fn fails(ops: &[Op]) -> bool {
    run(ops).is_err()
}

/// Runs a sequence from an empty file: what was seen, or what fails, and at which operation. A panic is
/// a failure too.
pub(super) fn run(ops: &[Op]) -> std::result::Result<Seen, String> {
    std::panic::catch_unwind(|| run_all(ops)).unwrap_or_else(|_| Err("it panicked".to_owned()))
}

fn run_all(ops: &[Op]) -> std::result::Result<Seen, String> {
    let mut bench = Bench {
        world: World::new(),
        model: Model::new(START_MS),
        seen: Seen::default(),
    };
    for (at, op) in ops.iter().enumerate() {
        bench
            .step(op)
            .map_err(|wrong| format!("at {at}, {op:?}:\n{wrong}"))?;
    }
    bench
        .run_out()
        .map_err(|wrong| format!("at the end: {wrong}"))?;
    Ok(bench.seen)
}

struct Bench {
    world: World,
    model: Model,
    seen: Seen,
}

/// What is wrong, in words.
type Wrong = String;

impl Bench {
    fn step(&mut self, op: &Op) -> std::result::Result<(), Wrong> {
        self.act(op)?;
        check(&self.world.conn, &self.model)
    }

    fn act(&mut self, op: &Op) -> std::result::Result<(), Wrong> {
        match op {
            Op::Pass(seconds) => {
                self.world
                    .hand
                    .advance(Duration::from_secs((*seconds).into()));
                self.model.now += i64::from(*seconds) * 1000;
                Ok(())
            }
            Op::Step(seconds) => {
                let step_ms = i64::from(*seconds) * 1000;
                let to = self.world.clock.now_ms() + step_ms;
                self.world.hand.step(timestamp(to));
                self.model.now += step_ms;
                self.model.offset += step_ms;
                Ok(())
            }
            Op::Restart => {
                self.world.restart();
                Ok(())
            }
            Op::Sabotage(sql) => {
                self.world.conn.execute_batch(sql).unwrap();
                Ok(())
            }
            Op::Undone(op) => {
                let action = Action::of(op, &self.model);
                let undone = self.world.transaction(|tx| {
                    world::perform(tx, &action)?;
                    Err::<(), _>(Error::invalid("it fails after it has worked"))
                });
                undone.map_or(Ok(()), |()| Err("it was not undone".to_owned()))
            }
            Op::Together(ops) => self.together(ops),
            op => self.alone(op),
        }
    }

    fn alone(&mut self, op: &Op) -> std::result::Result<(), Wrong> {
        let action = Action::of(op, &self.model);
        let got = self.world.transaction(|tx| world::perform(tx, &action));
        compare(&mut self.model, (&action, got), &mut self.seen)
    }

    /// Several commands in one transaction, each whole or not at all.
    fn together(&mut self, ops: &[Op]) -> std::result::Result<(), Wrong> {
        let (model, seen) = (&mut self.model, &mut self.seen);
        let done = self.world.transaction(|tx: &mut Tx<'_>| {
            model.follow_clock();
            let mut wrong = Ok(());
            for op in ops {
                let action = Action::of(op, model);
                let got = tx.savepoint(|tx| world::perform(tx, &action));
                wrong = wrong.and_then(|()| compare(model, (&action, got), seen));
            }
            Ok(wrong)
        });
        done.unwrap_or_else(|error| Err(format!("the transaction failed: {error}")))
    }

    /// Lets time pass and every attempt complete until nothing more happens.
    fn run_out(&mut self) -> std::result::Result<(), Wrong> {
        let done = End::Done {
            spawns: Vec::new(),
            last_step: false,
        };
        let states = |model: &Model| {
            let states = model.jobs.iter();
            states
                .map(|(id, job)| (*id, job.state, job.attempt))
                .collect::<Vec<_>>()
        };
        check_history(&self.world.conn, &self.model)?;
        let turn = Op::Turn {
            runner: 0,
            ends: Vec::new(),
            crash: None,
            jobs: 20,
        };
        self.step(&Op::Pass(30))?;
        self.step(&turn)?;
        self.step(&Op::PauseSchedules)?;
        self.step(&Op::Resume(0))?;
        self.step(&Op::Resume(1))?;
        let mut idle = 0;
        while idle < 3 {
            let before = states(&self.model);
            self.step(&Op::Pass(30))?;
            self.step(&turn)?;
            while self
                .model
                .jobs
                .values()
                .any(|job| job.state == State::Running)
            {
                self.step(&Op::Settle(0, done.clone()))?;
            }
            let same = states(&self.model) == before;
            idle = if same { idle + 1 } else { 0 };
        }
        check_history(&self.world.conn, &self.model)?;
        check_nothing_is_stuck(&self.model)
    }
}

/// Lets the model do what the file has done, and compares their answers. What is refused changes
/// nothing.
fn compare(
    model: &mut Model,
    (action, got): (&Action, Result<world::Reply>),
    seen: &mut Seen,
) -> std::result::Result<(), Wrong> {
    let mut next = model.clone();
    let none = world::Reply::default();
    let chosen = got.as_ref().unwrap_or(&none);
    let expected: std::result::Result<String, Refused> =
        next.perform(action, (&chosen.claimed, &chosen.fired));
    match (got, expected) {
        (Ok(reply), Ok(expected)) if reply.said == expected => {
            let wrong = check_steps(model, &next, action);
            let both = |(id, job): (&i64, &Job)| Some((job.state, next.state(*id)?));
            seen.steps.extend(model.jobs.iter().filter_map(both));
            *model = next;
            wrong
        }
        (Err(error), Err(kind)) if error.kind() == kind => {
            seen.refused.insert(format!("{kind:?}"));
            Ok(())
        }
        (Ok(reply), expected) => Err(format!(
            "the file says {reply:?}, the model {expected:?}\n  of {action:?}"
        )),
        (Err(error), expected) => Err(format!(
            "the file refuses '{error}', the model says {expected:?}\n  of {action:?}"
        )),
    }
}
