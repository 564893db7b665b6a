//! A job's output: lines as they come, of which the last are kept.

use std::collections::VecDeque;

use jobq::EventId;

use crate::cli::history::{LineAssembler, Piece};
use crate::cli::top::cursor::{ScrollStep, scrolled};

/// Maximum number of lines in memory.
const MOST: usize = 10_000;

/// The lines of a job's output.
#[derive(Debug)]
pub(crate) struct LogView {
    lines: VecDeque<Piece>,
    open: LineAssembler,
    /// How many lines are no longer in memory.
    pub(crate) left_out: usize,
    /// Up to where it was read.
    pub(crate) since: EventId,
    /// The first line that is seen.
    pub(crate) first: usize,
    /// Whether the view goes along with the end.
    pub(crate) follows: bool,
}

impl Default for LogView {
    fn default() -> LogView {
        LogView {
            lines: VecDeque::new(),
            open: LineAssembler::default(),
            left_out: 0,
            since: EventId(0),
            first: 0,
            follows: true,
        }
    }
}

impl LogView {
    pub(crate) fn add(&mut self, pieces: Vec<Piece>, next: EventId, height: usize) {
        self.since = next;
        for piece in pieces {
            self.lines.extend(self.open.add(piece));
            while self.lines.len() > MOST {
                self.lines.pop_front();
                self.left_out += 1;
                self.first = self.first.saturating_sub(1);
            }
        }
        if self.follows {
            self.first = scrolled(0, ScrollStep::End, self.len(), height);
        }
    }

    /// The number of lines, with those that have no end yet.
    pub(crate) fn len(&self) -> usize {
        self.lines.len() + self.open.clone().rest().len()
    }

    /// Some of the lines, from one on.
    pub(crate) fn lines(&self, first: usize, most: usize) -> Vec<Piece> {
        let open = self.open.clone().rest();
        let all = self.lines.iter().skip(first).take(most).cloned();
        let skipped = first.saturating_sub(self.lines.len());
        let taken = most.min(self.lines.len().saturating_sub(first));
        let rest = open.into_iter().skip(skipped).take(most - taken);
        all.chain(rest).collect()
    }

    /// The last lines.
    pub(crate) fn last(&self, most: usize) -> Vec<Piece> {
        self.lines(self.len().saturating_sub(most), most)
    }

    /// Who goes up no longer follows; who comes to the end does again.
    pub(crate) fn step(&mut self, step: ScrollStep, height: usize) {
        let len = self.len();
        self.first = scrolled(self.first, step, len, height);
        self.follows = self.first + height >= len;
    }

    pub(crate) fn toggle_follow(&mut self, height: usize) {
        self.follows = !self.follows;
        if self.follows {
            self.first = scrolled(0, ScrollStep::End, self.len(), height);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::cli::history::LineSource;

    fn piece(text: &str) -> Piece {
        Piece {
            at: Timestamp::UNIX_EPOCH,
            job: None,
            attempt: Some(1),
            source: LineSource::Stdout,
            text: text.into(),
            fields: None,
        }
    }

    fn texts(lines: Vec<Piece>) -> Vec<String> {
        let texts = lines
            .into_iter()
            .map(|line| String::from_utf8(line.text).unwrap());
        texts.collect()
    }

    #[test]
    fn a_line_without_an_end_is_shown_as_far_as_it_goes() {
        let mut log = LogView::default();
        log.add(vec![piece("one\ntwo\nthr")], EventId(5), 2);
        assert_eq!(texts(log.last(9)), ["one", "two", "thr"]);
        assert_eq!((log.len(), log.first), (3, 1));
        log.add(vec![piece("ee\n")], EventId(6), 2);
        assert_eq!(texts(log.lines(1, 9)), ["two", "three"]);
    }

    #[test]
    fn who_has_gone_up_is_not_taken_to_the_end() {
        let mut log = LogView::default();
        log.add(vec![piece("a\nb\nc\nd\n")], EventId(1), 2);
        log.step(ScrollStep::Up, 2);
        log.add(vec![piece("e\n")], EventId(2), 2);
        assert_eq!((log.first, log.follows), (1, false));
        log.step(ScrollStep::End, 2);
        log.add(vec![piece("f\n")], EventId(3), 2);
        assert_eq!((log.first, log.follows), (4, true));
    }

    #[test]
    fn only_the_last_lines_stay_in_memory() {
        let mut log = LogView::default();
        log.add(vec![piece(&"x\n".repeat(MOST + 3))], EventId(1), 10);
        assert_eq!((log.len(), log.left_out), (MOST, 3));
        assert_eq!(log.first, MOST - 10);
    }
}
