//! Text from elsewhere, made fit for one line.

use std::borrow::Cow;

use jobq::JobId;

/// For a pipe: what would end a field or a line is written as `\t`, `\n`, `\r`; all else stays.
pub(crate) fn for_tabs(text: &str) -> Cow<'_, str> {
    if !text.contains(['\t', '\n', '\r']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char {
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            char => escaped.push(char),
        }
    }
    Cow::Owned(escaped)
}

/// What steers a terminal: control characters, and those that turn the direction of writing, by which a
/// text can look like another one.
fn steers(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// For a terminal: line ends and tabs are blanks, and nothing in it moves the cursor, rings, or turns
/// the direction of writing.
pub(crate) fn for_terminal(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for char in text.trim_end().chars() {
        match char {
            '\t' | '\n' => safe.push(' '),
            '\r' => {}
            char if steers(char) => safe.extend(char.escape_unicode()),
            char => safe.push(char),
        }
    }
    Cow::Owned(safe)
}

/// For a terminal, over several lines: as [`for_terminal`], but line ends stay and are indented.
pub(crate) fn block(text: &str, indent: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().map(for_terminal).collect();
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

/// The first and the last of some jobs: `7`, `7–9`.
pub(crate) fn span(first: JobId, last: JobId) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}–{last}")
    }
}

/// `job 7`, `jobs 7–9`.
pub(crate) fn jobs(first: JobId, last: JobId) -> String {
    let noun = if first == last { "job" } else { "jobs" };
    format!("{noun} {}", span(first, last))
}

/// A name as the file writes it in a table's header.
pub(crate) fn toml_key(name: &str) -> Cow<'_, str> {
    let bare = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
    if !name.is_empty() && name.chars().all(bare) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{name:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_breaks_a_field_or_a_line() {
        assert_eq!(for_tabs("a\tb\r\nc"), "a\\tb\\r\\nc");
        assert!(matches!(
            for_tabs("plain ü \\"),
            Cow::Borrowed("plain ü \\")
        ));
    }

    #[test]
    fn a_value_cannot_steer_the_terminal() {
        assert_eq!(for_terminal("a\n\tb\n"), "a  b");
        assert_eq!(for_terminal("\u{1b}[2Jx\u{9b}y"), "\\u{1b}[2Jx\\u{9b}y");
    }

    #[test]
    fn a_value_cannot_turn_the_direction_of_writing() {
        assert_eq!(for_terminal("a\u{202e}b\u{2066}c"), "a\\u{202e}b\\u{2066}c");
        for char in
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{2067}\u{2068}\u{2069}"
                .chars()
        {
            let shown = for_terminal(&char.to_string()).into_owned();
            assert_eq!(shown, char.escape_unicode().to_string());
        }
        // What words are written with stays.
        for word in ["שלום", "مرحبا", "a\u{200d}b", "é"] {
            assert_eq!(for_terminal(word), word);
        }
    }

    #[test]
    fn a_block_keeps_its_lines_and_is_indented() {
        assert_eq!(block("a\nb\u{7}\n", 2), "a\n  b\\u{7}");
    }
}
