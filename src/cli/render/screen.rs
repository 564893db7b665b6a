//! Messages on stderr that do not tear a progress bar.

mod background;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use self::background::Background;
use crate::cli::render::text::{block, for_terminal};

/// Stderr, shared by messages, log lines and progress bars. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Screen {
    bars: MultiProgress,
    talk: Talk,
    /// None: messages are written where they are said.
    background: Option<Background>,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Everything, with progress bars: a person is there.
    Live,
    /// Lines only: a file or a pipe.
    Lines,
    /// Nothing but errors.
    Quiet,
}

impl Screen {
    pub(crate) fn new(quiet: bool) -> Screen {
        let talk = if quiet {
            Talk::Quiet
        } else if io::stderr().is_terminal() {
            Talk::Live
        } else {
            Talk::Lines
        };
        Screen {
            bars: MultiProgress::new(),
            talk,
            background: None,
        }
    }

    /// From here on no caller waits for stderr, as a runner must not: a thread of its own writes it.
    #[must_use]
    pub(crate) fn in_background(self) -> Screen {
        let screen = self.clone();
        match Background::start(move |line| screen.write(line)) {
            Ok(background) => Screen {
                background: Some(background),
                ..self
            },
            // No thread can be started: messages are written where they are said.
            Err(_) => self,
        }
    }

    /// At the end of the process: what was said is written, unless stderr takes nothing.
    pub(crate) fn flush(&self) {
        if let Some(background) = &self.background {
            background.flush();
        }
    }

    pub(crate) fn talk(&self) -> Talk {
        self.talk
    }

    /// Prints one line, unless `--quiet`.
    pub(crate) fn say(&self, line: impl Display) {
        if self.talk != Talk::Quiet {
            self.write(&[line.to_string().as_bytes(), b"\n"].concat());
        }
    }

    /// Prints a hint.
    pub(crate) fn hint(&self, line: impl Display) {
        let line = line.to_string();
        let line = for_terminal(&line);
        self.say(format_args!("\x1b[36mhint\x1b[0m: {line}"));
    }

    /// A bar from 0 to `length`; invisible unless stderr is a terminal.
    pub(crate) fn bar(&self, length: u64, template: &str) -> ProgressBar {
        if self.talk != Talk::Live {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━╸ ");
        self.bars.add(ProgressBar::new(length).with_style(style))
    }

    /// Writes whole lines as they are, above the bars.
    fn write(&self, lines: &[u8]) {
        if let Some(background) = &self.background {
            return background.write(lines);
        }
        let write = || {
            // Where stderr is closed the message is lost.
            let _ = anstream::stderr().lock().write_all(lines);
        };
        match self.talk {
            Talk::Live => self.bars.suspend(write),
            Talk::Lines | Talk::Quiet => write(),
        }
    }

    /// Sends log lines here: warnings and errors unless more is asked for; `RUST_LOG` wins.
    pub(crate) fn take_logs(&self, verbose: u8) {
        let level = match (self.talk, verbose) {
            (Talk::Quiet, _) => log::LevelFilter::Error,
            (_, 0) => log::LevelFilter::Warn,
            (_, 1) => log::LevelFilter::Info,
            (_, 2) => log::LevelFilter::Debug,
            _ => log::LevelFilter::Trace,
        };
        let mut builder = env_logger::Builder::new();
        builder
            .filter_level(level)
            .parse_default_env()
            .target(env_logger::Target::Pipe(Box::new(self.clone())));
        let is_live = self.talk == Talk::Live;
        builder.format(move |out, record| {
            // A message with a line end in it cannot pass for two.
            let message = record.args().to_string();
            let message = block(&message, 2);
            let style = out.default_level_style(record.level());
            if is_live {
                let level = record.level().as_str().to_ascii_lowercase();
                return writeln!(out, "{style}{level}{style:#}: {message}");
            }
            let (at, level) = (out.timestamp(), record.level());
            writeln!(
                out,
                "[{at} {style}{level:<5}{style:#} {}] {message}",
                record.target()
            )
        });
        // A second logger is refused; the first goes on.
        let _ = builder.try_init();
    }
}

/// For the logger: each write is a whole line.
impl Write for Screen {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        Screen::write(self, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
