//! Output: its format is decided once, from the options and the kind of stdout.

pub(crate) mod enqueued;
pub(crate) mod error_group;
pub(crate) mod event;
pub(crate) mod graph;
pub(crate) mod job;
pub(crate) mod job_page;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod overview;
pub(crate) mod queue;
pub(crate) mod schedule;
pub(crate) mod screen;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod why;

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use anstream::{AutoStream, ColorChoice};
use jobq::api::json::write_line;
use serde::Serialize;
use style::{Look, Painted};

/// The format of stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For a person at a terminal: fitted to its width, relative times.
    Table,
    /// For a pipe: tab-separated, no header, nothing cut short.
    Tabs,
    /// JSON Lines.
    Json,
}

/// The output options of the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) color: clap::ColorChoice,
}

/// How this process shows things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    /// Whether stdout gets colour.
    pub(crate) color: bool,
    pub(crate) quiet: bool,
    /// The columns of the terminal.
    pub(crate) width: u16,
}

/// Locked, buffered stdout.
pub(crate) type Stdout = BufWriter<StdoutLock<'static>>;

impl Output {
    /// Decides for the whole process: `anstream`'s streams follow `asked.color` from here on.
    pub(crate) fn decide(asked: Asked) -> Output {
        match asked.color {
            clap::ColorChoice::Auto => ColorChoice::Auto,
            clap::ColorChoice::Always => ColorChoice::Always,
            clap::ColorChoice::Never => ColorChoice::Never,
        }
        .write_global();
        let stdout = io::stdout();
        let format = if asked.json {
            Format::Json
        } else if stdout.is_terminal() {
            Format::Table
        } else {
            Format::Tabs
        };
        Output {
            format,
            color: format != Format::Json && AutoStream::choice(&stdout) != ColorChoice::Never,
            quiet: asked.quiet,
            width: terminal_width(),
        }
    }

    /// The same for the terminal as it is now: its size may have changed.
    pub(crate) fn measured(&self) -> Output {
        Output {
            width: terminal_width(),
            ..*self
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Locks stdout, buffered until it is flushed.
    pub(crate) fn stdout(&self) -> Stdout {
        BufWriter::with_capacity(32 * 1024, io::stdout().lock())
    }

    /// Text in its colour, where stdout gets any.
    pub(crate) fn paint<T: Display>(&self, look: Look, text: T) -> Painted<T> {
        Painted::new(if self.color { look } else { Look::Plain }, text)
    }

    /// One JSON object, or one line for a person.
    pub(crate) fn line(&self, json: &impl Serialize, text: impl Display) -> io::Result<()> {
        let mut out = self.stdout();
        match self.format {
            Format::Json => write_line(&mut out, json)?,
            Format::Table | Format::Tabs => writeln!(out, "{text}")?,
        }
        out.flush()
    }
}

/// The least width that tables are made for.
const NARROWEST: u16 = 20;

/// A terminal that says nothing of its width, or that it is 0, has 80 columns.
fn terminal_width() -> u16 {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    let width = size.map_or(0, |size| size.ws_col);
    match width {
        0 => 80,
        width => width.max(NARROWEST),
    }
}
