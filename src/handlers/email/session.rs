//! The dialogue with a server: RFC 5321, with STARTTLS, AUTH, SIZE, SMTPUTF8.

use std::io::{self, BufReader, Write};
use std::net::IpAddr;

use crate::handlers::email::connection::{Buffered, SmtpConnection};
use crate::handlers::email::error::SmtpError;
use crate::handlers::email::reply::{RefusedRecipient, SmtpReply, SmtpStage};
use crate::handlers::email::settings::{EmailServer, TlsMode};
use crate::handlers::secrets::Secret;
use crate::model::base64;
use crate::runner::cancellation::Cancellation;

/// How much of a message is sent within one deadline.
const PIECE_BYTES: usize = 64 * 1024;

/// An open dialogue with a server.
pub(super) struct SmtpSession<'a> {
    server: &'a EmailServer,
    connection: Buffered,
    extensions: Extensions,
}

/// The extensions of SMTP that the server offers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extensions {
    starttls: bool,
    utf8: bool,
    max_bytes: Option<u64>,
    auth: Vec<String>,
}

/// Who sends what to whom.
pub(super) struct Envelope<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a [&'a str],
    /// Send it also where some recipients are refused.
    pub(super) partial: bool,
    pub(super) message: &'a [u8],
}

/// What the server has taken.
pub(super) struct Delivery {
    pub(super) refused: Vec<RefusedRecipient>,
    pub(super) reply: SmtpReply,
}

impl<'a> SmtpSession<'a> {
    /// Connects and says hello, in TLS as the server's settings want it.
    pub(super) fn open(
        server: &'a EmailServer,
        cancellation: &Cancellation,
    ) -> Result<SmtpSession<'a>, SmtpError> {
        let mut connection = SmtpConnection::open(server, cancellation)?;
        if server.tls() == TlsMode::Tls {
            connection = connection.secure(server)?;
        }
        let mut session = SmtpSession {
            server,
            connection: BufReader::new(connection),
            extensions: Extensions::default(),
        };
        session
            .connection
            .get_mut()
            .set_deadline(server.command_timeout);
        let greeting = session.reply(SmtpStage::Greeting)?;
        expect(SmtpStage::Greeting, greeting, 220)?;
        session.hello()?;
        match server.tls() {
            TlsMode::StartTls => session.start_tls(),
            TlsMode::Tls | TlsMode::None => Ok(session),
        }
    }

    fn hello(&mut self) -> Result<(), SmtpError> {
        let node = rustix::system::uname();
        let node = node.nodename().to_string_lossy();
        let is_domain = node.contains('.')
            && node
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        let name = match is_domain {
            true => node.into_owned(),
            false => match self
                .connection
                .get_mut()
                .local_address()
                .map(|address| address.ip())
            {
                Ok(IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
                Ok(IpAddr::V4(ip)) => format!("[{ip}]"),
                Err(_) => "localhost".to_owned(),
            },
        };
        let reply = self.command(SmtpStage::Hello, &format!("EHLO {name}"))?;
        self.extensions = Extensions::of(&expect(SmtpStage::Hello, reply, 250)?);
        Ok(())
    }

    fn start_tls(mut self) -> Result<SmtpSession<'a>, SmtpError> {
        if !self.extensions.starttls {
            return Err(SmtpError::Unfit(format!(
                "{} offers no STARTTLS on port {}; tls = \"tls\" is for port 465, \"none\" for a network that is safe",
                self.server.host,
                self.server.port()
            )));
        }
        let reply = self.command(SmtpStage::StartTls, "STARTTLS")?;
        expect(SmtpStage::StartTls, reply, 220)?;
        // An attacker on the way could have sent it before TLS began.
        if !self.connection.buffer().is_empty() {
            let why = "the server sent more than its reply to STARTTLS";
            return Err(SmtpError::Broken(why.to_owned()));
        }
        let connection = self.connection.into_inner().secure(self.server)?;
        self.connection = BufReader::new(connection);
        self.hello()?;
        Ok(self)
    }

    /// Logs in, if there is a login.
    pub(super) fn log_in(&mut self, login: Option<(&str, Secret)>) -> Result<(), SmtpError> {
        let Some((username, password)) = login else {
            return Ok(());
        };
        let offers = |mechanism: &str| {
            self.extensions
                .auth
                .iter()
                .any(|offered| offered == mechanism)
        };
        let encoded = |text: &str| base64::encode(text.as_bytes());
        let last = if offers("PLAIN") {
            let identity = Secret::from(format!("\0{username}\0{}", password.reveal()));
            format!("AUTH PLAIN {}", encoded(identity.reveal()))
        } else if offers("LOGIN") {
            for line in ["AUTH LOGIN", &encoded(username)] {
                let reply = self.command(SmtpStage::Auth, line)?;
                expect(SmtpStage::Auth, reply, 334)?;
            }
            encoded(password.reveal())
        } else {
            return Err(SmtpError::Unfit(format!(
                "{} offers AUTH {}; jobq knows PLAIN and LOGIN",
                self.server.host,
                match self.extensions.auth.is_empty() {
                    true => "not at all".to_owned(),
                    false => self.extensions.auth.join(", "),
                }
            )));
        };
        let reply = self.command(SmtpStage::Auth, Secret::from(last).reveal())?;
        expect(SmtpStage::Auth, reply, 235)?;
        Ok(())
    }

    /// Sends a message.
    pub(super) fn send(&mut self, mail: &Envelope<'_>) -> Result<Delivery, SmtpError> {
        let bytes = mail.message.len();
        let mut sender = format!("MAIL FROM:<{}>", mail.from);
        if let Some(max_bytes) = self.extensions.max_bytes {
            if max_bytes > 0 && bytes as u64 > max_bytes {
                return Err(SmtpError::Unfit(format!(
                    "the message has {bytes} bytes, and {} takes at most {max_bytes}",
                    self.server.host
                )));
            }
            sender.push_str(&format!(" SIZE={bytes}"));
        }
        // All else in a message is encoded; only addresses are not.
        if !mail.message.is_ascii() || !mail.to.iter().all(|to| to.is_ascii()) {
            if !self.extensions.utf8 {
                return Err(SmtpError::Unfit(format!(
                    "{} takes no addresses with other characters than ASCII (SMTPUTF8)",
                    self.server.host
                )));
            }
            sender.push_str(" BODY=8BITMIME SMTPUTF8");
        }
        let reply = self.command(SmtpStage::Sender, &sender)?;
        expect(SmtpStage::Sender, reply, 250)?;
        let refused = self.recipients(mail)?;
        let reply = self.command(SmtpStage::Data, "DATA")?;
        expect(SmtpStage::Data, reply, 354)?;
        let reply = self.message(mail.message)?;
        match reply.is_positive() {
            true => Ok(Delivery { refused, reply }),
            false => Err(SmtpError::Refused(SmtpStage::Message, reply)),
        }
    }

    /// Names the recipients. Those that are refused, where the others get the mail.
    fn recipients(&mut self, mail: &Envelope<'_>) -> Result<Vec<RefusedRecipient>, SmtpError> {
        let mut refused = Vec::new();
        for to in mail.to {
            let reply = self.command(SmtpStage::Recipient, &format!("RCPT TO:<{to}>"))?;
            match reply.code {
                200..300 => {}
                // The server closes the connection.
                421 => return Err(SmtpError::Refused(SmtpStage::Recipient, reply)),
                _ => refused.push(RefusedRecipient::new(to, &reply)),
            }
        }
        let somebody_is_left = mail.partial && refused.len() < mail.to.len();
        if refused.is_empty() || somebody_is_left {
            return Ok(refused);
        }
        // Where one recipient would have been enough, one that may be taken later is worth another try.
        if mail.partial && refused.iter().any(RefusedRecipient::is_temporary) {
            refused.retain(RefusedRecipient::is_temporary);
        }
        Err(SmtpError::Recipients(refused))
    }

    fn message(&mut self, message: &[u8]) -> Result<SmtpReply, SmtpError> {
        for piece in stuffed(message).chunks(PIECE_BYTES) {
            self.connection
                .get_mut()
                .set_deadline(self.server.command_timeout);
            if let Err(error) = self.write(piece) {
                // The server may have said why before it closed.
                return Err(match SmtpReply::read(&mut self.connection) {
                    Ok(reply) => SmtpError::Refused(SmtpStage::Data, reply),
                    Err(_) => SmtpError::broken(SmtpStage::Data, &error),
                });
            }
        }
        self.end_of_message()
    }

    /// Sends the dot that ends the message. From here on the server may have all of it, even if an error of the
    /// connection says that the dot was not sent.
    fn end_of_message(&mut self) -> Result<SmtpReply, SmtpError> {
        self.connection
            .get_mut()
            .set_deadline(self.server.accept_timeout);
        let sent = self.write(b".\r\n");
        // The server may have said why before it closed.
        SmtpReply::read(&mut self.connection)
            .map_err(|error| SmtpError::Unknown(sent.err().unwrap_or(error)))
    }

    /// Sends QUIT; it does not matter whether the server gets it.
    pub(super) fn quit(&mut self) {
        let _ = self.write(b"QUIT\r\n");
        let _ = self.connection.get_mut().close();
    }

    fn command(&mut self, stage: SmtpStage, line: &str) -> Result<SmtpReply, SmtpError> {
        if line.contains(['\r', '\n', '\0']) {
            return Err(SmtpError::Unfit(format!(
                "{stage}: there is a line break in it"
            )));
        }
        self.connection
            .get_mut()
            .set_deadline(self.server.command_timeout);
        let line = Secret::from(format!("{line}\r\n"));
        self.write(line.reveal().as_bytes())
            .map_err(|error| SmtpError::broken(stage, &error))?;
        self.reply(stage)
    }

    fn reply(&mut self, stage: SmtpStage) -> Result<SmtpReply, SmtpError> {
        SmtpReply::read(&mut self.connection).map_err(|error| SmtpError::broken(stage, &error))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let connection = self.connection.get_mut();
        connection.write_all(bytes)?;
        connection.flush()
    }
}

fn expect(stage: SmtpStage, reply: SmtpReply, code: u16) -> Result<SmtpReply, SmtpError> {
    match reply.code == code {
        true => Ok(reply),
        false => Err(SmtpError::Refused(stage, reply)),
    }
}

impl Extensions {
    fn of(reply: &SmtpReply) -> Extensions {
        let mut found = Extensions::default();
        for line in reply.lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next() {
                Some("STARTTLS") => found.starttls = true,
                Some("SMTPUTF8") => found.utf8 = true,
                Some("SIZE") => {
                    found.max_bytes =
                        Some(words.next().and_then(|size| size.parse().ok()).unwrap_or(0))
                }
                Some("AUTH") => found.auth.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        found
    }
}

/// The message with its last line ended, and a dot more at each line that begins with one.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len() + message.len() / 64 + 2);
    let mut before = b'\n';
    for byte in message {
        // Some servers take one of the two for the end of a line.
        if *byte == b'.' && matches!(before, b'\n' | b'\r') {
            stuffed.push(b'.');
        }
        stuffed.push(*byte);
        before = *byte;
    }
    if !stuffed.ends_with(b"\r\n") {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;
    use crate::model::outcome::CancelReason;

    #[test]
    fn a_servers_extensions_are_read_in_all_their_spellings() {
        let lines = [
            "x.org greets you",
            "size 1000",
            "AUTH PLAIN LOGIN",
            "auth=XOAUTH2",
            "StartTLS",
            "SMTPUTF8",
            "X",
        ];
        let reply = SmtpReply {
            code: 250,
            lines: lines.map(str::to_owned).to_vec(),
        };
        let auth = ["PLAIN", "LOGIN", "XOAUTH2"].map(str::to_owned).to_vec();
        let expected = Extensions {
            starttls: true,
            utf8: true,
            max_bytes: Some(1000),
            auth,
        };
        assert_eq!(Extensions::of(&reply), expected);
        let none = SmtpReply {
            code: 250,
            lines: vec!["STARTTLS".to_owned()],
        };
        assert_eq!(Extensions::of(&none), Extensions::default());
    }

    /// What comes of sending a message, and of sending its end, when the server has said this and the connection has
    /// broken.
    fn broken_after(said: &str) -> [Result<SmtpReply, SmtpError>; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = EmailServer::new("127.0.0.1");
        server.port = Some(listener.local_addr().unwrap().port());
        let sends: [fn(&mut SmtpSession<'_>) -> _; 2] = [
            |session| session.message(b"text"),
            |session| session.end_of_message(),
        ];
        sends.map(|send| {
            let cancellation = Cancellation::default();
            let connection = SmtpConnection::open(&server, &cancellation).unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(said.as_bytes()).unwrap();
            let mut session = SmtpSession {
                server: &server,
                connection: BufReader::new(connection),
                extensions: Extensions::default(),
            };
            if !said.is_empty() {
                session.connection.fill_buf().unwrap();
            }
            cancellation.cancel(CancelReason::Requested);
            send(&mut session)
        })
    }

    #[test]
    fn a_dot_that_was_not_written_may_have_been_sent() {
        let [message, end] = broken_after("");
        assert!(matches!(message, Err(SmtpError::Broken(_))), "{message:?}");
        assert!(
            matches!(&end, Err(SmtpError::Unknown(error)) if error.kind() == io::ErrorKind::BrokenPipe),
            "{end:?}"
        );
        let [message, end] = broken_after("552 too large\r\n");
        assert!(
            matches!(&message, Err(SmtpError::Refused(SmtpStage::Data, reply)) if reply.code == 552),
            "{message:?}"
        );
        assert_eq!(end.unwrap().code, 552);
    }

    /// The message as a server reads it that takes CR, LF and both together for the end of a line.
    fn unstuffed(stuffed: &[u8]) -> Option<Vec<u8>> {
        let (mut message, mut before) = (Vec::new(), b'\n');
        for (at, byte) in stuffed.iter().enumerate() {
            let begins = matches!(before, b'\n' | b'\r');
            before = *byte;
            if begins && *byte == b'.' {
                match stuffed.get(at + 1) {
                    None | Some(b'\r' | b'\n') => return None,
                    _ => continue,
                }
            }
            message.push(*byte);
        }
        Some(message)
    }

    proptest! {
        #[test]
        fn no_message_ends_before_its_end(message in "[.\\r\\na]{0,40}") {
            let stuffed = stuffed(message.as_bytes());
            prop_assert!(stuffed.ends_with(b"\r\n"));
            let read = unstuffed(&stuffed);
            prop_assert!(read.is_some(), "a lone dot: {stuffed:?}");
            let read = String::from_utf8(read.unwrap()).unwrap();
            let ended = format!("{message}\r\n");
            prop_assert!(read == message || read == ended, "{read:?}");
        }
    }
}
