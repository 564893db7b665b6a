//! The history, read on as it grows: events, and the lines of output that pieces in it make up.

use std::collections::VecDeque;
use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;
use jobq::{Event, EventFilter, EventKind, JobId, Level, LogEntry, Queue};

use crate::cli::exit::CliResult;

/// How long one wait for a change lasts; another follows.
pub(crate) const WAIT: Duration = Duration::from_secs(3600);

/// Returns the events added since the last call; the filter holds the position.
pub(crate) fn read_events<E: From<jobq::Error>>(
    queue: &Queue,
    filter: &mut EventFilter,
    mut each: impl FnMut(Event) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        let page = queue.events(filter)?;
        filter.since = page.next;
        page.events.into_iter().try_for_each(&mut each)?;
        if page.at_end {
            return Ok(());
        }
    }
}

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineSource {
    Stdout,
    Stderr,
    Log(Level),
}

impl LineSource {
    pub(crate) fn name(self) -> &'static str {
        match self {
            LineSource::Stdout => "stdout",
            LineSource::Stderr => "stderr",
            LineSource::Log(_) => "log",
        }
    }

    pub(crate) fn level(self) -> Option<Level> {
        match self {
            LineSource::Log(level) => Some(level),
            LineSource::Stdout | LineSource::Stderr => None,
        }
    }
}

/// A piece of output as it was written, a line of it, or an entry of the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) at: Timestamp,
    pub(crate) job: Option<JobId>,
    pub(crate) attempt: Option<u32>,
    pub(crate) source: LineSource,
    pub(crate) text: Vec<u8>,
    pub(crate) fields: Option<serde_json::Value>,
}

impl Piece {
    /// None for events that are no output.
    pub(crate) fn of(event: &Event) -> Option<Piece> {
        let bytes = event.data.as_ref().map_or(&b""[..], |data| data.as_bytes());
        let (source, text, fields) = match event.kind {
            EventKind::Stdout => (LineSource::Stdout, bytes.to_vec(), None),
            EventKind::Stderr => (LineSource::Stderr, bytes.to_vec(), None),
            EventKind::Log => match serde_json::from_slice::<LogEntry>(bytes) {
                Ok(entry) => (
                    LineSource::Log(entry.level),
                    entry.message.into_bytes(),
                    entry.fields,
                ),
                Err(_) => (LineSource::Log(Level::Info), bytes.to_vec(), None),
            },
            _ => return None,
        };
        Some(Piece {
            at: event.at,
            job: event.job,
            attempt: event.attempt,
            source,
            text,
            fields,
        })
    }
}

/// Puts pieces together to lines: one that a command wrote in two goes comes out whole, with the time
/// of its beginning and without its end of line.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineAssembler {
    stdout: Option<Piece>,
    stderr: Option<Piece>,
}

impl LineAssembler {
    /// Takes the next piece; the lines that are complete with it.
    pub(crate) fn add(&mut self, piece: Piece) -> Vec<Piece> {
        let open = match piece.source {
            LineSource::Stdout => &mut self.stdout,
            LineSource::Stderr => &mut self.stderr,
            LineSource::Log(_) => return vec![piece],
        };
        let mut whole = Vec::new();
        if open
            .as_ref()
            .is_some_and(|open| open.attempt != piece.attempt)
        {
            whole.extend(open.take());
        }
        for part in piece.text.split_inclusive(|byte| *byte == b'\n') {
            let mut line = open.take().unwrap_or_else(|| Piece {
                text: Vec::new(),
                ..piece.clone()
            });
            match part.strip_suffix(b"\n") {
                Some(end) => {
                    line.text.extend_from_slice(end);
                    whole.push(line);
                }
                None => {
                    line.text.extend_from_slice(part);
                    *open = Some(line);
                }
            }
        }
        whole
    }

    /// The lines that have no end of line yet.
    pub(crate) fn rest(&mut self) -> Vec<Piece> {
        let mut rest: Vec<Piece> = self
            .stdout
            .take()
            .into_iter()
            .chain(self.stderr.take())
            .collect();
        rest.sort_by_key(|piece| piece.at);
        rest
    }
}

/// The streams of an attempt whose rest its runner holds in memory until the end: an empty piece says so.
/// Where the attempt ends and no piece has followed, the rest was lost.
#[derive(Debug, Default)]
pub(crate) struct PostponedOutput([Rest; 2]);

/// How far a stream has come.
#[derive(Debug, Default)]
struct Rest {
    /// The piece that says that the rest is held back.
    since: Option<Piece>,
    is_mid_line: bool,
}

impl PostponedOutput {
    pub(crate) fn saw(&mut self, piece: &Piece) {
        let rest = match piece.source {
            LineSource::Stdout => &mut self.0[0],
            LineSource::Stderr => &mut self.0[1],
            LineSource::Log(_) => return,
        };
        match piece.text.last() {
            None => rest.since = Some(piece.clone()),
            Some(last) => {
                *rest = Rest {
                    since: None,
                    is_mid_line: *last != b'\n',
                }
            }
        }
    }

    /// An attempt has ended: what stands in place of what was lost.
    pub(crate) fn lost(&mut self, at: Timestamp) -> Vec<Piece> {
        let rests = std::mem::take(&mut self.0);
        let lost = rests.into_iter().filter_map(|rest| {
            let line_break = if rest.is_mid_line { "\n" } else { "" };
            Some(Piece {
                at,
                text: format!("{line_break}{LOST_WITH_RUNNER}\n").into_bytes(),
                ..rest.since?
            })
        });
        lost.collect()
    }
}

const LOST_WITH_RUNNER: &str = "[… the rest of the output was lost with its runner …]";

/// The last items of a stream, up to a number.
#[derive(Debug)]
pub(crate) struct LastOf<T> {
    kept: VecDeque<T>,
    most: usize,
}

impl<T> LastOf<T> {
    pub(crate) fn new(most: usize) -> LastOf<T> {
        LastOf {
            kept: VecDeque::new(),
            most,
        }
    }

    pub(crate) fn push(&mut self, item: T) {
        self.kept.push_back(item);
        if self.kept.len() > self.most {
            self.kept.pop_front();
        }
    }
}

impl<T> IntoIterator for LastOf<T> {
    type Item = T;
    type IntoIter = std::collections::vec_deque::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.kept.into_iter()
    }
}

/// Where a line of a job's output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogStream {
    /// The command's standard output
    Stdout,
    /// The command's standard error
    Stderr,
    /// Log entries
    Log,
}

/// Which lines are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineFilter {
    pub(crate) attempt: Option<u32>,
    pub(crate) stream: Option<LogStream>,
    pub(crate) level: Option<Level>,
}

impl LineFilter {
    pub(crate) fn kinds(self) -> Vec<EventKind> {
        match self.stream {
            None => vec![EventKind::Stdout, EventKind::Stderr, EventKind::Log],
            Some(LogStream::Stdout) => vec![EventKind::Stdout],
            Some(LogStream::Stderr) => vec![EventKind::Stderr],
            Some(LogStream::Log) => vec![EventKind::Log],
        }
    }

    pub(crate) fn has(self, piece: &Piece) -> bool {
        let attempt = self.attempt.is_none() || self.attempt == piece.attempt;
        let level = piece
            .source
            .level()
            .is_none_or(|level| Some(level) >= self.level);
        attempt && level
    }
}

/// A position in a job's history.
pub(crate) struct JobLog {
    pub(crate) queue: Queue,
    pub(crate) filter: EventFilter,
    pub(crate) wanted: LineFilter,
    pub(crate) held_back: PostponedOutput,
}

/// The kinds of events that end an attempt.
pub(crate) fn ends() -> impl Iterator<Item = EventKind> {
    let kinds = EventKind::ALL.iter().copied();
    kinds.filter(|kind| kind.ends_attempt())
}

/// An entry of a job's output, as it is followed.
pub(crate) enum LogItem {
    Output(Piece),
    /// The end of an attempt.
    End(Event),
}

impl JobLog {
    pub(crate) fn new(queue: Queue, id: JobId, wanted: LineFilter) -> JobLog {
        let mut filter = EventFilter {
            job: Some(id),
            kinds: wanted.kinds(),
            ..EventFilter::default()
        };
        filter.kinds.extend(ends());
        JobLog {
            queue,
            filter,
            wanted,
            held_back: PostponedOutput::default(),
        }
    }

    /// Gives what has been added since the last time.
    pub(crate) fn read(&mut self, each: &mut dyn FnMut(LogItem) -> CliResult<()>) -> CliResult<()> {
        let JobLog {
            queue,
            filter,
            wanted,
            held_back,
        } = self;
        read_events(queue, filter, |event| {
            match Piece::of(&event) {
                Some(piece) if wanted.has(&piece) => {
                    held_back.saw(&piece);
                    each(LogItem::Output(piece))?;
                }
                Some(_) => {}
                None => {
                    for mark in held_back.lost(event.at) {
                        each(LogItem::Output(mark))?;
                    }
                    each(LogItem::End(event))?;
                }
            }
            Ok(())
        })
    }

    /// The last lines of what is there.
    pub(crate) fn last(&mut self, most: usize) -> CliResult<LastOf<Piece>> {
        let mut last = LastOf::new(most);
        let mut lines = LineAssembler::default();
        self.read(&mut |found| {
            if let LogItem::Output(piece) = found {
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

/// The last lines of a job's output, without escape codes of jobq's own.
pub(crate) fn last_lines(queue: &Queue, id: JobId, most: usize) -> CliResult<Vec<Piece>> {
    let mut feed = JobLog::new(queue.clone(), id, LineFilter::default());
    Ok(feed.last(most)?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(source: LineSource, second: i64, attempt: u32, text: &str) -> Piece {
        Piece {
            at: Timestamp::from_second(second).unwrap(),
            job: None,
            attempt: Some(attempt),
            source,
            text: text.into(),
            fields: None,
        }
    }

    #[test]
    fn a_line_in_two_pieces_is_joined_with_the_time_of_its_start() {
        let mut lines = LineAssembler::default();
        assert_eq!(
            lines.add(piece(LineSource::Stdout, 1, 1, "a\nb")),
            [piece(LineSource::Stdout, 1, 1, "a")]
        );
        assert_eq!(
            lines.add(piece(LineSource::Stderr, 2, 1, "x\n")),
            [piece(LineSource::Stderr, 2, 1, "x")]
        );
        assert_eq!(
            lines.add(piece(LineSource::Stdout, 3, 1, "c\n\nd")),
            [
                piece(LineSource::Stdout, 1, 1, "bc"),
                piece(LineSource::Stdout, 3, 1, "")
            ]
        );
        assert_eq!(lines.rest(), [piece(LineSource::Stdout, 3, 1, "d")]);
        assert_eq!(lines.rest(), []);
    }

    #[test]
    fn the_next_attempt_does_not_go_on_with_the_line_of_the_last() {
        let mut lines = LineAssembler::default();
        assert_eq!(lines.add(piece(LineSource::Stdout, 1, 1, "half")), []);
        assert_eq!(
            lines.add(piece(LineSource::Stdout, 2, 2, "new\n")),
            [
                piece(LineSource::Stdout, 1, 1, "half"),
                piece(LineSource::Stdout, 2, 2, "new")
            ]
        );
    }

    #[test]
    fn output_held_back_and_never_sent_is_marked_at_the_end() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut held = PostponedOutput::default();
        held.saw(&piece(LineSource::Stdout, 1, 1, "half"));
        held.saw(&piece(LineSource::Stdout, 2, 1, ""));
        held.saw(&piece(LineSource::Stderr, 2, 1, ""));
        held.saw(&piece(LineSource::Stderr, 3, 1, "the rest\n"));
        let mark = format!("\n{LOST_WITH_RUNNER}\n");
        assert_eq!(held.lost(at(4)), [piece(LineSource::Stdout, 4, 1, &mark)]);
        assert_eq!(held.lost(at(5)), []);
    }

    #[test]
    fn only_the_last_are_kept() {
        let mut last = LastOf::new(2);
        (1..=5).for_each(|number| last.push(number));
        assert_eq!(last.into_iter().collect::<Vec<_>>(), [4, 5]);
    }
}
