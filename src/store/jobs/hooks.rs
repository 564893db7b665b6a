//! The rows of hooks: those of jobs, and what the jobs of hooks are for. Flags say which jobs have such rows.

use crate::Result;
use crate::model::flags::JobFlags;
use crate::model::hook::{HookEvent, HookTrigger};
use crate::model::id::JobId;
use crate::store::jobs::job_row;
use crate::store::sqlite::params;
use crate::store::sqlite::statement::{statements, text};
use crate::store::sqlite::tx::Tx;

statements! {
    hot HOOK_ADD = "INSERT INTO jobq_hook (job_id, hook, job) VALUES (?1, ?2, ?3)";
    hot HOOKS_REMOVE = "DELETE FROM jobq_hook WHERE job_id = ?1";
    hot JOB_WITHOUT_HOOKS = "UPDATE jobq_job SET links = links & ~4096 WHERE id = ?1";
    hot HOOK_JOB_ADD = "INSERT INTO jobq_hook_job (job_id, of_id, event) VALUES (?1, ?2, ?3)";
    hot HOOK_EVENT_GET = "SELECT event FROM jobq_hook_job WHERE job_id = ?1";
}

/// Stores the hooks of a job. The job's flags say that it has some, or will.
pub(crate) fn add(tx: &Tx<'_>, job: JobId, hooks: &[(HookTrigger, String)]) -> Result<()> {
    for (hook, template) in hooks {
        tx.run(HOOK_ADD, params![job.0, hook.code(), template])?;
    }
    Ok(())
}

/// Gives a job with these flags other hooks, or none.
pub(crate) fn replace(
    tx: &Tx<'_>,
    (job, flags): (JobId, JobFlags),
    hooks: &[(HookTrigger, String)],
) -> Result<()> {
    if flags.has(JobFlags::HOOKS) {
        tx.run(HOOKS_REMOVE, [job.0])?;
        tx.run(JOB_WITHOUT_HOOKS, [job.0])?;
    }
    if !hooks.is_empty() {
        job_row::set_flags(tx.conn, job, JobFlags::HOOKS)?;
    }
    add(tx, job, hooks)
}

/// Stores what a hook's job is for.
pub(crate) fn add_job(tx: &Tx<'_>, job: JobId, event: &HookEvent) -> Result<()> {
    let json = serde_json::to_string(event).unwrap_or_default();
    tx.run(HOOK_JOB_ADD, params![job.0, event.job.0, json])?;
    Ok(())
}

/// What a job with these flags is for, if it is a hook's.
pub(crate) fn event(tx: &Tx<'_>, job: JobId, flags: JobFlags) -> Result<Option<Box<HookEvent>>> {
    if !flags.has(JobFlags::HOOK_JOB) {
        return Ok(None);
    }
    let json = tx.optional(HOOK_EVENT_GET, [job.0], |row| Ok(text(row.get_ref(0)?)))?;
    Ok(parse(json.flatten().as_deref()).map(Box::new))
}

/// An event as it is stored. Another program may have written anything.
pub(crate) fn parse(json: Option<&str>) -> Option<HookEvent> {
    serde_json::from_str(json?).ok()
}
