//! Colours and characters of `jobq top`: what the terminal and the person's settings allow.

use clap::builder::styling::{AnsiColor, Effects};
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};

use crate::cli::render::style::Look;

/// What may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Theme {
    pub(crate) color: bool,
    /// Whether the locale has more than ASCII.
    pub(crate) unicode: bool,
}

impl Theme {
    pub(crate) fn style(self, look: Look) -> Style {
        let mut style = Style::new();
        if look.effects().contains(Effects::BOLD) {
            style = style.add_modifier(Modifier::BOLD);
        }
        if look.effects().contains(Effects::DIMMED) {
            style = style.add_modifier(Modifier::DIM);
        }
        match look.color().filter(|_| self.color) {
            Some(AnsiColor::Blue) => style.fg(Color::Blue),
            Some(AnsiColor::Magenta) => style.fg(Color::Magenta),
            Some(AnsiColor::Yellow) => style.fg(Color::Yellow),
            Some(AnsiColor::Green) => style.fg(Color::Green),
            Some(AnsiColor::Red) => style.fg(Color::Red),
            Some(_) => style.fg(Color::Cyan),
            None => style,
        }
    }

    /// Of the row that keys act on. It stands out without colours, too.
    pub(crate) fn cursor(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(crate) fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Replaces what the locale does not have.
    pub(crate) fn finish(self, buffer: &mut Buffer) {
        if self.unicode {
            return;
        }
        for cell in &mut buffer.content {
            if !cell.symbol().is_ascii() {
                let ascii = as_ascii(cell.symbol());
                cell.set_symbol(ascii);
            }
        }
    }
}

/// One character for one cell. The second cell of a wide one is a blank already.
fn as_ascii(symbol: &str) -> &'static str {
    match symbol {
        "…" => "~",
        "·" | "─" | "–" | "—" => "-",
        "│" | "┃" => "|",
        "┌" | "┐" | "└" | "┘" | "├" | "┤" | "┬" | "┴" | "┼" => "+",
        "█" | "▇" | "▆" => "#",
        "▅" | "▄" => "=",
        "▃" | "▂" => "-",
        "▁" => "_",
        "░" | "▒" => ".",
        "▓" => "%",
        "▲" => "^",
        "▼" => "v",
        "▸" | "→" => ">",
        "←" => "<",
        "●" => "*",
        "○" => "o",
        "×" => "x",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;

    use super::*;

    #[test]
    fn without_unicode_nothing_but_ascii_is_drawn() {
        let theme = Theme {
            color: false,
            unicode: false,
        };
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 1));
        buffer.set_string(0, 0, "a·█…漢é", Style::new());
        theme.finish(&mut buffer);
        let shown: String = buffer.content.iter().map(|cell| cell.symbol()).collect();
        assert_eq!(shown, "a-#~? ? ");
    }

    #[test]
    fn without_colours_a_state_has_none() {
        let theme = Theme {
            color: false,
            unicode: true,
        };
        let style = theme.style(Look::State(jobq::State::Failed));
        assert_eq!(style, Style::new());
        let dim = theme.style(Look::Dim);
        assert_eq!(dim, Style::new().add_modifier(Modifier::DIM));
    }
}
