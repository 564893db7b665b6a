//! A job's ear at its browser: it sends commands and waits for their answers, and hears what happens meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::clock;
use crate::handlers::browser::class::BrowserError;
use crate::handlers::browser::connection::{BrowserEvent, Incoming};
use crate::handlers::browser::process::BrowserProcess;
use crate::runner::cancellation::{CancelCallback, Cancellation};
use crate::runner::handler::Failure;

/// A browser that says nothing for so long is asked whether it is there, and has the same time again.
const SILENT: Duration = Duration::from_secs(5);

const PING: &str = "Browser.getVersion";

/// Hears an event; an error ends the wait.
type OnEvent<'a> = dyn FnMut(&BrowserEvent) -> Result<(), BrowserError> + 'a;

pub(super) struct BrowserListener {
    process: Arc<BrowserProcess>,
    sender: Sender<Incoming>,
    inbox: Receiver<Incoming>,
    /// The job is at its end: a cancel changes nothing.
    is_leaving: bool,
    _on_cancel: CancelCallback,
}

/// A command and until when its answer is awaited.
pub(super) struct BrowserCall<'a> {
    pub(super) method: &'a str,
    pub(super) params: Value,
    pub(super) session: Option<&'a str>,
    pub(super) deadline: Instant,
}

impl BrowserListener {
    pub(super) fn new(
        process: Arc<BrowserProcess>,
        cancellation: &Cancellation,
    ) -> BrowserListener {
        let (sender, inbox) = unbounded();
        let told = sender.clone();
        let on_cancel = cancellation.on_cancel_while(move || {
            let _may_have_left = told.send(Incoming::Cancelled);
        });
        BrowserListener {
            process,
            sender,
            inbox,
            is_leaving: false,
            _on_cancel: on_cancel,
        }
    }

    pub(super) fn process(&self) -> &BrowserProcess {
        &self.process
    }

    /// From now on a cancel is not heard.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
    }

    pub(super) fn hear_session(&self, session: &str) {
        self.process.connection.hear_session(session, &self.sender);
    }

    pub(super) fn hear_context(&self, context: &str) {
        self.process.connection.hear_context(context, &self.sender);
    }

    pub(super) fn ping(&self, within: Duration) -> Result<(), BrowserError> {
        let call = BrowserCall {
            method: PING,
            params: json!({}),
            session: None,
            deadline: clock::after(clock::instant(), within),
        };
        self.call(&call, &mut |_| Ok(())).map(drop)
    }

    /// Sends a command whose answer nobody waits for.
    pub(super) fn post(&self, method: &str, params: &Value, session: Option<&str>) {
        // Whoever waits for the next answer learns it, too.
        let _may_be_gone = self
            .process
            .connection
            .send((method, params), session, None);
    }

    /// Sends a command and waits for its answer.
    pub(super) fn call(
        &self,
        call: &BrowserCall<'_>,
        on_event: &mut OnEvent<'_>,
    ) -> Result<Box<RawValue>, BrowserError> {
        let connection = &self.process.connection;
        let command = (call.method, &call.params);
        let id = connection.send(command, call.session, Some(&self.sender));
        let id = id.map_err(|why| {
            self.process.end(&why);
            BrowserError::browser(why)
        })?;
        let mut heard_at = clock::instant();
        let mut is_asked = false;
        loop {
            let patience = if is_asked { 2 * SILENT } else { SILENT };
            let until = clock::after(heard_at, patience).min(call.deadline);
            match self.inbox.recv_deadline(until) {
                Ok(Incoming::Answer(of, result)) if of == id => {
                    return result.map_err(BrowserError::Refused);
                }
                Ok(incoming) => {
                    if let Some(event) = self.take(incoming)? {
                        on_event(&event)?;
                    }
                    (heard_at, is_asked) = (clock::instant(), false);
                }
                Err(_) if clock::instant() >= call.deadline => {
                    return Err(BrowserError::timeout("the page does not answer"));
                }
                Err(_) if is_asked => {
                    let why = "it does not answer";
                    self.process.end(why);
                    return Err(BrowserError::browser(format_args!("the browser: {why}")));
                }
                Err(_) => {
                    let ping = (PING, &json!({}));
                    let _answer = connection.send(ping, None, Some(&self.sender));
                    is_asked = true;
                }
            }
        }
    }

    /// The next event; none when the time is up.
    pub(super) fn next(&self, until: Instant) -> Result<Option<BrowserEvent>, BrowserError> {
        while let Ok(incoming) = self.inbox.recv_deadline(until) {
            if let Some(event) = self.take(incoming)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn take(&self, incoming: Incoming) -> Result<Option<BrowserEvent>, BrowserError> {
        match incoming {
            Incoming::Event(event) => Ok(Some(event)),
            Incoming::Gone(why) => Err(BrowserError::browser(why)),
            Incoming::Cancelled if !self.is_leaving => {
                Err(BrowserError::Other(Failure::cancelled()))
            }
            // Too late to be of use.
            Incoming::Answer(..) | Incoming::Cancelled => Ok(None),
        }
    }
}

impl Drop for BrowserListener {
    fn drop(&mut self) {
        self.process.connection.forget(&self.sender);
    }
}
