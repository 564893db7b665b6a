//! A row of a view.

use jiff::Timestamp;
use jobq::{JobId, RunnerId};
use ratatui::text::Line;

use crate::cli::render::style::Look;
use crate::cli::top::lines::cut;
use crate::cli::top::theme::Theme;

/// What lines depend on: what may be drawn, the time, and the width.
pub(super) type LineContext = (Theme, Timestamp, usize);

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowTarget {
    Job(JobId),
    Queue(String),
    Runner(RunnerId),
    Schedule(String),
    /// Of errors, by its id.
    ErrorGroup(String),
}

impl RowTarget {
    /// Whether there is something behind it.
    pub(crate) fn opens(&self) -> bool {
        !matches!(self, RowTarget::Runner(_))
    }
}

/// A line of a view, and what it is about.
#[derive(Clone, Debug)]
pub(crate) struct ScreenRow {
    pub(crate) line: Line<'static>,
    pub(crate) target: Option<RowTarget>,
}

impl ScreenRow {
    pub(super) fn text(theme: Theme, look: Look, text: &str, width: usize) -> ScreenRow {
        ScreenRow {
            line: Line::styled(cut(text, width), theme.style(look)),
            target: None,
        }
    }

    pub(super) fn of(target: RowTarget, line: Line<'static>) -> ScreenRow {
        ScreenRow {
            line,
            target: Some(target),
        }
    }
}
