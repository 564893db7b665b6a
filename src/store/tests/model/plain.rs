//! The model: jobs in a map, and what each rule says, one plain function each.
//!
//! Written from what the options of a job promise, with nothing kept that can be counted: a family's
//! counters, for one, are its children.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::family::{PrerequisiteRule as Rule, Stage};
use crate::model::state::{State, WaitReason};
use crate::store::jobs::finish_attempt::ClaimToken;
use crate::store::tests::model::ops::{ChildPolicy, Kind};
use crate::store::tests::model::queues::Queue;
use crate::store::tests::model::slots::Slots;
use crate::store::tests::model::undo::Cancels;

#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) kind: Kind,
    pub(super) queue: u8,
    pub(super) priority: u8,
    pub(super) state: State,
    pub(super) attempt: u32,
    pub(super) retries: u32,
    pub(super) crashes: u32,
    pub(super) no_ahead: bool,
    /// Who holds it, and whether it was claimed ahead.
    pub(super) holder: Option<(i64, bool)>,
    pub(super) cancel: bool,
    pub(super) wait: Option<Wait>,
    pub(super) edges: BTreeMap<i64, Edge>,
    pub(super) parent: Option<i64>,
    pub(super) family: Option<Family>,
    pub(super) key: Option<u8>,
    pub(super) unique: Option<u8>,
    pub(super) window_ms: Option<i64>,
    pub(super) deadline: Option<i64>,
    /// The deadline was given as a duration.
    pub(super) deadline_moves: bool,
    /// Nothing has begun that would have met the deadline.
    pub(super) can_be_late: bool,
    /// The deadline is looked at when it passes.
    pub(super) watched: bool,
    pub(super) finished_at: i64,
    pub(super) hooks: u8,
    /// How the job has ended whose hook has enqueued it.
    pub(super) hook_of: Option<String>,
    pub(super) is_under_hook: bool,
    pub(super) cancels: Cancels,
    /// Another has waited for it.
    pub(super) needed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wait {
    pub(super) at: i64,
    pub(super) fixed: bool,
    pub(super) reason: WaitReason,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) rule: Rule,
    /// The attempt that spawned the job, and must complete.
    pub(super) attempt: Option<u32>,
    pub(super) met: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) policy: ChildPolicy,
    pub(super) last_step: bool,
    pub(super) stage: Stage,
    /// Children that were removed, and had completed or not.
    pub(super) gone_done: i64,
    pub(super) gone_failed: i64,
}

/// Total, completed, and failed or cancelled.
pub(super) type Tally = (i64, i64, i64);

/// A concurrency key: who holds a slot and who waits, the most urgent and oldest first.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) places: usize,
    /// Somebody has said how many, and it was not as many as there were.
    pub(super) is_set: bool,
    pub(super) held: BTreeSet<(u8, i64)>,
    pub(super) waiting: BTreeSet<(u8, i64)>,
}

impl Default for Line {
    fn default() -> Line {
        Line {
            places: 1,
            is_set: false,
            held: BTreeSet::new(),
            waiting: BTreeSet::new(),
        }
    }
}

/// What becomes of the live children of a job that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Children {
    Cancelled,
    LeftAlone,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) now: i64,
    /// What the file knows of the wall clock: how far it is ahead of the time since the start.
    pub(super) offset: i64,
    pub(super) known_offset: Option<i64>,
    pub(super) jobs: BTreeMap<i64, Job>,
    pub(super) last_id: i64,
    pub(super) queues: [Queue; 3],
    pub(super) schedules: [Slots; 2],
    pub(super) lines: BTreeMap<u8, Line>,
    /// Who has a unique key, and until when where it has ended.
    pub(super) uniques: BTreeMap<u8, (i64, Option<i64>)>,
    /// Who has it next: a job that runs once more after the one that has it.
    pub(super) reruns: BTreeMap<u8, i64>,
    pub(super) effects: BTreeSet<(i64, u32)>,
    pub(super) runners: [i64; 3],
    pub(super) last_runner: i64,
    /// Every claim there ever was.
    pub(super) claims: Vec<ClaimToken>,
    /// Ended in this transaction, to be followed up: the last first, as the store does.
    pub(super) ended: VecDeque<(i64, Children)>,
    /// Parents whose fate is to be decided: the oldest first.
    pub(super) touched: BTreeSet<i64>,
    /// Whose hooks are to be fired, and whether a runner with hooks of its own writes.
    pub(super) hooked: VecDeque<i64>,
    pub(super) by_runner_with_hooks: bool,
    /// The cancel by hand whose consequences are followed, and the latest.
    pub(super) root: Option<u32>,
    pub(super) last_root: u32,
}

impl Model {
    pub(super) fn new(now: i64) -> Model {
        Model {
            now,
            offset: now,
            known_offset: Some(now),
            schedules: [Slots::new(now), Slots::new(now)],
            runners: [1, 2, 3],
            last_runner: 3,
            ..Model::default()
        }
    }

    pub(super) fn job(&mut self, id: i64) -> &mut Job {
        self.jobs.get_mut(&id).unwrap()
    }

    pub(super) fn state(&self, id: i64) -> Option<State> {
        self.jobs.get(&id).map(|job| job.state)
    }

    pub(super) fn is_live(&self, id: i64) -> bool {
        self.state(id).is_some_and(|state| !state.is_final())
    }

    pub(super) fn is_held(&self, id: i64, attempt: u32) -> bool {
        self.state(id) == Some(State::Running) && self.jobs[&id].attempt == attempt
    }

    fn all(&self, is: impl Fn(&Job) -> bool) -> Vec<i64> {
        let found = self.jobs.iter().filter(|(_, job)| is(job));
        found.map(|(id, _)| *id).collect()
    }

    pub(super) fn children(&self, parent: i64) -> Vec<i64> {
        self.all(|job| job.parent == Some(parent))
    }

    /// Those that wait for a job, by edges that are not met.
    pub(super) fn waiters(&self, needs: i64) -> Vec<(i64, Edge)> {
        let edge = |job: &Job| job.edges.get(&needs).filter(|edge| !edge.met).copied();
        let found = self.jobs.iter();
        found
            .filter_map(|(id, job)| Some((*id, edge(job)?)))
            .collect()
    }

    pub(super) fn tally(&self, parent: i64) -> Tally {
        let family = self.jobs[&parent].family;
        let (gone_done, gone_failed) = family.map_or((0, 0), |f| (f.gone_done, f.gone_failed));
        let children = self.children(parent);
        let of = |is: &dyn Fn(State) -> bool| {
            let found = children.iter().filter(|id| is(self.jobs[*id].state));
            found.count() as i64
        };
        let done = of(&|state| state == State::Completed) + gone_done;
        let failed = of(&|state| matches!(state, State::Failed | State::Cancelled)) + gone_failed;
        let live = of(&|state| !state.is_final());
        (done + failed + live, done, failed)
    }

    // What follows when a job ends.

    pub(super) fn end(&mut self, id: i64, state: State, children: Children) {
        let now = self.now;
        let job = self.job(id);
        job.state = state;
        job.finished_at = now;
        job.cancel = false;
        job.cancels.now = None;
        self.ended.push_back((id, children));
    }

    /// A waiting parent's `cancel` cannot be set: nobody cancels it but at once.
    pub(super) fn cancel_by_rule(&mut self, id: i64) {
        match self.state(id) {
            None => {}
            Some(State::Running) => self.job(id).cancel = true,
            Some(state) if state.is_final() => {}
            Some(_) => self.cancel_now(id),
        }
    }

    pub(super) fn follow(&mut self) {
        loop {
            if let Some((id, children)) = self.ended.pop_front() {
                self.follow_under_root(id, children);
            } else if let Some(parent) = self.touched.pop_first() {
                self.decide(parent);
            } else if let Some(id) = self.hooked.pop_front() {
                self.fire_hooks(id);
            } else {
                return;
            }
        }
    }

    pub(super) fn follow_end(&mut self, id: i64, children: Children) {
        let job = self.jobs[&id].clone();
        let is_passed_on = job.unique.is_some_and(|key| self.pass_key_on(key, id));
        if let Some(key) = job.unique
            && !is_passed_on
            && let Some((holder, until)) = self.uniques.get_mut(&key)
            && *holder == id
        {
            match job.window_ms {
                Some(window) => *until = Some(self.now + window),
                None => drop(self.uniques.remove(&key)),
            }
        }
        self.leave_place(id);
        self.job(id).watched = false;
        for (waiter, edge) in self.waiters(id) {
            match (edge.rule, job.state) {
                (_, State::Completed) => self.meet(id, waiter),
                (Rule::Spawned, _) => self.call_off(waiter),
                (Rule::Final, _) => self.meet(id, waiter),
                (Rule::Completed | Rule::RunPhase, _) => self.cancel_by_rule(waiter),
            }
        }
        if children == Children::Cancelled {
            for child in self.children(id) {
                self.cancel_by_rule(child);
            }
        }
        self.touched.extend(job.parent);
        self.may_fire_hooks(id);
    }

    /// Who ends no longer waits for its key, and leaves it to who waits for its end.
    fn pass_key_on(&mut self, key: u8, id: i64) -> bool {
        let holds = self
            .uniques
            .get(&key)
            .is_some_and(|(holder, _)| *holder == id);
        match self.reruns.get(&key).copied() {
            Some(rerun) if rerun == id => {
                self.reruns.remove(&key);
                true
            }
            Some(rerun) if holds => {
                self.reruns.remove(&key);
                self.uniques.insert(key, (rerun, None));
                true
            }
            _ => false,
        }
    }

    pub(super) fn meet(&mut self, needs: i64, waiter: i64) {
        let job = self.job(waiter);
        if let Some(edge) = job.edges.get_mut(&needs) {
            edge.met = true;
        }
        if job.state == State::Blocked && job.edges.values().all(|edge| edge.met) {
            self.release(waiter);
        }
    }

    /// An attempt that did not complete takes what it has spawned with it: those were never children.
    pub(super) fn attempt_undone(&mut self, id: i64) {
        let attempt = self.jobs[&id].attempt;
        for (waiter, edge) in self.waiters(id) {
            if edge.attempt == Some(attempt) {
                self.call_off(waiter);
            }
        }
    }

    fn call_off(&mut self, id: i64) {
        let parent = self.job(id).parent.take();
        self.touched.extend(parent);
        let window = self.job(id).window_ms.take();
        if let Some(key) = self.jobs[&id].unique
            && !self.pass_key_on(key, id)
            && self
                .uniques
                .get(&key)
                .is_some_and(|(holder, _)| *holder == id)
        {
            self.uniques.remove(&key);
        }
        self.cancel_by_rule(id);
        self.job(id).window_ms = window;
    }

    fn release(&mut self, id: i64) {
        let now = self.now;
        let job = self.job(id);
        if let Some(wait) = job.wait.as_mut().filter(|wait| wait.at > now) {
            wait.reason = WaitReason::Delay;
            job.state = State::Scheduled;
        } else {
            self.may_run(id);
        }
    }

    /// Nothing but its key can keep a job from being pending.
    pub(super) fn may_run(&mut self, id: i64) {
        if self.take_place(id) {
            self.grant(id);
        } else if self.jobs[&id].state != State::Waiting {
            let job = self.job(id);
            job.state = State::Blocked;
            job.wait = None;
        }
    }

    fn grant(&mut self, id: i64) {
        let job = self.job(id);
        if !job.state.is_final() {
            job.state = State::Pending;
            job.wait = None;
        }
    }

    // Concurrency keys.

    fn entry(&self, id: i64) -> Option<(u8, (u8, i64))> {
        let job = &self.jobs[&id];
        Some((job.key?, (3 - job.priority, id)))
    }

    pub(super) fn has_free_place(&self, key: u8) -> bool {
        let line = self.lines.get(&key).cloned().unwrap_or_default();
        line.held.len() < line.places
    }

    /// Whether it may be pending; else it stands in line.
    pub(super) fn take_place(&mut self, id: i64) -> bool {
        let Some((key, entry)) = self.entry(id) else {
            return true;
        };
        let free = self.has_free_place(key);
        let line = self.lines.entry(key).or_default();
        if free {
            line.held.insert(entry);
        } else {
            line.waiting.insert(entry);
        }
        free
    }

    pub(super) fn leave_place(&mut self, id: i64) {
        let Some((key, entry)) = self.entry(id) else {
            return;
        };
        let line = self.lines.entry(key).or_default();
        line.waiting.remove(&entry);
        if line.held.remove(&entry) {
            self.hand_out(key);
        }
    }

    pub(super) fn hand_out(&mut self, key: u8) {
        while self.has_free_place(key) {
            let line = self.lines.entry(key).or_default();
            let Some(next) = line.waiting.pop_first() else {
                return;
            };
            line.held.insert(next);
            self.grant(next.1);
        }
    }

    pub(super) fn set_places(&mut self, key: u8, places: u32) {
        let line = self.lines.entry(key).or_default();
        if line.places != places as usize {
            (line.places, line.is_set) = (places as usize, true);
            self.hand_out(key);
        }
    }

    /// Changes what a job's place in the line depends on.
    pub(super) fn set_priority(&mut self, id: i64, priority: u8) {
        let Some((key, before)) = self.entry(id) else {
            self.job(id).priority = priority;
            return;
        };
        self.job(id).priority = priority;
        let after = (3 - priority, id);
        let line = self.lines.entry(key).or_default();
        for places in [&mut line.held, &mut line.waiting] {
            if places.remove(&before) {
                places.insert(after);
            }
        }
    }

    // Families.

    fn decide(&mut self, parent: i64) {
        let Some(job) = self.jobs.get(&parent) else {
            return;
        };
        let Some(family) = job.family.filter(|_| job.state == State::Waiting) else {
            return;
        };
        let (total, done, failed) = self.tally(parent);
        let live = total - done - failed;
        if family.stage == Stage::Finalize || (job.kind == Kind::Group && total == 0) {
            return;
        }
        match family.policy {
            ChildPolicy::FailFast if failed > 0 => {
                self.end(parent, State::Failed, Children::LeftAlone);
            }
            ChildPolicy::CancelOthers if failed > 0 => {
                self.end(parent, State::Failed, Children::Cancelled);
            }
            _ if live > 0 => {}
            ChildPolicy::FailAtEnd if failed > 0 => {
                self.end(parent, State::Failed, Children::LeftAlone);
            }
            _ if family.last_step => {
                self.family(parent).stage = Stage::Finalize;
                self.may_run(parent);
            }
            _ => self.end(parent, State::Completed, Children::LeftAlone),
        }
    }

    pub(super) fn family(&mut self, id: i64) -> &mut Family {
        let none = Family {
            policy: ChildPolicy::default(),
            last_step: false,
            stage: Stage::Run,
            gone_done: 0,
            gone_failed: 0,
        };
        self.job(id).family.get_or_insert(none)
    }
}
