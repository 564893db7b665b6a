//! The message as it is sent: RFC 5322 and MIME.

use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::mime::MimePart;

use crate::handlers::email::address::Mailbox;
use crate::handlers::email::attachment::EmailFile;
use crate::handlers::email::payload::Email;
use crate::handlers::email::texts::MailTexts;
use crate::model::base64;
use crate::{Error, Result};

/// Characters of base64 per line.
const BASE64_LINE: usize = 76;

/// All that a message is made of.
pub(super) struct MessageParts<'a> {
    pub(super) mail: &'a Email,
    pub(super) from: &'a Mailbox,
    pub(super) message_id: &'a str,
    pub(super) texts: MailTexts,
    /// The contents of the attachments, then of the inline images.
    pub(super) files: Vec<Vec<u8>>,
}

impl MessageParts<'_> {
    /// The message, with CRLF at the end of each line and no CR or LF elsewhere.
    pub(super) fn message(self) -> Result<Vec<u8>> {
        let mail = self.mail;
        let mut builder = MessageBuilder::new()
            .message_id(self.message_id)
            .from(address(self.from))
            .subject(self.texts.subject);
        for (name, mailboxes) in [
            ("To", &mail.to),
            ("Cc", &mail.cc),
            ("Reply-To", &mail.reply_to),
        ] {
            if !mailboxes.is_empty() {
                builder = builder.header(
                    name,
                    Address::new_list(mailboxes.iter().map(address).collect()),
                );
            }
        }
        if !mail
            .headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("auto-submitted"))
        {
            // Keeps out-of-office replies away.
            builder = builder.header("Auto-Submitted", Text::new("auto-generated"));
        }
        for (name, value) in &mail.headers {
            // Mail programs do not decode a value such as a list of links.
            let value = value.as_str();
            builder = match value.is_ascii() {
                true => builder.header(name, Raw::new(value)),
                false => builder.header(name, Text::new(value)),
            };
        }
        let mut files = self.files.into_iter();
        let mut part = |file: &EmailFile| file_part(file, &files.next().unwrap_or_default());
        let attachments = mail
            .attachments
            .iter()
            .map(&mut part)
            .collect::<Result<Vec<_>>>()?;
        let inline = mail
            .inline
            .iter()
            .map(&mut part)
            .collect::<Result<Vec<_>>>()?;
        let mut body = MimePart::new("text/plain", self.texts.text);
        if let Some(html) = self.texts.html {
            let html = around(
                "multipart/related",
                MimePart::new("text/html", html),
                inline,
            );
            body = MimePart::new("multipart/alternative", vec![body, html]);
        }
        let body = around("multipart/mixed", body, attachments);
        let mut message = Vec::new();
        builder.body(body).serialize(&mut message);
        match has_stray_line_end(&message) {
            true => Err(Error::invalid(
                "the message has a CR or an LF that is not the end of a line",
            )),
            false => Ok(message),
        }
    }
}

fn address(mailbox: &Mailbox) -> Address<'_> {
    Address::new_address(mailbox.name(), mailbox.address())
}

/// The first part with the others, if there are any.
fn around<'a>(kind: &'static str, first: MimePart<'a>, others: Vec<MimePart<'a>>) -> MimePart<'a> {
    match others.is_empty() {
        true => first,
        false => MimePart::new(kind, [vec![first], others].concat()),
    }
}

/// Always in base64: then a file arrives byte for byte, and nothing in it can end the message.
fn file_part(file: &EmailFile, bytes: &[u8]) -> Result<MimePart<'static>> {
    let name = file.file_name()?;
    let encoded = base64::encode(bytes);
    let mut lines = Vec::with_capacity(encoded.len() + encoded.len() / BASE64_LINE * 2);
    for line in encoded.as_bytes().chunks(BASE64_LINE) {
        lines.extend_from_slice(line);
        lines.extend_from_slice(b"\r\n");
    }
    let placed = match file.cid {
        Some(_) => "inline",
        None => "attachment",
    };
    let mut part = MimePart::new(file.media_type(&name), lines)
        .transfer_encoding("base64")
        .header(
            "Content-Disposition",
            ContentType::new(placed).attribute("filename", name),
        );
    if let Some(cid) = &file.cid {
        part = part.cid(cid.clone());
    }
    Ok(part)
}

fn has_stray_line_end(message: &[u8]) -> bool {
    let mut before = b' ';
    for byte in message {
        if (*byte == b'\n') != (before == b'\r') {
            return true;
        }
        before = *byte;
    }
    before == b'\r'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::handlers::built_in::BuiltInJob;
    use crate::handlers::email::attachment::read_all;
    use crate::handlers::email::settings::EmailSettings;
    use crate::handlers::input_file::QueueFiles;

    fn message(payload: &Value) -> Result<String> {
        let mail: Email = serde_json::from_value(payload.clone())
            .map_err(|error| Error::invalid(error.to_string()))?;
        mail.check()?;
        let queue = QueueFiles::default();
        let texts = MailTexts::of(&mail, None, &queue)
            .map_err(|failure| Error::invalid(failure.to_string()))?;
        let files = [&mail.attachments, &mail.inline].into_iter().flatten();
        let settings = EmailSettings::default();
        let files = read_all(files, &settings, &queue).unwrap();
        let from = "jobs@x.org".parse().unwrap();
        let parts = MessageParts {
            mail: &mail,
            from: &from,
            message_id: "1@x.org",
            texts,
            files,
        };
        String::from_utf8(parts.message()?).map_err(|error| Error::invalid(error.to_string()))
    }

    #[test]
    fn a_stray_cr_or_lf_is_found() {
        for (message, expected) in [
            ("a\r\nb\r\n", false),
            ("a\nb", true),
            ("a\rb", true),
            ("a\r", true),
            ("\n", true),
            ("\r\r\n", true),
        ] {
            assert_eq!(
                has_stray_line_end(message.as_bytes()),
                expected,
                "{message:?}"
            );
        }
    }

    #[test]
    fn a_mail_has_the_headers_of_one_that_a_machine_has_made() {
        let payload = json!({
            "to": "Ann <a@x.org>", "bcc": ["secret@x.org"], "subject": "s", "text": "t",
            "headers": { "list-unsubscribe": "<https://x.org/u>" },
        });
        let made = message(&payload).unwrap();
        for line in [
            "Message-ID: <1@x.org>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "MIME-Version: 1.0\r\n",
            "Date: ",
            "list-unsubscribe: <https://x.org/u>\r\n",
            "To: \"Ann\" <a@x.org>\r\n",
        ] {
            assert!(made.contains(line), "{line:?} in {made}");
        }
        assert!(!made.contains("secret@x.org"));
    }

    proptest! {
        #[test]
        fn no_text_of_a_payload_adds_a_header_or_a_line(
            [subject, name, text, file, value] in proptest::array::uniform5("[ab:é\\r\\n\\x00\\t\"<>=?.]{0,30}"),
        ) {
            let payload = json!({
                "to": format!("{name} <a@x.org>"), "subject": subject, "text": text, "html": text,
                "headers": { "x-a": value },
                "attachments": [{ "base64": base64::encode(text.as_bytes()), "name": file }],
            });
            let Ok(made) = message(&payload) else { return Ok(()) };
            prop_assert!(!has_stray_line_end(made.as_bytes()));
            let (head, _) = made.split_once("\r\n\r\n").unwrap();
            let lines = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
            let mut names: Vec<_> = lines.map(|line| line.split(':').next().unwrap()).collect();
            names.sort_unstable();
            let expected = ["Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To", "x-a"];
            prop_assert_eq!(names, expected);
        }
    }
}
