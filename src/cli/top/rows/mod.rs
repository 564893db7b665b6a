//! The rows of every view: what they are about, and their lines.

pub(crate) mod job;
mod jobs;
mod overview;
mod row;
mod tables;
mod task;

use ratatui::text::Line;

use crate::cli::top::app::{App, TabName};
pub(crate) use crate::cli::top::rows::row::{RowTarget, ScreenRow};

/// The part of a tab that is seen.
pub(crate) struct TabBody {
    /// Over the rows.
    pub(crate) head: Line<'static>,
    pub(crate) rows: Vec<Line<'static>>,
    /// What stands in place of rows where there are none.
    pub(crate) empty: &'static str,
}

/// What each row of the tab is about.
pub(crate) fn targets(app: &App) -> Vec<Option<RowTarget>> {
    match app.tab {
        TabName::Jobs => {
            let jobs = app.jobs.jobs.iter();
            jobs.map(|job| Some(RowTarget::Job(job.id))).collect()
        }
        TabName::Events => tables::event_targets(&app.events.events),
        TabName::Errors => {
            let groups = app.errors.found.groups.iter();
            groups
                .map(|group| Some(RowTarget::ErrorGroup(group.id.clone())))
                .collect()
        }
        TabName::Schedules => {
            let schedules = app.schedules.iter().flatten();
            let targets =
                schedules.map(|schedule| Some(RowTarget::Schedule(schedule.name.clone())));
            targets.collect()
        }
        TabName::Overview | TabName::Queues | TabName::Runners => {
            let (_, rows) = all_rows(app, 80);
            rows.into_iter().map(|row| row.target).collect()
        }
    }
}

/// The tabs whose rows are few.
fn all_rows(app: &App, width: usize) -> (Line<'static>, Vec<ScreenRow>) {
    let look = (app.settings.theme, app.now, width);
    let all_paused = app.header.as_ref().and_then(|header| header.all_paused);
    match app.tab {
        TabName::Overview => {
            let data = app.overview.as_ref();
            let rows = data.map(|data| overview::rows(data, all_paused, look));
            (Line::default(), rows.unwrap_or_default())
        }
        TabName::Queues => tables::queues(app.queues.as_deref(), all_paused, look),
        _ => match &app.runners {
            Some((runners, running)) => tables::runners(runners, running, look),
            None => (Line::default(), Vec::new()),
        },
    }
}

/// The rows of the tab from `first` on, at most `height`.
pub(crate) fn body(app: &App, first: usize, height: usize) -> TabBody {
    let width = usize::from(app.width);
    let look = (app.settings.theme, app.now, width);
    let (head, rows) = match app.tab {
        TabName::Jobs => jobs::rows(&app.jobs, first, (height, look)),
        TabName::Events => tables::events(&app.events.events, first, (height, look)),
        TabName::Errors => tables::errors(&app.errors.found.groups, first, (height, look)),
        TabName::Schedules => {
            let schedules = app.schedules.as_deref().unwrap_or_default();
            tables::schedules(schedules, first, (height, look))
        }
        _ => {
            let (head, rows) = all_rows(app, width);
            let seen = rows.into_iter().skip(first).take(height);
            (head, seen.map(|row| row.line).collect())
        }
    };
    TabBody {
        head,
        rows,
        empty: empty(app),
    }
}

fn empty(app: &App) -> &'static str {
    let (is_loaded, text) = match app.tab {
        TabName::Overview => (app.overview.is_some(), ""),
        TabName::Jobs if app.jobs.searched_to.is_some() => (true, "no job found so far"),
        TabName::Jobs if !app.jobs.search.is_empty() => (app.jobs.is_loaded, "no job matches"),
        TabName::Jobs => (app.jobs.is_loaded, "no jobs"),
        TabName::Queues => (app.queues.is_some(), "no queues"),
        TabName::Runners => (
            app.runners.is_some(),
            "no runner is active; start one with `jobq run`",
        ),
        TabName::Schedules => (app.schedules.is_some(), "no schedules"),
        TabName::Errors if !app.errors.found.is_complete() => (true, "no failed job found so far"),
        TabName::Errors => (app.errors.is_loaded, "no job has failed"),
        TabName::Events => (app.events.is_loaded, "no events"),
    };
    if is_loaded { text } else { "reading…" }
}
