//! `jobq queue list` and `jobq queue set`.

use std::io::Write;

use jiff::Timestamp;
use jobq::{Change, QueueLimits, QueueRecord, State};

use super::args;
use super::clock::now;
use super::exit::{CliResult, Exit};
use super::limits;
use super::output::json::{QueueJson, write_line};
use super::output::style::Look;
use super::output::table::{Cell, Column, Fit, Rows};
use super::output::time::{relative, rfc3339};
use super::session::Session;

/// The states that jobs can be in, and their columns.
const STATES: [State; 6] = [
    State::Scheduled,
    State::Pending,
    State::Running,
    State::Completed,
    State::Failed,
    State::Cancelled,
];

pub(super) const COLUMNS: [Column; 9] = [
    ("QUEUE", Fit::Name),
    ("SCHEDULED", Fit::Number),
    ("PENDING", Fit::Number),
    ("RUNNING", Fit::Number),
    ("COMPLETED", Fit::Number),
    ("FAILED", Fit::Number),
    ("CANCELLED", Fit::Number),
    ("PAUSED", Fit::Whole),
    ("LIMITS", Fit::Shrinks),
];

pub(super) fn run(args: &args::Queue, session: &Session) -> CliResult {
    match &args.verb {
        args::QueueVerb::List => list(session),
        args::QueueVerb::Set(set) => limit(set, session),
    }
}

fn limit(args: &args::SetQueue, session: &Session) -> CliResult {
    let limits = QueueLimits {
        concurrency: args.concurrency.unwrap_or_default(),
        rate: args.rate.unwrap_or_default(),
        max_size: args.max_size.unwrap_or_default(),
        weight: args.weight.map_or(Change::Keep, Change::Set),
    };
    let queue = session.queue()?;
    queue.set_limits(&args.name, limits)?;
    let all_paused = queue.all_paused_since()?;
    let queues = queue.queues()?;
    if let Some(record) = queues.iter().find(|record| record.name == args.name) {
        let answer = QueueJson::new(record, all_paused);
        let said = limits::said(&record.limits);
        let said = said.unwrap_or_else(|| "no limits".to_owned());
        let said = format!("queue '{}': {said}", record.name);
        session.output.line(&answer, said)?;
    }
    Ok(Exit::Done)
}

fn list(session: &Session) -> CliResult {
    let queue = session.queue()?;
    let all_paused = queue.all_paused_since()?;
    let queues = queue.queues()?;
    if session.output.is_json() {
        let mut out = session.output.stdout();
        for queue in &queues {
            write_line(&mut out, &QueueJson::new(queue, all_paused))?;
        }
        out.flush()?;
        return Ok(Exit::Done);
    }
    let mut rows = Rows::new(&session.output, &COLUMNS);
    for queue in &queues {
        rows.push(row(queue, all_paused, now()))?;
    }
    rows.finish()?;
    Ok(Exit::Done)
}

/// A queue's row under [`COLUMNS`].
pub(super) fn row(queue: &QueueRecord, all_paused: Option<Timestamp>, now: Timestamp) -> Vec<Cell> {
    let mut row = vec![Cell::new(&queue.name)];
    row.extend(STATES.map(|state| number(state, queue.counts.get(state))));
    row.push(match queue.paused_at.or(all_paused) {
        Some(at) => Cell::either(relative(at, now), rfc3339(at)).look(Look::Warn),
        None => Cell::new(""),
    });
    row.push(Cell::either(
        limits::said(&queue.limits).unwrap_or_default(),
        limits::listed(&queue.limits),
    ));
    row
}

/// Zeros step back, so that the eye finds the rest.
fn number(state: State, jobs: u64) -> Cell {
    let look = if jobs == 0 {
        Look::Dim
    } else {
        Look::State(state)
    };
    Cell::new(jobs).look(look)
}
