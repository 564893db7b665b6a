//! One socket: it reads what its client asks for and writes what waits in its mailbox, on the thread of its connection.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Bytes, Message, WebSocket};

use crate::web::live::mailbox::{ServerClose, SocketMailbox};
use crate::web::live::service::LiveService;
use crate::web::live::topic::{BadFrame, ClientFrame, ClientHello, LiveTopic};
use crate::web::problem::Problem;
use crate::{EventId, Result, clock};

/// Within this the first message must have come, with the token.
const HELLO_WITHIN: Duration = Duration::from_secs(2);

const PING_EVERY: Duration = Duration::from_secs(20);

/// A client that has sent nothing for so long, not even the answer to a ping, is gone.
const SILENT_FOR: Duration = Duration::from_secs(40);

/// How long the client has to confirm that the connection is closed.
const CLOSE_WITHIN: Duration = Duration::from_millis(400);

/// How many messages are read, and how many frames are written, before the other is done.
const MESSAGES_OF_A_TURN: usize = 64;

const MOST_SUBSCRIPTIONS: usize = 32;
const MAX_CLIENT_FRAME_BYTES: usize = 64 * 1024;

/// A close code of applications; RFC 6455 has none for it.
const UNAUTHORIZED: u16 = 4401;

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveGrant {
    /// Only jobs of this tenant; none: the whole file.
    pub(crate) tenant: Option<String>,
    pub(crate) read_only: bool,
}

/// Looks up what a token allows.
pub(crate) type Authorise<'a> = &'a dyn Fn(Option<&str>) -> Option<LiveGrant>;

/// The end of a socket.
struct SocketEnded;

/// What a client has shown that it may see.
struct Greeted {
    tenant: Option<String>,
    since: Option<EventId>,
}

pub(crate) struct LiveSocket<'a, S> {
    service: &'a LiveService,
    socket: WebSocket<S>,
    mailbox: Arc<SocketMailbox>,
    greeted: Option<Greeted>,
    begun: Instant,
    heard: Instant,
    pinged: Instant,
    /// Whether there was more to read or to write than is done in one turn.
    has_more: bool,
    /// Whether the client does not take what was written.
    is_blocked: bool,
    /// Since when the connection is being closed.
    closing: Option<Instant>,
}

impl<'a, S: Read + Write + AsFd> LiveSocket<'a, S> {
    /// The stream was upgraded; `leftover` was read from it already.
    pub(crate) fn new(
        service: &'a LiveService,
        (stream, leftover): (S, Vec<u8>),
        mailbox: Arc<SocketMailbox>,
    ) -> LiveSocket<'a, S> {
        let config = WebSocketConfig::default()
            .read_buffer_size(4 * 1024)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_CLIENT_FRAME_BYTES))
            .max_frame_size(Some(MAX_CLIENT_FRAME_BYTES));
        let now = clock::instant();
        LiveSocket {
            service,
            socket: WebSocket::from_partially_read(stream, leftover, Role::Server, Some(config)),
            mailbox,
            greeted: None,
            begun: now,
            heard: now,
            pinged: now,
            has_more: false,
            is_blocked: false,
            closing: None,
        }
    }

    /// Returns when the connection has ended.
    pub(crate) fn run(mut self, authorise: Authorise<'_>) {
        while self.turn(authorise).is_ok() {
            if !self.has_more {
                self.sleep();
            }
        }
    }

    fn turn(&mut self, authorise: Authorise<'_>) -> Result<(), SocketEnded> {
        self.mailbox.reset_bell();
        self.has_more = false;
        self.read(authorise)?;
        if let Some(why) = self.mailbox.must_close() {
            self.close_for(why)?;
        }
        self.write()?;
        self.look_at_clock()
    }

    fn read(&mut self, authorise: Authorise<'_>) -> Result<(), SocketEnded> {
        for _ in 0..MESSAGES_OF_A_TURN {
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(());
                }
                Err(tungstenite::Error::Capacity(_)) => {
                    self.close(CloseCode::Size, "a message has at most 64 KiB")?;
                    return Err(SocketEnded);
                }
                Err(_) => return Err(SocketEnded),
            };
            self.heard = clock::instant();
            match message {
                Message::Text(text) if self.closing.is_none() => self.hear(&text, authorise)?,
                Message::Binary(_) if self.closing.is_none() => {
                    self.close(CloseCode::Unsupported, "messages are JSON")?;
                }
                // Pings are answered, and a close is confirmed, by the next reading.
                _ => {}
            }
        }
        self.has_more = true;
        Ok(())
    }

    fn hear(&mut self, text: &str, authorise: Authorise<'_>) -> Result<(), SocketEnded> {
        let Some(greeted) = &self.greeted else {
            return self.greet(text, authorise);
        };
        match ClientFrame::parse(text, greeted.since) {
            Ok(ClientFrame::Subscribe { number, topic }) => self.subscribe(number, topic),
            Ok(ClientFrame::Unsubscribe { number }) => {
                if self.mailbox.unsubscribe(number) {
                    self.service.subscriptions_ended();
                }
            }
            Err(BadFrame { number, detail }) => {
                let problem = Problem::new("bad-request", detail);
                self.mailbox.refuse(number, &problem);
            }
        }
        Ok(())
    }

    /// The first message.
    fn greet(&mut self, text: &str, authorise: Authorise<'_>) -> Result<(), SocketEnded> {
        let Ok(ClientHello { token, since }) = serde_json::from_str(text) else {
            return self.close(
                CloseCode::Library(UNAUTHORIZED),
                "the first message has the token",
            );
        };
        let Some(grant) = authorise(token.as_deref()) else {
            return self.close(CloseCode::Library(UNAUTHORIZED), "this token is not valid");
        };
        let Ok(hello) = self.service.hello(&grant) else {
            return self.close_for(ServerClose::Database);
        };
        self.mailbox.notice(hello);
        self.greeted = Some(Greeted {
            tenant: grant.tenant,
            since,
        });
        Ok(())
    }

    fn subscribe(&mut self, number: u64, topic: LiveTopic) {
        let tenant = self
            .greeted
            .as_ref()
            .and_then(|greeted| greeted.tenant.clone());
        match self.mailbox.subscribe(number, MOST_SUBSCRIPTIONS) {
            Some(subscriber) => self.service.subscribe(subscriber, topic, tenant),
            None => {
                let why = format!(
                    "there is a subscription {number} already, or there are {MOST_SUBSCRIPTIONS}"
                );
                let problem = Problem::new("bad-request", why);
                self.mailbox.refuse(Some(number), &problem);
            }
        }
    }

    /// Writes frames as long as the client takes them: one at a time, so that no more than one is copied.
    fn write(&mut self) -> Result<(), SocketEnded> {
        for _ in 0..MESSAGES_OF_A_TURN {
            let flushed = self.socket.flush();
            self.wrote(flushed)?;
            if self.is_blocked || self.closing.is_some() {
                return Ok(());
            }
            let frame = self.mailbox.take();
            if self.mailbox.has_room_again() {
                self.service.has_room(&self.mailbox);
            }
            let Some(frame) = frame else {
                return Ok(());
            };
            let written = self.socket.write(Message::text(frame));
            self.wrote(written)?;
        }
        self.has_more = true;
        Ok(())
    }

    /// What could not be written yet is kept, and written by the next flush.
    fn wrote(&mut self, result: tungstenite::Result<()>) -> Result<(), SocketEnded> {
        self.is_blocked = match result {
            Ok(()) => false,
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => true,
            Err(_) => return Err(SocketEnded),
        };
        Ok(())
    }

    fn look_at_clock(&mut self) -> Result<(), SocketEnded> {
        let now = clock::instant();
        let since = |then: Instant| now.saturating_duration_since(then);
        if self
            .closing
            .is_some_and(|closing| since(closing) >= CLOSE_WITHIN)
        {
            return Err(SocketEnded);
        }
        if self.closing.is_none() && self.greeted.is_none() && since(self.begun) >= HELLO_WITHIN {
            self.close(CloseCode::Library(UNAUTHORIZED), "no token has come")?;
        }
        if since(self.heard) >= SILENT_FOR {
            return Err(SocketEnded);
        }
        if self.closing.is_none() && since(self.pinged) >= PING_EVERY {
            self.pinged = now;
            if !self.is_blocked {
                let pinged = self.socket.send(Message::Ping(Bytes::new()));
                self.wrote(pinged)?;
            }
        }
        Ok(())
    }

    fn close_for(&mut self, why: ServerClose) -> Result<(), SocketEnded> {
        let (code, reason) = match why {
            ServerClose::Shutdown => (CloseCode::Away, "the server is stopping"),
            ServerClose::Database => (CloseCode::Error, "the database cannot be read"),
            ServerClose::Flooded => (CloseCode::Policy, "more was asked for than was read"),
        };
        if self.is_blocked {
            return Err(SocketEnded);
        }
        if self.closing.is_none() && why != ServerClose::Flooded {
            let written =
                (self.socket).write(Message::text(format!("{{\"closing\":\"{reason}\"}}")));
            self.wrote(written)?;
        }
        self.close(code, reason)
    }

    /// The client has a moment to confirm it.
    fn close(&mut self, code: CloseCode, reason: &'static str) -> Result<(), SocketEnded> {
        if self.closing.is_some() {
            return Ok(());
        }
        self.closing = Some(clock::instant());
        let reason = reason.into();
        let closed = self.socket.close(Some(CloseFrame { code, reason }));
        self.wrote(closed)
    }

    /// Until the client sends or takes something, a frame waits, or it is time for something.
    fn sleep(&self) {
        let mut until = clock::after(self.heard, SILENT_FOR);
        let next = match (self.closing, &self.greeted) {
            (Some(closing), _) => clock::after(closing, CLOSE_WITHIN),
            (None, None) => clock::after(self.begun, HELLO_WITHIN),
            (None, Some(_)) => clock::after(self.pinged, PING_EVERY),
        };
        until = until.min(next);
        let left = until.saturating_duration_since(clock::instant());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let wanted = match self.is_blocked {
            true => PollFlags::IN | PollFlags::OUT,
            false => PollFlags::IN,
        };
        let mut polled = [
            PollFd::new(self.socket.get_ref(), wanted),
            PollFd::new(&*self.mailbox, PollFlags::IN),
        ];
        // An interrupted sleep is a short one.
        let _ = poll(&mut polled, Some(&timeout));
    }
}
