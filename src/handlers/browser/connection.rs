//! The pipe to a browser: commands go in, and each answer or event goes to whom it concerns. Both ways a message is
//! JSON (the Chrome DevTools Protocol) with a NUL behind it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock;
use crate::runner::cancellation::lock;

/// How long a browser may leave a command in the pipe.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// What a job hears from its browser.
#[derive(Debug)]
pub(super) enum Incoming {
    Answer(u64, Result<Box<RawValue>, String>),
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
    /// None when it is closed.
    commands: Mutex<Option<OwnedFd>>,
    next_id: AtomicU64,
    routes: Mutex<Routes>,
}

impl CdpConnection {
    pub(super) fn new(commands: OwnedFd) -> CdpConnection {
        CdpConnection {
            commands: Mutex::new(Some(commands)),
            next_id: AtomicU64::new(1),
            routes: Mutex::default(),
        }
    }

    /// Sends a command; its answer goes to `answer_to`. The error says why the browser cannot be reached.
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
        if let Some(sender) = answer_to {
            lock(&self.routes).by_command.insert(id, sender.clone());
        }
        let mut commands = lock(&self.commands);
        let sent = match &*commands {
            Some(pipe) => write(pipe, &bytes),
            None => Err(self.why_gone()),
        };
        if sent.is_err() {
            // Half a command may be in it.
            *commands = None;
        }
        sent.map(|()| id)
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

    /// Passes a message of the browser on.
    pub(super) fn deliver(&self, message: &[u8]) {
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
            None => context_of(&params).and_then(|context| routes.by_context.get(&context)),
        };
        if let Some(listener) = listener {
            let event = BrowserEvent { method, params };
            let _may_have_left = listener.send(Incoming::Event(event));
        }
    }

    /// Closes the pipe and tells everybody who listens.
    pub(super) fn close(&self, why: &str) {
        let mut routes = lock(&self.routes);
        routes.gone.get_or_insert_with(|| why.to_owned());
        let commands = routes.by_command.drain().map(|(_, listener)| listener);
        let mut listeners: Vec<_> = commands.collect();
        listeners.extend(routes.by_session.values().cloned());
        drop(routes);
        *lock(&self.commands) = None;
        for listener in listeners {
            let _may_have_left = listener.send(Incoming::Gone(why.to_owned()));
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.commands).is_none()
    }

    pub(super) fn why_gone(&self) -> String {
        let gone = lock(&self.routes).gone.clone();
        gone.unwrap_or_else(|| "the pipe to the browser is broken".to_owned())
    }
}

fn nothing() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// The context that an event of the browser is about.
fn context_of(params: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        target_info: TargetInfo,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct TargetInfo {
        browser_context_id: Option<String>,
    }
    let params: Params = serde_json::from_str(params.get()).ok()?;
    params.target_info.browser_context_id
}

fn write(pipe: &OwnedFd, mut bytes: &[u8]) -> Result<(), String> {
    let deadline = clock::after(clock::instant(), TAKEN_WITHIN);
    while !bytes.is_empty() {
        match rustix::io::write(pipe, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let left = deadline.saturating_duration_since(clock::instant());
                if left.is_zero() {
                    return Err("the browser takes no commands".to_owned());
                }
                let mut entry = [PollFd::new(pipe, PollFlags::OUT)];
                let _ready = poll(&mut entry, Timespec::try_from(left).ok().as_ref());
            }
            Err(error) => return Err(format!("the browser has ended: {error}")),
        }
    }
    Ok(())
}

/// Cuts what comes out of the pipe into messages.
#[derive(Default)]
pub(super) struct MessageBuffer(Vec<u8>);

impl MessageBuffer {
    /// A browser that says more at once is out of its mind.
    pub(super) const MAX_BYTES: usize = 256 * 1024 * 1024;

    pub(super) fn take(&mut self, mut piece: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = piece.iter().position(|byte| *byte == 0) {
            self.0.extend_from_slice(&piece[..end]);
            each(&self.0);
            self.0.clear();
            piece = &piece[end + 1..];
        }
        self.0.extend_from_slice(piece);
        if self.0.is_empty() {
            // A picture may have been large.
            self.0.shrink_to(64 * 1024);
        }
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.0.len() > MessageBuffer::MAX_BYTES
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
        (CdpConnection::new(writer), reader)
    }

    #[test]
    fn messages_end_with_a_nul_however_they_are_cut() {
        let whole = b"{\"a\":1}\0\0{\"b\":2}\0{\"c\"";
        for size in 1..whole.len() {
            let (mut buffer, mut messages) = (MessageBuffer::default(), Vec::new());
            for piece in whole.chunks(size) {
                buffer.take(piece, |message| messages.push(message.to_vec()));
            }
            assert_eq!(messages, [&b"{\"a\":1}"[..], b"", b"{\"b\":2}"]);
            assert_eq!(buffer.0, b"{\"c\"");
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
            r#"{"id":99,"result":{}}"#,
            "nonsense",
        ] {
            connection.deliver(message.as_bytes());
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
        assert_eq!(methods.collect::<Vec<_>>(), ["E.f", "T.c"]);
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
