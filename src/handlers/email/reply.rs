//! Replies of a server, and what each of them means for the mail.

use std::fmt;
use std::io::{self, BufRead};

use serde::{Deserialize, Serialize};

/// The longest reply, over all its lines.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// How much of a reply's text goes into messages.
const MAX_SHOWN_CHARS: usize = 1000;

/// A reply: its code, and its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SmtpReply {
    pub(super) code: u16,
    pub(super) lines: Vec<String>,
}

impl SmtpReply {
    /// Reads a reply of one line or more.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<SmtpReply> {
        let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        let (mut lines, mut known, mut left) = (Vec::new(), None, MAX_REPLY_BYTES);
        loop {
            let line = read_line(from, left)?;
            left -= line.len();
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            let code = text.get(..3).and_then(|code| code.parse().ok());
            let code = code.filter(|code| (200..600).contains(code) && text.as_bytes()[0] != b'+');
            let Some(code) = code else {
                return refused("its reply is not one of SMTP");
            };
            if *known.get_or_insert(code) != code {
                return refused("its reply has two codes");
            }
            let is_last = match text.as_bytes().get(3) {
                None | Some(b' ') => true,
                Some(b'-') => false,
                Some(_) => return refused("its reply is not one of SMTP"),
            };
            lines.push(printable(text.get(4..).unwrap_or_default()));
            if is_last {
                return Ok(SmtpReply { code, lines });
            }
        }
    }

    /// The lines as one text.
    pub(super) fn text(&self) -> String {
        let text = self.lines.join(" ");
        match text.char_indices().nth(MAX_SHOWN_CHARS) {
            Some((end, _)) => format!("{} …", &text[..end]),
            None => text,
        }
    }

    pub(super) fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }
}

impl fmt::Display for SmtpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text())
    }
}

/// Replaces control characters, which could change the look of a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

/// One line with its end, of at most `max_bytes`.
fn read_line(from: &mut impl BufRead, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        let piece = from.fill_buf()?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = piece
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| at + 1);
        let taken = end.unwrap_or(piece.len());
        if line.len() + taken > max_bytes {
            let why = "its reply is longer than 64 KiB";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        line.extend_from_slice(&piece[..taken]);
        from.consume(taken);
        if end.is_some() {
            return Ok(line);
        }
    }
}

/// The stages of the dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SmtpStage {
    Greeting,
    Hello,
    StartTls,
    Auth,
    Sender,
    Recipient,
    Data,
    /// The message has been sent with the dot that ends it.
    Message,
}

impl fmt::Display for SmtpStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SmtpStage::Greeting => "the greeting",
            SmtpStage::Hello => "EHLO",
            SmtpStage::StartTls => "STARTTLS",
            SmtpStage::Auth => "AUTH",
            SmtpStage::Sender => "MAIL FROM",
            SmtpStage::Recipient => "RCPT TO",
            SmtpStage::Data => "DATA",
            SmtpStage::Message => "the message",
        })
    }
}

/// Whether the server may say something else another time than a reply that refuses.
pub(super) fn is_temporary(stage: SmtpStage, code: u16, text: &str) -> bool {
    match (stage, code) {
        // RFC 5321 (4.5.3.1.10): old servers say so when there are too many recipients at once.
        (SmtpStage::Recipient, 552) => text.to_lowercase().contains("too many"),
        (_, 500..) => false,
        // A refusal is 4xx or 5xx. Any other code here is the mistake of a confused server.
        _ => true,
    }
}

/// A recipient that the server did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RefusedRecipient {
    /// The address.
    pub to: String,
    /// The code of the reply.
    pub code: u16,
    /// The text of the reply.
    pub text: String,
}

impl RefusedRecipient {
    pub(super) fn new(to: &str, reply: &SmtpReply) -> RefusedRecipient {
        RefusedRecipient {
            to: to.to_owned(),
            code: reply.code,
            text: reply.text(),
        }
    }

    /// Whether the server may take the recipient another time.
    pub fn is_temporary(&self) -> bool {
        is_temporary(SmtpStage::Recipient, self.code, &self.text)
    }
}

impl fmt::Display for RefusedRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.to, self.code, self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> io::Result<SmtpReply> {
        SmtpReply::read(&mut text.as_bytes())
    }

    #[test]
    fn a_reply_has_one_line_or_more() {
        let reply = read("250-mail.x.org\r\n250-SIZE 1000\n250 8BITMIME\r\n354 next").unwrap();
        assert_eq!(reply.lines, ["mail.x.org", "SIZE 1000", "8BITMIME"]);
        assert_eq!(read("221\r\n").unwrap().to_string(), "221 ");
        let bell = read("550 a\x07\x1b[1mb\r\n").unwrap();
        assert_eq!(bell.to_string(), "550 a  [1mb");
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for text in [
            "",
            "250 ok",
            "250-ok\r\n",
            "25\r\n",
            "abc\r\n",
            "+25 ok\r\n",
            "250+ok\r\n",
            "250-a\r\n251 b\r\n",
            "HTTP/1.1 200 OK\r\n",
            "199 a\r\n",
            "600 a\r\n",
            "\u{fc}ber\r\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
        for endless in [
            "250 ".to_owned() + &"a".repeat(70_000),
            "250-a\r\n".repeat(10_000),
        ] {
            let error = read(&endless).unwrap_err();
            assert_eq!(error.to_string(), "its reply is longer than 64 KiB");
        }
    }

    #[test]
    fn each_class_of_reply_is_tried_again_or_not() {
        use SmtpStage::*;
        let everywhere = [
            Greeting, Hello, StartTls, Auth, Sender, Recipient, Data, Message,
        ];
        for stage in everywhere {
            for (codes, expected) in [
                (&[421, 450, 451, 452, 454, 432, 455, 499][..], true),
                (
                    &[
                        500, 501, 502, 503, 504, 521, 530, 534, 535, 538, 550, 551, 553, 554, 555,
                        556, 599,
                    ],
                    false,
                ),
                // Neither what was asked for nor a refusal.
                (&[250, 354, 211], true),
            ] {
                for code in codes {
                    let found = is_temporary(stage, *code, "no");
                    assert_eq!(found, expected, "{stage:?} {code}");
                }
            }
        }
        for (stage, text, expected) in [
            (Recipient, "Too many recipients", true),
            (Recipient, "mailbox full", false),
            (Message, "Too many bytes", false),
        ] {
            assert_eq!(is_temporary(stage, 552, text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_a_reply_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = SmtpReply::read(&mut &bytes[..]);
            let _ = SmtpReply::read(&mut &[b"250".as_slice(), &bytes, b"\n"].concat()[..]);
        }
    }
}
