//! `jobq top`: a live view in the terminal.
//!
//! `app` is the state, without a file, a clock or a terminal: messages come in, effects come out (`input` says what
//! keys do). `rows` makes the lines of each view, `draw` and `boxes` put them on the screen. `loader` reads the file on
//! a thread of its own, `action` changes it on another, `inbox` starts them all. Nothing is read or drawn while nothing
//! changes, but for a look every ten seconds: a runner that is killed writes nothing, and relative times go on.

mod action;
mod ansi;
mod app;
mod boxes;
mod changes;
mod cursor;
mod data;
mod draw;
mod inbox;
mod input;
mod job_view;
mod jobs_tab;
mod keys;
mod lines;
mod loader;
mod log_view;
mod overlay;
mod rows;
mod search;
mod spans;
mod terminal;
#[cfg(test)]
mod tests;
mod theme;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use jobq::api::text::shell_word;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use signal_hook::consts::{SIGCONT, SIGINT, SIGSTOP, SIGTSTP};
use signal_hook::low_level::raise;

use crate::cli::clock::{instant, now};
use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::render::graph::is_utf_8_locale;
use crate::cli::session::Session;
use crate::cli::signals::is_ignored;
use crate::cli::top::app::{App, AppSettings, Effect, LoadedView, Msg};
use crate::cli::top::inbox::{Arrival, Threads};
use crate::cli::top::loader::LiveFile;
use crate::cli::top::terminal::TakenTerminal;
use crate::cli::top::theme::Theme;

/// What changes in the file is drawn at most ten times a second, what keys do at most thirty times.
const FRAME: Duration = Duration::from_millis(100);
const KEY_FRAME: Duration = Duration::from_millis(33);

/// Shows the file until it is ended, or its first screen where that is all that can be shown.
pub(crate) fn show(session: &Session, once: bool) -> CliResult {
    if session.output.is_json() {
        return Err(CliError::usage("top has no JSON")
            .with_hint("`jobq status --json` prints the state of the file"));
    }
    let queue = session.queue()?;
    let settings = settings(session, queue.is_read_only());
    let source = LiveFile::new(queue, session.options());
    if once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return print_once(settings, &source);
    }
    let threads = Threads::start(&Arc::new(source))?;
    let mut terminal = TakenTerminal::take()?;
    let app = App::new(settings, now(), terminal.size());
    let ended = Screening::new(app, threads).run(&mut terminal);
    drop(terminal);
    ended
}

fn settings(session: &Session, is_read_only: bool) -> AppSettings {
    let path = session.db_path();
    let title = path.file_name().unwrap_or(path.as_os_str());
    AppSettings {
        theme: Theme {
            color: session.output.color,
            unicode: is_utf_8_locale(|name| std::env::var(name).ok()),
        },
        title: title.to_string_lossy().into_owned(),
        command: format!("jobq --db {}", shell_word(&path.to_string_lossy())),
        is_read_only,
    }
}

/// The first screen as plain text.
fn print_once(settings: AppSettings, source: &LiveFile) -> CliResult {
    let size = size_without_terminal();
    let mut app = App::new(settings, now(), size);
    // What has no answer is answered at once: the reads of the first screen.
    for effect in app.update(Msg::Time(now())) {
        if let Effect::Read(request) = effect {
            let answer = source.read(&request)?;
            let loaded = LoadedView {
                request,
                answer: Ok(answer),
                took: Duration::ZERO,
            };
            app.update(Msg::Loaded(Box::new(loaded)));
        }
    }
    let text = screen_text(&app)?;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Exit::Done)
}

/// What is on the screen, without colours; without the line of keys, which have no effect there.
fn screen_text(app: &App) -> CliResult<String> {
    let backend = TestBackend::new(app.width, app.height);
    let mut terminal =
        Terminal::new(backend).map_err(|never| CliError::failed(never.to_string()))?;
    let drawn = terminal.draw(|frame| app.draw(frame));
    drawn.map_err(|never| CliError::failed(never.to_string()))?;
    let buffer = terminal.backend().buffer();
    let mut lines = Vec::new();
    for y in 0..app.height.saturating_sub(1) {
        let mut line = String::new();
        let mut covered = 0;
        for x in 0..app.width {
            let symbol = buffer[(x, y)].symbol();
            // The second cell of a wide character holds nothing of its own.
            match covered {
                0 => line.push_str(symbol),
                _ => covered -= 1,
            }
            covered = covered.max(lines::width_of(symbol).saturating_sub(1));
        }
        lines.push(line.trim_end().to_owned());
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    Ok(lines.join("\n") + "\n")
}

/// That of the terminal where there is one, else what the environment says, else 80 by 24.
fn size_without_terminal() -> (u16, u16) {
    let from_env = |name: &str| std::env::var(name).ok()?.parse::<u16>().ok();
    let real = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let real = real.map(|size| (size.ws_col, size.ws_row));
    let (columns, rows) = real.filter(|size| size.0 > 0 && size.1 > 0).unwrap_or((
        from_env("COLUMNS").unwrap_or(80),
        from_env("LINES").unwrap_or(24),
    ));
    (columns.clamp(20, 500), rows.clamp(6, 500))
}

/// The state, and when it was drawn.
struct Screening {
    app: App,
    threads: Threads,
    drawn_at: Option<Instant>,
    /// When what has changed is to be drawn.
    draw_at: Option<Instant>,
}

impl Screening {
    fn new(app: App, threads: Threads) -> Screening {
        Screening {
            app,
            threads,
            drawn_at: None,
            draw_at: Some(instant()),
        }
    }

    fn run(mut self, terminal: &mut TakenTerminal) -> CliResult {
        let mut next = None;
        loop {
            let mut effects = self.app.update(Msg::Time(now()));
            if let Some(arrival) = next.take() {
                effects.extend(match arrival {
                    Arrival::Msg(msg) => self.learn(msg),
                    Arrival::Signal(signal) => match self.hear(signal, terminal)? {
                        Some(exit) => return Ok(exit),
                        None => Vec::new(),
                    },
                    Arrival::Hangup => return Ok(Exit::ReaderGone),
                    Arrival::Panicked => return Err(CliError::failed("an internal error")),
                });
            }
            for effect in effects {
                if let Some(exit) = self.perform(effect, terminal)? {
                    return Ok(exit);
                }
            }
            if self.draw_at.is_some_and(|at| at <= instant()) {
                terminal.draw(&self.app)?;
                panic_if_asked(&self.app);
                (self.drawn_at, self.draw_at) = (Some(instant()), None);
            }
            next = match self.threads.arrivals.recv_timeout(self.wait_time()) {
                Ok(arrival) => Some(arrival),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(Exit::Failed),
            };
            if next.is_none() && self.draw_at.is_none() {
                // Messages end, and relative times go on.
                self.draw_at = Some(instant());
            }
        }
    }

    fn learn(&mut self, msg: Msg) -> Vec<Effect> {
        let rest = match msg {
            Msg::Key(_) | Msg::Resize(..) => KEY_FRAME,
            // It is drawn when it has been read.
            Msg::FileChanged => return self.app.update(msg),
            _ if self.app.is_waiting() => KEY_FRAME,
            _ => FRAME,
        };
        let at = self.drawn_at.map_or_else(instant, |at| at + rest);
        self.draw_at = Some(self.draw_at.map_or(at, |other| other.min(at)));
        self.app.update(msg)
    }

    fn wait_time(&self) -> Duration {
        let idle = self.app.idle_time();
        let frame = self
            .draw_at
            .map(|at| at.saturating_duration_since(instant()));
        frame.map_or(idle, |frame| frame.min(idle))
    }

    fn perform(&mut self, effect: Effect, terminal: &mut TakenTerminal) -> CliResult<Option<Exit>> {
        match effect {
            // The threads listen as long as this one does.
            Effect::Read(request) => drop(self.threads.reads.send(request)),
            Effect::Change(change) => drop(self.threads.changes.send(change)),
            Effect::Copy(text) => terminal.copy(&text)?,
            Effect::Suspend => self.stop(terminal)?,
            Effect::Quit(exit) => return Ok(Some(exit)),
        }
        Ok(None)
    }

    /// Until SIGCONT comes.
    fn stop(&mut self, terminal: &mut TakenTerminal) -> CliResult<()> {
        terminal.without(|| {
            let _goes_on = raise(SIGSTOP);
        })?;
        self.was_away(terminal);
        Ok(())
    }

    fn was_away(&mut self, terminal: &TakenTerminal) {
        let (width, height) = terminal.size();
        self.app.update(Msg::Resize(width, height));
        self.draw_at = Some(instant());
    }

    /// Returns how the process ends, if it does.
    fn hear(&mut self, signal: i32, terminal: &mut TakenTerminal) -> CliResult<Option<Exit>> {
        match signal {
            SIGTSTP => self.stop(terminal)?,
            SIGCONT => {
                terminal.take_again()?;
                self.was_away(terminal);
            }
            SIGINT => return Ok(Some(Exit::Interrupted)),
            signal if is_ignored(signal) => {}
            signal => return Ok(Some(Exit::Code(128 + u8::try_from(signal).unwrap_or(0)))),
        }
        Ok(None)
    }
}

/// For a test: what a panic leaves of the terminal.
#[cfg(feature = "fault-injection")]
fn panic_if_asked(app: &App) {
    let fault = std::env::var("JOBQ_FAULT").unwrap_or_default();
    assert!(
        fault != "top-panics" || app.header.is_none(),
        "the fault is on"
    );
}

#[cfg(not(feature = "fault-injection"))]
fn panic_if_asked(_: &App) {}
