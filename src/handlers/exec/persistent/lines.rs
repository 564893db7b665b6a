//! Tells the messages of a persistent command from its output.

use crate::handlers::exec::persistent::protocol::{
    MESSAGE_MAX_BYTES, Message, has_key, may_be_message,
};

/// What a command has printed, line by line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line that may be a message.
    held: Vec<u8>,
    /// The beginning of the current line was handed on as output.
    is_mid_line: bool,
}

/// A piece of what a command has printed.
pub(super) enum PrintedPiece<'a> {
    /// Output: whole lines where that is possible.
    Output(&'a [u8]),
    Message(Box<Message>),
    /// A line with the key of a message that cannot be read as one, and why. It is output as well.
    Unreadable(String),
    /// A message that is longer than messages may be.
    TooLong,
}

impl Lines {
    /// Takes what was read, and hands on what is complete.
    pub(super) fn take(&mut self, read: &[u8], mut each: impl FnMut(PrintedPiece<'_>)) {
        let bytes = match self.held.is_empty() {
            true => read,
            false => {
                self.held.extend_from_slice(read);
                &std::mem::take(&mut self.held)
            }
        };
        let (mut output_from, mut line_from) = (0, 0);
        while let Some(len) = bytes[line_from..].iter().position(|byte| *byte == b'\n') {
            let line = &bytes[line_from..line_from + len];
            let is_whole = !std::mem::take(&mut self.is_mid_line);
            if is_whole && has_key(line) {
                match Message::parse(line) {
                    Ok(_) if line.len() > MESSAGE_MAX_BYTES => each(PrintedPiece::TooLong),
                    Ok(message) => {
                        pass(&bytes[output_from..line_from], &mut each);
                        output_from = line_from + len + 1;
                        each(PrintedPiece::Message(Box::new(message)));
                    }
                    Err(error) => each(PrintedPiece::Unreadable(error.to_string())),
                }
            }
            line_from += len + 1;
        }
        let rest = &bytes[line_from..];
        let may_be_message = !self.is_mid_line && may_be_message(rest);
        if may_be_message && rest.len() <= MESSAGE_MAX_BYTES {
            pass(&bytes[output_from..line_from], &mut each);
            self.held = rest.to_vec();
            return;
        }
        if may_be_message && has_key(rest) {
            each(PrintedPiece::TooLong);
        }
        self.is_mid_line |= !rest.is_empty();
        pass(&bytes[output_from..], &mut each);
    }

    /// Whether it holds the beginning of a message whose newline has not come.
    pub(super) fn holds_message(&self) -> bool {
        has_key(&self.held)
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        self.is_mid_line = false;
        std::mem::take(&mut self.held)
    }
}

fn pass(bytes: &[u8], each: &mut impl FnMut(PrintedPiece<'_>)) {
    if !bytes.is_empty() {
        each(PrintedPiece::Output(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output as text, `<done>` for a message, `<bad>` and `<long>` for what is none.
    fn shown(lines: &mut Lines, read: &[u8]) -> String {
        let mut shown = String::new();
        lines.take(read, |piece| match piece {
            PrintedPiece::Output(bytes) => shown.push_str(&String::from_utf8_lossy(bytes)),
            PrintedPiece::Message(_) => shown.push_str("<message>"),
            PrintedPiece::Unreadable(_) => shown.push_str("<bad>"),
            PrintedPiece::TooLong => shown.push_str("<long>"),
        });
        shown
    }

    #[test]
    fn lines_with_the_key_are_messages_and_all_else_is_output() {
        let mut lines = Lines::default();
        for (read, expected) in [
            ("a\nb\n", "a\nb\n"),
            ("a\n{\"jobq\":\"ready\"}\nb\n", "a\n<message>b\n"),
            ("{\"jobq\":\"ready\"}\r\n", "<message>"),
            ("{\"done\":1}\n", "{\"done\":1}\n"),
            ("x {\"jobq\":\"ready\"}\n", "x {\"jobq\":\"ready\"}\n"),
            ("{\"jobq\":\"dance\"}\n", "<bad>{\"jobq\":\"dance\"}\n"),
            ("{\"jobq\":\n", "<bad>{\"jobq\":\n"),
            ("\n\n", "\n\n"),
        ] {
            assert_eq!(shown(&mut lines, read.as_bytes()), expected, "{read:?}");
        }
    }

    #[test]
    fn a_message_may_come_in_pieces_and_noise_may_be_anything() {
        let mut lines = Lines::default();
        assert_eq!(shown(&mut lines, b"{\"jobq\""), "");
        assert!(lines.holds_message());
        assert_eq!(shown(&mut lines, b":\"ready\"}"), "");
        assert_eq!(shown(&mut lines, b"\n\xff\x00"), "<message>\u{fffd}\0");
        // The rest of a line is no message, whatever it looks like.
        let rest = b"{\"jobq\":\"ready\"}\n";
        assert_eq!(shown(&mut lines, rest), String::from_utf8_lossy(rest));
        assert_eq!(shown(&mut lines, rest), "<message>");
        assert_eq!(shown(&mut lines, b"{\"a"), "");
        assert_eq!(lines.finish(), b"{\"a");
        assert!(!lines.holds_message());
    }

    #[test]
    fn a_long_line_is_output_unless_it_has_the_key() {
        let fill = "x".repeat(MESSAGE_MAX_BYTES);
        let mut lines = Lines::default();
        assert_eq!(
            shown(&mut lines, format!("{{{fill}").as_bytes()).len(),
            fill.len() + 1
        );
        assert_eq!(shown(&mut lines, b"{}\n"), "{}\n");
        let long = format!("{{\"jobq\":\"done\",\"job\":1,\"result\":\"{fill}");
        assert!(shown(&mut lines, long.as_bytes()).starts_with("<long>"));
        shown(&mut lines, b"\n");
        assert!(shown(&mut lines, format!("{long}\"}}\n").as_bytes()).starts_with("<long>"));
    }
}
