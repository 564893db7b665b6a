//! The keys: what each does, in words, for the help, the palette and the line at the bottom.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyCommand {
    Up,
    Down,
    PageUp,
    PageDown,
    Start,
    End,
    Open,
    Back,
    Tab(usize),
    NextTab,
    PreviousTab,
    Search,
    GoOn,
    Mark,
    MarkAll,
    Why,
    Log,
    Timeline,
    Graph,
    Follow,
    Retry,
    Pause,
    PauseAll,
    RunSchedule,
    Undo,
    Cancel,
    Remove,
    Copy,
    Palette,
    Help,
    Quit,
}

/// A key and what it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyBinding {
    pub(crate) keys: &'static [KeyCode],
    /// The keys as they are shown.
    pub(crate) label: &'static str,
    pub(crate) command: KeyCommand,
    pub(crate) words: &'static str,
}

const fn key(
    keys: &'static [KeyCode],
    label: &'static str,
    command: KeyCommand,
    words: &'static str,
) -> KeyBinding {
    KeyBinding {
        keys,
        label,
        command,
        words,
    }
}

use KeyCode::Char;

/// All keys. Upper case is for what cannot simply be undone.
pub(crate) const KEYS: [KeyBinding; 37] = [
    key(
        &[KeyCode::Enter, KeyCode::Right, Char('l')],
        "Enter",
        KeyCommand::Open,
        "open",
    ),
    key(
        &[KeyCode::Esc, KeyCode::Left, KeyCode::Backspace, Char('h')],
        "Esc",
        KeyCommand::Back,
        "back",
    ),
    key(&[Char('/')], "/", KeyCommand::Search, "search"),
    key(&[Char('c')], "c", KeyCommand::GoOn, "go on searching"),
    key(&[Char('x'), Char(' ')], "x", KeyCommand::Mark, "select"),
    key(
        &[Char('A')],
        "A",
        KeyCommand::MarkAll,
        "select all that match",
    ),
    key(&[Char('w')], "w", KeyCommand::Why, "why"),
    key(&[Char('L')], "L", KeyCommand::Log, "output"),
    key(&[Char('t')], "t", KeyCommand::Timeline, "history"),
    key(&[Char('v')], "v", KeyCommand::Graph, "graph"),
    key(&[Char('f')], "f", KeyCommand::Follow, "follow the output"),
    key(&[Char('r')], "r", KeyCommand::Retry, "retry"),
    key(&[Char('p')], "p", KeyCommand::Pause, "pause or resume"),
    key(
        &[Char('P')],
        "P",
        KeyCommand::PauseAll,
        "pause or resume all queues",
    ),
    key(&[Char('n')], "n", KeyCommand::RunSchedule, "run now"),
    key(
        &[Char('u')],
        "u",
        KeyCommand::Undo,
        "undo the latest change",
    ),
    key(&[Char('C')], "C", KeyCommand::Cancel, "cancel"),
    key(&[Char('D')], "D", KeyCommand::Remove, "remove"),
    key(&[Char('y')], "y", KeyCommand::Copy, "copy the command"),
    key(&[Char(':')], ":", KeyCommand::Palette, "command"),
    key(&[Char('?')], "?", KeyCommand::Help, "keys"),
    key(&[Char('q')], "q", KeyCommand::Quit, "quit"),
    key(&[Char('j'), KeyCode::Down], "j", KeyCommand::Down, "down"),
    key(&[Char('k'), KeyCode::Up], "k", KeyCommand::Up, "up"),
    key(
        &[KeyCode::PageDown],
        "PgDn",
        KeyCommand::PageDown,
        "a page down",
    ),
    key(&[KeyCode::PageUp], "PgUp", KeyCommand::PageUp, "a page up"),
    key(
        &[Char('g'), KeyCode::Home],
        "g",
        KeyCommand::Start,
        "to the start",
    ),
    key(
        &[Char('G'), KeyCode::End],
        "G",
        KeyCommand::End,
        "to the end",
    ),
    key(&[KeyCode::Tab], "Tab", KeyCommand::NextTab, "next tab"),
    key(
        &[KeyCode::BackTab],
        "Shift-Tab",
        KeyCommand::PreviousTab,
        "previous tab",
    ),
    key(&[Char('1')], "1", KeyCommand::Tab(0), "overview"),
    key(&[Char('2')], "2", KeyCommand::Tab(1), "jobs"),
    key(&[Char('3')], "3", KeyCommand::Tab(2), "queues"),
    key(&[Char('4')], "4", KeyCommand::Tab(3), "runners"),
    key(&[Char('5')], "5", KeyCommand::Tab(4), "schedules"),
    key(&[Char('6')], "6", KeyCommand::Tab(5), "errors"),
    key(&[Char('7')], "7", KeyCommand::Tab(6), "events"),
];

/// The command of a key; none for a key that has none.
pub(crate) fn command_of(event: KeyEvent) -> Option<KeyCommand> {
    if event.modifiers.contains(KeyModifiers::CONTROL) {
        return match event.code {
            Char('d' | 'f') => Some(KeyCommand::PageDown),
            Char('u' | 'b') => Some(KeyCommand::PageUp),
            Char('n') => Some(KeyCommand::Down),
            Char('p') => Some(KeyCommand::Up),
            Char('k') => Some(KeyCommand::Palette),
            _ => None,
        };
    }
    let binding = KEYS
        .iter()
        .find(|binding| binding.keys.contains(&event.code));
    binding.map(|binding| binding.command)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_has_two_meanings() {
        let keys: Vec<KeyCode> = KEYS
            .iter()
            .flat_map(|binding| binding.keys)
            .copied()
            .collect();
        let different: HashSet<KeyCode> = keys.iter().copied().collect();
        assert_eq!(keys.len(), different.len());
        for binding in KEYS {
            let event = KeyEvent::new(binding.keys[0], KeyModifiers::NONE);
            assert_eq!(command_of(event), Some(binding.command));
        }
    }
}
