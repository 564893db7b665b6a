//! Firing hooks: enqueues their jobs when a job has ended, in the same transaction. A runner has its hooks in memory. The
//! job of a hook and its children fire none.

use crate::Result;
use crate::model::event::{EventKind, Level, LogEntry};
use crate::model::flags::JobFlags;
use crate::model::hook::{HookEvent, HookTrigger};
use crate::model::job::Traceparent;
use crate::store::jobs::validate::ValidatedJob;
use crate::store::jobs::{enqueue, families, traceparents};
use crate::store::sqlite::statement::{statements, text};
use crate::store::sqlite::tx::{Ended, NewEvent, Tx};

statements! {
    hot HOOKS_OF_JOB = "SELECT hook, job FROM jobq_hook WHERE job_id = ?1 ORDER BY hook";
    hot JOB_HOW_ENDED = "SELECT j.kind_id, j.queue_id, j.attempt, o.error
        FROM jobq_job j LEFT JOIN jobq_outcome o ON o.job_id = j.id WHERE j.id = ?1";
}

/// Enqueues the jobs of all hooks that the end of a job fires.
pub(crate) fn fire(tx: &mut Tx<'_>, ended: Ended) -> Result<()> {
    let is_parent = ended.flags.has(JobFlags::FAMILY);
    let children = match is_parent {
        true => families::get(tx.conn, ended.job)?.map(|family| family.children),
        false => None,
    };
    let has_children = children.is_some_and(|children| children.total > 0);
    let is_fired = |hook: HookTrigger| hook.is_fired_by(ended.to, has_children);
    let mut fired = of_job(tx, ended)?;
    fired.retain(|(hook, _)| is_fired(*hook));
    let runner_hooks = tx.pending.runner_hooks.clone();
    let of_runner = runner_hooks.iter().flat_map(|hooks| hooks.iter());
    let mut of_runner = of_runner
        .filter(|(filter, _)| is_fired(filter.trigger))
        .peekable();
    if fired.is_empty() && of_runner.peek().is_none() {
        return Ok(());
    }
    let (kind, queue, attempts, error) = tx.one(JOB_HOW_ENDED, [ended.job.0], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, text(row.get_ref(3)?)))
    })?;
    let mut event = HookEvent {
        hook: HookTrigger::Ended,
        job: ended.job,
        kind: tx.names.kind_name(tx.conn, kind)?.to_string(),
        queue: tx.names.queue_name(tx.conn, queue)?.to_string(),
        state: ended.to,
        error: error.as_deref().map(HookEvent::brief),
        attempts,
        children,
    };
    let of_runner = of_runner.filter(|(filter, _)| filter.is_for(&event.kind, &event.queue));
    fired.extend(of_runner.map(|(filter, job)| (filter.trigger, job.clone())));
    let traceparent = traceparents::of_job(tx, ended.job, ended.flags)?;
    for (hook, template) in fired {
        event.hook = hook;
        enqueue_job(tx, (&event, traceparent.as_deref().copied()), &template)?;
    }
    Ok(())
}

/// The hooks of a job itself.
fn of_job(tx: &Tx<'_>, Ended { job, flags, .. }: Ended) -> Result<Vec<(HookTrigger, String)>> {
    if !flags.has(JobFlags::HOOKS) {
        return Ok(Vec::new());
    }
    let rows = tx.all(HOOKS_OF_JOB, [job.0], |row| {
        Ok((row.get(0)?, text(row.get_ref(1)?).unwrap_or_default()))
    })?;
    let known = rows.into_iter();
    Ok(known
        .filter_map(|(code, job)| Some((HookTrigger::from_code(code)?, job)))
        .collect())
}

/// A hook that another program has spoiled does not keep the job from ending.
/// It goes on with the trace of the job that has ended.
fn enqueue_job(
    tx: &mut Tx<'_>,
    (event, traceparent): (&HookEvent, Option<Traceparent>),
    template: &str,
) -> Result<()> {
    let job = match ValidatedJob::stored(template, None) {
        Ok(job) => job.of_hook(event, traceparent),
        Err(error) => {
            let HookEvent { hook, job, .. } = event;
            log::error!("hook '{hook}' of job {job} cannot be fired: {error}");
            let entry = LogEntry {
                level: Level::Error,
                message: format!("hook '{hook}' cannot be fired: {error}"),
                fields: None,
            };
            let data = serde_json::to_string(&entry).ok();
            return tx.append(NewEvent::job(EventKind::Log, *job).text(data));
        }
    };
    enqueue::enqueue(tx, &job)?;
    Ok(())
}
