//! Cancels by hand in the model, and undoing them: what a job was comes back, unless something stands in the way.

use std::collections::BTreeMap;

use crate::error::Kind as Refused;
use crate::model::family::{PrerequisiteRule as Rule, Stage};
use crate::model::state::{State, WaitReason};
use crate::store::tests::model::acts::Answer;
use crate::store::tests::model::plain::{Children, Edge, Model};

/// The cancels of a job.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cancels {
    /// The latest one, while the job is cancelled by it.
    pub(super) now: Option<Cancel>,
    /// The latest by hand, and whether the job has changed since.
    pub(super) by_hand: Option<(Cancel, bool)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cancel {
    /// The cancel by hand that it is, or followed from.
    root: u32,
    was: State,
    /// A child ran, and was asked to stop.
    has_stopped: bool,
    /// The newest job at that time.
    last_id: i64,
}

impl Model {
    /// Whoever cancels a job that is neither running nor final.
    pub(super) fn cancel_now(&mut self, id: i64) {
        let root = self.root;
        let cancel = root.map(|root| self.cancel_of(id, root));
        self.end(id, State::Cancelled, Children::Cancelled);
        self.job(id).cancels.now = cancel;
        if let Some((_, has_changed)) = &mut self.job(id).cancels.by_hand {
            *has_changed = true;
        }
    }

    fn cancel_of(&self, id: i64, root: u32) -> Cancel {
        let job = &self.jobs[&id];
        let runs = |child: &i64| self.jobs[child].state == State::Running;
        Cancel {
            root,
            was: job.state,
            has_stopped: job.family.is_some() && self.children(id).iter().any(runs),
            last_id: self.last_id,
        }
    }

    pub(super) fn cancel_by_hand(&mut self, id: i64) {
        self.last_root += 1;
        self.root = Some(self.last_root);
        self.cancel_now(id);
        self.root = None;
        let cancels = &mut self.job(id).cancels;
        cancels.by_hand = cancels.now.map(|cancel| (cancel, false));
    }

    /// What is cancelled because of a job's end follows from the same cancel by hand.
    pub(super) fn follow_under_root(&mut self, id: i64, children: Children) {
        let cancel = self.jobs[&id].cancels.now;
        self.root = cancel.map(|cancel| cancel.root);
        self.follow_end(id, children);
        self.root = None;
    }

    /// The job was retried or edited.
    pub(super) fn has_changed(&mut self, id: i64) {
        if let Some((_, has_changed)) = &mut self.job(id).cancels.by_hand {
            *has_changed = true;
        }
    }

    /// Undoes the latest cancel by hand of a job.
    pub(super) fn undo_cancel(&mut self, id: i64) -> Answer {
        let root = match self.jobs.get(&id).ok_or(Refused::NotFound)?.cancels.by_hand {
            Some((cancel, false)) => cancel.root,
            _ => return Err(Refused::WrongState),
        };
        let mut back = BTreeMap::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let job = &self.jobs[&id];
            let cancel = job.cancels.now.filter(|cancel| cancel.root == root);
            let Some(cancel) = cancel.filter(|_| !back.contains_key(&id)) else {
                continue;
            };
            back.insert(id, cancel);
            let waits = |(_, job): &(&i64, &super::plain::Job)| job.edges.contains_key(&id);
            open.extend(self.jobs.iter().filter(waits).map(|(other, _)| *other));
            open.extend(self.children(id));
        }
        for (id, cancel) in &back {
            self.may_be_put_back(*id, cancel)?;
            self.undo_end(*id, cancel.was)?;
        }
        self.follow();
        Ok(format!("{} {}", self.jobs[&id].state, back.len() - 1))
    }

    fn may_be_put_back(&self, id: i64, cancel: &Cancel) -> Result<(), Refused> {
        let job = &self.jobs[&id];
        let lost = job
            .family
            .map_or(0, |family| family.gone_done + family.gone_failed);
        let has_moved_on = |(other, waiter): (&i64, &super::plain::Job)| {
            let edge = waiter.edges.get(&id);
            let had_ended = waiter.state.is_final() && waiter.finished_at < job.finished_at;
            edge.is_some_and(|edge| edge.rule == Rule::Final && edge.met)
                && !had_ended
                && *other <= cancel.last_id
        };
        let parent = job.parent.map(|parent| self.jobs.get(&parent));
        let is_late = parent.is_some_and(|parent| {
            parent.is_none_or(|parent| {
                let stage = parent.family.map(|family| family.stage);
                parent.state.is_final() || stage == Some(Stage::Finalize)
            })
        });
        let is_over = job.can_be_late && job.deadline.is_some_and(|at| at <= self.now);
        match cancel.has_stopped
            || lost > 0
            || is_late
            || is_over
            || (job.needed && self.jobs.iter().any(has_moved_on))
        {
            true => Err(Refused::WrongState),
            false => Ok(()),
        }
    }

    /// Puts a job back, after those that it waits for.
    fn undo_end(&mut self, id: i64, was: State) -> Result<(), Refused> {
        let edges = self.jobs[&id].edges.clone();
        let mut unmet = Vec::new();
        for (needs, edge) in edges.iter().filter(|(_, edge)| !edge.met) {
            if self.keeps(*needs, edge) {
                unmet.push(*needs);
            } else if self.is_met_since(*needs, edge) {
                self.job(id)
                    .edges
                    .insert(*needs, Edge { met: true, ..*edge });
            } else {
                return Err(Refused::WrongState);
            }
        }
        if let Some(key) = self.jobs[&id].unique {
            match self.unique_holder(Some(key)) {
                Some((other, None))
                    if other != id && unmet.contains(&other) && !self.reruns.contains_key(&key) =>
                {
                    self.reruns.insert(key, id);
                }
                Some((other, _)) if other != id => return Err(Refused::WrongState),
                _ => drop(self.uniques.insert(key, (id, None))),
            }
        }
        let now = self.now;
        let job = self.job(id);
        job.watched = job.can_be_late;
        job.cancels.now = None;
        let is_due = job.wait.is_none_or(|wait| wait.at <= now);
        let is_last = job
            .family
            .is_some_and(|family| family.stage == Stage::Finalize);
        job.state = was;
        match was {
            _ if !unmet.is_empty() => job.state = State::Blocked,
            State::Blocked if !is_due => {
                job.state = State::Scheduled;
                job.wait = job.wait.map(|wait| super::plain::Wait {
                    reason: WaitReason::Delay,
                    ..wait
                });
            }
            State::Waiting if !is_last => drop(self.touched.insert(id)),
            State::Pending | State::Blocked | State::Waiting => {
                self.may_run(id);
                if was == State::Pending && self.jobs[&id].state != State::Pending {
                    return Err(Refused::WrongState);
                }
            }
            _ => {}
        }
        self.touched.extend(self.jobs[&id].parent);
        self.has_changed(id);
        Ok(())
    }

    /// Whether a prerequisite can still come to what it has to.
    pub(super) fn keeps(&self, needs: i64, edge: &Edge) -> bool {
        if !self.is_live(needs) {
            return false;
        }
        match edge.rule {
            Rule::Completed | Rule::Final => true,
            Rule::Spawned => self.is_held(needs, edge.attempt.unwrap_or_default()),
            Rule::RunPhase => {
                let family = self.jobs[&needs].family;
                family.is_none_or(|family| family.stage == Stage::Run)
            }
        }
    }

    fn is_met_since(&self, needs: i64, edge: &Edge) -> bool {
        match self.state(needs) {
            None => false,
            Some(state) if !state.is_final() => edge.rule == Rule::RunPhase,
            Some(state) => state == State::Completed || edge.rule == Rule::Final,
        }
    }
}
