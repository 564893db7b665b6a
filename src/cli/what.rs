//! What a job is about, in a line.

use jobq::{Children, GROUP_KIND, JobRecord, Progress, State};
use serde::Deserialize;

use super::why::word;

/// The part of an `exec` payload that says what is run.
#[derive(Deserialize)]
struct Command {
    command: Option<Vec<String>>,
    shell: Option<String>,
    cwd: Option<String>,
}

/// Of a command before its error so many characters are shown.
const MAX_TASK_CHARS: usize = 40;

/// What matters most of a job in its state: its progress, what it is to do, and how it failed.
pub(super) fn brief(job: &JobRecord) -> String {
    match (job.state, &job.error, &job.progress) {
        (State::Failed, Some(error), _) => format!("{}: {error}", shortened(&task(job))),
        (State::Running, _, Some(progress)) => format!("{} {}", percent(progress), task(job)),
        _ => task(job),
    }
}

/// The same with nothing left out.
pub(super) fn whole(job: &JobRecord) -> String {
    match (job.state, &job.error) {
        (State::Failed, Some(error)) => format!("{}: {error}", task(job)),
        _ => task(job),
    }
}

fn shortened(task: &str) -> String {
    match task.char_indices().nth(MAX_TASK_CHARS) {
        Some((end, _)) => format!("{}…", &task[..end]),
        None => task.to_owned(),
    }
}

/// A command as one would type it; how far a group is; the payload of everything else.
pub(super) fn task(job: &JobRecord) -> String {
    let payload = job.payload.get();
    if is_plain_group(job) {
        return job.children.as_ref().map_or_else(String::new, children);
    }
    if job.kind != "exec" {
        return payload.to_owned();
    }
    match serde_json::from_str::<Command>(payload) {
        Ok(Command {
            command: Some(argv),
            ..
        }) => {
            let words: Vec<_> = argv.iter().map(|argument| word(argument)).collect();
            words.join(" ")
        }
        Ok(Command {
            shell: Some(text), ..
        }) => text,
        _ => payload.to_owned(),
    }
}

/// A group has no work of its own, and so hardly ever a payload.
pub(super) fn is_plain_group(job: &JobRecord) -> bool {
    job.kind == GROUP_KIND && job.payload.get() == "null"
}

/// `3 of 5 done, 1 failed or cancelled`.
pub(super) fn children(children: &Children) -> String {
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
pub(super) fn folder(job: &JobRecord) -> Option<String> {
    let command = (job.kind == "exec").then(|| serde_json::from_str::<Command>(job.payload.get()));
    command?.ok()?.cwd
}

/// `42% 21/50 reading`.
pub(super) fn percent(progress: &Progress) -> String {
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

/// `████████░░░░░░░░░░░░`: a percentage as a bar.
pub(super) fn bar(percent: f64) -> String {
    const WIDTH: usize = 20;
    let full = ((percent / 100.0).clamp(0.0, 1.0) * WIDTH as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(WIDTH - full))
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

    #[test]
    fn a_bar_is_empty_at_the_start_and_full_at_the_end() {
        assert_eq!(bar(0.0), "░".repeat(20));
        assert_eq!(bar(50.0), "█".repeat(10) + &"░".repeat(10));
        assert_eq!(bar(100.0), "█".repeat(20));
    }
}
