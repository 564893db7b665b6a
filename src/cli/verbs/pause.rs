//! `jobq pause` and `jobq resume`.

use clap::Args;
use jobq::api::text::shell_word;
use jobq::{Queue, QueueSelector};
use serde::Serialize;

use crate::cli::exit::{CliResult, Exit};
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The queue [default: all queues]
    #[arg(value_name = "QUEUE")]
    pub(crate) queue: Option<String>,
}

#[derive(Serialize)]
struct PauseJson<'a> {
    queue: Option<&'a str>,
    paused: bool,
    changed: bool,
}

pub(crate) fn pause(args: &PauseArgs, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let changed = queue.pause(which(args.queue.as_deref()))?;
    let answer = PauseJson {
        queue: args.queue.as_deref(),
        paused: true,
        changed,
    };
    let said = match changed && has_no_jobs(&queue, args.queue.as_deref())? {
        true => format!("{}; it has no jobs yet", sentence(&answer)),
        false => sentence(&answer),
    };
    session.output.line(&answer, said)?;
    if changed {
        session.screen.hint(match &args.queue {
            Some(name) => format!(
                "running jobs go on; `jobq resume {}` starts jobs of it again",
                shell_word(name)
            ),
            None => "running jobs go on; `jobq resume` starts jobs again".to_owned(),
        });
    }
    Ok(Exit::Done)
}

pub(crate) fn resume(args: &PauseArgs, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let changed = queue.resume(which(args.queue.as_deref()))?;
    let answer = PauseJson {
        queue: args.queue.as_deref(),
        paused: false,
        changed,
    };
    session.output.line(&answer, sentence(&answer))?;
    match &args.queue {
        None => name_the_still_paused(&queue, session)?,
        Some(_) if queue.all_paused_since()?.is_some() => session
            .screen
            .hint("all queues are paused as well: `jobq resume` resumes them"),
        Some(_) => {}
    }
    Ok(Exit::Done)
}

fn which(name: Option<&str>) -> QueueSelector {
    name.map_or(QueueSelector::All, |name| {
        QueueSelector::Named(name.to_owned())
    })
}

fn sentence(answer: &PauseJson<'_>) -> String {
    let Some(name) = answer.queue else {
        return match (answer.paused, answer.changed) {
            (true, true) => "all queues are paused",
            (true, false) => "all queues were paused already",
            (false, true) => "all queues are resumed",
            (false, false) => "there was no pause of all queues",
        }
        .to_owned();
    };
    let what = match (answer.paused, answer.changed) {
        (true, true) => "is paused",
        (true, false) => "was paused already",
        (false, true) => "is resumed",
        (false, false) => "was not paused",
    };
    format!("queue '{name}' {what}")
}

/// A queue may be paused before its first job; its name may be misspelt, too.
fn has_no_jobs(queue: &Queue, name: Option<&str>) -> jobq::Result<bool> {
    let Some(name) = name else {
        return Ok(false);
    };
    let queues = queue.queues()?;
    let record = queues.iter().find(|record| record.name == name);
    Ok(record.is_some_and(|record| record.counts.total() == 0))
}

/// Resuming all does not touch what was paused by name.
fn name_the_still_paused(queue: &Queue, session: &Session) -> CliResult<()> {
    for queue in queue.queues()? {
        if queue.paused_at.is_some() {
            session.screen.hint(format!(
                "queue '{}' is still paused by its name: `jobq resume {}`",
                queue.name,
                shell_word(&queue.name)
            ));
        }
    }
    Ok(())
}
