//! Output of commands with its colours: SGR sequences become styles, every other sequence is left out.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use crate::cli::render::text::for_terminal;
use crate::cli::top::theme::Theme;

const BASIC: [Color; 8] = [
    Color::Black,
    Color::Red,
    Color::Green,
    Color::Yellow,
    Color::Blue,
    Color::Magenta,
    Color::Cyan,
    Color::Gray,
];
const BRIGHT: [Color; 8] = [
    Color::DarkGray,
    Color::LightRed,
    Color::LightGreen,
    Color::LightYellow,
    Color::LightBlue,
    Color::LightMagenta,
    Color::LightCyan,
    Color::White,
];

/// A line of output. Of what a command has written over itself with carriage returns, the last is shown.
pub(crate) fn styled(theme: Theme, base: Style, line: &str) -> Vec<Span<'static>> {
    let line = line.trim_end_matches('\r');
    let shown = line.rsplit_once('\r').map_or(line, |(_, last)| last);
    let mut spans = Vec::new();
    let mut style = base;
    let mut rest = shown;
    while let Some(at) = rest.find('\u{1b}') {
        push(&mut spans, &rest[..at], style);
        let (sequence, after) = split_sequence(&rest[at + 1..]);
        if let Some(codes) = sequence {
            style = with_codes(theme, (base, style), codes);
        }
        rest = after;
    }
    push(&mut spans, rest, style);
    spans
}

fn push(spans: &mut Vec<Span<'static>>, text: &str, style: Style) {
    if !text.is_empty() {
        spans.push(Span::styled(for_terminal(text).into_owned(), style));
    }
}

/// What follows an ESC: the codes of an SGR sequence, and the text after the sequence.
fn split_sequence(text: &str) -> (Option<&str>, &str) {
    if let Some(control) = text.strip_prefix('[') {
        let end = control.find(|char: char| ('@'..='~').contains(&char));
        let Some(end) = end else {
            return (None, "");
        };
        let codes = (control.as_bytes()[end] == b'm').then(|| &control[..end]);
        return (codes, &control[end + 1..]);
    }
    // A title and the like, up to BEL or ESC \.
    if let Some(string) = text.strip_prefix([']', 'P', '_', '^', 'X']) {
        let bell = string.find('\u{7}').map(|at| (at, 1));
        let escape = string.find("\u{1b}\\").map(|at| (at, 2));
        let (end, len) = bell
            .into_iter()
            .chain(escape)
            .min()
            .unwrap_or((string.len(), 0));
        return (None, &string[end + len..]);
    }
    // As those that choose a set of characters: ESC ( B.
    let mut chars = text
        .trim_start_matches(|char| (' '..='/').contains(&char))
        .chars();
    chars.next();
    (None, chars.as_str())
}

fn with_codes(theme: Theme, (base, now): (Style, Style), codes: &str) -> Style {
    let mut numbers = codes
        .split([';', ':'])
        .map(|code| code.parse::<u8>().unwrap_or(0));
    let mut style = now;
    while let Some(code) = numbers.next() {
        let color = match code {
            30..=37 | 40..=47 => Some(BASIC[usize::from(code % 10)]),
            90..=97 | 100..=107 => Some(BRIGHT[usize::from(code % 10)]),
            38 | 48 => extended(&mut numbers),
            _ => None,
        };
        style = match (code, color) {
            (0, _) => base,
            (1, _) => style.add_modifier(Modifier::BOLD),
            (2, _) => style.add_modifier(Modifier::DIM),
            (3, _) => style.add_modifier(Modifier::ITALIC),
            (4, _) => style.add_modifier(Modifier::UNDERLINED),
            (22, _) => style.remove_modifier(Modifier::BOLD | Modifier::DIM),
            (39, _) => Style {
                fg: base.fg,
                ..style
            },
            (49, _) => Style {
                bg: base.bg,
                ..style
            },
            (30..=38 | 90..=97, Some(color)) if theme.color => style.fg(color),
            (40..=48 | 100..=107, Some(color)) if theme.color => style.bg(color),
            _ => style,
        };
    }
    style
}

/// `5;N` or `2;R;G;B`.
fn extended(numbers: &mut impl Iterator<Item = u8>) -> Option<Color> {
    match numbers.next()? {
        5 => numbers.next().map(Color::Indexed),
        2 => Some(Color::Rgb(
            numbers.next()?,
            numbers.next()?,
            numbers.next()?,
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THEME: Theme = Theme {
        color: true,
        unicode: true,
    };

    fn shown(line: &str) -> Vec<(String, Style)> {
        let spans = styled(THEME, Style::new(), line).into_iter();
        spans
            .map(|span| (span.content.into_owned(), span.style))
            .collect()
    }

    #[test]
    fn colours_of_a_command_are_kept_and_end_where_it_says() {
        let found = shown("\u{1b}[1;31mboom\u{1b}[0m and \u{1b}[38;5;9mmore");
        let red = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        let more = Style::new().fg(Color::Indexed(9));
        let expected = [("boom", red), (" and ", Style::new()), ("more", more)];
        assert_eq!(
            found,
            expected.map(|(text, style)| (text.to_owned(), style))
        );
    }

    #[test]
    fn sequences_that_are_no_colours_leave_nothing_behind() {
        let text = |line: &str| {
            shown(line)
                .into_iter()
                .map(|part| part.0)
                .collect::<String>()
        };
        assert_eq!(
            text("a\u{1b}[2Jb\u{1b}]0;title\u{7}c\u{1b}]8;;x\u{1b}\\d\u{1b}(Be"),
            "abcde"
        );
        assert_eq!(text("10 %\r50 %\r90 %\r"), "90 %");
        assert_eq!(text("\u{1b}[31"), "");
    }

    proptest! {
        #[test]
        fn nothing_that_steers_the_terminal_is_shown(line in any::<String>(), end in "[\\x1b\\[\\]0-9;mPX\\u{202e}\r]*") {
            for (text, _) in shown(&(line + &end)) {
                let steers = text.contains(|char: char| char.is_control() || char == '\u{202e}');
                prop_assert!(!steers, "{text:?}");
            }
        }
    }
}
