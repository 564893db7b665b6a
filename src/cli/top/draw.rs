//! Draws the state: a header, the tabs, what is open, and a line at the bottom.

use jobq::State;
use jobq::api::time::relative;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use crate::cli::render::style::Look;
use crate::cli::render::text::for_terminal;
use crate::cli::top::app::{App, TABS, TabName};
use crate::cli::top::boxes;
use crate::cli::top::keys::{KEYS, KeyCommand};
use crate::cli::top::lines::{cut, width_of};
use crate::cli::top::rows;

/// Keys that the line at the bottom does not show: they are known, or the tabs show them.
const UNSHOWN: [KeyCommand; 13] = [
    KeyCommand::Up,
    KeyCommand::Down,
    KeyCommand::PageUp,
    KeyCommand::PageDown,
    KeyCommand::Start,
    KeyCommand::End,
    KeyCommand::NextTab,
    KeyCommand::PreviousTab,
    KeyCommand::PauseAll,
    KeyCommand::Palette,
    KeyCommand::Help,
    KeyCommand::Quit,
    KeyCommand::Back,
];

impl App {
    pub(crate) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let cursor = self.draw_on(area, frame.buffer_mut());
        if let Some(cursor) = cursor.filter(|cursor| area.contains(*cursor)) {
            frame.set_cursor_position(cursor);
        }
    }

    /// Returns where the cursor is in what is typed.
    fn draw_on(&self, area: Rect, buffer: &mut Buffer) -> Option<Position> {
        let row = |at: u16| Rect::new(area.x, at, area.width, 1).intersection(area);
        self.header_line().render(row(0), buffer);
        self.tabs_line().render(row(1), buffer);
        match &self.job {
            Some(job) => {
                let (head, lines) = rows::job::body(self, job);
                head.render(row(2), buffer);
                for (at, line) in (3..).zip(lines) {
                    line.render(row(at), buffer);
                }
            }
            None => self.draw_tab(&row, buffer),
        }
        let last = area.height.saturating_sub(1);
        // What is under the last line belongs to the body of a taller screen.
        buffer.set_style(row(last), ratatui::style::Style::reset());
        let bottom = self.bottom_line();
        Line::raw(" ".repeat(area.width.into())).render(row(last), buffer);
        bottom.render(row(last), buffer);
        let cursor = self
            .overlay
            .as_ref()
            .and_then(|overlay| boxes::draw(self, overlay, area, buffer));
        self.settings.theme.finish(buffer);
        cursor
    }

    fn draw_tab(&self, row: &dyn Fn(u16) -> Rect, buffer: &mut Buffer) {
        let (height, cursor) = (self.body_height(), self.cursor());
        let body = rows::body(self, cursor.first, height);
        body.head.render(row(2), buffer);
        if body.rows.is_empty() {
            Line::styled(body.empty, self.settings.theme.style(Look::Dim)).render(row(3), buffer);
            return;
        }
        let at_cursor = self.target().map(|_| cursor.at - cursor.first);
        for (at, line) in body.rows.into_iter().enumerate() {
            let place = row(3 + u16::try_from(at).unwrap_or(u16::MAX));
            line.render(place, buffer);
            if Some(at) == at_cursor {
                buffer.set_style(place, self.settings.theme.cursor());
            }
        }
    }

    /// `jobs.db  3 pending · 2 running · 12 completed`.
    fn header_line(&self) -> Line<'static> {
        let theme = self.settings.theme;
        let width = usize::from(self.width);
        let title = cut(&self.settings.title, width / 3);
        let mut line = Line::from(Span::styled(title, theme.title()));
        if self.settings.is_read_only {
            line.push_span(Span::styled(" read-only", theme.style(Look::Warn)));
        }
        let Some(header) = &self.header else {
            return line;
        };
        let paused = header
            .all_paused
            .map(|_| ("all queues are paused".to_owned(), Look::Warn));
        let runners = match header.living_runners {
            0 => ("no runner".to_owned(), Look::Warn),
            1 => ("1 runner".to_owned(), Look::Dim),
            runners => (format!("{runners} runners"), Look::Dim),
        };
        // The most important first: what has no room is left out.
        let order = [
            State::Running,
            State::Pending,
            State::Failed,
            State::Scheduled,
            State::Blocked,
            State::Waiting,
            State::Completed,
            State::Cancelled,
        ];
        let states = order
            .into_iter()
            .map(|state| (header.counts.get(state), state));
        let states = states.filter(|(jobs, _)| *jobs > 0);
        let states = states
            .map(|(jobs, state)| (format!("{} {state}", thousands(jobs)), Look::State(state)));
        let mut separator = "  ";
        for (text, look) in paused.into_iter().chain(states).chain([runners]) {
            if line.width() + width_of(&text) + 3 > width {
                break;
            }
            line.push_span(Span::styled(separator, theme.style(Look::Dim)));
            line.push_span(Span::styled(text, theme.style(look)));
            separator = " · ";
        }
        line
    }

    fn tabs_line(&self) -> Line<'static> {
        let theme = self.settings.theme;
        let names: usize = TABS.iter().map(|(_, name)| name.len() + 4).sum();
        let is_narrow = usize::from(self.width) < names;
        let mut line = Line::default();
        for (at, (tab, name)) in TABS.iter().enumerate() {
            let is_here = *tab == self.tab;
            let name = match is_narrow && !is_here {
                true => format!(" {} ", at + 1),
                false => format!(" {} {name} ", at + 1),
            };
            let style = match is_here {
                true => theme.cursor(),
                false => theme.style(Look::Dim),
            };
            line.push_span(Span::styled(name, style));
        }
        line
    }

    /// What has just been said, what is wrong, or the keys.
    fn bottom_line(&self) -> Line<'static> {
        let theme = self.settings.theme;
        let width = usize::from(self.width);
        let styled =
            |look, text: &str| Line::styled(cut(&for_terminal(text), width), theme.style(look));
        if let Some(said) = self.said() {
            return styled(said.look, &said.text);
        }
        if let Some(trouble) = &self.trouble {
            return styled(Look::Bad, &format!("reading failed: {trouble}"));
        }
        if let Some(text) = self.progress_of_search() {
            return styled(Look::Warn, &text);
        }
        self.keys_line()
    }

    /// How far a search has come that is not complete.
    fn progress_of_search(&self) -> Option<String> {
        let (to, at) = match self.tab {
            _ if self.job.is_some() => None,
            TabName::Jobs => self.jobs.searched_to,
            TabName::Errors => self.errors.found.searched_to.map(|to| (to, None)),
            _ => None,
        }?;
        if self.is_waiting() {
            return Some("searching…".to_owned());
        }
        let back = at.map_or_else(String::new, |at| {
            format!(", enqueued {}", relative(at, self.now))
        });
        Some(format!("searched back to job {to}{back}: c goes on"))
    }

    /// The keys that do something here, as far as there is room.
    fn keys_line(&self) -> Line<'static> {
        let theme = self.settings.theme;
        let mut line = Line::default();
        if self.tab == TabName::Jobs && self.job.is_none() && !self.jobs.search.is_empty() {
            let search = cut(&self.jobs.search, usize::from(self.width) / 3);
            line.push_span(Span::styled(
                format!("/{search}  "),
                theme.style(Look::Hint),
            ));
        }
        let marked = match (self.jobs.all_marked, self.jobs.marked.len()) {
            (true, _) => "all that match  ".to_owned(),
            (false, 0) => String::new(),
            (false, marked) => format!("{marked} selected  "),
        };
        if self.tab == TabName::Jobs && self.job.is_none() {
            line.push_span(Span::styled(marked, theme.style(Look::Hint)));
        }
        let ends = "?:keys q:quit";
        let room = usize::from(self.width).saturating_sub(ends.len() + 1);
        let shown = KEYS.into_iter().filter(|binding| {
            !UNSHOWN.contains(&binding.command) && !matches!(binding.command, KeyCommand::Tab(_))
        });
        for binding in shown.filter(|binding| self.can(binding.command)) {
            let words = binding.words;
            if line.width() + binding.label.len() + words.len() + 2 > room {
                break;
            }
            line.push_span(Span::styled(binding.label, theme.title()));
            line.push_span(Span::styled(format!(":{words} "), theme.style(Look::Dim)));
        }
        for (key, words) in [("?", ":keys "), ("q", ":quit")] {
            line.push_span(Span::styled(key, theme.title()));
            line.push_span(Span::styled(words, theme.style(Look::Dim)));
        }
        line
    }
}

/// `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        let all = [0, 999, 1000, 1_234_567].map(thousands);
        assert_eq!(all, ["0", "999", "1,000", "1,234,567"]);
    }
}
