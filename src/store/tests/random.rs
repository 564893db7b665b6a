//! Whatever is done to a file in whatever order, its counters equal a recount, its states follow each
//! other as they may, and its history accounts for every attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::sandbox::{Sandbox, held, verdicts};
use crate::Result;
use crate::event::EventKind;
use crate::job::{JobId, NewJob, Priority, When};
use crate::state::State;
use crate::store::attempts;
use crate::store::claim::{self, ClaimFor, Wish};
use crate::store::due;
use crate::store::edit::{self, Edit};
use crate::store::events::{self, EventFilter};
use crate::store::names;
use crate::store::prune::{self, Pass, Sweep};
use crate::store::queues::{self, Which};
use crate::store::requeue;
use crate::store::runners::{self, Loss};
use crate::store::settle::{self, AheadAgain, Held};
use crate::store::shares::Shares;
use crate::store::tx::Tx;
use crate::store::upkeep;

/// What anybody may do. An index picks one of the things that there are.
#[derive(Clone, Debug)]
enum Op {
    Enqueue {
        queue: u8,
        kind: u8,
        delay_s: u64,
    },
    Claim {
        runner: u8,
        jobs: usize,
        ahead: bool,
    },
    Settle {
        pick: Index,
        verdict: Index,
    },
    GiveBack {
        pick: Index,
        never: bool,
    },
    NoteWorker {
        pick: Index,
    },
    Cancel {
        pick: Index,
    },
    Requeue {
        pick: Index,
    },
    Move {
        pick: Index,
        queue: u8,
    },
    Reschedule {
        pick: Index,
        delay_s: u64,
    },
    Remove {
        pick: Index,
    },
    Pause {
        queue: u8,
    },
    Resume {
        queue: u8,
    },
    Pass {
        seconds: u64,
    },
    TakeOver {
        runner: u8,
    },
    Prune {
        pick: Index,
        seconds: u64,
    },
    Recount,
    /// Some work and then an error: the transaction or the savepoint is rolled back.
    Fail {
        pick: Index,
        savepoint: bool,
    },
}

fn ops() -> impl Strategy<Value = Op> {
    let pick = any::<Index>();
    prop_oneof![
        6 => (0..3u8, 0..2u8, prop_oneof![Just(0), 1..20u64])
            .prop_map(|(queue, kind, delay_s)| Op::Enqueue { queue, kind, delay_s }),
        6 => (0..2u8, 0..4usize, any::<bool>())
            .prop_map(|(runner, jobs, ahead)| Op::Claim { runner, jobs, ahead }),
        8 => (any::<Index>(), any::<Index>()).prop_map(|(pick, verdict)| Op::Settle { pick, verdict }),
        2 => (any::<Index>(), any::<bool>()).prop_map(|(pick, never)| Op::GiveBack { pick, never }),
        1 => any::<Index>().prop_map(|pick| Op::NoteWorker { pick }),
        3 => any::<Index>().prop_map(|pick| Op::Cancel { pick }),
        2 => any::<Index>().prop_map(|pick| Op::Requeue { pick }),
        1 => (any::<Index>(), 0..3u8).prop_map(|(pick, queue)| Op::Move { pick, queue }),
        1 => (any::<Index>(), 0..9u64).prop_map(|(pick, delay_s)| Op::Reschedule { pick, delay_s }),
        1 => any::<Index>().prop_map(|pick| Op::Remove { pick }),
        1 => (0..3u8).prop_map(|queue| Op::Pause { queue }),
        1 => (0..3u8).prop_map(|queue| Op::Resume { queue }),
        3 => (1..10u64).prop_map(|seconds| Op::Pass { seconds }),
        1 => (0..2u8).prop_map(|runner| Op::TakeOver { runner }),
        1 => (any::<Index>(), 0..20u64).prop_map(|(pick, seconds)| Op::Prune { pick, seconds }),
        1 => Just(Op::Recount),
        1 => (pick, any::<bool>()).prop_map(|(pick, savepoint)| Op::Fail { pick, savepoint }),
    ]
}

/// The file, and who acts on it.
struct World {
    sandbox: Sandbox,
    /// The runner that each of two processes is at the moment.
    runners: [i64; 2],
    /// Every claim there ever was: most no longer hold their job.
    claims: Vec<Held>,
    registered: usize,
}

impl World {
    fn new() -> World {
        let mut sandbox = Sandbox::new();
        let runners = [sandbox.runner("0"), sandbox.runner("1")];
        World {
            sandbox,
            runners,
            claims: Vec::new(),
            registered: 2,
        }
    }

    fn states(&self) -> BTreeMap<i64, (State, u32)> {
        let mut statement = self
            .sandbox
            .conn
            .prepare("SELECT id, state, attempt FROM jobq_job")
            .unwrap();
        let rows = statement.query_map([], |row| {
            let state = State::from_code(row.get(1)?).unwrap();
            Ok((row.get(0)?, (state, row.get(2)?)))
        });
        rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    fn job(&self, pick: Index) -> Option<JobId> {
        let ids: Vec<i64> = self.states().into_keys().collect();
        (!ids.is_empty()).then(|| JobId(*pick.get(&ids)))
    }

    fn claim_of(&self, pick: Index) -> Option<Held> {
        // The latest claims are the ones that may still count.
        let recent = &self.claims[self.claims.len().saturating_sub(8)..];
        (!recent.is_empty()).then(|| *pick.get(recent))
    }

    fn act(&mut self, op: &Op) {
        match *op {
            Op::Enqueue {
                queue,
                kind,
                delay_s,
            } => {
                let job = NewJob::new(kind.to_string())
                    .queue(queue.to_string())
                    .delay(Duration::from_secs(delay_s));
                self.sandbox.enqueue(job);
            }
            Op::Claim {
                runner,
                jobs,
                ahead,
            } => self.claim(runner, jobs, ahead),
            Op::Settle { pick, verdict } => {
                let (Some(held), verdicts) = (self.claim_of(pick), verdicts()) else {
                    return;
                };
                self.sandbox.settle(&held, verdict.get(&verdicts));
            }
            Op::GiveBack { pick, never } => {
                let Some(held) = self.claim_of(pick) else {
                    return;
                };
                let again = if never {
                    AheadAgain::Never
                } else {
                    AheadAgain::Yes
                };
                self.sandbox
                    .write(|tx| settle::return_unbegun(tx, &held, again));
            }
            Op::NoteWorker { pick } => {
                let Some(held) = self.claim_of(pick) else {
                    return;
                };
                self.sandbox
                    .write(|tx| runners::note_worker(tx, held.job, held.attempt, 1));
            }
            Op::Pass { seconds } => {
                self.sandbox.now_ms += seconds as i64 * 1000;
                self.sandbox.write(|tx| due::promote_due(tx, 3));
            }
            Op::TakeOver { runner } => {
                let runner = usize::from(runner);
                let lost = self.runners[runner];
                let taken = self
                    .sandbox
                    .write(|tx| runners::take_over(tx, lost, Loss::Dead));
                assert!(taken.is_some());
                self.runners[runner] = self.sandbox.runner(&self.registered.to_string());
                self.registered += 1;
            }
            Op::Pause { queue } => {
                let which = Which::Named(queue.to_string());
                self.sandbox.write(|tx| queues::pause(tx, &which));
            }
            Op::Recount => self.sandbox.write(upkeep::recount),
            _ => self.by_hand(op),
        }
    }

    /// What may be refused, and then changes nothing.
    fn by_hand(&mut self, op: &Op) {
        let now_ms = self.sandbox.now_ms;
        let job = match op {
            Op::Cancel { pick }
            | Op::Requeue { pick }
            | Op::Move { pick, .. }
            | Op::Reschedule { pick, .. }
            | Op::Remove { pick }
            | Op::Fail { pick, .. } => self.job(*pick),
            _ => None,
        };
        let before = self.states();
        let body = |tx: &mut Tx<'_>| -> Result<()> {
            match (op, job) {
                (Op::Cancel { .. }, Some(id)) => edit::cancel(tx, id).map(|_| ()),
                (Op::Requeue { .. }, Some(id)) => requeue::requeue(tx, id),
                (Op::Remove { .. }, Some(id)) => edit::remove(tx, id),
                (Op::Move { queue, .. }, Some(id)) => {
                    let change = Edit {
                        queue: Some(queue.to_string()),
                        priority: Some(Priority::High),
                        ..Edit::default()
                    };
                    edit::edit(tx, id, &change)
                }
                (Op::Reschedule { delay_s, .. }, Some(id)) => {
                    let change = Edit {
                        when: Some(When::In(Duration::from_secs(*delay_s))),
                        ..Edit::default()
                    };
                    edit::edit(tx, id, &change)
                }
                (Op::Resume { queue }, _) => {
                    queues::resume(tx, &Which::Named(queue.to_string())).map(|_| ())
                }
                (Op::Prune { pick, seconds }, _) => {
                    let state = *pick.get(&[State::Completed, State::Failed, State::Cancelled]);
                    let before_ms = now_ms - *seconds as i64 * 1000;
                    let sweep = |kind| Sweep::new(kind, state, before_ms);
                    let pass = Pass {
                        sweeps: names::kind_ids(tx.conn)?.into_iter().map(sweep).collect(),
                        ..Pass::default()
                    };
                    prune::step(tx, &pass).map(|_| ())
                }
                (Op::Fail { savepoint, .. }, Some(id)) => {
                    let fails = |tx: &mut Tx<'_>| -> Result<()> {
                        due::promote_due(tx, 10)?;
                        edit::cancel(tx, id)?;
                        Err(crate::Error::invalid("it fails after it has worked"))
                    };
                    if *savepoint {
                        assert!(tx.savepoint(fails).is_err());
                        return Ok(());
                    }
                    fails(tx)
                }
                _ => Ok(()),
            }
        };
        let done = self.sandbox.try_write(body);
        if done.is_err() || matches!(op, Op::Fail { .. }) {
            assert_eq!(self.states(), before, "refused, and yet changed: {op:?}");
        }
    }

    fn claim(&mut self, runner: u8, jobs: usize, ahead: bool) {
        let runner = self.runners[usize::from(runner)];
        let kinds = self.sandbox.kinds();
        let wish = Wish {
            runner,
            queues: None,
            kinds: &kinds,
            claim_for: if ahead {
                ClaimFor::Ahead
            } else {
                ClaimFor::FreeWorker
            },
            jobs,
        };
        let found = claim::anything(&self.sandbox.conn, &wish, self.sandbox.now_ms).unwrap();
        let claimed = self
            .sandbox
            .write(|tx| claim::claim(tx, &wish, &mut Shares::default()));
        assert!(found || claimed.is_empty(), "it was not seen beforehand");
        assert!(
            ahead || jobs == 0 || found != claimed.is_empty(),
            "it was seen and not claimed"
        );
        self.claims
            .extend(claimed.iter().map(|job| held(job, runner)));
    }

    /// The history of each job accounts for its state and for every attempt.
    fn check_history(&self) {
        for (id, (state, attempts)) in self.states() {
            let history = self.sandbox.history(JobId(id));
            assert_eq!(history[0], EventKind::Enqueued);
            let mut at: Option<State> = None;
            for next in history.iter().filter_map(|kind| leads_to(*kind)) {
                let legal = match at {
                    None => next != State::Completed && next != State::Failed,
                    // Becoming due leaves no event.
                    Some(State::Scheduled) => next == State::Running || next == State::Cancelled,
                    Some(at) => at.may_become(next),
                };
                assert!(legal, "job {id}: {at:?} → {next} in {history:?}");
                at = Some(next);
            }
            match at {
                None | Some(State::Scheduled) => {
                    assert!(matches!(state, State::Scheduled | State::Pending));
                }
                Some(at) => assert_eq!(at, state, "job {id}: {history:?}"),
            }
            let started = history.iter().filter(|kind| **kind == EventKind::Started);
            assert_eq!(started.count(), attempts as usize, "job {id}: {history:?}");
            self.check_attempts(JobId(id), state);
        }
    }

    fn check_attempts(&self, id: JobId, state: State) {
        let attempts = attempts::of_job(&self.sandbox.conn, id).unwrap();
        for (at, attempt) in attempts.iter().enumerate() {
            assert_eq!(attempt.attempt as usize, at + 1);
            let open = at + 1 == attempts.len() && state == State::Running;
            assert_eq!(attempt.outcome.is_none(), open, "job {id}: {attempt:?}");
        }
    }

    /// Nothing is left of jobs that were removed.
    fn check_leftovers(&self) {
        let filter = EventFilter {
            limit: usize::MAX >> 1,
            ..EventFilter::default()
        };
        let states = self.states();
        let page = events::read(&self.sandbox.conn, &filter).unwrap();
        for event in page.events {
            // A late report on a removed job says so itself.
            let known = event.job.is_none_or(|job| states.contains_key(&job.0));
            assert!(known || event.kind == EventKind::ReportDropped);
        }
        for table in ["jobq_payload", "jobq_outcome", "jobq_progress"] {
            let orphans = format!(
                "SELECT count(*) FROM {table} WHERE job_id NOT IN (SELECT id FROM jobq_job)"
            );
            assert_eq!(self.sandbox.number(&orphans), 0, "{table}");
        }
        let payloads = self.sandbox.number("SELECT count(*) FROM jobq_payload");
        assert_eq!(payloads, states.len() as i64);
    }
}

/// The state that an event says its job went to.
fn leads_to(kind: EventKind) -> Option<State> {
    Some(match kind {
        EventKind::Started => State::Running,
        EventKind::Completed => State::Completed,
        EventKind::Failed => State::Failed,
        EventKind::Cancelled => State::Cancelled,
        EventKind::Retry | EventKind::Snoozed => State::Scheduled,
        EventKind::Returned | EventKind::Recovered | EventKind::Requeued => State::Pending,
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counters_states_and_history_agree_after_anything(ops in prop::collection::vec(ops(), 1..120)) {
        let mut world = World::new();
        let mut before = world.states();
        for op in &ops {
            world.act(op);
            let after = world.states();
            for (id, (to, attempt)) in &after {
                let Some((from, earlier)) = before.get(id) else {
                    prop_assert!(matches!(to, State::Pending | State::Scheduled), "job {} began {}", id, to);
                    continue;
                };
                prop_assert!(from == to || from.may_become(*to), "job {}: {} → {} by {:?}", id, from, to, op);
                let claimed = *to == State::Running && from != to;
                prop_assert_eq!(*attempt, earlier + u32::from(claimed), "job {} by {:?}", id, op);
            }
            for (id, (state, _)) in &before {
                prop_assert!(after.contains_key(id) || state.is_final(), "job {} vanished while {}", id, state);
            }
            world.sandbox.assert_counters_are_right();
            before = after;
        }
        world.check_history();
        world.check_leftovers();
    }
}
