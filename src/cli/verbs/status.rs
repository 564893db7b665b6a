//! `jobq status`: how the whole file is, or jobs in full.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use jobq::{JobId, Queue};

use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::render::job_page::InFull;
use crate::cli::render::overview::Overview;
use crate::cli::render::{Format, Output};
use crate::cli::session::Session;
use crate::cli::signals::end_when_reader_is_gone;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Jobs to show in full: 42, 3,5, 8-12, @last
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Show it again whenever something changes
    #[arg(long)]
    pub(crate) watch: bool,
}

/// The screen is drawn anew at most four times a second, and once a second where nothing changes:
/// relative times go on.
const REST: Duration = Duration::from_millis(250);
const REDRAW: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &StatusArgs, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let named = session.resolve_existing(&args.ids)?;
    if named.ids.is_empty()
        && let Some(error) = named.error()
    {
        return Err(error);
    }
    let missing = named.error();
    let page = StatusPage {
        session,
        queue,
        ids: named.ids,
        missing,
    };
    if args.watch {
        return page.watch();
    }
    let mut out = session.output.stdout();
    let exit = page.write(&mut out)?;
    out.flush()?;
    Ok(exit)
}

struct StatusPage<'a> {
    session: &'a Session,
    queue: Queue,
    ids: Vec<JobId>,
    /// Of ranges.
    missing: Option<CliError>,
}

impl StatusPage<'_> {
    /// The overview where no job is named. A job that is missing does not hide the others.
    fn write(&self, out: &mut dyn Write) -> CliResult {
        let output = &self.session.output.measured();
        if self.ids.is_empty() {
            Overview::read(&self.queue, output.format)?.write(output, out)?;
            return Ok(Exit::Done);
        }
        let mut exit = Exit::Done;
        let mut first = true;
        for id in &self.ids {
            match InFull::read(&self.queue, *id, output) {
                Ok(job) => {
                    if !std::mem::take(&mut first) && output.format != Format::Json {
                        writeln!(out)?;
                    }
                    job.write(output, out)?;
                }
                Err(error) if error.exit() == Exit::NotFound => exit = print_error(out, &error)?,
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = &self.missing {
            exit = print_error(out, error)?;
        }
        Ok(exit)
    }

    /// Forever, until it is interrupted or the reader of its output has gone.
    fn watch(&self) -> CliResult {
        end_when_reader_is_gone(Exit::Done);
        let mut changes = self.queue.changes()?;
        let mut screen = Redraw::new(&self.session.output);
        loop {
            let mut page = Vec::new();
            self.write(&mut page)?;
            screen.draw(page)?;
            std::thread::sleep(REST);
            if screen.in_place {
                changes.wait(REDRAW)?;
            } else {
                while !changes.wait(Duration::from_secs(3600))? {}
            }
        }
    }
}

/// Names a job that is missing, after those that are there.
fn print_error(out: &mut dyn Write, error: &CliError) -> CliResult {
    out.flush()?;
    error.print();
    Ok(error.exit())
}

/// A page that is drawn over itself on a terminal, and printed again elsewhere.
struct Redraw<'a> {
    output: &'a Output,
    in_place: bool,
    /// The height of what stands there now.
    lines: usize,
    /// The terminal's width and height when that was drawn.
    size: (u16, u16),
}

impl<'a> Redraw<'a> {
    fn new(output: &'a Output) -> Redraw<'a> {
        Redraw {
            output,
            in_place: output.format == Format::Table,
            lines: 0,
            size: terminal_size(),
        }
    }

    fn draw(&mut self, page: Vec<u8>) -> CliResult<()> {
        let mut out = self.output.stdout();
        if self.in_place {
            let size = terminal_size();
            // One line is left for the cursor.
            let height = usize::from(size.1).saturating_sub(1).max(1);
            let text = String::from_utf8_lossy(&page);
            let shown: Vec<&str> = text.lines().take(height).collect();
            if size != self.size {
                // The terminal has broken the old page into an unknown number of lines.
                write!(out, "\x1b[H\x1b[2J")?;
            } else if self.lines > 0 {
                write!(out, "\x1b[{}A\r", self.lines)?;
            }
            // A line that is too long is cut by the terminal: one that it broke would count as two.
            write!(out, "\x1b[?7l")?;
            for line in &shown {
                writeln!(out, "{line}\x1b[K")?;
            }
            write!(out, "\x1b[J\x1b[?7h")?;
            (self.lines, self.size) = (shown.len(), size);
        } else {
            out.write_all(&page)?;
        }
        Ok(out.flush()?)
    }
}

/// The terminal's width and height; 80 and 24 where it does not say.
fn terminal_size() -> (u16, u16) {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    let (columns, rows) = size.map_or((0, 0), |size| (size.ws_col, size.ws_row));
    let or = |said: u16, usual| if said == 0 { usual } else { said };
    (or(columns, 80), or(rows, 24))
}
