//! `jobq undo`.

use clap::Args;
use jobq::api::event::{EventJson, sentence};
use jobq::api::undone::{UndoneJson, said};
use jobq::{Event, EventId, Queue};

use crate::cli::clock::now;
use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::input::values;
use crate::cli::render::event::look;
use crate::cli::render::table::{Cell, Column, Fit, Rows};
use crate::cli::session::Session;

/// Number of changes that are listed.
const LISTED: usize = 10;

#[derive(Debug, Args)]
#[command(after_help = "\
What can be undone: the cancel of a job that was not running, with all that were cancelled because of it; an
edit; pausing, resuming and limiting a queue; pausing and resuming a schedule. A change is undone whole, or
not at all when something has changed since.

Examples:
  jobq undo              lists what can be undone
  jobq undo 318          undoes the change of event 318
  jobq undo @last        undoes the latest change")]
pub(crate) struct UndoArgs {
    /// The event of the change, or @last [default: list the changes that can be undone]
    #[arg(value_name = "EVENT|@last", value_parser = which)]
    pub(crate) event: Option<Which>,
}

/// The change to undo.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Last,
    Event(EventId),
}

fn which(text: &str) -> Result<Which, String> {
    match text {
        "@last" => Ok(Which::Last),
        text => values::event_id(text).map(|id| Which::Event(EventId(id))),
    }
}

pub(crate) fn run(args: &UndoArgs, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let event = match args.event {
        None => return list(&queue, session),
        Some(Which::Event(event)) => event,
        Some(Which::Last) => {
            let last = queue.undoable(1)?.pop();
            let none = || CliError::not_found("there is no change that can be undone");
            last.ok_or_else(none)?.id
        }
    };
    let undone = queue.undo(event)?;
    let answer = UndoneJson(&event, &undone);
    session.output.line(&answer, said(&undone))?;
    Ok(Exit::Done)
}

const COLUMNS: [Column; 4] = [
    ("EVENT", Fit::Number),
    ("WHEN", Fit::Whole),
    ("JOB", Fit::Number),
    ("WHAT", Fit::Shrinks),
];

fn list(queue: &Queue, session: &Session) -> CliResult {
    let mut rows = Rows::new(&session.output, &COLUMNS);
    let events = queue.undoable(LISTED)?;
    for event in &events {
        rows.push(&EventJson(event), || row(event))?;
    }
    rows.finish()?;
    if events.is_empty() {
        session.screen.say("there is no change that can be undone");
    }
    Ok(Exit::Done)
}

fn row(event: &Event) -> Vec<Cell> {
    vec![
        Cell::new(event.id.0),
        Cell::time(Some(event.at), now()),
        Cell::maybe(event.job),
        Cell::new(sentence(event)).look(look(event)),
    ]
}
