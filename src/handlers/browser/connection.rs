//! The pipe to a browser: commands go in, and each answer or event goes to whom it concerns. Both ways a message is
//! JSON (the Chrome DevTools Protocol) with a NUL behind it.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::doorbell::Wake;
use crate::handlers::browser::wire_json::read_json;
use crate::runner::cancellation::lock;

/// A browser that leaves more commands than this in the pipe takes no more.
const MAX_UNSENT_BYTES: usize = 64 * 1024 * 1024;

/// A job that does not listen for a while keeps so many lines of its page's console, and whatever else it hears.
const MAX_WAITING: usize = 1000;

/// What a job hears from its browser.
#[derive(Debug)]
pub(super) enum Incoming {
    Answer(u64, Result<Box<RawValue>, String>),
    /// The answer to this command is longer than a message may be.
    TooLong(u64),
    Event(BrowserEvent),
    /// The attempt is to stop.
    Cancelled,
    /// The browser has ended.
    Gone(String),
}

#[derive(Debug)]
pub(super) struct BrowserEvent {
    pub(super) method: String,
    pub(super) params: Box<RawValue>,
}

/// A command to the browser itself, or to a session: a page.
#[derive(Serialize)]
pub(super) struct BrowserCommand<'a> {
    id: u64,
    method: &'a str,
    params: &'a serde_json::Value,
    #[serde(rename = "sessionId", skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PipeMessage {
    id: Option<u64>,
    method: Option<String>,
    params: Option<Box<RawValue>>,
    result: Option<Box<RawValue>>,
    error: Option<ProtocolError>,
    session_id: Option<String>,
}

#[derive(Deserialize)]
struct ProtocolError {
    message: String,
}

/// Where answers and events go.
#[derive(Default)]
struct Routes {
    by_command: HashMap<u64, Sender<Incoming>>,
    by_session: HashMap<String, Sender<Incoming>>,
    /// Events of the browser about a target name its context.
    by_context: HashMap<String, Sender<Incoming>>,
    gone: Option<String>,
}

/// Shared by all jobs of a browser.
pub(super) struct CdpConnection {
    /// Does not block.
    pipe: OwnedFd,
    /// The commands that the pipe has not had room for.
    unsent: Mutex<VecDeque<u8>>,
    /// Rung when there are such, for whoever flushes them.
    wake: Arc<Wake>,
    next_id: AtomicU64,
    routes: Mutex<Routes>,
}

impl CdpConnection {
    pub(super) fn new(pipe: OwnedFd, wake: Arc<Wake>) -> CdpConnection {
        CdpConnection {
            pipe,
            unsent: Mutex::default(),
            wake,
            next_id: AtomicU64::new(1),
            routes: Mutex::default(),
        }
    }

    /// Sends a command without waiting for the browser to take it; its answer goes to `answer_to`. The error says why
    /// the browser cannot be reached.
    pub(super) fn send(
        &self,
        (method, params): (&str, &serde_json::Value),
        session: Option<&str>,
        answer_to: Option<&Sender<Incoming>>,
    ) -> Result<u64, String> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let command = BrowserCommand {
            id,
            method,
            params,
            session,
        };
        let mut bytes = serde_json::to_vec(&command).map_err(|error| error.to_string())?;
        bytes.push(0);
        let mut routes = lock(&self.routes);
        if let Some(why) = &routes.gone {
            return Err(why.clone());
        }
        if let Some(sender) = answer_to {
            routes.by_command.insert(id, sender.clone());
        }
        drop(routes);
        let mut unsent = lock(&self.unsent);
        let is_first = unsent.is_empty();
        unsent.extend(&bytes);
        if is_first {
            write(&self.pipe, &mut unsent)?;
        }
        match unsent.len() {
            0 => {}
            1..=MAX_UNSENT_BYTES => self.wake.ring(),
            _ => return Err("the browser takes no commands".to_owned()),
        }
        Ok(id)
    }

    /// The pipe, if it is to be flushed as soon as there is room in it.
    pub(super) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        let is_empty = lock(&self.unsent).is_empty();
        (!is_empty).then(|| self.pipe.as_fd())
    }

    /// Writes what the pipe has room for.
    pub(super) fn flush(&self) {
        let mut unsent = lock(&self.unsent);
        if write(&self.pipe, &mut unsent).is_err() {
            // Nobody reads it; its answers end, too.
            unsent.clear();
        }
    }

    pub(super) fn hear_session(&self, session: &str, listener: &Sender<Incoming>) {
        let listener = listener.clone();
        lock(&self.routes)
            .by_session
            .insert(session.to_owned(), listener);
    }

    pub(super) fn hear_context(&self, context: &str, listener: &Sender<Incoming>) {
        let listener = listener.clone();
        lock(&self.routes)
            .by_context
            .insert(context.to_owned(), listener);
    }

    /// Nothing more goes to this listener.
    pub(super) fn forget(&self, listener: &Sender<Incoming>) {
        let mut routes = lock(&self.routes);
        routes
            .by_command
            .retain(|_, known| !known.same_channel(listener));
        routes
            .by_session
            .retain(|_, known| !known.same_channel(listener));
        routes
            .by_context
            .retain(|_, known| !known.same_channel(listener));
    }

    /// Passes a message of the browser on; of one that is too long only the beginning is left.
    pub(super) fn deliver(&self, message: BrowserMessage<'_>) {
        let message = match message {
            BrowserMessage::Whole(message) => message,
            BrowserMessage::TooLong(begin) => {
                let id = answered(begin);
                log::warn!("a message of a browser is too long, the answer to {id:?}");
                let listener = id.and_then(|id| lock(&self.routes).by_command.remove(&id));
                if let (Some(listener), Some(id)) = (listener, id) {
                    let _may_have_left = listener.send(Incoming::TooLong(id));
                }
                return;
            }
        };
        let message: PipeMessage = match serde_json::from_slice(message) {
            Ok(message) => message,
            Err(error) => return log::warn!("a message of a browser cannot be read: {error}"),
        };
        let mut routes = lock(&self.routes);
        if let Some(id) = message.id {
            if let Some(listener) = routes.by_command.remove(&id) {
                let result = match message.error {
                    Some(error) => Err(error.message),
                    None => Ok(message.result.unwrap_or_else(nothing)),
                };
                let _may_have_left = listener.send(Incoming::Answer(id, result));
            }
            return;
        }
        let Some(method) = message.method else { return };
        let params = message.params.unwrap_or_else(nothing);
        let listener = match &message.session_id {
            Some(session) => routes.by_session.get(session),
            None => routes.of_target(&params),
        };
        let is_console = [
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Runtime.exceptionThrown",
        ]
        .contains(&&*method);
        if let Some(listener) = listener
            && !(is_console && listener.len() >= MAX_WAITING)
        {
            let event = BrowserEvent { method, params };
            let _may_have_left = listener.send(Incoming::Event(event));
        }
    }

    /// Takes no more commands, and tells everybody who listens.
    pub(super) fn close(&self, why: &str) {
        let mut routes = lock(&self.routes);
        routes.gone.get_or_insert_with(|| why.to_owned());
        let commands = routes.by_command.drain().map(|(_, listener)| listener);
        let mut listeners: Vec<_> = commands.collect();
        listeners.extend(routes.by_session.values().cloned());
        drop(routes);
        for listener in listeners {
            let _may_have_left = listener.send(Incoming::Gone(why.to_owned()));
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.routes).gone.is_some()
    }

    pub(super) fn why_gone(&self) -> String {
        let gone = lock(&self.routes).gone.clone();
        gone.unwrap_or_else(|| "the browser takes no more jobs".to_owned())
    }
}

fn nothing() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

impl Routes {
    /// Who listens to an event of the browser about this target or session.
    fn of_target(&self, params: &RawValue) -> Option<&Sender<Incoming>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Params {
            target_info: Option<TargetInfo>,
            session_id: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct TargetInfo {
            browser_context_id: Option<String>,
        }
        let params: Params = read_json(params.get()).ok()?;
        match params.target_info {
            Some(target) => self.by_context.get(&target.browser_context_id?),
            None => self.by_session.get(&params.session_id?),
        }
    }
}

/// The command that a message answers, by its beginning.
fn answered(begin: &[u8]) -> Option<u64> {
    let digits = begin.strip_prefix(b"{\"id\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn write(pipe: &OwnedFd, unsent: &mut VecDeque<u8>) -> Result<(), String> {
    while !unsent.is_empty() {
        match rustix::io::write(pipe, unsent.as_slices().0) {
            Ok(count) => drop(unsent.drain(..count)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(format!("the browser has ended: {error}")),
        }
    }
    Ok(())
}

/// What is between two NULs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BrowserMessage<'a> {
    Whole(&'a [u8]),
    /// It was too long to be kept: its beginning.
    TooLong(&'a [u8]),
}

/// Cuts what comes out of the pipe into messages.
#[derive(Default)]
pub(super) struct MessageBuffer {
    kept: Vec<u8>,
    is_too_long: bool,
}

impl MessageBuffer {
    /// The most that is kept of a message.
    pub(super) const MAX_BYTES: usize = 128 * 1024 * 1024;
    /// What is kept of one that is longer.
    const BEGIN_BYTES: usize = 100;

    pub(super) fn take(&mut self, mut piece: &[u8], mut each: impl FnMut(BrowserMessage<'_>)) {
        while let Some(end) = piece.iter().position(|byte| *byte == 0) {
            self.keep(&piece[..end]);
            match self.is_too_long {
                true => each(BrowserMessage::TooLong(&self.kept)),
                false => each(BrowserMessage::Whole(&self.kept)),
            }
            self.kept.clear();
            self.is_too_long = false;
            piece = &piece[end + 1..];
        }
        self.keep(piece);
        if self.kept.is_empty() {
            // A picture may have been large.
            self.kept.shrink_to(64 * 1024);
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        if !self.is_too_long {
            self.kept.extend_from_slice(piece);
        }
        if self.kept.len() > MessageBuffer::MAX_BYTES {
            self.is_too_long = true;
            self.kept.truncate(MessageBuffer::BEGIN_BYTES);
            self.kept.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    fn connection() -> (CdpConnection, std::io::PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let wake = Arc::new(Wake::new().unwrap());
        (CdpConnection::new(writer, wake), reader)
    }

    #[test]
    fn messages_end_with_a_nul_however_they_are_cut() {
        let whole = b"{\"a\":1}\0\0{\"b\":2}\0{\"c\"";
        for size in 1..whole.len() {
            let (mut buffer, mut messages) = (MessageBuffer::default(), Vec::new());
            for piece in whole.chunks(size) {
                buffer.take(piece, |message| match message {
                    BrowserMessage::Whole(message) => messages.push(message.to_vec()),
                    other => panic!("{other:?}"),
                });
            }
            assert_eq!(messages, [&b"{\"a\":1}"[..], b"", b"{\"b\":2}"]);
            assert_eq!(buffer.kept, b"{\"c\"");
        }
    }

    #[test]
    fn answers_and_events_reach_whom_they_concern() {
        let (connection, _browser) = connection();
        let ((one, mine), (other, theirs)) = (unbounded(), unbounded());
        connection.hear_session("S1", &one);
        connection.hear_session("S2", &other);
        connection.hear_context("C2", &other);
        let params = serde_json::json!({});
        let id = connection.send(("A.b", &params), Some("S1"), Some(&one));
        let answer = format!(
            r#"{{"id":{},"result":{{"x":1}},"sessionId":"S1"}}"#,
            id.unwrap()
        );
        for message in [
            answer.as_str(),
            r#"{"method":"E.f","params":{"y":2},"sessionId":"S2"}"#,
            r#"{"method":"T.c","params":{"targetInfo":{"browserContextId":"C2"}}}"#,
            r#"{"method":"T.c","params":{"targetInfo":{"browserContextId":"C3"}}}"#,
            r#"{"method":"T.d","params":{"sessionId":"S2"}}"#,
            r#"{"id":99,"result":{}}"#,
            "nonsense",
        ] {
            connection.deliver(BrowserMessage::Whole(message.as_bytes()));
        }
        let mine: Vec<Incoming> = mine.try_iter().collect();
        let [Incoming::Answer(_, Ok(result))] = &mine[..] else {
            panic!("{mine:?}")
        };
        assert_eq!(result.get(), r#"{"x":1}"#);
        let theirs: Vec<Incoming> = theirs.try_iter().collect();
        let methods = theirs.iter().map(|incoming| match incoming {
            Incoming::Event(event) => event.method.as_str(),
            other => panic!("{other:?}"),
        });
        assert_eq!(methods.collect::<Vec<_>>(), ["E.f", "T.c", "T.d"]);
    }

    #[test]
    fn a_message_that_is_too_long_is_dropped_alone() {
        let (connection, _browser) = connection();
        let (sender, inbox) = unbounded();
        let params = serde_json::json!({});
        let id = connection.send(("A.b", &params), None, Some(&sender));
        let mut buffer = MessageBuffer::default();
        let begin = format!(r#"{{"id":{},"result":"#, id.unwrap());
        buffer.take(begin.as_bytes(), |_| panic!("it has no end"));
        let piece = vec![b' '; 1024 * 1024];
        for _ in 0..=MessageBuffer::MAX_BYTES / piece.len() {
            buffer.take(&piece, |_| panic!("it has no end"));
        }
        assert!(buffer.kept.len() <= MessageBuffer::BEGIN_BYTES);
        let mut whole = 0;
        buffer.take(b"{}}\0{}\0", |message| {
            whole += usize::from(message == BrowserMessage::Whole(b"{}"));
            connection.deliver(message);
        });
        assert_eq!(whole, 1);
        assert!(matches!(inbox.try_recv(), Ok(Incoming::TooLong(_))));
    }

    #[test]
    fn a_full_pipe_holds_up_nobody() {
        let (connection, mut browser) = connection();
        let params = serde_json::json!({ "text": "x".repeat(1024 * 1024) });
        let ids = (0..3).map(|_| connection.send(("A.b", &params), None, None).unwrap());
        assert_eq!(ids.count(), 3);
        assert!(connection.waits_for().is_some());
        let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
        let mut ends = 0;
        while ends < 3 {
            let count = std::io::Read::read(&mut browser, &mut piece).unwrap();
            ends += piece[..count].iter().filter(|byte| **byte == 0).count();
            heard.extend_from_slice(&piece[..count]);
            connection.flush();
        }
        assert!(connection.waits_for().is_none());
        for (id, command) in (1..=3).zip(heard.split(|byte| *byte == 0)) {
            let command: serde_json::Value = serde_json::from_slice(command).unwrap();
            assert_eq!(command["id"], id);
        }
    }

    #[test]
    fn lines_of_the_console_do_not_pile_up() {
        let (connection, _browser) = connection();
        let (sender, inbox) = unbounded();
        connection.hear_session("S1", &sender);
        for method in ["Runtime.consoleAPICalled", "E.f"] {
            let event = format!(r#"{{"method":"{method}","params":{{}},"sessionId":"S1"}}"#);
            for _ in 0..2 * MAX_WAITING {
                connection.deliver(BrowserMessage::Whole(event.as_bytes()));
            }
        }
        assert_eq!(inbox.len(), 3 * MAX_WAITING);
    }

    #[test]
    fn a_closed_connection_says_why_to_all() {
        let (connection, _browser) = connection();
        let (sender, inbox) = unbounded();
        connection.hear_session("S1", &sender);
        connection.close("it was killed");
        assert!(matches!(inbox.try_recv(), Ok(Incoming::Gone(why)) if why == "it was killed"));
        let params = serde_json::json!({});
        let refused = connection.send(("A.b", &params), None, Some(&sender));
        assert_eq!(refused, Err("it was killed".to_owned()));
    }
}
