//! The lines of one job: its page, its output, its history.

use std::time::Duration;

use jobq::State;
use jobq::api::event::sentence;
use jobq::api::time::{duration, time_of_day};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::cli::history::{LineSource, Piece};
use crate::cli::render::event::look;
use crate::cli::render::job_page::ATTEMPTS;
use crate::cli::render::style::Look;
use crate::cli::top::ansi::styled;
use crate::cli::top::app::App;
use crate::cli::top::data::JobData;
use crate::cli::top::job_view::{JobSight, JobView};
use crate::cli::top::lines::{cut, table, wrapped};
use crate::cli::top::rows::tables::named;
use crate::cli::top::theme::Theme;

/// Number of lines of output at the end of the page.
const LAST_LINES: usize = 10;

/// Where the values of the facts begin.
const INDENT: usize = 11;

/// The head of what is open, and its lines.
pub(crate) fn body(app: &App, job: &JobView) -> (Line<'static>, Vec<Line<'static>>) {
    let theme = app.settings.theme;
    let (height, width) = (app.body_height(), usize::from(app.width));
    let lines = match (job.sight, &job.data) {
        (JobSight::Graph, _) if job.graph.is_some() => {
            let lines = job.graph.iter().flatten();
            let seen = lines.skip(job.graph_first).take(height);
            seen.map(|line| Line::from(styled(theme, Style::new(), line)))
                .collect()
        }
        (JobSight::Graph, Some(_)) => vec![Line::raw("reading…")],
        (_, None) => {
            let text = if job.is_gone {
                "it was removed"
            } else {
                "reading…"
            };
            vec![Line::raw(text)]
        }
        (JobSight::Page, Some(_)) => {
            let lines = page_lines(app).into_iter();
            lines.skip(job.page_first).take(height).collect()
        }
        (JobSight::Output, Some(_)) => {
            let pieces = job.log.lines(job.log.first, height);
            match pieces.is_empty() {
                true => vec![Line::styled("no output", theme.style(Look::Dim))],
                false => pieces
                    .iter()
                    .map(|piece| output_line(theme, piece))
                    .collect(),
            }
        }
        (JobSight::History, Some(data)) => history_lines(theme, data, (job.history_first, height)),
    };
    (head(theme, job, width), lines)
}

/// `job 42  failed  resize  output, following`.
fn head(theme: Theme, job: &JobView, width: usize) -> Line<'static> {
    let mut spans = vec![Span::styled(format!("job {}", job.id), theme.title())];
    if let Some(data) = &job.data {
        let look = theme.style(Look::State(data.state));
        spans.push(Span::styled(format!("  {}", data.state), look));
        spans.push(Span::raw(format!("  {}", cut(&data.kind, width / 3))));
    }
    if job.is_gone && job.data.is_some() {
        spans.push(Span::styled("  it was removed", theme.style(Look::Warn)));
    }
    let sight = match job.sight {
        JobSight::Page => String::new(),
        JobSight::Output => {
            let follows = if job.log.follows { ", following" } else { "" };
            let left_out = match job.log.left_out {
                0 => String::new(),
                lines => format!(", {lines} earlier lines left out"),
            };
            format!("  output{follows}{left_out}")
        }
        JobSight::History => "  history".to_owned(),
        JobSight::Graph => "  graph".to_owned(),
    };
    spans.push(Span::styled(sight, theme.style(Look::Dim)));
    Line::from(spans)
}

/// All lines of the page of the job that is open.
pub(crate) fn page_lines(app: &App) -> Vec<Line<'static>> {
    let Some((job, data)) = app
        .job
        .as_ref()
        .and_then(|job| Some((job, job.data.as_ref()?)))
    else {
        return Vec::new();
    };
    let (theme, width) = (app.settings.theme, usize::from(app.width));
    let (look, why) = &data.why;
    let style = |look: Look| theme.style(look);
    let told = wrapped(why, width).into_iter();
    let mut lines: Vec<Line<'static>> = told.map(|line| Line::styled(line, style(*look))).collect();
    for hint in data.hint.iter().flat_map(|hint| wrapped(hint, width)) {
        lines.push(Line::styled(hint, style(Look::Dim)));
    }
    lines.push(Line::default());
    lines.extend(spans_line(theme, &data.spans, width));
    for (name, cell) in &data.facts {
        let (text, look) = cell.shown();
        for (at, part) in wrapped(text, width.saturating_sub(INDENT))
            .into_iter()
            .enumerate()
        {
            let name = if at == 0 { name.as_str() } else { "" };
            lines.push(named(theme, name, Span::styled(part, style(look))));
        }
    }
    if !data.attempts.is_empty() {
        let (head, rows) = table(theme, &ATTEMPTS, &data.attempts, width);
        lines.extend([Line::default(), head]);
        lines.extend(rows);
    }
    let last = job.log.last(LAST_LINES);
    if !last.is_empty() {
        let title = "its last lines; L shows all";
        lines.extend([Line::default(), Line::styled(title, style(Look::Dim))]);
        lines.extend(last.iter().map(|piece| output_line(theme, piece)));
    }
    lines
}

/// Where the time went: a bar with a part for each state, and what the parts mean.
fn spans_line(theme: Theme, spans: &[(State, Duration)], width: usize) -> Vec<Line<'static>> {
    let all: Duration = spans.iter().map(|(_, time)| *time).sum();
    if all.is_zero() {
        return Vec::new();
    }
    let room = width.saturating_sub(INDENT).min(60);
    let mut bar = vec![Span::styled(
        format!("{:<INDENT$}", "time"),
        theme.style(Look::Dim),
    )];
    let mut legend = vec![Span::raw(" ".repeat(INDENT))];
    let mut left = room;
    for (at, (state, time)) in spans.iter().enumerate() {
        let later = spans.len() - at - 1;
        let share = (time.as_secs_f64() / all.as_secs_f64() * room as f64).round() as usize;
        // Each state is seen, however short it was.
        let part = match later {
            0 => left,
            _ => share.clamp(1, left.saturating_sub(later).max(1)),
        };
        left = left.saturating_sub(part);
        let (symbol, look) = (symbol(*state), theme.style(Look::State(*state)));
        bar.push(Span::styled(symbol.repeat(part), look));
        let told = format!("{symbol} {state} {}  ", duration(*time));
        legend.push(Span::styled(told, look));
    }
    vec![Line::from(bar), Line::from(legend)]
}

/// The states differ without colours, too.
fn symbol(state: State) -> &'static str {
    match state {
        State::Running => "█",
        State::Pending => "▒",
        State::Blocked => "▓",
        State::Waiting => "▄",
        _ => "░",
    }
}

/// A line as the command printed it; an entry of the log with its level.
fn output_line(theme: Theme, piece: &Piece) -> Line<'static> {
    let text = String::from_utf8_lossy(&piece.text);
    match piece.source {
        LineSource::Stdout => Line::from(styled(theme, Style::new(), &text)),
        LineSource::Stderr => Line::from(styled(theme, theme.style(Look::Warn), &text)),
        LineSource::Log(level) => {
            let name = level.as_str().to_uppercase();
            let mut spans = vec![Span::styled(
                format!("{name} "),
                theme.style(Look::of_level(level)),
            )];
            let one_line = text.replace('\n', " ");
            spans.extend(styled(theme, Style::new(), &one_line));
            if let Some(fields) = &piece.fields {
                let fields = cut(&fields.to_string(), 200);
                spans.push(Span::styled(format!(" {fields}"), theme.style(Look::Dim)));
            }
            Line::from(spans)
        }
    }
}

fn history_lines(
    theme: Theme,
    data: &JobData,
    (first, height): (usize, usize),
) -> Vec<Line<'static>> {
    let seen = data.history.iter().enumerate().skip(first).take(height);
    let lines = seen.map(|(at, event)| {
        let since = at
            .checked_sub(1)
            .map(|before| event.at.duration_since(data.history[before].at));
        let since = since.and_then(|since| Duration::try_from(since).ok());
        let later = since.map_or_else(String::new, |since| format!("+{}", duration(since)));
        Line::from(vec![
            Span::styled(
                format!("{}  {later:>9}  ", time_of_day(event.at)),
                theme.style(Look::Dim),
            ),
            Span::styled(cut(&sentence(event), 1000), theme.style(look(event))),
        ])
    });
    lines.collect()
}
