//! `jobq logs`: what a job printed and logged.

mod many;

use std::io::Write;
use std::time::Duration;

use jobq::{Event, EventFilter, EventKind, JobId, JobRecord, Level, Queue, State, Why};

use super::args;
use super::clock::now;
use super::exit::{CliError, CliResult, Exit};
use super::lines::{HeldBack, LastOf, Lines, Piece, Source};
use super::output::json::{LogJson, Time, write_line};
use super::output::style::Look;
use super::output::text::{block, for_tabs, for_terminal};
use super::output::{Format, Output, Stdout};
use super::reader_gone;
use super::session::Session;
use super::why::{look, told};
use super::wording::sentence;

/// How long one wait for a change lasts; another follows.
const WAIT: Duration = Duration::from_secs(3600);

pub(super) fn run(args: &args::Logs, session: &Session) -> CliResult {
    let wanted = Wanted {
        attempt: args.attempt,
        stream: args.stream.or(args.level.map(|_| args::Stream::Log)),
        level: args.level,
    };
    let Some(id) = the_only_one(args, session)? else {
        return many::run(args, wanted, session);
    };
    let mut tail = Tail::new(session, id, wanted)?;
    if args.follow {
        reader_gone::watch(Exit::Done);
        tail.follow(args.lines)?;
    } else {
        tail.show(args.lines)?;
        tail.printer.attempt_ended()?;
    }
    Ok(Exit::Done)
}

/// The job, where one is named.
fn the_only_one(args: &args::Logs, session: &Session) -> CliResult<Option<JobId>> {
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
    let mut tail = Tail::new(session, id, Wanted::default())?;
    reader_gone::watch(Exit::ReaderGone);
    let followed = tail.follow(None);
    followed.map_err(CliError::says_no_end)
}

/// The last lines of a job's output, without escape codes of jobq's own.
pub(super) fn last_lines(queue: &Queue, id: JobId, most: usize) -> CliResult<Vec<Piece>> {
    let mut feed = Feed::new(queue.clone(), id, Wanted::default());
    Ok(feed.last(most)?.into_iter().collect())
}

/// Which lines are asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    attempt: Option<u32>,
    stream: Option<args::Stream>,
    level: Option<Level>,
}

impl Wanted {
    fn kinds(self) -> Vec<EventKind> {
        match self.stream {
            None => vec![EventKind::Stdout, EventKind::Stderr, EventKind::Log],
            Some(args::Stream::Stdout) => vec![EventKind::Stdout],
            Some(args::Stream::Stderr) => vec![EventKind::Stderr],
            Some(args::Stream::Log) => vec![EventKind::Log],
        }
    }

    fn has(self, piece: &Piece) -> bool {
        let attempt = self.attempt.is_none() || self.attempt == piece.attempt;
        let level = piece
            .source
            .level()
            .is_none_or(|level| Some(level) >= self.level);
        attempt && level
    }
}

/// A place in a job's history.
struct Feed {
    queue: Queue,
    filter: EventFilter,
    wanted: Wanted,
    held_back: HeldBack,
}

/// The kinds of events that end an attempt.
fn ends() -> impl Iterator<Item = EventKind> {
    let kinds = EventKind::ALL.iter().copied();
    kinds.filter(|kind| kind.ends_attempt())
}

/// What a job's history holds for whoever follows it.
enum Found {
    Output(Piece),
    /// The end of an attempt.
    End(Event),
}

impl Feed {
    fn new(queue: Queue, id: JobId, wanted: Wanted) -> Feed {
        let mut filter = EventFilter {
            job: Some(id),
            kinds: wanted.kinds(),
            ..EventFilter::default()
        };
        filter.kinds.extend(ends());
        Feed {
            queue,
            filter,
            wanted,
            held_back: HeldBack::default(),
        }
    }

    /// Gives what has been added since the last time.
    fn read(&mut self, each: &mut dyn FnMut(Found) -> CliResult<()>) -> CliResult<()> {
        loop {
            let page = self.queue.events(&self.filter)?;
            self.filter.since = page.next;
            for event in page.events {
                match Piece::of(&event) {
                    Some(piece) if self.wanted.has(&piece) => {
                        self.held_back.saw(&piece);
                        each(Found::Output(piece))?;
                    }
                    Some(_) => {}
                    None => {
                        for mark in self.held_back.lost(event.at) {
                            each(Found::Output(mark))?;
                        }
                        each(Found::End(event))?;
                    }
                }
            }
            if page.at_end {
                return Ok(());
            }
        }
    }

    /// The last lines of what is there.
    fn last(&mut self, most: usize) -> CliResult<LastOf<Piece>> {
        let mut last = LastOf::new(most);
        let mut lines = Lines::default();
        self.read(&mut |found| {
            if let Found::Output(piece) = found {
                lines
                    .add(piece)
                    .into_iter()
                    .for_each(|line| last.push(line));
            }
            Ok(())
        })?;
        lines.rest().into_iter().for_each(|line| last.push(line));
        Ok(last)
    }
}

/// A job's output on its way to stdout.
struct Tail<'a> {
    session: &'a Session,
    queue: Queue,
    id: JobId,
    feed: Feed,
    printer: Printer<'a>,
}

impl<'a> Tail<'a> {
    /// Fails where there is no such job.
    fn new(session: &'a Session, id: JobId, wanted: Wanted) -> CliResult<Tail<'a>> {
        let queue = session.queue()?;
        let tail = Tail {
            session,
            feed: Feed::new(queue.clone(), id, wanted),
            queue,
            id,
            printer: Printer::new(&session.output),
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
                Found::Output(piece) => printer.piece(piece),
                Found::End(_) => Ok(()),
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
            Found::Output(piece) => printer.piece(piece),
            Found::End(event) => {
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

    /// Whoever waits for output may want to know why there is none; not where its turn is about to come.
    fn say_why(&self) -> CliResult<()> {
        let why = self.queue.why(self.id)?;
        if matches!(why, Why::NotDue { .. }) || look(&why) == Look::Warn {
            let told = told(self.id, &why, now());
            self.session.screen.say(for_terminal(&told.message));
            if let Some(hint) = told.hint {
                self.session.screen.hint(hint);
            }
        }
        Ok(())
    }
}

/// The lines of a log entry that follow its first begin further in than any entry.
const LOG_INDENT: usize = 6;

/// Writes output as it was written, or as JSON.
struct Printer<'a> {
    output: &'a Output,
    out: Stdout,
    /// What is put together to lines, for JSON.
    lines: Lines,
    /// The last line has not ended.
    open: bool,
    attempt: Option<u32>,
}

impl<'a> Printer<'a> {
    fn new(output: &'a Output) -> Printer<'a> {
        Printer {
            output,
            out: output.stdout(),
            lines: Lines::default(),
            open: false,
            attempt: None,
        }
    }

    /// A piece as it was written.
    fn piece(&mut self, piece: Piece) -> CliResult<()> {
        if self.output.is_json() {
            for line in self.lines.add(piece) {
                self.json(&line)?;
            }
            return Ok(());
        }
        self.separate(piece.attempt)?;
        self.human(&piece)
    }

    /// A line without its end.
    fn line(&mut self, mut line: Piece) -> CliResult<()> {
        if self.output.is_json() {
            return self.json(&line);
        }
        self.separate(line.attempt)?;
        if line.source.level().is_none() {
            line.text.push(b'\n');
        }
        self.human(&line)
    }

    /// A line without its end, with its job in front: one of many.
    fn line_of_many(&mut self, mut line: Piece) -> CliResult<()> {
        if self.output.is_json() {
            return self.json(&line);
        }
        if let Some(job) = line.job {
            let job = self.output.paint(Look::Dim, format!("[{job}]"));
            write!(self.out, "{job} ")?;
        }
        if line.source.level().is_none() {
            line.text.push(b'\n');
        }
        self.human(&line)
    }

    fn json(&mut self, line: &Piece) -> CliResult<()> {
        let json = LogJson {
            at: Time(line.at),
            job: line.job,
            attempt: line.attempt,
            stream: line.source.name(),
            level: line.source.level(),
            message: String::from_utf8_lossy(&line.text),
            fields: line.fields.as_ref(),
        };
        Ok(write_line(&mut self.out, &json)?)
    }

    fn human(&mut self, piece: &Piece) -> CliResult<()> {
        match piece.source {
            Source::Stdout => self.out.write_all(&piece.text)?,
            Source::Stderr => self.stderr(&piece.text)?,
            Source::Log(level) => {
                self.end_line()?;
                self.log(level, piece)?;
            }
        }
        self.open = piece.source.level().is_none() && !piece.text.ends_with(b"\n");
        Ok(())
    }

    /// In its colour where there is any; the line end stays outside of it.
    fn stderr(&mut self, text: &[u8]) -> CliResult<()> {
        if !self.output.color {
            self.out.write_all(text)?;
            return Ok(());
        }
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let (words, end) = match line.strip_suffix(b"\n") {
                Some(words) => (words, "\n"),
                None => (line, ""),
            };
            let (on, off) = Look::Warn.codes();
            write!(self.out, "{on}")?;
            self.out.write_all(words)?;
            write!(self.out, "{off}{end}")?;
        }
        Ok(())
    }

    fn log(&mut self, level: Level, piece: &Piece) -> CliResult<()> {
        let name = self
            .output
            .paint(Look::of_level(level), level.as_str().to_uppercase());
        write!(self.out, "{name} ")?;
        let text = String::from_utf8_lossy(&piece.text);
        // An entry that has several lines cannot pass for several entries.
        match self.output.format {
            Format::Table => write!(self.out, "{}", block(&text, LOG_INDENT))?,
            _ => write!(self.out, "{}", for_tabs(&text))?,
        }
        if let Some(fields) = &piece.fields {
            write!(self.out, " {}", self.output.paint(Look::Dim, fields))?;
        }
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// On a terminal a line stands between the attempts.
    fn separate(&mut self, attempt: Option<u32>) -> CliResult<()> {
        let last = std::mem::replace(&mut self.attempt, attempt);
        let Some(number) = attempt.filter(|_| last.is_some() && last != attempt) else {
            return Ok(());
        };
        self.end_line()?;
        if self.output.format == Format::Table {
            let line = self.output.paint(Look::Dim, format!("── attempt {number}"));
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn end_line(&mut self) -> CliResult<()> {
        if std::mem::take(&mut self.open) {
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// An attempt has ended: nothing goes on with its lines.
    fn attempt_ended(&mut self) -> CliResult<()> {
        for line in self.lines.rest() {
            self.json(&line)?;
        }
        if self.output.format == Format::Table {
            self.end_line()?;
        }
        Ok(self.out.flush()?)
    }
}
