//! The rows of queues, runners, schedules and events.

use std::time::Duration;

use jiff::Timestamp;
use jobq::api::event::sentence;
use jobq::api::runner::gone_runner_text;
use jobq::api::text::count;
use jobq::api::time::{coarse, time_of_day};
use jobq::{ErrorGroup, Event, JobSummary, QueueRecord, RunnerRecord, RunningJob, ScheduleRecord};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::cli::render::event::look;
use crate::cli::render::overview::{RUNNERS, runner_row};
use crate::cli::render::style::Look;
use crate::cli::render::table::{Cell, Column, Fit};
use crate::cli::render::{error_group, queue, schedule};
use crate::cli::top::data::QueueLine;
use crate::cli::top::lines::{share_bar, table};
use crate::cli::top::rows::row::{LineContext, RowTarget, ScreenRow};
use crate::cli::top::rows::task::task;
use crate::cli::top::theme::Theme;

/// Width of a bar of progress.
const BAR: usize = 10;

/// A narrower screen has room for less.
pub(super) const NARROW: usize = 60;

/// The columns of queues on a narrow screen.
const MOST_TELLING: [&str; 5] = ["QUEUE", "PENDING", "RUNNING", "FAILED", "PAUSED"];

/// Maximum number of workers of a runner that are shown.
const WORKERS: usize = 200;

/// Maximum number of lines of a queue's verdict.
const VERDICT: usize = 6;

pub(super) fn queues(
    queues: Option<&[QueueLine]>,
    all_paused: Option<Timestamp>,
    (theme, now, width): LineContext,
) -> (Line<'static>, Vec<ScreenRow>) {
    let queues = queues.unwrap_or_default();
    let rows: Vec<_> = queues
        .iter()
        .map(|line| queue_row(&line.queue, all_paused, now))
        .collect();
    let (mut columns, mut rows) = queue::without_empty_columns(&rows);
    if width < NARROW {
        let stays: Vec<bool> = columns
            .iter()
            .map(|(title, _)| MOST_TELLING.contains(title))
            .collect();
        let mut at = stays.iter();
        columns.retain(|_| at.next() == Some(&true));
        for row in &mut rows {
            let mut at = stays.iter();
            row.retain(|_| at.next() == Some(&true));
        }
    }
    let (head, lines) = table(theme, &columns, &rows, width);
    let mut all = Vec::new();
    for (line, queue) in lines.into_iter().zip(queues) {
        all.push(ScreenRow::of(
            RowTarget::Queue(queue.queue.name.clone()),
            line,
        ));
        let verdict = queue.verdict.iter().take(VERDICT);
        all.extend(verdict.map(|text| {
            let look = if text.starts_with("  hint") {
                Look::Dim
            } else {
                Look::Plain
            };
            ScreenRow::text(theme, look, &format!("  {text}"), width)
        }));
    }
    (head, all)
}

fn queue_row(queue: &QueueRecord, all_paused: Option<Timestamp>, now: Timestamp) -> Vec<Cell> {
    queue::row(queue, all_paused, now)
}

/// Each runner, and below it its workers.
pub(super) fn runners(
    runners: &[RunnerRecord],
    running: &[JobSummary],
    (theme, now, width): LineContext,
) -> (Line<'static>, Vec<ScreenRow>) {
    let rows: Vec<_> = runners
        .iter()
        .map(|runner| runner_row(runner, now))
        .collect();
    let (head, lines) = table(theme, &RUNNERS, &rows, width);
    let mut all = Vec::new();
    for (line, runner) in lines.into_iter().zip(runners) {
        all.push(ScreenRow::of(RowTarget::Runner(runner.id), line));
        let note = |look, text: &str| ScreenRow::text(theme, look, &format!("  {text}"), width);
        if !runner.is_alive() {
            all.push(note(Look::Warn, &gone_runner_text(runner)));
        }
        if let Some(reason) = &runner.short_of {
            all.push(note(
                Look::Warn,
                &format!("runs fewer jobs for now: {reason}"),
            ));
        }
        for (kind, reason) in &runner.unavailable_kinds {
            all.push(note(
                Look::Warn,
                &format!("can run no '{kind}' at the moment: {reason}"),
            ));
        }
        let mut jobs: Vec<&RunningJob> = runner.jobs.iter().collect();
        jobs.sort_by_key(|job| (job.worker.is_none(), job.worker, job.job));
        // A runner of short jobs holds hundreds more than it has workers.
        let at_work = jobs.len().min(runner.worker_count as usize).min(WORKERS);
        all.extend(jobs[..at_work].iter().map(|job| {
            let known = running.iter().find(|known| known.id == job.job);
            worker_row(job, known, (theme, now, width))
        }));
        let more = jobs.len() - at_work;
        if more > 0 {
            let more = count(more as u64, "more job");
            all.push(note(Look::Dim, &format!("and {more}, claimed ahead")));
        }
    }
    (head, all)
}

/// `  3  job 42  resize  ████░░░░░░ 42%  12s  convert cat.jpg`.
fn worker_row(
    job: &RunningJob,
    known: Option<&JobSummary>,
    (theme, now, width): LineContext,
) -> ScreenRow {
    const COLUMNS: [Column; 6] = [
        ("", Fit::Whole),
        ("", Fit::Whole),
        ("", Fit::Name),
        ("", Fit::Whole),
        ("", Fit::Number),
        ("", Fit::Shrinks),
    ];
    let progress = known.and_then(|known| known.progress.as_ref()?.percent);
    let bar = match progress {
        Some(percent) => format!("{} {percent:>3.0}%", share_bar(percent / 100.0, BAR)),
        None => " ".repeat(BAR + 5),
    };
    let worker = job
        .worker
        .map_or_else(String::new, |worker| worker.to_string());
    let since = Duration::try_from(now.duration_since(job.since)).unwrap_or_default();
    let cells = vec![
        Cell::new(format!("  {worker:>3}")).look(Look::Dim),
        Cell::new(format!("job {:<7}", job.job)),
        Cell::new(format!("{:<12}", job.kind)),
        Cell::new(bar).look(Look::State(jobq::State::Running)),
        Cell::new(format!("{:>7}", coarse(since))),
        Cell::new(known.map(task).unwrap_or_default()),
    ];
    let (_, mut lines) = table(theme, &COLUMNS, &[cells], width);
    ScreenRow::of(RowTarget::Job(job.job), lines.pop().unwrap_or_default())
}

pub(super) fn schedules(
    schedules: &[ScheduleRecord],
    first: usize,
    (height, (theme, now, width)): (usize, LineContext),
) -> (Line<'static>, Vec<Line<'static>>) {
    let seen = schedules.iter().skip(first).take(height);
    let rows: Vec<_> = seen.map(|record| schedule::row(record, now)).collect();
    table(theme, &schedule::COLUMNS, &rows, width)
}

pub(super) fn errors(
    groups: &[ErrorGroup],
    first: usize,
    (height, (theme, now, width)): (usize, LineContext),
) -> (Line<'static>, Vec<Line<'static>>) {
    let seen = groups.iter().skip(first).take(height);
    let rows: Vec<_> = seen.map(|group| error_group::row(group, now)).collect();
    table(theme, &error_group::COLUMNS, &rows, width)
}

pub(super) fn event_targets(events: &[Event]) -> Vec<Option<RowTarget>> {
    let targets = events.iter().map(|event| match (event.job, event.runner) {
        (Some(job), _) => Some(RowTarget::Job(job)),
        (None, runner) => Some(RowTarget::Runner(runner.unwrap_or_default())),
    });
    targets.collect()
}

pub(super) fn events(
    events: &[Event],
    first: usize,
    (height, (theme, _, width)): (usize, LineContext),
) -> (Line<'static>, Vec<Line<'static>>) {
    const COLUMNS: [Column; 4] = [
        ("EVENT", Fit::Number),
        ("TIME", Fit::Whole),
        ("JOB", Fit::Number),
        ("WHAT", Fit::Shrinks),
    ];
    let seen = events.iter().skip(first).take(height);
    let rows: Vec<_> = seen
        .map(|event| {
            vec![
                Cell::new(event.id.0).look(Look::Dim),
                Cell::new(time_of_day(event.at)).look(Look::Dim),
                Cell::maybe(event.job),
                Cell::new(sentence(event)).look(look(event)),
            ]
        })
        .collect();
    table(theme, &COLUMNS, &rows, width)
}

/// A name and a text behind it.
pub(super) fn named(theme: Theme, name: &str, text: Span<'static>) -> Line<'static> {
    Line::from(vec![
        Span::styled(format!("{name:<10}"), theme.style(Look::Dim)),
        Span::styled(" ", Style::new()),
        text,
    ])
}
