//! Operations with their picks resolved: what the file and the model are both asked to do.

use crate::store::jobs::finish_attempt::ClaimToken;
use crate::store::tests::model::ops;
use crate::store::tests::model::ops::{Cap, Delay, End, New, Op};
use crate::store::tests::model::plain::Model;
use crate::store::upkeep::runners::Loss;

/// A job to be enqueued, with the numbers of those it is tied to.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) new: New,
    pub(super) parent: Option<i64>,
    /// Job and attempt.
    pub(super) by: Option<(i64, u32)>,
    pub(super) after: Vec<i64>,
    pub(super) after_any: Vec<i64>,
    /// Spawned by an attempt that completes: it goes in however full its queue is.
    pub(super) goes_in: bool,
}

impl Wanted {
    /// Tied to no other job, and it goes in.
    pub(super) fn alone(new: New) -> Wanted {
        Wanted {
            new,
            parent: None,
            by: None,
            after: Vec::new(),
            after_any: Vec::new(),
            goes_in: true,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Settling {
    pub(super) held: ClaimToken,
    pub(super) end: End,
    pub(super) spawns: Vec<Wanted>,
    /// Whether one of them is the job's own child, or it wants a finalize phase.
    pub(super) founds: bool,
}

/// A runner in its slot that is to be taken over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) slot: usize,
    pub(super) runner: i64,
    pub(super) loss: Loss,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    Nothing,
    Enqueue(Wanted),
    Claim {
        runner: i64,
        jobs: usize,
        ahead: bool,
    },
    Settle(Settling),
    Unbegun(ClaimToken, bool),
    Begin(ClaimToken),
    Lose(Lost),
    Cancel(i64),
    Retry(i64),
    UndoCancel(i64),
    Remove(i64),
    Edit {
        job: i64,
        priority: Option<u8>,
        queue: Option<u8>,
        delay: Option<Delay>,
    },
    Prune(u8, u32),
    Places(u8, u32),
    Limit(u8, Cap),
    SetPaused(u8, bool),
    SetSchedulesPaused(bool),
    Repair,
    Turn {
        runner: i64,
        settlings: Vec<Settling>,
        lost: Option<Lost>,
        jobs: usize,
    },
}

impl Action {
    /// What the operation means where the file is as the model says.
    pub(super) fn of(op: &Op, model: &Model) -> Action {
        Action::named(op, model).unwrap_or(Action::Nothing)
    }

    /// None where there is nobody to be named.
    fn named(op: &Op, model: &Model) -> Option<Action> {
        let runner = |slot: u8| model.runners[usize::from(slot) % 3];
        let lost = |slot: u8, loss| Lost {
            slot: usize::from(slot) % 3,
            runner: runner(slot),
            loss,
        };
        Some(match op {
            Op::Enqueue(new) => Action::Enqueue(wanted(new, model, None)),
            Op::Claim {
                runner: slot,
                jobs,
                ahead,
            } => Action::Claim {
                runner: runner(*slot),
                jobs: usize::from(*jobs),
                ahead: *ahead,
            },
            Op::Settle(pick, end) => Action::Settle(settling(live(model, *pick)?, end, model)),
            Op::Report(pick, end) => Action::Settle(settling(any(model, *pick)?, end, model)),
            Op::Unbegun(pick, again) => Action::Unbegun(live(model, *pick)?, *again),
            Op::Begin(pick) => Action::Begin(live(model, *pick)?),
            Op::Crash(slot) => Action::Lose(lost(*slot, Loss::Dead)),
            Op::Hang(slot) => Action::Lose(lost(*slot, Loss::Hung { heartbeat: 0 })),
            Op::LivesAfterAll(slot) => Action::Lose(lost(*slot, Loss::Hung { heartbeat: 7 })),
            Op::Cancel(pick) => Action::Cancel(job(model, *pick)?),
            Op::Retry(pick) => Action::Retry(job(model, *pick)?),
            Op::UndoCancel(pick) => Action::UndoCancel(cancelled(model, *pick)?),
            Op::Remove(pick) => Action::Remove(job(model, *pick)?),
            Op::Edit {
                job: pick,
                priority,
                queue,
                delay,
            } => Action::Edit {
                job: job(model, *pick)?,
                priority: *priority,
                queue: *queue,
                delay: *delay,
            },
            Op::Prune(state, seconds) => Action::Prune(*state, *seconds),
            Op::Places(key, places) => Action::Places(*key, *places),
            Op::Limit(queue, cap) => Action::Limit(*queue, *cap),
            Op::Pause(queue) => Action::SetPaused(*queue, true),
            Op::Resume(queue) => Action::SetPaused(*queue, false),
            Op::PauseSchedules => Action::SetSchedulesPaused(true),
            Op::ResumeSchedules => Action::SetSchedulesPaused(false),
            Op::Repair => Action::Repair,
            Op::Turn {
                runner: slot,
                ends,
                crash,
                jobs,
            } => {
                let end = |(pick, end): &(u8, End)| Some(settling(live(model, *pick)?, end, model));
                Action::Turn {
                    runner: runner(*slot),
                    settlings: ends.iter().filter_map(end).collect(),
                    lost: crash
                        .filter(|crash| crash != slot)
                        .map(|slot| lost(slot, Loss::Dead)),
                    jobs: usize::from(*jobs),
                }
            }
            Op::Pass(_) | Op::Step(_) | Op::Restart | Op::Undone(_) | Op::Together(_) => {
                return None;
            }
            Op::Sabotage(_) => return None,
        })
    }
}

fn nth<T: Copy>(all: &[T], pick: ops::Pick) -> Option<T> {
    let last = all.len().checked_sub(1)?;
    Some(all[last - usize::from(pick) % all.len()])
}

fn job(model: &Model, pick: ops::Pick) -> Option<i64> {
    let ids: Vec<i64> = model.jobs.keys().copied().collect();
    nth(&ids, pick)
}

/// A job that was cancelled by hand.
fn cancelled(model: &Model, pick: ops::Pick) -> Option<i64> {
    let jobs = model.jobs.iter();
    let cancelled = jobs.filter(|(_, job)| job.cancels.by_hand.is_some());
    let ids: Vec<i64> = cancelled.map(|(id, _)| *id).collect();
    nth(&ids, pick)
}

fn any(model: &Model, pick: ops::Pick) -> Option<ClaimToken> {
    nth(&model.claims, pick)
}

fn live(model: &Model, pick: ops::Pick) -> Option<ClaimToken> {
    let holds = |held: &&ClaimToken| model.is_held(held.job.0, held.attempt);
    let live: Vec<ClaimToken> = model.claims.iter().filter(holds).copied().collect();
    nth(&live, pick)
}

fn wanted(new: &New, model: &Model, spawner: Option<i64>) -> Wanted {
    let find = |pick: &ops::Pick| job(model, *pick);
    let by = match spawner {
        Some(_) => None,
        None => new.by.and_then(|pick| any(model, pick)),
    };
    let mut new = new.clone();
    new.key = new.key.filter(|_| new.kind != ops::Group);
    new.places = new.places.filter(|_| new.key.is_some());
    new.window = new.window.filter(|_| new.unique.is_some());
    let own = spawner.or(by.map(|held| held.job.0));
    Wanted {
        parent: new.parent.as_ref().and_then(find).or(own),
        by: by.map(|held| (held.job.0, held.attempt)),
        after: new.after.iter().filter_map(find).collect(),
        after_any: new.after_any.iter().filter_map(find).collect(),
        goes_in: spawner.is_some(),
        new,
    }
}

fn settling(held: ClaimToken, end: &End, model: &Model) -> Settling {
    let id = held.job.0;
    let (spawns, last_step) = match end {
        End::Done { spawns, last_step } => (spawns.as_slice(), *last_step),
        _ => (&[][..], false),
    };
    let spawns: Vec<Wanted> = spawns
        .iter()
        .map(|new| wanted(new, model, Some(id)))
        .collect();
    Settling {
        held,
        end: end.clone(),
        founds: last_step || spawns.iter().any(|wanted| wanted.parent == Some(id)),
        spawns,
    }
}
