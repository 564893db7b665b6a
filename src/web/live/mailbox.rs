//! The frames that wait for a socket: bounded, so that a client that reads slowly costs no more memory than a fast one.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Result;
use crate::doorbell::Wake;
use crate::web::problem::Problem;

/// How many bytes of frames may wait. One frame alone may be longer.
pub(crate) const MAILBOX_BYTES: usize = 256 * 1024;

/// How many bytes of short frames, which are never refused, may wait beyond that.
const NOTICE_BYTES: usize = 64 * 1024;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    Taken,
    /// The mailbox is full. When it has room again, its socket says so.
    Full,
    /// The client has unsubscribed, or is gone.
    Gone,
}

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerClose {
    /// The server stops.
    Shutdown,
    /// The database cannot be read any more, or was replaced.
    Database,
    /// The client asks for more than it reads.
    Flooded,
}

/// The mailbox of a socket, and the subscriptions that it has.
#[derive(Debug)]
pub(crate) struct SocketMailbox {
    inner: Mutex<MailboxContent>,
    bell: Wake,
}

#[derive(Debug, Default)]
struct MailboxContent {
    frames: VecDeque<QueuedFrame>,
    bytes: usize,
    /// The serial numbers of the subscriptions, by the client's numbers.
    subscriptions: HashMap<u64, u64>,
    last_serial: u64,
    was_full: bool,
    close: Option<ServerClose>,
    is_gone: bool,
}

#[derive(Debug)]
struct QueuedFrame {
    text: String,
    /// The subscription that it is dropped with.
    serial: Option<u64>,
}

impl SocketMailbox {
    pub(crate) fn new() -> Result<SocketMailbox> {
        let bell = Wake::new().map_err(|error| {
            crate::Error::io("the wake-up descriptor of a socket cannot be made", error)
        })?;
        Ok(SocketMailbox {
            inner: Mutex::default(),
            bell,
        })
    }

    /// The next frame to send.
    pub(crate) fn take(&self) -> Option<String> {
        let mut inner = self.inner();
        loop {
            let frame = inner.frames.pop_front()?;
            inner.bytes -= frame.text.len();
            if inner.is_wanted(&frame) {
                return Some(frame.text);
            }
        }
    }

    /// Whether a frame was refused and would not be refused now. It is said once.
    pub(crate) fn has_room_again(&self) -> bool {
        let mut inner = self.inner();
        let has_room = inner.was_full && inner.bytes <= MAILBOX_BYTES / 2;
        inner.was_full &= !has_room;
        has_room
    }

    /// Says what is wrong with a message, and with which subscription it was about.
    pub(crate) fn refuse(&self, number: Option<u64>, problem: &Problem) {
        let number = number.map_or("null".to_owned(), |number| number.to_string());
        self.notice(format!("{{\"sub\":{number},{}", problem_frame(problem)));
    }

    /// Takes a short frame, however full it is. A client that causes many and reads none is cut off.
    pub(crate) fn notice(&self, text: String) {
        let mut inner = self.inner();
        if inner.bytes + text.len() > MAILBOX_BYTES + NOTICE_BYTES {
            inner.close.get_or_insert(ServerClose::Flooded);
        } else {
            inner.push(QueuedFrame { text, serial: None });
        }
        drop(inner);
        self.bell.ring();
    }

    /// Ends the connection from the server's side.
    pub(crate) fn close(&self, why: ServerClose) {
        self.inner().close.get_or_insert(why);
        self.bell.ring();
    }

    pub(crate) fn must_close(&self) -> Option<ServerClose> {
        self.inner().close
    }

    /// The socket has ended: nothing is taken any more.
    pub(crate) fn gone(&self) {
        *self.inner() = MailboxContent {
            is_gone: true,
            ..MailboxContent::default()
        };
    }

    /// None if the number is taken or there are too many.
    pub(crate) fn subscribe(
        self: &Arc<SocketMailbox>,
        number: u64,
        most: usize,
    ) -> Option<Subscriber> {
        let mut inner = self.inner();
        if inner.subscriptions.len() >= most || inner.subscriptions.contains_key(&number) {
            return None;
        }
        inner.last_serial += 1;
        let serial = inner.last_serial;
        inner.subscriptions.insert(number, serial);
        Some(Subscriber {
            mailbox: Arc::clone(self),
            number,
            serial,
        })
    }

    /// Returns false if there is no such subscription.
    pub(crate) fn unsubscribe(&self, number: u64) -> bool {
        self.inner().subscriptions.remove(&number).is_some()
    }

    /// Takes back what the bell has rung so far.
    pub(crate) fn reset_bell(&self) {
        self.bell.reset();
    }

    fn inner(&self) -> MutexGuard<'_, MailboxContent> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for SocketMailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl MailboxContent {
    fn push(&mut self, frame: QueuedFrame) {
        if !self.is_gone {
            self.bytes += frame.text.len();
            self.frames.push_back(frame);
        }
    }

    /// Frames of a subscription that has ended are not sent: its number may be in use again.
    fn is_wanted(&self, frame: &QueuedFrame) -> bool {
        let serial = frame.serial;
        serial.is_none_or(|serial| self.subscriptions.values().any(|live| *live == serial))
    }

    fn has(&self, of: &Subscriber) -> bool {
        self.subscriptions.get(&of.number) == Some(&of.serial)
    }
}

/// The rest of a frame.
fn problem_frame(problem: &Problem) -> String {
    // A problem is numbers and texts.
    let problem = serde_json::to_string(problem).unwrap_or_default();
    format!("\"error\":{problem}}}")
}

/// A subscription of a client: what sends frames to it.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    mailbox: Arc<SocketMailbox>,
    number: u64,
    serial: u64,
}

impl Subscriber {
    /// Sends `{"sub":N,` and this.
    pub(crate) fn offer(&self, rest: &str) -> Offered {
        let text = format!("{{\"sub\":{},{rest}", self.number);
        let mut inner = self.mailbox.inner();
        if !inner.has(self) {
            return Offered::Gone;
        }
        if inner.bytes > 0 && inner.bytes + text.len() > MAILBOX_BYTES {
            inner.was_full = true;
            return Offered::Full;
        }
        let serial = Some(self.serial);
        inner.push(QueuedFrame { text, serial });
        drop(inner);
        self.mailbox.bell.ring();
        Offered::Taken
    }

    /// Ends the subscription, since the client has missed a patch: it subscribes again.
    pub(crate) fn resync(&self) {
        self.end("\"resync\":true}");
    }

    pub(crate) fn fail(&self, problem: &Problem) {
        self.end(&problem_frame(problem));
    }

    fn end(&self, rest: &str) {
        let mut inner = self.mailbox.inner();
        if inner.has(self) {
            inner.subscriptions.remove(&self.number);
            drop(inner);
            self.mailbox
                .notice(format!("{{\"sub\":{},{rest}", self.number));
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        !self.mailbox.inner().has(self)
    }

    pub(crate) fn is_of(&self, mailbox: &Arc<SocketMailbox>) -> bool {
        Arc::ptr_eq(&self.mailbox, mailbox)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox() -> Arc<SocketMailbox> {
        Arc::new(SocketMailbox::new().unwrap())
    }

    fn frame(bytes: usize) -> String {
        format!("\"patch\":\"{}\"}}", "x".repeat(bytes))
    }

    #[test]
    fn a_full_mailbox_takes_no_frame_until_it_was_read() {
        let mailbox = mailbox();
        let subscriber = mailbox.subscribe(7, 32).unwrap();
        let half = frame(MAILBOX_BYTES / 2 - 100);
        assert_eq!(subscriber.offer(&half), Offered::Taken);
        assert_eq!(subscriber.offer(&half), Offered::Taken);
        assert!(!mailbox.has_room_again());
        assert_eq!(subscriber.offer(&half), Offered::Full);
        assert!(mailbox.take().unwrap().starts_with("{\"sub\":7,\"patch\":"));
        assert!(mailbox.has_room_again() && !mailbox.has_room_again());
        assert_eq!(subscriber.offer(&half), Offered::Taken);
    }

    #[test]
    fn one_frame_may_be_longer_than_the_mailbox() {
        let mailbox = mailbox();
        let subscriber = mailbox.subscribe(1, 32).unwrap();
        let long = frame(MAILBOX_BYTES * 2);
        assert_eq!(subscriber.offer(&long), Offered::Taken);
        assert_eq!(subscriber.offer(&long), Offered::Full);
    }

    #[test]
    fn frames_of_an_ended_subscription_are_not_sent() {
        let mailbox = mailbox();
        let first = mailbox.subscribe(1, 2).unwrap();
        let other = mailbox.subscribe(2, 2).unwrap();
        assert!(mailbox.subscribe(3, 2).is_none());
        assert_eq!(first.offer("\"patch\":1}"), Offered::Taken);
        assert_eq!(other.offer("\"patch\":2}"), Offered::Taken);
        assert!(mailbox.unsubscribe(1) && !mailbox.unsubscribe(1));
        let again = mailbox.subscribe(1, 2).unwrap();
        assert_eq!(first.offer("\"patch\":3}"), Offered::Gone);
        assert_eq!(again.offer("\"patch\":4}"), Offered::Taken);
        assert_eq!(mailbox.take().as_deref(), Some("{\"sub\":2,\"patch\":2}"));
        assert_eq!(mailbox.take().as_deref(), Some("{\"sub\":1,\"patch\":4}"));
        assert_eq!(mailbox.take(), None);
    }

    #[test]
    fn a_subscription_that_fell_behind_ends_with_resync() {
        let mailbox = mailbox();
        let subscriber = mailbox.subscribe(5, 32).unwrap();
        subscriber.offer(&frame(MAILBOX_BYTES));
        subscriber.resync();
        subscriber.resync();
        assert!(subscriber.is_gone());
        assert_eq!(
            mailbox.take().as_deref(),
            Some("{\"sub\":5,\"resync\":true}")
        );
        assert_eq!(mailbox.take(), None);
    }

    #[test]
    fn a_client_that_only_asks_is_cut_off() {
        let mailbox = mailbox();
        let notice = "x".repeat(1000);
        while mailbox.must_close().is_none() {
            mailbox.notice(notice.clone());
        }
        assert!(mailbox.inner().bytes <= MAILBOX_BYTES + NOTICE_BYTES);
        assert_eq!(mailbox.must_close(), Some(ServerClose::Flooded));
    }
}
