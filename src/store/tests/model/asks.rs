//! What anybody may ask for, done to the model: new jobs, and what people do to those there are.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Kind as Refused;
use crate::model::family::{PrerequisiteRule as Rule, Stage};
use crate::model::state::{State, WaitReason};
use crate::store::tests::model::action::Wanted;
use crate::store::tests::model::acts::{Answer, DONE};
use crate::store::tests::model::ops::{Delay, Kind, OnDuplicate};
use crate::store::tests::model::plain::{Edge, Job, Model, Wait};
use crate::store::tests::model::undo::Cancels;

impl Model {
    pub(super) fn enqueue(&mut self, given: &Wanted) -> Answer {
        let new = &given.new;
        let wait = self.wait(new.delay);
        let (answer, rerun_of) = self.meet_holder(given, wait)?;
        if let Some(answer) = answer {
            return Ok(answer);
        }
        let is_rerun = rerun_of.is_some();
        let mut wanted = given.clone();
        wanted
            .after_any
            .extend(rerun_of.filter(|holder| !given.after.contains(holder)));
        let wanted = &wanted;
        if !wanted.goes_in {
            self.admit(new.queue)?;
        }
        let edges = self.edges(wanted)?;
        let doomed = edges.iter().any(|(needs, edge)| {
            edge.rule == Rule::Completed && !edge.met && !self.is_live(*needs)
        });
        if let (Some(key), Some(places)) = (new.key, new.places) {
            self.set_places(key, places);
        }
        self.last_id += 1;
        let id = self.last_id;
        for (needs, _) in edges.iter().filter(|(_, edge)| !edge.met) {
            self.job(*needs).needed = true;
        }
        self.jobs.insert(id, fresh(wanted, wait, edges));
        self.arm(id, new.deadline);
        if new.founds() {
            let family = self.family(id);
            family.policy = new.policy.unwrap_or_default();
            family.last_step = new.last_step;
        }
        if let Some(key) = new.unique {
            match is_rerun {
                true => drop(self.reruns.insert(key, id)),
                false => drop(self.uniques.insert(key, (id, None))),
            }
        }
        if let Some(parent) = wanted.parent {
            self.family(parent);
            self.touched.insert(parent);
            let parent = &self.jobs[&parent];
            let is_under_hook = parent.hook_of.is_some() || parent.is_under_hook;
            self.job(id).is_under_hook = is_under_hook;
        }
        let unmet = self.jobs[&id].edges.values().any(|edge| !edge.met);
        let job = self.job(id);
        if unmet {
            job.state = State::Blocked;
        } else if wait.is_some() {
            job.state = State::Scheduled;
        } else if job.kind == Kind::Group {
            job.state = State::Waiting;
            (job.can_be_late, job.watched) = (false, false);
            self.family(id).stage = Stage::Children;
        } else {
            self.may_run(id);
        }
        if doomed {
            self.cancel_by_rule(id);
        }
        Ok(format!("{id} {is_rerun}"))
    }

    /// What becomes of a new job whose unique key is taken: the answer, or the job after which it runs once
    /// more.
    fn meet_holder(
        &mut self,
        given: &Wanted,
        wait: Option<Wait>,
    ) -> Result<(Option<String>, Option<i64>), Refused> {
        let new = &given.new;
        let Some((holder, until)) = self.unique_holder(new.unique) else {
            return Ok((None, None));
        };
        if new.duplicate == OnDuplicate::Reject {
            return Err(Refused::Duplicate);
        }
        let takes_over = matches!(new.duplicate, OnDuplicate::Replace | OnDuplicate::Rerun);
        let next = new.unique.and_then(|key| self.reruns.get(&key).copied());
        for id in [next, Some(holder)].into_iter().flatten() {
            if takes_over && until.is_none() && self.can_be_replaced(id) {
                self.replace(id, given, wait)?;
                return Ok((Some(format!("{id} true")), None));
            }
        }
        if new.duplicate == OnDuplicate::Rerun && until.is_none() {
            return Ok((None, Some(holder)));
        }
        Ok((Some(format!("{holder} true")), None))
    }

    /// What a new job waits for; who cannot be waited for is an error.
    fn edges(&self, wanted: &Wanted) -> Result<Vec<(i64, Edge)>, Refused> {
        if let Some(parent) = wanted.parent {
            let job = self.jobs.get(&parent).ok_or(Refused::NotFound)?;
            if job.state.is_final() {
                return Err(Refused::WrongState);
            }
            match wanted.by {
                Some((by, _)) if !self.jobs.contains_key(&by) => return Err(Refused::NotFound),
                Some((by, attempt)) if !self.is_held(by, attempt) => {
                    return Err(Refused::WrongState);
                }
                _ => {}
            }
            if job
                .family
                .is_some_and(|family| family.stage == Stage::Finalize)
            {
                return Err(Refused::WrongState);
            }
        }
        let mut named = wanted.after.iter().chain(&wanted.after_any);
        if wanted.by.is_some_and(|(by, _)| named.any(|id| *id == by)) {
            return Err(Refused::Invalid);
        }
        let mut edges = BTreeMap::new();
        let named = wanted.after_any.iter().map(|id| (*id, Rule::Final));
        for (id, rule) in named.chain(wanted.after.iter().map(|id| (*id, Rule::Completed))) {
            let state = self.state(id).ok_or(Refused::NotFound)?;
            let met = state == State::Completed || (rule == Rule::Final && state.is_final());
            let attempt = None;
            edges.insert(id, Edge { rule, attempt, met });
        }
        let Some(parent) = wanted.parent else {
            return Ok(edges.into_iter().collect());
        };
        let late = self.late_with(parent, Rule::Final);
        if edges
            .iter()
            .any(|(id, edge)| !edge.met && late.contains(id))
        {
            return Err(Refused::Invalid);
        }
        let mut add = |id: i64, rule, attempt| {
            let met = false;
            let edge = edges.entry(id).or_insert(Edge { rule, attempt, met });
            edge.attempt = edge.attempt.or(attempt);
            edge.met = false;
        };
        let family = self.jobs[&parent].family;
        let by_itself = wanted.by.is_some_and(|(by, _)| by == parent);
        if family.is_none_or(|family| family.stage == Stage::Run) && !by_itself {
            add(parent, Rule::RunPhase, None);
        }
        if let Some((by, attempt)) = wanted.by {
            add(by, Rule::Spawned, Some(attempt));
        }
        Ok(edges.into_iter().collect())
    }

    /// Who cannot be final before a job is (as by one more child of it), or before it has begun.
    fn late_with(&self, job: i64, why: Rule) -> Vec<i64> {
        let mut late = vec![(job, why)];
        let mut at = 0;
        while let Some((id, why)) = late.get(at).copied() {
            at += 1;
            let mut then: Vec<(i64, Rule)> = self.jobs[&id]
                .parent
                .filter(|parent| self.jobs.contains_key(parent))
                .map(|parent| (parent, Rule::Final))
                .into_iter()
                .collect();
            for (waiter, edge) in self.waiters(id) {
                // Who waits for a parent's run phase does not wait for its children, unless the
                // parent itself begins late.
                if why == Rule::RunPhase || matches!(edge.rule, Rule::Completed | Rule::Final) {
                    then.push((waiter, Rule::RunPhase));
                }
            }
            for next in then {
                if !late.contains(&next) {
                    late.push(next);
                }
            }
        }
        late.into_iter().map(|(id, _)| id).collect()
    }

    fn can_be_replaced(&self, id: i64) -> bool {
        let waits = [State::Scheduled, State::Blocked, State::Pending];
        self.jobs.get(&id).is_some_and(|job| {
            let is_last_step = job
                .family
                .is_some_and(|family| family.stage == Stage::Finalize);
            waits.contains(&job.state) && !is_last_step
        })
    }

    fn replace(&mut self, id: i64, wanted: &Wanted, wait: Option<Wait>) -> Result<(), Refused> {
        let new = &wanted.new;
        if new.queue != self.jobs[&id].queue && !wanted.goes_in {
            self.admit(new.queue)?;
        }
        if self.jobs[&id].family.is_some() || new.founds() {
            let family = self.family(id);
            family.policy = new.policy.unwrap_or_default();
            family.last_step = new.last_step;
        }
        self.set_priority(id, new.priority);
        self.arm(id, new.deadline);
        let job = self.job(id);
        (job.kind, job.queue, job.hooks) = (new.kind, new.queue, new.hooks);
        job.window_ms = new.window.map(|window| i64::from(window) * 1000);
        match (job.state, wait) {
            (State::Scheduled, None) => self.may_run(id),
            (State::Scheduled, Some(wait)) => {
                let reason = job.wait.map_or(wait.reason, |wait| wait.reason);
                job.wait = Some(Wait { reason, ..wait });
            }
            (State::Blocked, Some(wait)) if job.edges.values().all(|edge| edge.met) => {
                job.wait = Some(wait);
                job.state = State::Scheduled;
                self.leave_place(id);
            }
            (State::Blocked, wait) => job.wait = wait,
            _ => {}
        }
        Ok(())
    }

    fn arm(&mut self, id: i64, deadline: Option<Delay>) {
        let now = self.now;
        let job = self.job(id);
        job.deadline = deadline.map(|deadline| {
            now + 1000
                * match deadline {
                    Delay::Now => 0,
                    Delay::In(after) => i64::from(after),
                    Delay::At(after) => i64::from(after),
                }
        });
        job.deadline_moves = matches!(deadline, Some(Delay::In(_)));
        job.can_be_late = deadline.is_some();
        job.watched = deadline.is_some();
    }

    pub(super) fn wait(&self, delay: Delay) -> Option<Wait> {
        let (after, fixed) = match delay {
            Delay::Now | Delay::In(0) => return None,
            Delay::In(after) => (i64::from(after), false),
            Delay::At(after) if after <= 0 => return None,
            Delay::At(after) => (i64::from(after), true),
        };
        Some(Wait {
            at: self.now + after * 1000,
            fixed,
            reason: WaitReason::Delay,
        })
    }

    pub(super) fn unique_holder(&mut self, key: Option<u8>) -> Option<(i64, Option<i64>)> {
        let key = key?;
        let (holder, until) = *self.uniques.get(&key)?;
        let taken = until.is_none_or(|until| until > self.now);
        taken.then_some((holder, until))
    }

    pub(super) fn cancel(&mut self, id: i64) -> Answer {
        match self.state(id) {
            None => Err(Refused::NotFound),
            Some(state) if state.is_final() => Err(Refused::WrongState),
            Some(state) => {
                match state {
                    State::Running => self.cancel_by_rule(id),
                    _ => self.cancel_by_hand(id),
                }
                let now = state != State::Running;
                Ok(if now { "Now" } else { "Requested" }.to_owned())
            }
        }
    }

    pub(super) fn retry(&mut self, id: i64) -> Answer {
        let state = self.state(id).ok_or(Refused::NotFound)?;
        if !state.is_final() {
            return Err(Refused::WrongState);
        }
        // The older first: they may be what the younger wait for.
        let mut back = BTreeSet::from([id]);
        while let Some(id) = back.pop_first() {
            let was = self.jobs[&id].state;
            self.put_back(id)?;
            if was != State::Completed {
                let children = self.children(id);
                if children.iter().any(|child| self.jobs[child].cancel) {
                    return Err(Refused::WrongState);
                }
                let undone = |child: &i64| {
                    matches!(self.jobs[child].state, State::Failed | State::Cancelled)
                };
                let undone: Vec<i64> = children.into_iter().filter(undone).collect();
                let (total, ..) = self.tally(id);
                if let Some(family) = &mut self.job(id).family {
                    let removed = std::mem::take(&mut family.gone_failed);
                    if total == removed {
                        family.gone_done = removed;
                    }
                }
                back.extend(undone);
            }
        }
        DONE
    }

    fn put_back(&mut self, id: i64) -> Result<(), Refused> {
        self.has_changed(id);
        self.job(id).cancels.now = None;
        let unique = self.jobs[&id].unique;
        if let Some(key) = unique {
            if self
                .unique_holder(unique)
                .is_some_and(|(holder, _)| holder != id)
            {
                return Err(Refused::Duplicate);
            }
            self.uniques.insert(key, (id, None));
        }
        let job = self.job(id);
        let was = job.state;
        (job.deadline, job.can_be_late, job.watched) = (None, false, false);
        (job.retries, job.crashes, job.no_ahead, job.wait) = (0, 0, false, None);
        self.touched.extend(self.jobs[&id].parent);
        let job = &self.jobs[&id];
        let is_group = job.kind == Kind::Group;
        if let Some(family) = job.family {
            if family.stage != Stage::Run && (is_group || was != State::Completed) {
                self.wait_for_children(id);
                return Ok(());
            }
            self.family(id).stage = Stage::Run;
        }
        let late = self.late_with(id, Rule::RunPhase);
        let keeps = |(needs, edge): (&i64, &Edge)| {
            let is_end = matches!(edge.rule, Rule::Completed | Rule::Final);
            self.keeps(*needs, edge) && !(is_end && late.contains(needs))
        };
        let kept: Vec<i64> = self.jobs[&id]
            .edges
            .iter()
            .filter(|edge| keeps(*edge))
            .map(|(needs, _)| *needs)
            .collect();
        for needs in &kept {
            self.job(*needs).needed = true;
        }
        let job = self.job(id);
        for (needs, edge) in &mut job.edges {
            edge.met = !kept.contains(needs);
        }
        job.state = State::Blocked;
        if kept.is_empty() && is_group && job.family.is_some() {
            self.wait_for_children(id);
        } else if kept.is_empty() {
            self.may_run(id);
        }
        Ok(())
    }

    fn wait_for_children(&mut self, id: i64) {
        self.family(id).stage = Stage::Children;
        self.job(id).state = State::Waiting;
        self.touched.insert(id);
    }

    pub(super) fn remove(&mut self, id: i64) -> Answer {
        let state = self.state(id).ok_or(Refused::NotFound)?;
        if !state.is_final() {
            return Err(Refused::WrongState);
        }
        let parent = self.jobs.remove(&id).and_then(|job| job.parent);
        if let Some(parent) = parent.filter(|parent| self.jobs.contains_key(parent)) {
            let family = self.family(parent);
            if state == State::Completed {
                family.gone_done += 1;
            } else {
                family.gone_failed += 1;
            }
        }
        DONE
    }

    pub(super) fn prune(&mut self, state: u8, seconds: u32) -> Answer {
        let state = [State::Completed, State::Failed, State::Cancelled][usize::from(state) % 3];
        let before = self.now - i64::from(seconds) * 1000;
        // The children of a live parent stay.
        let is_kept = |job: &Job| {
            let parent = job.parent.and_then(|parent| self.jobs.get(&parent));
            parent.is_some_and(|parent| !parent.state.is_final())
        };
        let old = |(_, job): &(&i64, &Job)| {
            job.state == state && job.finished_at < before && !is_kept(job)
        };
        let old: Vec<i64> = self.jobs.iter().filter(old).map(|(id, _)| *id).collect();
        for id in &old {
            self.remove(*id)?;
        }
        let now = self.now;
        self.uniques
            .retain(|_, (_, until)| until.is_none_or(|until| until >= now));
        Ok(old.len().to_string())
    }

    pub(super) fn edit(
        &mut self,
        id: i64,
        (priority, queue): (Option<u8>, Option<u8>),
        delay: Option<Delay>,
    ) -> Answer {
        let state = self.state(id).ok_or(Refused::NotFound)?;
        if state == State::Running || (delay.is_some() && state != State::Scheduled) {
            return Err(Refused::WrongState);
        }
        if let Some(queue) = queue.filter(|queue| *queue != self.jobs[&id].queue)
            && !state.is_final()
        {
            self.admit(queue)?;
        }
        self.has_changed(id);
        if let Some(priority) = priority {
            self.set_priority(id, priority);
        }
        let job = self.job(id);
        job.queue = queue.unwrap_or(job.queue);
        let Some(delay) = delay else { return DONE };
        let Some(wait) = self.wait(delay) else {
            self.may_run(id);
            return DONE;
        };
        let job = self.job(id);
        let reason = job.wait.map_or(wait.reason, |wait| wait.reason);
        job.wait = Some(Wait { reason, ..wait });
        DONE
    }
}

fn fresh(wanted: &Wanted, wait: Option<Wait>, edges: Vec<(i64, Edge)>) -> Job {
    let new = &wanted.new;
    Job {
        kind: new.kind,
        queue: new.queue,
        priority: new.priority,
        state: State::Blocked,
        attempt: 0,
        retries: 0,
        crashes: 0,
        no_ahead: false,
        holder: None,
        cancel: false,
        wait,
        edges: edges.into_iter().collect(),
        parent: wanted.parent,
        family: None,
        key: new.key,
        unique: new.unique,
        window_ms: new.window.map(|window| i64::from(window) * 1000),
        deadline: None,
        deadline_moves: false,
        can_be_late: false,
        watched: false,
        finished_at: 0,
        hooks: new.hooks,
        hook_of: None,
        is_under_hook: false,
        cancels: Cancels::default(),
        needed: false,
    }
}
