//! Where in a list the reader is.

/// The row that keys act on, and the first row that is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListCursor {
    pub(crate) at: usize,
    pub(crate) first: usize,
}

/// A movement in a list or a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScrollStep {
    Up,
    Down,
    PageUp,
    PageDown,
    Start,
    End,
}

impl ListCursor {
    /// Moves among `len` rows, of which `height` are seen.
    pub(crate) fn step(&mut self, step: ScrollStep, len: usize, height: usize) {
        let page = height.saturating_sub(1).max(1);
        self.at = match step {
            ScrollStep::Up => self.at.saturating_sub(1),
            ScrollStep::Down => self.at.saturating_add(1),
            ScrollStep::PageUp => self.at.saturating_sub(page),
            ScrollStep::PageDown => self.at.saturating_add(page),
            ScrollStep::Start => 0,
            ScrollStep::End => len,
        };
        self.keep_within(len, height);
    }

    /// After the rows or the height have changed.
    pub(crate) fn keep_within(&mut self, len: usize, height: usize) {
        let height = height.max(1);
        self.at = self.at.min(len.saturating_sub(1));
        if self.at < self.first {
            self.first = self.at;
        } else if self.at >= self.first + height {
            self.first = self.at + 1 - height;
        }
        self.first = self.first.min(len.saturating_sub(height));
    }

    /// The row moves to another place, at which it is seen at the same height.
    pub(crate) fn moved_to(&mut self, at: usize) {
        let line = self.at.saturating_sub(self.first);
        self.at = at;
        self.first = at.saturating_sub(line);
    }
}

/// Moves the first line that is seen of a text of `len` lines.
pub(crate) fn scrolled(first: usize, step: ScrollStep, len: usize, height: usize) -> usize {
    let page = height.saturating_sub(1).max(1);
    let last = len.saturating_sub(height);
    let to = match step {
        ScrollStep::Up => first.saturating_sub(1),
        ScrollStep::Down => first.saturating_add(1),
        ScrollStep::PageUp => first.saturating_sub(page),
        ScrollStep::PageDown => first.saturating_add(page),
        ScrollStep::Start => 0,
        ScrollStep::End => last,
    };
    to.min(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_that_leaves_the_page_takes_it_along() {
        let mut cursor = ListCursor::default();
        for _ in 0..5 {
            cursor.step(ScrollStep::Down, 10, 3);
        }
        assert_eq!(cursor, ListCursor { at: 5, first: 3 });
        cursor.step(ScrollStep::End, 10, 3);
        assert_eq!(cursor, ListCursor { at: 9, first: 7 });
        cursor.step(ScrollStep::PageUp, 10, 3);
        assert_eq!(cursor, ListCursor { at: 7, first: 7 });
        cursor.keep_within(2, 3);
        assert_eq!(cursor, ListCursor { at: 1, first: 0 });
    }

    fn any_step() -> impl Strategy<Value = ScrollStep> {
        prop::sample::select(vec![
            ScrollStep::Up,
            ScrollStep::Down,
            ScrollStep::PageUp,
            ScrollStep::PageDown,
            ScrollStep::Start,
            ScrollStep::End,
        ])
    }

    proptest! {
        #[test]
        fn the_row_of_the_cursor_is_always_seen(
            steps in prop::collection::vec((any_step(), 0..50_usize, 0..20_usize), 1..50)
        ) {
            let mut cursor = ListCursor::default();
            let mut line = 0;
            for (step, len, height) in steps {
                cursor.step(step, len, height);
                prop_assert!(cursor.at < len.max(1));
                prop_assert!(cursor.first <= cursor.at && cursor.at < cursor.first + height.max(1));
                line = scrolled(line, step, len, height);
                prop_assert!(line + height <= len || line == 0);
            }
        }
    }
}
