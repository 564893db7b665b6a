//! Messages on stderr that do not tear a progress bar.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

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
            // Beyond that, the HTTP client logs what it sends, secrets and all.
            .filter_module("ureq", level.min(log::LevelFilter::Debug))
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

/// Maximum number of bytes that wait for stderr; further lines are counted and left out.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// At the end of the process: a stderr that takes nothing for so long takes nothing at all.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// Hands lines to the thread that writes them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Background(Arc<StderrQueue>);

struct StderrQueue {
    lines: Mutex<WaitingLines>,
    changed: Condvar,
}

#[derive(Default)]
struct WaitingLines {
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    left_out: u64,
    is_writing: bool,
    written: u64,
}

impl Background {
    /// The thread ends with the process.
    pub(super) fn start(write: impl Fn(&[u8]) + Send + 'static) -> io::Result<Background> {
        let shared = Arc::new(StderrQueue {
            lines: Mutex::default(),
            changed: Condvar::new(),
        });
        let background = Background(Arc::clone(&shared));
        thread::Builder::new()
            .name("jobq-stderr".to_owned())
            .spawn(move || shared.write_all(write))?;
        Ok(background)
    }

    /// Returns at once.
    pub(super) fn write(&self, line: &[u8]) {
        let mut lines = self.0.lock();
        if lines.waiting_bytes + line.len() > MAX_WAITING_BYTES {
            lines.left_out += 1;
        } else {
            lines.waiting_bytes += line.len();
            lines.waiting.push_back(line.to_vec());
        }
        drop(lines);
        self.0.changed.notify_all();
    }

    /// Returns when all is written, or when stderr has taken nothing for a while.
    pub(super) fn flush(&self) {
        let mut lines = self.0.lock();
        while lines.is_writing || !lines.waiting.is_empty() || lines.left_out > 0 {
            let before = lines.written;
            let waited = self.0.changed.wait_timeout(lines, STALLED_AFTER);
            let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            lines = now;
            if timeout.timed_out() && lines.written == before {
                return;
            }
        }
    }
}

impl StderrQueue {
    fn lock(&self) -> MutexGuard<'_, WaitingLines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, write: impl Fn(&[u8])) {
        let mut lines = self.lock();
        loop {
            let Some(line) = lines.next() else {
                lines = self
                    .changed
                    .wait(lines)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            lines.is_writing = true;
            drop(lines);
            write(&line);
            lines = self.lock();
            lines.is_writing = false;
            lines.written += 1;
            self.changed.notify_all();
        }
    }
}

impl WaitingLines {
    /// The line that was said first; after the last, how many were left out.
    fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(line) = self.waiting.pop_front() {
            self.waiting_bytes -= line.len();
            return Some(line);
        }
        let left_out = std::mem::take(&mut self.left_out);
        (left_out > 0).then(|| {
            format!("{left_out} messages were left out: stderr did not take them\n").into_bytes()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn screen_lines_keep_order_and_dropped_lines_are_counted() {
        let (gate, is_open) = mpsc::channel::<()>();
        let (out, written) = mpsc::channel();
        let background = Background::start(move |line| {
            let _ = is_open.recv();
            out.send(String::from_utf8(line.to_vec()).unwrap()).unwrap();
        })
        .unwrap();
        let long = vec![b'x'; MAX_WAITING_BYTES / 2];
        background.write(b"first\n");
        for _ in 0..4 {
            background.write(&long);
        }
        drop(gate);
        background.flush();
        let written: Vec<String> = written.try_iter().collect();
        assert_eq!(written[0], "first\n");
        let last = written.last().unwrap();
        assert!(
            last.ends_with("messages were left out: stderr did not take them\n"),
            "{last}"
        );
        let left_out: usize = last.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(
            written.len() - 2 + left_out,
            4,
            "every line is written or counted"
        );
    }

    #[test]
    fn a_flush_gives_up_where_nothing_is_taken() {
        let (_gate, is_open) = mpsc::channel::<()>();
        let background = Background::start(move |_| {
            let _ = is_open.recv();
        })
        .unwrap();
        background.write(b"line\n");
        background.flush();
        assert_eq!(background.0.lock().written, 0);
    }
}
