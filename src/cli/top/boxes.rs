//! Boxes over a view: the keys, a text, a question, and lines that are typed.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget};

use crate::cli::render::style::Look;
use crate::cli::top::app::App;
use crate::cli::top::keys::KEYS;
use crate::cli::top::lines::{cut, width_of, wrapped};
use crate::cli::top::overlay::{Overlay, PaletteEntry, Question, TypedLine, palette_entries};
use crate::cli::top::theme::Theme;

/// Number of entries of the palette that are seen.
const ENTRIES: usize = 10;

/// Returns where the cursor is in what is typed.
pub(crate) fn draw(
    app: &App,
    overlay: &Overlay,
    area: Rect,
    buffer: &mut Buffer,
) -> Option<Position> {
    let theme = app.settings.theme;
    match overlay {
        Overlay::Help(first) => {
            framed(theme, "keys", help_lines(app, *first), (area, buffer));
            None
        }
        Overlay::Text { title, lines } => {
            let width = inner_width(area);
            let wrapped_lines = lines.iter().flat_map(|(look, text)| {
                let style = theme.style(*look);
                wrapped(text, width)
                    .into_iter()
                    .map(move |line| Line::styled(line, style))
            });
            framed(theme, title, wrapped_lines.collect(), (area, buffer));
            None
        }
        Overlay::Confirm(question) => {
            let lines = question_lines(app, question, inner_width(area));
            framed(theme, "", lines, (area, buffer));
            None
        }
        Overlay::Search(line, error) => {
            let note = error.as_deref().unwrap_or_default();
            if !note.is_empty() {
                let lines = wrapped(note, inner_width(area)).into_iter();
                let lines = lines.map(|line| Line::styled(line, theme.style(Look::Bad)));
                framed(theme, "search", lines.collect(), (area, buffer));
            }
            Some(typed_line(theme, ("/", line), (area, buffer)))
        }
        Overlay::Palette(line, at) => {
            let lines = palette_lines(app, &line.text, *at);
            framed(theme, "commands", lines, (area, buffer));
            Some(typed_line(theme, (":", line), (area, buffer)))
        }
    }
}

fn inner_width(area: Rect) -> usize {
    usize::from(area.width).saturating_sub(6).clamp(10, 76)
}

/// A box in the middle, as large as its lines need.
fn framed(
    theme: Theme,
    title: &str,
    lines: Vec<Line<'static>>,
    (area, buffer): (Rect, &mut Buffer),
) {
    let widest = lines
        .iter()
        .map(Line::width)
        .max()
        .unwrap_or(0)
        .max(width_of(title) + 2);
    let size = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).saturating_add(2);
    let (width, height) = (
        size(widest + 2).min(area.width),
        size(lines.len()).min(area.height.saturating_sub(1)),
    );
    let place = Rect::new(
        area.x + (area.width - width) / 2,
        area.y + (area.height - height) / 2,
        width,
        height,
    );
    Clear.render(place, buffer);
    let title = match title.is_empty() {
        true => Line::default(),
        false => Line::styled(format!(" {} ", cut(title, width.into())), theme.title()),
    };
    let block = Block::bordered().title(title);
    let inner = block.inner(place);
    block.render(place, buffer);
    let text = Rect::new(
        inner.x + 1,
        inner.y,
        inner.width.saturating_sub(2),
        inner.height,
    );
    for (line, row) in lines.into_iter().zip(text.rows()) {
        line.render(row, buffer);
    }
}

/// The line at the bottom, and the place in it.
fn typed_line(
    theme: Theme,
    (prompt, line): (&'static str, &TypedLine),
    (area, buffer): (Rect, &mut Buffer),
) -> Position {
    let bottom =
        Rect::new(area.x, area.bottom().saturating_sub(1), area.width, 1).intersection(area);
    Clear.render(bottom, buffer);
    let room = usize::from(area.width).saturating_sub(width_of(prompt) + 1);
    // The end of a long line is seen, up to the place.
    let mut before = &line.text[..line.at];
    while width_of(before) > room {
        let first = before.chars().next().map_or(1, char::len_utf8);
        before = &before[first..];
    }
    let shown = cut(&format!("{before}{}", &line.text[line.at..]), room + 1);
    let text = vec![Span::styled(prompt, theme.title()), Span::raw(shown)];
    Line::from(text).render(bottom, buffer);
    let column = u16::try_from(width_of(prompt) + width_of(before)).unwrap_or(u16::MAX);
    Position::new(bottom.x.saturating_add(column), bottom.y)
}

fn help_lines(app: &App, first: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let height = usize::from(app.height).saturating_sub(3).max(1);
    let seen = KEYS.iter().skip(first).take(height);
    let lines = seen.map(|binding| {
        let look = match app.can(binding.command) {
            true => Look::Plain,
            false => Look::Dim,
        };
        Line::from(vec![
            Span::styled(format!("{:>9}", binding.label), theme.title()),
            Span::styled(format!("  {:<30}", binding.words), theme.style(look)),
        ])
    });
    lines.collect()
}

fn palette_lines(app: &App, typed: &str, at: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let entries = palette_entries(typed, &|binding| app.can(binding.command));
    let at = at.min(entries.len().saturating_sub(1));
    let first = (at + 1).saturating_sub(ENTRIES);
    let seen = entries.iter().enumerate().skip(first).take(ENTRIES);
    let lines = seen.map(|(number, entry)| {
        let text = match entry {
            PaletteEntry::Key(binding) => format!("{:<32}{:>9}", binding.words, binding.label),
            PaletteEntry::OpenJob(id) => format!("{:<41}", format!("open job {id}")),
        };
        match number == at {
            true => Line::styled(text, theme.cursor()),
            false => Line::raw(text),
        }
    });
    lines.collect()
}

fn question_lines(app: &App, question: &Question, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let mut lines = vec![Line::styled(cut(&question.text, width), theme.title())];
    let notes = question.notes.iter().flat_map(|note| wrapped(note, width));
    lines.extend(notes.map(Line::raw));
    let command = format!("{} {}", app.settings.command, question.change.command());
    let command = wrapped(&command, width).into_iter().take(3);
    lines.push(Line::default());
    lines.extend(command.map(|line| Line::styled(line, theme.style(Look::Dim))));
    lines.push(Line::default());
    lines.push(Line::from(vec![
        Span::styled("y", theme.title()),
        Span::raw(":yes  "),
        Span::styled("n", theme.title()),
        Span::raw(":no  "),
        Span::styled("c", theme.title()),
        Span::raw(":copy the command"),
    ]));
    lines
}
