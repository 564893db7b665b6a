//! The lines of a job's output, put together from the pieces that the history has.

use std::collections::VecDeque;

use jiff::Timestamp;
use jobq::{Event, EventKind, JobId, Level, LogEntry};

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
    Log(Level),
}

impl Source {
    pub(super) fn name(self) -> &'static str {
        match self {
            Source::Stdout => "stdout",
            Source::Stderr => "stderr",
            Source::Log(_) => "log",
        }
    }

    pub(super) fn level(self) -> Option<Level> {
        match self {
            Source::Log(level) => Some(level),
            Source::Stdout | Source::Stderr => None,
        }
    }
}

/// A piece of output as it was written, a line of it, or an entry of the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) at: Timestamp,
    pub(super) job: Option<JobId>,
    pub(super) attempt: Option<u32>,
    pub(super) source: Source,
    pub(super) text: Vec<u8>,
    pub(super) fields: Option<serde_json::Value>,
}

impl Piece {
    /// None for events that are no output.
    pub(super) fn of(event: &Event) -> Option<Piece> {
        let bytes = event.data.as_ref().map_or(&b""[..], |data| data.as_bytes());
        let (source, text, fields) = match event.kind {
            EventKind::Stdout => (Source::Stdout, bytes.to_vec(), None),
            EventKind::Stderr => (Source::Stderr, bytes.to_vec(), None),
            EventKind::Log => match serde_json::from_slice::<LogEntry>(bytes) {
                Ok(entry) => (
                    Source::Log(entry.level),
                    entry.message.into_bytes(),
                    entry.fields,
                ),
                Err(_) => (Source::Log(Level::Info), bytes.to_vec(), None),
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
#[derive(Debug, Default)]
pub(super) struct Lines {
    stdout: Option<Piece>,
    stderr: Option<Piece>,
}

impl Lines {
    /// Takes the next piece; the lines that are complete with it.
    pub(super) fn add(&mut self, piece: Piece) -> Vec<Piece> {
        let open = match piece.source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
            Source::Log(_) => return vec![piece],
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

    /// The lines that nobody has ended.
    pub(super) fn rest(&mut self) -> Vec<Piece> {
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
pub(super) struct HeldBack([Rest; 2]);

/// How far a stream has come.
#[derive(Debug, Default)]
struct Rest {
    /// The piece that says that the rest is held back.
    since: Option<Piece>,
    is_mid_line: bool,
}

impl HeldBack {
    pub(super) fn saw(&mut self, piece: &Piece) {
        let rest = match piece.source {
            Source::Stdout => &mut self.0[0],
            Source::Stderr => &mut self.0[1],
            Source::Log(_) => return,
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
    pub(super) fn lost(&mut self, at: Timestamp) -> Vec<Piece> {
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

/// The last so many of what comes.
#[derive(Debug)]
pub(super) struct LastOf<T> {
    kept: VecDeque<T>,
    most: usize,
}

impl<T> LastOf<T> {
    pub(super) fn new(most: usize) -> LastOf<T> {
        LastOf {
            kept: VecDeque::new(),
            most,
        }
    }

    pub(super) fn push(&mut self, item: T) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(source: Source, second: i64, attempt: u32, text: &str) -> Piece {
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
    fn a_line_in_two_pieces_comes_out_whole_with_the_time_of_its_beginning() {
        let mut lines = Lines::default();
        assert_eq!(
            lines.add(piece(Source::Stdout, 1, 1, "a\nb")),
            [piece(Source::Stdout, 1, 1, "a")]
        );
        assert_eq!(
            lines.add(piece(Source::Stderr, 2, 1, "x\n")),
            [piece(Source::Stderr, 2, 1, "x")]
        );
        assert_eq!(
            lines.add(piece(Source::Stdout, 3, 1, "c\n\nd")),
            [
                piece(Source::Stdout, 1, 1, "bc"),
                piece(Source::Stdout, 3, 1, "")
            ]
        );
        assert_eq!(lines.rest(), [piece(Source::Stdout, 3, 1, "d")]);
        assert_eq!(lines.rest(), []);
    }

    #[test]
    fn the_next_attempt_does_not_go_on_with_the_line_of_the_last() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(piece(Source::Stdout, 1, 1, "half")), []);
        assert_eq!(
            lines.add(piece(Source::Stdout, 2, 2, "new\n")),
            [
                piece(Source::Stdout, 1, 1, "half"),
                piece(Source::Stdout, 2, 2, "new")
            ]
        );
    }

    #[test]
    fn a_rest_that_was_held_back_and_does_not_follow_is_marked_at_the_end_of_its_attempt() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut held = HeldBack::default();
        held.saw(&piece(Source::Stdout, 1, 1, "half"));
        held.saw(&piece(Source::Stdout, 2, 1, ""));
        held.saw(&piece(Source::Stderr, 2, 1, ""));
        held.saw(&piece(Source::Stderr, 3, 1, "the rest\n"));
        let mark = format!("\n{LOST_WITH_RUNNER}\n");
        assert_eq!(held.lost(at(4)), [piece(Source::Stdout, 4, 1, &mark)]);
        assert_eq!(held.lost(at(5)), []);
    }

    #[test]
    fn only_the_last_are_kept() {
        let mut last = LastOf::new(2);
        (1..=5).for_each(|number| last.push(number));
        assert_eq!(last.into_iter().collect::<Vec<_>>(), [4, 5]);
    }
}
