//! A queue: its row.

use jiff::Timestamp;
use jobq::api::queue::{limits_text, rate_text};
use jobq::api::time::{relative, rfc3339};
use jobq::{QueueLimits, QueueRecord, State};

use crate::cli::clock::now;
use crate::cli::render::style::Look;
use crate::cli::render::table::{Cell, Column, Fit};

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

pub(crate) const COLUMNS: [Column; 11] = [
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

/// A queue's row under [`COLUMNS`].
pub(crate) fn row(queue: &QueueRecord, all_paused: Option<Timestamp>, now: Timestamp) -> Vec<Cell> {
    let mut row = vec![Cell::new(&queue.name)];
    row.extend(STATES.map(|state| number(state, queue.counts.get(state))));
    row.push(match queue.paused_at.or(all_paused) {
        Some(at) => Cell::either(relative(at, now), rfc3339(at)).look(Look::Warn),
        None => Cell::new(""),
    });
    row.extend(RARE.map(|state| number(state, queue.counts.get(state))));
    row.push(Cell::either(
        limits_text(&queue.limits).unwrap_or_default(),
        limits_tabs(&queue.limits),
    ));
    row
}

pub(crate) fn rows(queues: &[QueueRecord], all_paused: Option<Timestamp>) -> Vec<Vec<Cell>> {
    let now = now();
    let queues = queues.iter();
    queues.map(|queue| row(queue, all_paused, now)).collect()
}

/// The queues as a terminal shows them: without columns that hold nothing.
pub(crate) fn table(
    queues: &[QueueRecord],
    all_paused: Option<Timestamp>,
) -> (Vec<Column>, Vec<Vec<Cell>>) {
    without_empty_columns(&rows(queues, all_paused))
}

/// Rows under [`COLUMNS`] without the columns that hold nothing.
pub(crate) fn without_empty_columns(rows: &[Vec<Cell>]) -> (Vec<Column>, Vec<Vec<Cell>>) {
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

/// The same for programs, by the names of the options that set it.
pub(crate) fn limits_tabs(limits: &QueueLimits) -> String {
    let mut parts = Vec::new();
    parts.extend(limits.concurrency.map(|jobs| format!("concurrency={jobs}")));
    let rate = limits.rate.map(rate_text);
    parts.extend(rate.map(|rate| format!("rate={rate}")));
    parts.extend(limits.max_size.map(|jobs| format!("max-size={jobs}")));
    if limits.weight != 1 {
        parts.push(format!("weight={}", limits.weight));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jobq::{NewJob, Queue, Rate};

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

    #[test]
    fn limits_are_said_in_a_few_words() {
        let mut limits = QueueLimits {
            concurrency: None,
            rate: None,
            max_size: None,
            weight: 1,
        };
        assert_eq!(
            (limits_text(&limits), limits_tabs(&limits)),
            (None, String::new())
        );
        limits.concurrency = Some(2);
        limits.rate = Some(Rate {
            jobs: 10,
            per: Duration::from_secs(60),
        });
        limits.max_size = Some(100);
        limits.weight = 3;
        assert_eq!(
            limits_text(&limits).unwrap(),
            "2 at once, 10/1m, at most 100 jobs, weight 3"
        );
        assert_eq!(
            limits_tabs(&limits),
            "concurrency=2 rate=10/1m max-size=100 weight=3"
        );
    }
}
