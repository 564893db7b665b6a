//! Hooks: what is enqueued when a job has ended, and by whom.

use std::sync::LazyLock;

use rusqlite::Connection;

use crate::model::hook::HookTrigger;
use crate::model::job::NewJob;
use crate::model::job::options::Priority;
use crate::model::limits::EnqueueLimits;
use crate::model::runner_hook::{Hook, RunnerHooks};
use crate::store::jobs::validate::hook_job;
use crate::store::tests::model::action::Wanted;
use crate::store::tests::model::check::{Rows, rows};
use crate::store::tests::model::ops::{Kind, New};
use crate::store::tests::model::plain::{Job, Model};
use crate::store::tests::model::world::{kind_name, queue_name};

/// The hooks that a job may have; each is a bit of [`New::hooks`].
const OF_JOBS: [HookTrigger; 3] = [
    HookTrigger::Completed,
    HookTrigger::Failed,
    HookTrigger::Ended,
];

/// The hooks of a runner that has some.
const OF_RUNNERS: [HookTrigger; 2] = [HookTrigger::Failed, HookTrigger::BatchDone];

static STORED: LazyLock<RunnerHooks> = LazyLock::new(|| {
    let hooks = OF_RUNNERS.map(|trigger| Hook::new(trigger, tell()));
    let stored = hooks.map(|Hook { filter, job }| {
        let json = hook_job(&job, filter.trigger, &EnqueueLimits::default());
        (filter, json.unwrap())
    });
    Some(stored.into())
});

/// Every other runner has hooks.
pub(super) fn of_runner(runner: i64) -> RunnerHooks {
    STORED.clone().filter(|_| runner % 2 == 1)
}

fn tell() -> NewJob {
    NewJob::new(kind_name(Kind::B))
        .queue(queue_name(0))
        .priority(Priority::High)
}

/// Gives a job its hooks.
pub(super) fn give(job: &mut NewJob, bits: u8) {
    let given = of_bits(bits);
    let hook = |trigger| given.contains(&trigger).then(|| Box::new(tell()));
    job.options.on_success = hook(HookTrigger::Completed);
    job.options.on_failure = hook(HookTrigger::Failed);
    job.options.on_end = hook(HookTrigger::Ended);
}

fn of_bits(bits: u8) -> Vec<HookTrigger> {
    let all = OF_JOBS.into_iter().enumerate();
    all.filter(|(bit, _)| bits >> bit & 1 == 1)
        .map(|(_, trigger)| trigger)
        .collect()
}

impl Model {
    /// A job has ended: its hooks are fired once all else has been followed up.
    pub(super) fn may_fire_hooks(&mut self, id: i64) {
        let job = &self.jobs[&id];
        let is_of_hook = job.hook_of.is_some() || job.is_under_hook;
        if !is_of_hook && (job.hooks != 0 || self.by_runner_with_hooks) {
            self.hooked.push_back(id);
        }
    }

    pub(super) fn fire_hooks(&mut self, id: i64) {
        let job = self.jobs[&id].clone();
        let tally = job.family.map(|_| self.tally(id));
        let mut hooks = of_bits(job.hooks);
        if self.by_runner_with_hooks {
            hooks.extend(OF_RUNNERS);
        }
        for hook in hooks {
            let is_fired = match hook {
                HookTrigger::Completed => job.state == crate::State::Completed,
                HookTrigger::Failed => job.state == crate::State::Failed,
                HookTrigger::Ended => true,
                HookTrigger::BatchDone => tally.is_some_and(|(total, ..)| total > 0),
            };
            if !is_fired {
                continue;
            }
            let new = New {
                kind: Kind::B,
                priority: 2,
                ..New::default()
            };
            self.enqueue(&Wanted::alone(new)).unwrap();
            let told = self.last_id;
            let event = format!("{id} {hook} {} {} {tally:?}", job.state, job.attempt);
            self.job(told).hook_of = Some(event);
        }
    }
}

pub(super) fn hooks_in_file(conn: &Connection) -> Rows {
    let sql = "SELECT 'hook ' || hook || ' of ' || job_id, '' FROM jobq_hook
        UNION ALL SELECT 'what ' || h.job_id || ' is for', of_id || ' ' || (event ->> 'hook') || ' ' || (event ->> 'state')
            || ' ' || (event ->> 'attempts') || ' ' || coalesce('Some((' || (event ->> '$.children.total') || ', '
            || (event ->> '$.children.done') || ', ' || (event ->> '$.children.failed') || '))', 'None')
            FROM jobq_hook_job h";
    rows(conn, sql, |row| (row.get(0).unwrap(), row.get(1).unwrap()))
}

pub(super) fn hooks_in_model(model: &Model) -> Rows {
    let of_job = |(id, job): (&i64, &Job)| {
        let id = *id;
        let own = of_bits(job.hooks).into_iter();
        let own = own.map(move |hook| (format!("hook {} of {id}", hook.code()), String::new()));
        let told = job.hook_of.clone();
        own.chain(told.map(|event| (format!("what {id} is for"), event)))
            .collect::<Vec<_>>()
    };
    model.jobs.iter().flat_map(of_job).collect()
}
