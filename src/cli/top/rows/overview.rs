//! The rows of the overview.

use jiff::Timestamp;
use jobq::JobSummary;
use jobq::api::event::due;
use jobq::api::time::relative;
use ratatui::text::Span;

use crate::cli::render::style::Look;
use crate::cli::render::table::{Cell, Column, Fit};
use crate::cli::top::data::{MinuteRates, OverviewData};
use crate::cli::top::lines::{columns_chart, table};
use crate::cli::top::rows::jobs::when;
use crate::cli::top::rows::row::{LineContext, RowTarget, ScreenRow};
use crate::cli::top::rows::tables::{NARROW, named, queues, runners};
use crate::cli::top::rows::task::task;

const FAILED: [Column; 5] = [
    ("FAILED", Fit::Number),
    ("KIND", Fit::Name),
    ("WHEN", Fit::Whole),
    ("ERROR", Fit::Shrinks),
    ("WHAT", Fit::Shrinks),
];

pub(super) fn rows(
    data: &OverviewData,
    all_paused: Option<Timestamp>,
    look: LineContext,
) -> Vec<ScreenRow> {
    let (theme, now, width) = look;
    let mut rows = rates(&data.rates, look);
    let blank = || ScreenRow::text(theme, Look::Plain, "", width);
    if let Some(since) = all_paused {
        let text = format!(
            "all queues are paused since {}: P resumes them",
            relative(since, now)
        );
        rows.push(ScreenRow::text(theme, Look::Warn, &text, width));
    }
    if let Some(at) = data.next_due {
        let text = format!("the next scheduled job {}", due(at, now));
        rows.push(ScreenRow::text(theme, Look::Plain, &text, width));
    }
    let mut section = |head, mut more: Vec<ScreenRow>| {
        if !more.is_empty() {
            rows.push(blank());
            rows.push(ScreenRow {
                line: head,
                target: None,
            });
            rows.append(&mut more);
        }
    };
    let (head, of_queues) = queues(Some(&data.queues), all_paused, look);
    section(head, of_queues);
    let (head, of_runners) = runners(&data.runners, &data.running, look);
    section(head, of_runners);
    let failures: Vec<_> = data.failures.iter().map(|job| failure(job, now)).collect();
    let (head, lines) = table(theme, &FAILED, &failures, width);
    let jobs = data.failures.iter().map(|job| RowTarget::Job(job.id));
    section(
        head,
        jobs.zip(lines)
            .map(|(job, line)| ScreenRow::of(job, line))
            .collect(),
    );
    let is_served = data.runners.iter().any(jobq::RunnerRecord::is_alive);
    if !is_served {
        rows.push(blank());
        let text = "no runner is active; start one with `jobq run`";
        rows.push(ScreenRow::text(theme, Look::Warn, text, width));
    }
    rows
}

/// How many jobs have ended in each of the last minutes.
fn rates(rates: &MinuteRates, (theme, _, width): LineContext) -> Vec<ScreenRow> {
    let all = [
        ("completed", &rates.completed, Look::Good),
        ("failed", &rates.failed, Look::Bad),
        ("retried", &rates.retried, Look::Warn),
    ];
    let some = all
        .into_iter()
        .filter(|(name, numbers, _)| *name == "completed" || numbers.iter().any(|jobs| *jobs > 0));
    let rows = some.map(|(name, numbers, look)| {
        let most = width
            .saturating_sub(if width < NARROW { 20 } else { 48 })
            .min(numbers.len());
        let shown = &numbers[numbers.len() - most..];
        let full_minute = numbers.len().checked_sub(2).map_or(0, |at| numbers[at]);
        let this_minute = numbers.last().copied().unwrap_or_default();
        let mut line = named(
            theme,
            name,
            Span::styled(columns_chart(shown), theme.style(look)),
        );
        let told = match width < NARROW {
            true => format!("  {full_minute}/min"),
            false => format!("  {full_minute} in the last minute, {this_minute} in this one"),
        };
        line.push_span(Span::styled(told, theme.style(Look::Dim)));
        ScreenRow { line, target: None }
    });
    rows.collect()
}

fn failure(job: &JobSummary, now: Timestamp) -> Vec<Cell> {
    let error = job.error.as_ref().map(|error| error.start.as_str());
    vec![
        Cell::new(job.id),
        Cell::new(&job.kind),
        Cell::new(when(job, now)),
        Cell::maybe(error).look(Look::Bad),
        Cell::new(task(job)),
    ]
}
