//! `jobq queue list` and `jobq queue set`.

use std::io::Write;

use jiff::Timestamp;
use jobq::{QueueLimitsUpdate, QueueRecord, State, Update};

use super::args;
use super::clock::now;
use super::exit::{CliResult, Exit};
use super::limits;
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

/// The others; their columns are the last but one.
const RARE: [State; 2] = [State::Blocked, State::Waiting];

/// The columns that a terminal shows even where there is nothing in them.
const ALWAYS: [&str; 5] = ["QUEUE", "PENDING", "RUNNING", "COMPLETED", "FAILED"];

pub(super) const COLUMNS: [Column; 11] = [
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
    ("LIMITS", Fit::Shrinks),
];

pub(super) fn run(args: &args::Queue, session: &Session) -> CliResult {
    match &args.verb {
        args::QueueVerb::List => list(session),
        args::QueueVerb::Set(set) => limit(set, session),
    }
}

fn limit(args: &args::SetQueue, session: &Session) -> CliResult {
    let limits = QueueLimitsUpdate {
        concurrency: args.concurrency.unwrap_or_default(),
        rate: args.rate.unwrap_or_default(),
        max_size: args.max_size.unwrap_or_default(),
        weight: args.weight.map_or(Update::Keep, Update::Set),
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
        let declared = session.config.queues.get(&args.name);
        if declared.is_some_and(|declared| declared.differs_from(&record.limits)) {
            session.screen.hint(format!(
                "the config file says otherwise in [queues.{}], and who enqueues or runs jobs brings that back",
                record.name
            ));
        }
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
    let (columns, cells) = match session.output.format {
        Format::Table => table(&queues, all_paused),
        Format::Tabs | Format::Json => (COLUMNS.to_vec(), rows(&queues, all_paused)),
    };
    let mut rows = Rows::new(&session.output, &columns);
    for row in cells {
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
    row.push(Cell::either(
        limits::said(&queue.limits).unwrap_or_default(),
        limits::listed(&queue.limits),
    ));
    row
}

fn rows(queues: &[QueueRecord], all_paused: Option<Timestamp>) -> Vec<Vec<Cell>> {
    let now = now();
    let queues = queues.iter();
    queues.map(|queue| row(queue, all_paused, now)).collect()
}

/// The queues as a terminal shows them: without columns that hold nothing.
pub(super) fn table(
    queues: &[QueueRecord],
    all_paused: Option<Timestamp>,
) -> (Vec<Column>, Vec<Vec<Cell>>) {
    let rows = rows(queues, all_paused);
    let holds = |row: &Vec<Cell>, at: usize| !matches!(row[at].full(), "" | "0");
    let is_shown =
        |at: &usize| ALWAYS.contains(&COLUMNS[*at].0) || rows.iter().any(|row| holds(row, *at));
    let shown: Vec<usize> = (0..COLUMNS.len()).filter(is_shown).collect();
    let columns = shown.iter().map(|at| COLUMNS[*at]).collect();
    let cut = |row: &Vec<Cell>| shown.iter().map(|at| row[*at].clone()).collect();
    (columns, rows.iter().map(cut).collect())
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

#[cfg(test)]
mod tests {
    use jobq::{NewJob, Queue};

    use super::*;

    #[test]
    fn a_terminal_is_spared_columns_that_hold_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
        let titles = |paused| {
            let (columns, rows) = table(&queue.queues().unwrap(), paused);
            assert!(rows.iter().all(|row| row.len() == columns.len()));
            let titles = columns.into_iter().map(|(title, _)| title);
            titles.collect::<Vec<_>>()
        };
        let first = queue.enqueue(NewJob::new("k")).unwrap().id;
        assert_eq!(titles(None), ALWAYS);
        queue.enqueue(NewJob::new("k").after([first])).unwrap();
        let more = [&ALWAYS[..], &["PAUSED", "BLOCKED"]].concat();
        assert_eq!(titles(Some(now())), more);
    }
}
