//! A job: its JSON, and what it is to do in a line.

use serde::Deserialize;

use crate::api::json::{Time, json_fields};
use crate::api::text::{shell_word, shortened};
use crate::api::time::millis;
use crate::{
    Children, GROUP_KIND, Jitter, JobId, JobRecord, JobSummary, Prerequisite, PrerequisiteRule,
    Progress, State,
};

/// The part of an `exec` payload that says what is run.
#[derive(Deserialize)]
struct CommandFields {
    command: Option<Vec<String>>,
    shell: Option<String>,
    cwd: Option<String>,
}

/// Maximum length of a command that is shown before its error.
const MAX_TASK_CHARS: usize = 40;

/// What matters most of a job in its state: its progress, what it is to do, and how it failed.
pub fn brief(job: &JobRecord) -> String {
    match (job.state, &job.error, &job.progress) {
        (State::Failed, Some(error), _) => {
            format!("{}: {error}", shortened(&task(job), MAX_TASK_CHARS))
        }
        (State::Running, _, Some(progress)) => format!("{} {}", percent(progress), task(job)),
        _ => task(job),
    }
}

/// The same with nothing left out.
pub fn whole(job: &JobRecord) -> String {
    match (job.state, &job.error) {
        (State::Failed, Some(error)) => format!("{}: {error}", task(job)),
        _ => task(job),
    }
}

/// A command as one would type it; how far a group is; the payload of everything else.
pub fn task(job: &JobRecord) -> String {
    let payload = job.payload.get();
    if is_plain_group(job) {
        return job.children.as_ref().map_or_else(String::new, children);
    }
    if job.kind != "exec" {
        return payload.to_owned();
    }
    match serde_json::from_str::<CommandFields>(payload) {
        Ok(CommandFields {
            command: Some(argv),
            ..
        }) => {
            let words: Vec<_> = argv.iter().map(|argument| shell_word(argument)).collect();
            words.join(" ")
        }
        Ok(CommandFields {
            shell: Some(text), ..
        }) => text,
        _ => payload.to_owned(),
    }
}

/// The same of a job as a list shows it, of which the payload may be cut.
pub fn task_of_preview(job: &JobSummary) -> String {
    let start = &*job.payload.start;
    let is_cut = job.payload.bytes > start.len() as u64;
    if job.kind == GROUP_KIND && start == "null" {
        return job.children.as_ref().map_or_else(String::new, children);
    }
    let told = (job.kind == "exec").then(|| command_at(start)).flatten();
    let mut text = told.unwrap_or_else(|| start.to_owned());
    if is_cut && (text == start || !start.contains(']')) {
        text.push('…');
    }
    text
}

/// The command at the beginning of a payload that may be cut: payloads of commands begin with it.
fn command_at(payload: &str) -> Option<String> {
    if let Some(shell) = payload.strip_prefix("{\"shell\":") {
        return serde_json::Deserializer::from_str(shell)
            .into_iter()
            .next()?
            .ok();
    }
    let mut rest = payload.strip_prefix("{\"command\":[")?;
    let mut words: Vec<String> = Vec::new();
    loop {
        let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        // What is cut is left out.
        let Some(Ok(word)) = strings.next() else {
            break;
        };
        words.push(shell_word(&word));
        rest = &rest[strings.byte_offset()..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    (!words.is_empty()).then(|| words.join(" "))
}

/// A group has no work of its own, and so hardly ever a payload.
pub fn is_plain_group(job: &JobRecord) -> bool {
    job.kind == GROUP_KIND && job.payload.get() == "null"
}

/// `3 of 5 done, 1 failed or cancelled`.
pub fn children(children: &Children) -> String {
    let Children {
        total,
        done,
        failed,
    } = children;
    match (total, failed) {
        (0, _) => "no children".to_owned(),
        (_, 0) => format!("{done} of {total} done"),
        _ => format!("{done} of {total} done, {failed} failed or cancelled"),
    }
}

/// The folder that a command runs in.
pub fn folder(job: &JobRecord) -> Option<String> {
    let command =
        (job.kind == "exec").then(|| serde_json::from_str::<CommandFields>(job.payload.get()));
    command?.ok()?.cwd
}

/// `42% 21/50 reading`.
pub fn percent(progress: &Progress) -> String {
    let units = match (progress.processed, progress.total) {
        (Some(processed), Some(total)) => Some(format!("{processed}/{total}")),
        (Some(processed), None) => Some(processed.to_string()),
        _ => None,
    };
    let parts = [
        progress.percent.map(|percent| format!("{percent:.0}%")),
        units,
        progress.message.clone(),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

json_fields! {
    /// A job.
    pub JobJson(job: &'a JobRecord) {
        id: job.id,
        kind: job.kind,
        queue: job.queue,
        tenant: job.tenant.as_deref(),
        tags: Some(&job.tags).filter(|tags| !tags.is_empty()),
        state: job.state,
        priority: job.priority,
        payload: job.payload,
        result: job.result.as_deref(),
        error: job.error.as_deref(),
        progress: job.progress.as_ref(),
        attempt: job.attempt,
        retries_left: job.retries_left(),
        max_retries: job.retry.max_retries,
        backoff: Some(job.retry.backoff).filter(|_| job.retry.delays.is_empty()),
        retry_delays_ms: retry_delays_ms(job),
        jitter: job.retry.jitter == Jitter::Tenth,
        timeout_ms: job.timeout.map(millis),
        unique_key: job.unique_key.as_deref(),
        key: job.key.as_deref(),
        parent_id: job.parent,
        children: job.children,
        depends_on: depends_on(job),
        schedule: job.schedule.as_deref(),
        slot: job.slot.map(Time),
        hooks: Some(&job.hooks).filter(|hooks| !hooks.is_empty()),
        hook_jobs: Some(&job.hook_jobs).filter(|jobs| !jobs.is_empty()),
        hook_of: job.hook_of.as_ref(),
        traceparent: job.traceparent,
        run_at: job.run_at.map(Time),
        deadline: job.deadline.map(Time),
        created_at: Time(job.created_at),
        updated_at: Time(job.updated_at),
        started_at: job.started_at.map(Time),
        finished_at: job.finished_at.map(Time),
        runner: job.runner,
        worker: job.worker,
    }
}

fn retry_delays_ms(job: &JobRecord) -> Option<Vec<u64>> {
    let delays = Some(&job.retry.delays).filter(|delays| !delays.is_empty());
    delays.map(|delays| delays.iter().copied().map(millis).collect())
}

fn depends_on(job: &JobRecord) -> Option<Vec<JobId>> {
    let others: Vec<JobId> = asked_for(job).map(|other| other.job).collect();
    Some(others).filter(|others| !others.is_empty())
}

/// The prerequisites it was enqueued with, without the ties of a child to its parent.
pub fn asked_for(job: &JobRecord) -> impl Iterator<Item = &Prerequisite> {
    job.depends_on.iter().filter(|other| {
        matches!(
            other.rule,
            PrerequisiteRule::Completed | PrerequisiteRule::Final
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_shows_what_is_known() {
        let progress = Progress::of(21, 50).message("reading");
        assert_eq!(percent(&progress), "42% 21/50 reading");
        assert_eq!(percent(&Progress::percent(7.4)), "7%");
    }
}
