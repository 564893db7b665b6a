//! Colours.

use std::fmt::{self, Display};

use clap::builder::styling::{AnsiColor, Effects, Style};
use jobq::{Level, Severity, State};

/// The style of a piece of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Look {
    #[default]
    Plain,
    Dim,
    Bold,
    Hint,
    Good,
    Warn,
    Bad,
    State(State),
}

impl Look {
    pub(crate) fn of_level(level: Level) -> Look {
        match level {
            Level::Debug => Look::Dim,
            Level::Info => Look::Hint,
            Level::Warn => Look::Warn,
            Level::Error => Look::Bad,
        }
    }

    pub(crate) fn of_severity(severity: Severity) -> Look {
        match severity {
            Severity::Ok => Look::Good,
            Severity::Warning => Look::Warn,
            Severity::Error => Look::Bad,
        }
    }

    pub(crate) fn color(self) -> Option<AnsiColor> {
        match self {
            Look::Plain | Look::Dim | Look::Bold => None,
            Look::Hint => Some(AnsiColor::Cyan),
            Look::Good => Some(AnsiColor::Green),
            Look::Warn => Some(AnsiColor::Yellow),
            Look::Bad => Some(AnsiColor::Red),
            Look::State(state) => match state {
                State::Scheduled => Some(AnsiColor::Blue),
                State::Blocked | State::Waiting => Some(AnsiColor::Magenta),
                State::Pending => Some(AnsiColor::Yellow),
                State::Running => Some(AnsiColor::Cyan),
                State::Completed => Some(AnsiColor::Green),
                State::Failed => Some(AnsiColor::Red),
                State::Cancelled => None,
            },
        }
    }

    pub(crate) fn effects(self) -> Effects {
        match self {
            Look::Dim | Look::State(State::Cancelled) => Effects::DIMMED,
            Look::Bold => Effects::BOLD,
            _ => Effects::new(),
        }
    }

    fn style(self) -> Style {
        Style::new()
            .fg_color(self.color().map(Into::into))
            .effects(self.effects())
    }

    /// What switches it on and off.
    pub(crate) fn codes(self) -> (impl Display, impl Display) {
        let style = self.style();
        (style.render(), style.render_reset())
    }

    /// The same for a cell of a table.
    pub(crate) fn apply(self, cell: comfy_table::Cell) -> comfy_table::Cell {
        use comfy_table::{Attribute, Color};
        let cell = match self.color() {
            None => cell,
            Some(AnsiColor::Blue) => cell.fg(Color::DarkBlue),
            Some(AnsiColor::Magenta) => cell.fg(Color::DarkMagenta),
            Some(AnsiColor::Yellow) => cell.fg(Color::DarkYellow),
            Some(AnsiColor::Green) => cell.fg(Color::DarkGreen),
            Some(AnsiColor::Red) => cell.fg(Color::DarkRed),
            Some(_) => cell.fg(Color::DarkCyan),
        };
        if self.effects() == Effects::DIMMED {
            cell.add_attribute(Attribute::Dim)
        } else if self.effects() == Effects::BOLD {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    }
}

/// Text with its escape codes around it.
pub(crate) struct Painted<T> {
    look: Look,
    text: T,
}

impl<T: Display> Painted<T> {
    pub(crate) fn new(look: Look, text: T) -> Painted<T> {
        Painted { look, text }
    }
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = self.look.style();
        write!(f, "{style}")?;
        self.text.fmt(f)?;
        write!(f, "{style:#}")
    }
}
