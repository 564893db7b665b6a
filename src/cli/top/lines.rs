//! Lines of text that fit: tables, cut and wrapped texts, bars.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::cli::render::style::Look;
use crate::cli::render::table::{Cell, Column, Fit, NAME_WIDTH, PADDING, hidden};
use crate::cli::render::text::for_terminal;
use crate::cli::top::theme::Theme;

/// The number of cells that a text takes.
pub(crate) fn width_of(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text made safe and cut to a number of cells; one that is cut ends with `…`.
pub(crate) fn cut(text: &str, width: usize) -> String {
    // No more of a long text need be looked at: each character takes a cell, or belongs to one that does.
    let most = text.char_indices().nth(4 * width + 64);
    let safe = for_terminal(most.map_or(text, |(end, _)| &text[..end]));
    if most.is_none() && width_of(&safe) <= width {
        return safe.into_owned();
    }
    let (end, _) = end_of_width(&safe, width.saturating_sub(1));
    match width {
        0 => String::new(),
        _ => format!("{}…", &safe[..end]),
    }
}

/// Where the part of a text ends that takes at most so many cells, and how many it takes.
fn end_of_width(text: &str, width: usize) -> (usize, usize) {
    let (mut end, mut taken) = (0, 0);
    for (at, char) in text.char_indices() {
        let next = at + char.len_utf8();
        let wide = width_of(&text[at..next]);
        if taken + wide > width {
            break;
        }
        (end, taken) = (next, taken + wide);
    }
    (end, taken)
}

/// A text made safe, over as many lines as it needs.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(2);
    let mut lines = Vec::new();
    for line in text.trim_end().lines() {
        let safe = for_terminal(line);
        let mut rest: &str = &safe;
        loop {
            let (end, _) = end_of_width(rest, width);
            if end == rest.len() {
                lines.push(rest.to_owned());
                break;
            }
            // At a blank where there is one in the second half.
            let blank = rest[..end].rfind(' ').filter(|at| *at > end / 2);
            let end = blank.map_or(end.max(1), |at| at + 1);
            lines.push(rest[..end].trim_end().to_owned());
            rest = &rest[end..];
        }
    }
    lines
}

/// The head of a table and its rows, as wide as they may be.
pub(crate) fn table(
    theme: Theme,
    columns: &[Column],
    rows: &[Vec<Cell>],
    width: usize,
) -> (Line<'static>, Vec<Line<'static>>) {
    let widths = column_widths(columns, rows, width);
    let line = |cells: Vec<(&str, Style)>| {
        let mut spans = Vec::new();
        for ((text, style), ((_, fit), width)) in cells.into_iter().zip(columns.iter().zip(&widths))
        {
            let Some(width) = width.filter(|width| *width > 0) else {
                continue;
            };
            if !spans.is_empty() {
                spans.push(Span::raw(" ".repeat(PADDING.into())));
            }
            let text = cut(text, width);
            let blanks = " ".repeat(width - width_of(&text).min(width));
            let shown = match fit {
                Fit::Number => format!("{blanks}{text}"),
                _ => format!("{text}{blanks}"),
            };
            spans.push(Span::styled(shown, style));
        }
        Line::from(spans)
    };
    let titles = columns
        .iter()
        .map(|(title, _)| (*title, theme.style(Look::Dim)));
    let head = line(titles.collect());
    let rows = rows.iter().map(|row| {
        let cells = row.iter().map(|cell| {
            let (text, look) = cell.shown();
            (text, theme.style(look))
        });
        line(cells.collect())
    });
    (head, rows.collect())
}

/// The width of each column; none where it is left out.
fn column_widths(columns: &[Column], rows: &[Vec<Cell>], width: usize) -> Vec<Option<usize>> {
    let widest = columns.iter().enumerate().map(|(at, (title, _))| {
        let cells = rows.iter().map(|row| {
            let text = row[at].shown().0;
            width_of(text.get(..4 * width).unwrap_or(text)).min(width)
        });
        cells.fold(width_of(title), usize::max)
    });
    let widest: Vec<u16> = widest
        .map(|wide| u16::try_from(wide).unwrap_or(u16::MAX))
        .collect();
    let all = u16::try_from(width).unwrap_or(u16::MAX);
    let hidden = hidden(columns, &widest, all);
    let wanted = |at: usize| match columns[at].1 {
        Fit::Name => usize::from(widest[at].min(NAME_WIDTH)),
        _ => usize::from(widest[at]),
    };
    let shown: Vec<usize> = (0..columns.len()).filter(|at| !hidden[*at]).collect();
    let paddings = shown.len().saturating_sub(1) * usize::from(PADDING);
    let fixed = shown.iter().filter(|at| columns[**at].1 != Fit::Shrinks);
    let fixed: usize = fixed.map(|at| wanted(*at)).sum();
    let mut left = width.saturating_sub(paddings + fixed);
    let mut shrinking = shown
        .iter()
        .filter(|at| columns[**at].1 == Fit::Shrinks)
        .count();
    let mut widths = vec![None; columns.len()];
    for at in shown {
        widths[at] = Some(match columns[at].1 {
            Fit::Shrinks => {
                let share = wanted(at).min(left / shrinking.max(1));
                (left, shrinking) = (left - share, shrinking - 1);
                share
            }
            // What is alone and too wide is cut.
            _ => wanted(at).min(width),
        });
    }
    widths
}

/// A share of 1 as a bar.
pub(crate) fn share_bar(share: f64, width: usize) -> String {
    let full = (share.clamp(0.0, 1.0) * width as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(width - full))
}

/// Numbers as a row of small columns, one cell each.
pub(crate) fn columns_chart(numbers: &[u64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = numbers.iter().copied().max().unwrap_or(0).max(1);
    let chart = numbers.iter().map(|number| {
        let height = (*number as f64 / most as f64 * 7.0).ceil() as usize;
        HEIGHTS[height.min(7)]
    });
    chart.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THEME: Theme = Theme {
        color: false,
        unicode: true,
    };

    fn text(line: &Line<'_>) -> String {
        let spans = line.spans.iter().map(|span| span.content.as_ref());
        spans.collect::<String>().trim_end().to_owned()
    }

    #[test]
    fn wide_characters_take_two_cells() {
        assert_eq!(cut("漢字漢字", 8), "漢字漢字");
        assert_eq!(cut("漢字漢字", 7), "漢字漢…");
        assert_eq!(cut("漢字漢字", 6), "漢字…");
        assert_eq!(cut("a\u{1b}[2Jb\u{202e}", 80), "a\\u{1b}[2Jb\\u{202e}");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn long_text_is_wrapped_at_blanks() {
        assert_eq!(wrapped("one two three\nx", 8), ["one two", "three", "x"]);
        assert_eq!(wrapped("漢字漢字", 5), ["漢字", "漢字"]);
        assert_eq!(wrapped("abcdef", 4), ["abcd", "ef"]);
    }

    #[test]
    fn a_table_has_the_width_there_is() {
        let columns = [
            ("ID", Fit::Number),
            ("STATE", Fit::Whole),
            ("WHAT", Fit::Shrinks),
        ];
        let row = vec![
            Cell::new(7),
            Cell::new("running"),
            Cell::new("convert 漢字 and more"),
        ];
        let (head, rows) = table(THEME, &columns, &[row], 26);
        assert_eq!(text(&head), "ID  STATE    WHAT");
        assert_eq!(text(&rows[0]), " 7  running  convert 漢字…");
    }

    #[test]
    fn the_highest_column_is_full_and_none_is_left_out() {
        assert_eq!(columns_chart(&[0, 1, 4, 8]), "▁▂▅█");
        assert_eq!(columns_chart(&[0, 0]), "▁▁");
        assert_eq!(share_bar(0.5, 4), "██░░");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_asked(text in any::<String>(), width in 2..60_usize) {
            prop_assert!(width_of(&cut(&text, width)) <= width);
            for line in wrapped(&text, width) {
                prop_assert!(width_of(&line) <= width, "{line:?}");
            }
        }

        #[test]
        fn no_row_is_wider_than_the_table(what in any::<String>(), name in any::<String>(), width in 12..120_usize) {
            let columns = [("ID", Fit::Number), ("NAME", Fit::Name), ("WHAT", Fit::Shrinks)];
            let row = vec![Cell::new(7), Cell::new(name), Cell::new(what)];
            let (head, rows) = table(THEME, &columns, &[row], width);
            prop_assert!(head.width() <= width);
            prop_assert!(rows[0].width() <= width);
        }
    }
}
