//! What each operation does to the model, and what it answers.

use crate::error::Kind as Refused;
use crate::model::family::{PrerequisiteRule as Rule, Stage};
use crate::model::state::{State, WaitReason};
use crate::store::jobs::finish_attempt::ClaimToken;
use crate::store::tests::model::action::{Action, Lost, Settling, Wanted};
use crate::store::tests::model::hooks;
use crate::store::tests::model::ops::{Delay, End, Tolerate};
use crate::store::tests::model::plain::{Children, Job, Model, Wait};
use crate::store::tests::model::slots::Fired;
use crate::store::upkeep::runners::Loss;

pub(super) type Answer = Result<String, Refused>;

pub(super) const DONE: Answer = Ok(String::new());

/// What only the file can choose: the attempts that it has claimed, and the slots it has fired.
pub(super) type Chosen<'a> = (&'a [ClaimToken], &'a [Fired]);

impl Model {
    /// Performs an operation; what the file has claimed and fired for it must be allowed.
    pub(super) fn perform(&mut self, action: &Action, (claimed, fired): Chosen<'_>) -> Answer {
        self.follow_clock();
        let answer = match action {
            Action::Nothing | Action::Repair => DONE,
            Action::Enqueue(wanted) => self.enqueue(wanted),
            Action::Claim {
                runner,
                jobs,
                ahead,
            } => self.claim(*runner, (*jobs, *ahead), claimed),
            Action::Settle(settling) => self.settle(settling),
            Action::Unbegun(held, again) => self.unbegun(held, !again),
            Action::Begin(held) => {
                if self.is_held(held.job.0, held.attempt) {
                    let job = self.job(held.job.0);
                    job.holder = job.holder.map(|(runner, _)| (runner, false));
                }
                DONE
            }
            Action::Lose(lost) => self.lose(*lost),
            Action::Cancel(id) => self.cancel(*id),
            Action::Retry(id) => self.retry(*id),
            Action::UndoCancel(id) => self.undo_cancel(*id),
            Action::Remove(id) => self.remove(*id),
            Action::Edit {
                job,
                priority,
                queue,
                delay,
            } => self.edit(*job, (*priority, *queue), *delay),
            Action::Prune(state, seconds) => self.prune(*state, *seconds),
            Action::Places(key, number) => {
                self.set_places(*key, *number);
                DONE
            }
            Action::Limit(queue, cap) => self.set_cap(*queue, *cap),
            Action::SetSchedulesPaused(is_paused) => self.pause_schedules(*is_paused),
            Action::SetPaused(queue, is_paused) => self.set_paused(*queue, *is_paused),
            Action::Turn {
                runner,
                settlings,
                lost,
                jobs,
            } => self.turn((*runner, *jobs), settlings, *lost, (claimed, fired)),
        };
        self.follow();
        answer
    }

    /// Any fair choice between the queues is right; within one it goes by priority and age, as far as
    /// its limits allow.
    fn claim(
        &mut self,
        runner: i64,
        (jobs, ahead): (usize, bool),
        claimed: &[ClaimToken],
    ) -> Answer {
        for queue in 0..3 {
            let can = |job: &&Job| {
                job.state == State::Pending && job.queue == queue && !(ahead && job.no_ahead)
            };
            let mut line: Vec<_> = self.jobs.iter().filter(|(_, job)| can(job)).collect();
            line.sort_by_key(|(id, job)| (3 - job.priority, **id));
            let line: Vec<i64> = line.into_iter().map(|(id, _)| *id).collect();
            let of_queue = |held: &&ClaimToken| {
                self.jobs
                    .get(&held.job.0)
                    .is_some_and(|job| job.queue == queue)
            };
            let got: Vec<i64> = claimed
                .iter()
                .filter(of_queue)
                .map(|held| held.job.0)
                .collect();
            if got != line[..got.len().min(line.len())] {
                return Ok(format!("a claim of {line:?}, not of {got:?}"));
            }
            let room = self.room(queue, ahead);
            if got.len() > room {
                return Ok(format!("a claim of {room} at most, not of {got:?}"));
            }
            if claimed.len() < jobs && got.len() < line.len().min(room) {
                return Ok(format!("a claim of {room} of {line:?}, not of {got:?}"));
            }
        }
        for held in claimed {
            let job = self.job(held.job.0);
            job.attempt += 1;
            job.state = State::Running;
            job.holder = Some((runner, ahead));
            if job.attempt != held.attempt {
                return Ok(format!("attempt {} of {}", job.attempt, held.job));
            }
            let queue = job.queue;
            self.has_begun(queue);
            self.claims.push(*held);
        }
        DONE
    }

    fn settle(&mut self, settling: &Settling) -> Answer {
        let Settling { held, end, .. } = settling;
        let id = held.job.0;
        let due = match end {
            End::Again(after) => Some(self.wait(Delay::In(*after)).or(self.at_once())),
            End::Snooze(delay) => Some(self.wait(*delay).or(self.at_once())),
            End::Asked(wait) => Some(self.wait(Delay::In(*wait)).or(self.at_once())),
            _ => None,
        }
        .flatten();
        if !self.is_held(id, held.attempt) {
            return Ok("dropped".to_owned());
        }
        let cancel = self.jobs[&id].cancel;
        let to = match end {
            End::Done { last_step, .. } => return self.done(settling, *last_step),
            End::Fail => State::Failed,
            End::Stop => State::Cancelled,
            _ if cancel => State::Cancelled,
            End::Again(_) | End::Snooze(_) | End::Asked(_) => State::Scheduled,
            End::Back | End::Recover => State::Pending,
        };
        if to.is_final() {
            self.end(id, to, Children::Cancelled);
            return Ok(to.to_string());
        }
        let reason = match end {
            End::Again(_) => WaitReason::Retry,
            _ => WaitReason::Snooze,
        };
        let job = self.job(id);
        job.state = to;
        job.wait = due.map(|wait| Wait { reason, ..wait });
        job.retries += u32::from(matches!(end, End::Again(_)));
        job.crashes += u32::from(*end == End::Recover);
        (job.can_be_late, job.watched) = (false, false);
        self.attempt_undone(id);
        if to == State::Scheduled {
            self.leave_place(id);
        }
        Ok(to.to_string())
    }

    fn at_once(&self) -> Option<Wait> {
        Some(Wait {
            at: self.now,
            fixed: false,
            reason: WaitReason::Delay,
        })
    }

    fn done(&mut self, settling: &Settling, last_step: bool) -> Answer {
        let id = settling.held.job.0;
        if settling.founds {
            self.family(id).last_step |= last_step;
        }
        let goes_on = self.jobs[&id].family.is_some_and(|family| {
            let (total, done, failed) = self.tally(id);
            let fails = failed > 0 && family.policy != Tolerate;
            family.stage != Stage::Finalize || total > done + failed || fails
        });
        self.effects.insert((id, settling.held.attempt));
        if !goes_on {
            self.end(id, State::Completed, Children::LeftAlone);
            self.spawn(&settling.spawns)?;
            return Ok(State::Completed.to_string());
        }
        let job = self.job(id);
        job.state = State::Waiting;
        (job.can_be_late, job.watched) = (false, false);
        self.family(id).stage = Stage::Children;
        self.leave_place(id);
        for (waiter, edge) in self.waiters(id) {
            if matches!(edge.rule, Rule::Spawned | Rule::RunPhase) {
                self.meet(id, waiter);
            }
        }
        self.spawn(&settling.spawns)?;
        self.touched.insert(id);
        if std::mem::take(&mut self.job(id).cancel) {
            self.end(id, State::Cancelled, Children::Cancelled);
        }
        Ok(self.jobs[&id].state.to_string())
    }

    fn spawn(&mut self, spawns: &[Wanted]) -> Result<(), Refused> {
        for wanted in spawns {
            // A parent that has ended takes no more children; one that never was is a mistake.
            let parent = wanted.parent.and_then(|parent| self.jobs.get(&parent));
            if parent.is_some_and(|parent| parent.state.is_final()) {
                continue;
            }
            self.enqueue(wanted)?;
        }
        Ok(())
    }

    fn unbegun(&mut self, held: &ClaimToken, never: bool) -> Answer {
        let id = held.job.0;
        if !self.is_held(id, held.attempt) {
            return Ok("dropped".to_owned());
        }
        if self.jobs[&id].cancel {
            self.end(id, State::Cancelled, Children::Cancelled);
            return Ok(State::Cancelled.to_string());
        }
        let job = self.job(id);
        job.state = State::Pending;
        job.no_ahead |= never;
        job.watched = job.can_be_late;
        self.attempt_undone(id);
        Ok(State::Pending.to_string())
    }

    fn lose(&mut self, lost: Lost) -> Answer {
        if matches!(lost.loss, Loss::Hung { heartbeat } if heartbeat != 0) {
            return Ok("it lives".to_owned());
        }
        let mut held: Vec<i64> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.state == State::Running)
            .filter(|(_, job)| job.holder.is_some_and(|(runner, _)| runner == lost.runner))
            .map(|(id, _)| *id)
            .collect();
        // As the index has them: their hooks' jobs get their numbers in the order of the ends.
        held.sort_by_key(|id| (self.jobs[id].cancel, *id));
        for id in &held {
            let attempt = self.jobs[id].attempt;
            let is_it = |held: &&ClaimToken| held.job.0 == *id && held.attempt == attempt;
            let claim = *self.claims.iter().find(is_it).unwrap();
            let job = &self.jobs[id];
            let end = match job.holder {
                _ if job.cancel => End::Stop,
                Some((_, true)) => {
                    self.unbegun(&claim, true)?;
                    continue;
                }
                _ if job.crashes >= 2 => End::Fail,
                _ => End::Recover,
            };
            self.settle(&Settling {
                held: claim,
                end,
                spawns: Vec::new(),
                founds: false,
            })?;
        }
        self.last_runner += 1;
        self.runners[lost.slot] = self.last_runner;
        Ok(format!("{} by {}", held.len(), self.last_runner))
    }

    fn turn(
        &mut self,
        (runner, jobs): (i64, usize),
        settlings: &[Settling],
        lost: Option<Lost>,
        (claimed, fired): Chosen<'_>,
    ) -> Answer {
        let mut said = Vec::new();
        self.by_runner_with_hooks = hooks::of_runner(runner).is_some();
        for settling in settlings {
            said.push(self.settle(settling)?);
        }
        self.cancel_late();
        self.promote();
        let wrong = self.fire(fired)?;
        if !wrong.is_empty() {
            return Ok(wrong);
        }
        if let Some(lost) = lost {
            said.push(self.lose(lost)?);
        }
        self.follow();
        self.by_runner_with_hooks = false;
        let claim = self.claim(runner, (jobs, false), claimed)?;
        Ok(said.join(", ") + &claim)
    }

    fn cancel_late(&mut self) {
        let now = self.now;
        let late = |(id, job): (&i64, &Job)| {
            let at = job.deadline.filter(|at| job.watched && *at <= now)?;
            Some((at, *id))
        };
        let mut late: Vec<(i64, i64)> = self.jobs.iter().filter_map(late).collect();
        late.sort_unstable();
        for (_, id) in late {
            self.job(id).watched = false;
            let state = self.jobs[&id].state;
            if matches!(state, State::Scheduled | State::Blocked | State::Pending) {
                self.cancel_by_rule(id);
            }
        }
    }

    fn promote(&mut self) {
        let now = self.now;
        let due = |(id, job): (&i64, &Job)| {
            let wait = job.wait.filter(|wait| wait.at <= now)?;
            (job.state == State::Scheduled).then_some((wait.at, *id))
        };
        let mut due: Vec<(i64, i64)> = self.jobs.iter().filter_map(due).collect();
        due.sort_unstable();
        for (_, id) in due {
            self.may_run(id);
        }
    }
}
