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

/// How long the end of a page may take when the attempt is cancelled, which has to be over in a second.
pub(super) const LEAVES_IN_HASTE: Duration = Duration::from_millis(500);

const PING: &str = "Browser.getVersion";

/// Hears an event; an error ends the wait.
type OnEvent<'a> = dyn FnMut(&BrowserEvent) -> Result<(), BrowserError> + 'a;

pub(super) struct BrowserListener {
    process: Arc<BrowserProcess>,
    sender: Sender<Incoming>,
    inbox: Receiver<Incoming>,
    cancellation: Cancellation,
    /// The job is at its end: a cancel only makes it hurry.
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
        let cancelled = sender.clone();
        let on_cancel = cancellation.on_cancel_while(move || {
            let _may_have_left = cancelled.send(Incoming::Cancelled);
        });
        BrowserListener {
            process,
            sender,
            inbox,
            cancellation: cancellation.clone(),
            is_leaving: false,
            _on_cancel: on_cancel,
        }
    }

    pub(super) fn process(&self) -> &BrowserProcess {
        &self.process
    }

    /// From now on a cancel only shortens the wait for an answer.
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
        self.check_cancelled()?;
        let connection = &self.process.connection;
        let command = (call.method, &call.params);
        let id = connection.send(command, call.session, Some(&self.sender));
        let id = id.map_err(|why| {
            self.process.end(&why);
            BrowserError::browser(why)
        })?;
        let mut deadline = call.deadline;
        loop {
            match self.receive(deadline)? {
                Some(Incoming::Answer(of, result)) if of == id => {
                    return result.map_err(BrowserError::Refused);
                }
                Some(Incoming::TooLong(of)) if of == id => {
                    return Err(BrowserError::page("what it comes to is too large"));
                }
                Some(Incoming::Cancelled) if self.is_leaving => {
                    deadline = deadline.min(clock::after(clock::instant(), LEAVES_IN_HASTE));
                }
                Some(incoming) => {
                    if let Some(event) = self.take(incoming)? {
                        on_event(&event)?;
                    }
                }
                None => return Err(BrowserError::timeout("the page does not answer")),
            }
        }
    }

    /// The next event; none when the time is up.
    pub(super) fn next(&self, until: Instant) -> Result<Option<BrowserEvent>, BrowserError> {
        self.check_cancelled()?;
        while let Some(incoming) = self.receive(until)? {
            if let Some(event) = self.take(incoming)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The next that comes; none when the time is up. The error is a browser that does not answer.
    fn receive(&self, deadline: Instant) -> Result<Option<Incoming>, BrowserError> {
        let begun = clock::instant();
        let mut is_asked = false;
        while clock::instant() < deadline {
            let patience = if is_asked { 2 * SILENT } else { SILENT };
            let until = clock::after(begun, patience).min(deadline);
            match self.inbox.recv_deadline(until) {
                Ok(incoming) => return Ok(Some(incoming)),
                Err(_) if clock::instant() >= deadline => {}
                Err(_) if is_asked => {
                    let why = "it does not answer";
                    self.process.end(why);
                    return Err(BrowserError::browser(format_args!("the browser: {why}")));
                }
                Err(_) => {
                    let ping = (PING, &json!({}));
                    let connection = &self.process.connection;
                    let _answer = connection.send(ping, None, Some(&self.sender));
                    is_asked = true;
                }
            }
        }
        Ok(None)
    }

    fn take(&self, incoming: Incoming) -> Result<Option<BrowserEvent>, BrowserError> {
        match incoming {
            Incoming::Event(event) => Ok(Some(event)),
            Incoming::Gone(why) => Err(BrowserError::browser(why)),
            Incoming::Cancelled => self.check_cancelled().map(|()| None),
            // Too late to be of use.
            Incoming::Answer(..) | Incoming::TooLong(_) => Ok(None),
        }
    }

    fn check_cancelled(&self) -> Result<(), BrowserError> {
        match self.cancellation.is_cancelled() && !self.is_leaving {
            true => Err(BrowserError::Other(Failure::cancelled())),
            false => Ok(()),
        }
    }
}

impl Drop for BrowserListener {
    fn drop(&mut self) {
        self.process.connection.forget(&self.sender);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::handlers::browser::class::FailureClass;
    use crate::handlers::browser::process::BrowserKey;
    use crate::handlers::exec::CompanionOwner;
    use crate::model::outcome::CancelReason;

    /// Calls a browser that says nothing, in an attempt that is cancelled.
    fn call_cancelled(
        is_leaving: bool,
        check: impl Fn(&dyn Fn() -> Result<Box<RawValue>, BrowserError>),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let key = BrowserKey {
            program: folder.path().join("silent"),
            no_sandbox: true,
        };
        fs::write(&key.program, "#!/bin/sh\nexec sleep 600\n").unwrap();
        fs::set_permissions(&key.program, PermissionsExt::from_mode(0o755)).unwrap();
        let owner = CompanionOwner {
            database: folder.path().join("jobs.db"),
            runner: 1,
        };
        let process = BrowserProcess::start(&key, &owner).unwrap();
        let cancellation = Cancellation::default();
        let mut listener = BrowserListener::new(Arc::clone(&process), &cancellation);
        listener.is_leaving = is_leaving;
        cancellation.cancel(CancelReason::Requested);
        check(&|| {
            let call = BrowserCall {
                method: "A.b",
                params: json!({}),
                session: None,
                deadline: clock::after(clock::instant(), 10 * SILENT),
            };
            listener.call(&call, &mut |_| Ok(()))
        });
        process.end("the test ends");
        process.join();
    }

    #[test]
    fn a_cancel_is_heard_as_often_as_the_browser_is_called() {
        call_cancelled(false, |call| {
            for _ in 0..2 {
                assert!(
                    matches!(call(), Err(BrowserError::Other(failure)) if failure.is_cancelled())
                );
            }
        });
    }

    #[test]
    fn a_cancel_shortens_the_end_of_a_page() {
        call_cancelled(true, |call| {
            let begun = clock::instant();
            let ended = call();
            assert!(matches!(
                ended,
                Err(BrowserError::Failed(FailureClass::Timeout, _))
            ));
            assert!(begun.elapsed() < SILENT);
        });
    }
}
