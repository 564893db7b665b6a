//! What is shown over a view: help, questions, and lines that are typed.

use jobq::{BulkPreview, JobId};

use crate::cli::render::style::Look;
use crate::cli::top::action::FileChange;
use crate::cli::top::keys::{KEYS, KeyBinding};

/// A box over the view.
#[derive(Debug, PartialEq)]
pub(crate) enum Overlay {
    /// The keys, from a line on.
    Help(usize),
    Text {
        title: String,
        lines: Vec<(Look, String)>,
    },
    /// A search that is typed, and what is wrong with it.
    Search(TypedLine, Option<String>),
    Palette(TypedLine, usize),
    Confirm(Question),
}

/// A change that is asked about first.
#[derive(Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) notes: Vec<String>,
    pub(crate) change: FileChange,
    /// What the change is about, where it is for all jobs that match.
    pub(crate) preview: Option<BulkPreview>,
}

impl Overlay {
    pub(crate) fn text(title: impl Into<String>, lines: Vec<(Look, String)>) -> Overlay {
        Overlay::Text {
            title: title.into(),
            lines,
        }
    }
}

/// A line that is typed, and the place in it, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TypedLine {
    pub(crate) text: String,
    pub(crate) at: usize,
}

/// Maximum length of what is typed, in bytes.
const MOST_TYPED: usize = 2000;

/// What a key does in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineEdit {
    Insert(char),
    Backspace,
    Delete,
    Left,
    Right,
    Start,
    End,
    /// Everything before the place.
    DeleteToStart,
    /// The word before the place.
    DeleteWord,
}

impl TypedLine {
    pub(crate) fn new(text: impl Into<String>) -> TypedLine {
        let text = text.into();
        TypedLine {
            at: text.len(),
            text,
        }
    }

    pub(crate) fn edit(&mut self, edit: LineEdit) {
        let before = self.text[..self.at]
            .chars()
            .next_back()
            .map_or(0, char::len_utf8);
        let after = self.text[self.at..]
            .chars()
            .next()
            .map_or(0, char::len_utf8);
        match edit {
            LineEdit::Insert(char) if char.is_control() || self.text.len() >= MOST_TYPED => {}
            LineEdit::Insert(char) => {
                self.text.insert(self.at, char);
                self.at += char.len_utf8();
            }
            LineEdit::Backspace => self.delete(self.at - before, self.at),
            LineEdit::Delete => self.delete(self.at, self.at + after),
            LineEdit::Left => self.at -= before,
            LineEdit::Right => self.at += after,
            LineEdit::Start => self.at = 0,
            LineEdit::End => self.at = self.text.len(),
            LineEdit::DeleteToStart => self.delete(0, self.at),
            LineEdit::DeleteWord => {
                let kept = self.text[..self.at].trim_end();
                let start = kept.rfind(' ').map_or(0, |blank| blank + 1);
                self.delete(start, self.at);
            }
        }
    }

    fn delete(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.at = from;
    }
}

/// An entry of the palette.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PaletteEntry {
    Key(KeyBinding),
    OpenJob(JobId),
}

/// The entries that fit what was typed: keys by their words, jobs by their numbers.
pub(crate) fn palette_entries(typed: &str, may: &dyn Fn(&KeyBinding) -> bool) -> Vec<PaletteEntry> {
    let typed = typed.trim().to_lowercase();
    let number = typed.strip_prefix("job ").unwrap_or(&typed).parse::<i64>();
    let job = number
        .ok()
        .filter(|id| *id > 0)
        .map(|id| PaletteEntry::OpenJob(JobId(id)));
    let words: Vec<&str> = typed.split_whitespace().collect();
    let fits = |binding: &KeyBinding| words.iter().all(|word| binding.words.contains(word));
    let keys = KEYS
        .into_iter()
        .filter(|binding| fits(binding) && may(binding));
    job.into_iter().chain(keys.map(PaletteEntry::Key)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_edited_at_its_place() {
        let mut line = TypedLine::new("kind:a bü");
        line.edit(LineEdit::Backspace);
        line.edit(LineEdit::Insert('é'));
        line.edit(LineEdit::Insert('\u{1b}'));
        assert_eq!(line.text, "kind:a bé");
        line.edit(LineEdit::DeleteWord);
        assert_eq!((line.text.as_str(), line.at), ("kind:a ", 7));
        line.edit(LineEdit::Start);
        line.edit(LineEdit::Delete);
        line.edit(LineEdit::Right);
        line.edit(LineEdit::DeleteToStart);
        assert_eq!((line.text.as_str(), line.at), ("nd:a ", 0));
    }

    #[test]
    fn the_palette_finds_keys_by_words_and_jobs_by_number() {
        let all = |_: &KeyBinding| true;
        let found = palette_entries("pause all", &all);
        assert_eq!(found.len(), 1);
        assert!(matches!(found[0], PaletteEntry::Key(key) if key.label == "P"));
        let found = palette_entries("job 42", &all);
        assert!(matches!(found[0], PaletteEntry::OpenJob(JobId(42))));
        assert!(palette_entries("", &all).len() > 20);
        assert!(palette_entries("", &|_: &KeyBinding| false).is_empty());
    }

    proptest! {
        #[test]
        fn the_place_in_a_line_is_always_between_characters(
            text in ".{0,20}",
            edits in prop::collection::vec((0..9_usize, any::<char>()), 0..40)
        ) {
            let mut line = TypedLine::new(text);
            for (which, char) in edits {
                line.edit([
                    LineEdit::Insert(char),
                    LineEdit::Backspace,
                    LineEdit::Delete,
                    LineEdit::Left,
                    LineEdit::Right,
                    LineEdit::Start,
                    LineEdit::End,
                    LineEdit::DeleteToStart,
                    LineEdit::DeleteWord,
                ][which]);
                prop_assert!(line.text.is_char_boundary(line.at));
            }
        }
    }
}
