//! `jobq logs`: what a job printed and logged.

mod many;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use jobq::api::event::sentence;
use jobq::api::why::explain;
use jobq::{EventKind, JobId, JobRecord, Level, Queue, State, Why};

use crate::cli::clock::now;
use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::history::{JobLog, LineFilter, LogItem, LogStream, WAIT};
use crate::cli::input::selection::{FILTERS, JobFilter};
use crate::cli::input::values;
use crate::cli::render::log::LogPrinter;
use crate::cli::render::text::for_terminal;
use crate::cli::session::Session;
use crate::cli::signals::end_when_reader_is_gone;

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The jobs: 42, 3,5, 8-12, @last [default: all]. Of more than one, each line has its job's id in
    /// front
    #[arg(value_name = "ID", conflicts_with_all = FILTERS)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: JobFilter,
    /// Only jobs of this batch, as `run -f` has added it from this folder: its file, or its digest
    #[arg(long, value_name = "FILE|DIGEST", conflicts_with = "ids", conflicts_with_all = FILTERS)]
    pub(crate) batch: Option<PathBuf>,
    /// Go on as more comes: until the jobs that are named have ended, for others until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only this attempt
    #[arg(long, value_name = "N")]
    pub(crate) attempt: Option<u32>,
    /// Only this stream
    #[arg(long)]
    pub(crate) stream: Option<LogStream>,
    /// Only log entries of this level or above
    #[arg(long, value_parser = values::level())]
    pub(crate) level: Option<Level>,
    /// Only the last N lines
    #[arg(short = 'n', long = "lines", value_name = "N")]
    pub(crate) lines: Option<usize>,
}

pub(crate) fn run(args: &LogsArgs, session: &Session) -> CliResult {
    let wanted = LineFilter {
        attempt: args.attempt,
        stream: args.stream.or(args.level.map(|_| LogStream::Log)),
        level: args.level,
    };
    let Some(id) = the_only_one(args, session)? else {
        return many::run(args, wanted, session);
    };
    let mut tail = Tail::new(session, id, wanted)?;
    if args.follow {
        end_when_reader_is_gone(Exit::Done);
        tail.follow(args.lines)?;
    } else {
        tail.show(args.lines)?;
        tail.printer.attempt_ended()?;
    }
    Ok(Exit::Done)
}

/// The job, where one is named.
fn the_only_one(args: &LogsArgs, session: &Session) -> CliResult<Option<JobId>> {
    let [word] = &args.ids[..] else {
        return Ok(None);
    };
    Ok(match session.resolve_ids(std::slice::from_ref(word))?[..] {
        [id] => Some(id),
        _ => None,
    })
}

/// Prints a job's output as it comes, until the job is final; the state it ended in.
pub(crate) fn follow(session: &Session, id: JobId) -> CliResult<State> {
    let mut tail = Tail::new(session, id, LineFilter::default())?;
    end_when_reader_is_gone(Exit::ReaderGone);
    let followed = tail.follow(None);
    followed.map_err(CliError::with_unknown_end)
}

/// A job's output on its way to stdout.
struct Tail<'a> {
    session: &'a Session,
    queue: Queue,
    id: JobId,
    feed: JobLog,
    printer: LogPrinter<'a>,
}

impl<'a> Tail<'a> {
    /// Fails if the job does not exist.
    fn new(session: &'a Session, id: JobId, wanted: LineFilter) -> CliResult<Tail<'a>> {
        let queue = session.queue()?;
        let tail = Tail {
            session,
            feed: JobLog::new(queue.clone(), id, wanted),
            queue,
            id,
            printer: LogPrinter::new(&session.output),
        };
        tail.job()?;
        Ok(tail)
    }

    fn job(&self) -> CliResult<JobRecord> {
        let job = self.queue.get(self.id)?;
        job.ok_or_else(|| CliError::no_job(self.id))
    }

    /// What is there now: all of it, or the last lines.
    fn show(&mut self, lines: Option<usize>) -> CliResult<()> {
        let printer = &mut self.printer;
        match lines {
            Some(most) => {
                for line in self.feed.last(most)? {
                    printer.line(line)?;
                }
            }
            None => self.feed.read(&mut |found| match found {
                LogItem::Output(piece) => printer.piece(piece),
                LogItem::End(_) => Ok(()),
            })?,
        }
        Ok(())
    }

    fn follow(&mut self, lines: Option<usize>) -> CliResult<State> {
        let mut changes = self.queue.changes()?;
        if lines.is_some() {
            self.show(lines)?;
        }
        self.feed.filter.kinds.push(EventKind::Requeued);
        let mut told_why = false;
        loop {
            // The state first: what was written before the end is then sure to be read.
            let job = self.job()?;
            self.catch_up()?;
            if job.state.is_final() {
                self.printer.attempt_ended()?;
                return Ok(job.state);
            }
            if !told_why {
                self.say_why()?;
            }
            told_why = true;
            changes.wait(WAIT)?;
        }
    }

    fn catch_up(&mut self) -> CliResult<()> {
        let Tail {
            session,
            id,
            feed,
            printer,
            ..
        } = self;
        feed.read(&mut |found| match found {
            LogItem::Output(piece) => printer.piece(piece),
            LogItem::End(event) => {
                printer.attempt_ended()?;
                if !session.output.is_json() {
                    let said = sentence(&event);
                    session
                        .screen
                        .say(format_args!("job {id}: {}", for_terminal(&said)));
                }
                Ok(())
            }
        })?;
        printer.out.flush()?;
        Ok(())
    }

    /// Explains why there is no output yet, unless the job's turn is about to come.
    fn say_why(&self) -> CliResult<()> {
        let why = self.queue.why(self.id)?;
        let told = explain(self.id, &why, now());
        if matches!(why, Why::NotDue { .. }) || told.calls_for_action {
            self.session.screen.say(for_terminal(&told.message));
            if let Some(hint) = told.hint {
                self.session.screen.hint(hint);
            }
        }
        Ok(())
    }
}
