//! The rows of jobs in lists.

use jiff::Timestamp;
use jobq::api::time::relative;
use jobq::{JobSummary, State, WaitReason};
use ratatui::text::Line;

use crate::cli::render::style::Look;
use crate::cli::render::table::{Cell, Column, Fit};
use crate::cli::top::jobs_tab::JobsTab;
use crate::cli::top::lines::table;
use crate::cli::top::rows::task::brief;
use crate::cli::top::theme::Theme;

const COLUMNS: [Column; 9] = [
    ("", Fit::Whole),
    ("ID", Fit::Number),
    ("STATE", Fit::Whole),
    ("KIND", Fit::Name),
    ("QUEUE", Fit::Name),
    ("PRIORITY", Fit::Extra),
    ("TRY", Fit::Number),
    ("WHEN", Fit::Whole),
    ("WHAT", Fit::Shrinks),
];

pub(super) fn rows(
    tab: &JobsTab,
    first: usize,
    (height, (theme, now, width)): (usize, (Theme, Timestamp, usize)),
) -> (Line<'static>, Vec<Line<'static>>) {
    let seen = tab.jobs.iter().skip(first).take(height);
    let has_marks = tab.all_marked || !tab.marked.is_empty();
    let rows: Vec<Vec<Cell>> = seen
        .map(|job| {
            let mark = if tab.all_marked || tab.marked.contains(&job.id) {
                "●"
            } else {
                ""
            };
            let mut row = vec![Cell::new(mark).look(Look::Hint)];
            row.extend(cells(job, now));
            row.drain(..usize::from(!has_marks));
            row
        })
        .collect();
    let columns = &COLUMNS[usize::from(!has_marks)..];
    table(theme, columns, &rows, width)
}

fn cells(job: &JobSummary, now: Timestamp) -> Vec<Cell> {
    let what = Cell::new(brief(job));
    let what = match job.state {
        State::Failed => what.look(Look::Bad),
        _ => what,
    };
    vec![
        Cell::new(job.id),
        Cell::state(job.state),
        Cell::new(&job.kind),
        Cell::new(&job.queue),
        Cell::new(job.priority),
        Cell::new(job.attempt),
        Cell::new(when(job, now)),
        what,
    ]
}

/// The moment that matters in the job's state.
pub(super) fn when(job: &JobSummary, now: Timestamp) -> String {
    let at = match job.state {
        State::Scheduled => job.run_at,
        State::Running => job.started_at,
        state if state.is_final() => job.finished_at,
        _ => None,
    };
    let when = relative(at.unwrap_or(job.created_at), now);
    match (job.state, job.wait_reason) {
        (State::Scheduled, Some(WaitReason::Retry)) => format!("retry {when}"),
        (State::Running, _) if job.cancel_requested => "stopping".to_owned(),
        _ => when,
    }
}
