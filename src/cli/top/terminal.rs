//! The terminal while `jobq top` has it: taken, given back whatever happens, and taken again.

use std::io::{self, Stdout, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use jobq::base64;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use crate::cli::top::app::App;

/// Whether the terminal is ours: to be given back once, by whoever comes first.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal; given back when it is dropped.
pub(crate) struct TakenTerminal {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl TakenTerminal {
    /// A panic gives the terminal back before it says anything.
    pub(crate) fn take() -> io::Result<TakenTerminal> {
        let says = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            says(panic);
        }));
        enter()?;
        let backend = CrosstermBackend::new(io::stdout());
        let terminal = Terminal::new(backend).inspect_err(|_| give_back())?;
        Ok(TakenTerminal { terminal })
    }

    pub(crate) fn draw(&mut self, app: &App) -> io::Result<()> {
        self.terminal.draw(|frame| app.draw(frame)).map(|_| ())
    }

    pub(crate) fn size(&self) -> (u16, u16) {
        self.terminal
            .size()
            .map_or((80, 24), |size| (size.width, size.height))
    }

    /// Gives the terminal back while `stopped` runs, and takes it again.
    pub(crate) fn without(&mut self, stopped: impl FnOnce()) -> io::Result<()> {
        give_back();
        stopped();
        self.take_again()
    }

    /// The shell may have changed the terminal while this process was stopped.
    pub(crate) fn take_again(&mut self) -> io::Result<()> {
        give_back();
        enter()?;
        // What is there now is not known: everything is drawn.
        execute!(io::stdout(), Clear(ClearType::All))?;
        self.terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(())
    }

    /// Asks the terminal to put a text on the clipboard. One that cannot ignores it.
    pub(crate) fn copy(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout();
        write!(out, "\x1b]52;c;{}\x1b\\", base64::encode(text.as_bytes()))?;
        out.flush()
    }
}

impl Drop for TakenTerminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> io::Result<()> {
    IS_TAKEN.store(true, Ordering::SeqCst);
    let entered = enable_raw_mode().and_then(|()| execute!(io::stdout(), EnterAlternateScreen));
    entered.inspect_err(|_| give_back())
}

/// As it was before. Where it has gone, there is nothing to give back.
pub(crate) fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// The part of it for which nothing is written.
pub(crate) fn give_back_modes() {
    let _ = disable_raw_mode();
}
