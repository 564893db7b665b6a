//! `jobq queue list`.

use std::io::Write;

use jiff::Timestamp;
use jobq::{QueueRecord, State};

use super::args;
use super::clock::now;
use super::exit::{CliResult, Exit};
use super::output::Format;
use super::output::json::{QueueJson, write_line};
use super::output::style::Look;
use super::output::table::{Cell, Column, Fit, Rows};
use super::output::time::{relative, rfc3339};
use super::session::Session;

/// The states that jobs are in most, and their columns.
const STATES: [State; 6] = [
    State::Scheduled,
    State::Pending,
    State::Running,
    State::Completed,
    State::Failed,
    State::Cancelled,
];

/// Columns that a terminal shows only where there is something in them: they are the last.
const RARE: [State; 2] = [State::Blocked, State::Waiting];

pub(super) const COLUMNS: [Column; 10] = [
    ("QUEUE", Fit::Name),
    ("SCHEDULED", Fit::Number),
    ("PENDING", Fit::Number),
    ("RUNNING", Fit::Number),
    ("COMPLETED", Fit::Number),
    ("FAILED", Fit::Number),
    ("CANCELLED", Fit::Number),
    ("PAUSED", Fit::Whole),
    ("BLOCKED", Fit::Number),
    ("WAITING", Fit::Number),
];

pub(super) fn run(args: &args::Queue, session: &Session) -> CliResult {
    match args.verb {
        args::QueueVerb::List => list(session),
    }
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
    let shown = match session.output.format {
        Format::Table => shown(&queues),
        Format::Tabs | Format::Json => COLUMNS.len(),
    };
    let mut rows = Rows::new(&session.output, &COLUMNS[..shown]);
    for queue in &queues {
        let mut row = row(queue, all_paused, now());
        row.truncate(shown);
        rows.push(row)?;
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
    row.extend(RARE.map(|state| number(state, queue.counts.get(state))));
    row
}

/// How many columns a terminal shows: without those at the end that hold zeros only.
pub(super) fn shown(queues: &[QueueRecord]) -> usize {
    let is_rare = |state: &State| queues.iter().all(|queue| queue.counts.get(*state) == 0);
    COLUMNS.len() - RARE.iter().rev().take_while(|state| is_rare(state)).count()
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
