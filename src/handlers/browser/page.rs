//! A job's page, in a context of its own: cookies, cache and storage are shared with no other job.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::clock;
use crate::handlers::browser::class::{BrowserError, FailureClass};
use crate::handlers::browser::connection::BrowserEvent;
use crate::handlers::browser::listener::{BrowserCall, BrowserListener, LEAVES_IN_HASTE};
use crate::handlers::browser::pool::BrowserShare;
use crate::handlers::browser::wire_json::read_json;
use crate::runner::context::Context;

/// How long a browser may take to open or close a page.
const OPENS_WITHIN: Duration = Duration::from_secs(15);
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// How many lines of its console are kept.
const CONSOLE_LINES: usize = 50;
const CONSOLE_LINE_CHARS: usize = 500;

/// Dropped, it is closed with its context.
pub(super) struct BrowserPage<'a> {
    listener: BrowserListener,
    pub(super) ctx: &'a Context,
    context: String,
    events: PageEvents,
    /// When what is being done must be.
    pub(super) deadline: Instant,
    /// After the listener, so that it leaves last.
    share: BrowserShare,
}

/// What is known of a page by its events.
#[derive(Default)]
struct PageEvents {
    session: String,
    target: String,
    /// The document that is there, and what of its loading is done.
    loader: String,
    reached: HashSet<String>,
    /// The last answer of a server to a navigation.
    status: Option<DocumentStatus>,
    console: VecDeque<String>,
}

struct DocumentStatus {
    loader: String,
    status: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Navigated {
    loader_id: Option<String>,
    error_text: Option<String>,
    #[serde(default)]
    is_download: bool,
}

/// What a script has come to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Evaluated {
    result: RemoteObject,
    exception_details: Option<ExceptionDetails>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RemoteObject {
    #[serde(default)]
    value: Value,
    object_id: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct ExceptionDetails {
    text: String,
    exception: Option<RemoteObject>,
}

impl ExceptionDetails {
    fn first_line(self) -> String {
        let exception = self.exception;
        let text = exception.and_then(|exception| match (exception.description, exception.value) {
            (Some(description), _) => Some(description),
            (None, Value::Null) => None,
            (None, value) => Some(value.to_string()),
        });
        let text = text.unwrap_or(self.text);
        text.lines().next().unwrap_or_default().to_owned()
    }
}

impl<'a> BrowserPage<'a> {
    pub(super) fn open(
        share: BrowserShare,
        proxy: Option<&str>,
        ctx: &'a Context,
    ) -> Result<BrowserPage<'a>, BrowserError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct OpenedPage {
            #[serde(default)]
            browser_context_id: String,
            #[serde(default)]
            target_id: String,
            #[serde(default)]
            session_id: String,
        }
        let listener = BrowserListener::new(share.0.clone(), ctx.cancellation());
        let mut page = BrowserPage {
            listener,
            ctx,
            context: String::new(),
            events: PageEvents::default(),
            deadline: clock::after(clock::instant(), OPENS_WITHIN),
            share,
        };
        let mut context = json!({ "disposeOnDetach": true });
        if let Some(proxy) = proxy {
            context["proxyServer"] = proxy.into();
            // Without it, addresses of this machine would go past the proxy.
            context["proxyBypassList"] = "<-loopback>".into();
        }
        let opened: OpenedPage = page.ask_browser("Target.createBrowserContext", context)?;
        page.context = opened.browser_context_id;
        page.listener.hear_context(&page.context);
        let target = json!({ "url": "about:blank", "browserContextId": page.context });
        let opened: OpenedPage = page.ask_browser("Target.createTarget", target)?;
        page.events.target = opened.target_id;
        let attach = json!({ "targetId": page.events.target, "flatten": true });
        let opened: OpenedPage = page.ask_browser("Target.attachToTarget", attach)?;
        page.listener.hear_session(&opened.session_id);
        page.events.session = opened.session_id;
        let deny = json!({ "behavior": "deny", "browserContextId": page.context });
        page.listener
            .post("Browser.setDownloadBehavior", &deny, None);
        for method in [
            "Inspector.enable",
            "Page.enable",
            "Network.enable",
            "Runtime.enable",
            "Log.enable",
        ] {
            page.post(method, json!({}));
        }
        page.post("Page.setLifecycleEventsEnabled", json!({ "enabled": true }));
        Ok(page)
    }

    /// From now on, what is done may take so long.
    pub(super) fn begin(&mut self, within: Duration) {
        self.deadline = clock::after(clock::instant(), within);
    }

    pub(super) fn is_late(&self) -> bool {
        clock::instant() >= self.deadline
    }

    /// A command of the page whose answer nobody waits for.
    pub(super) fn post(&self, method: &str, params: Value) {
        self.listener
            .post(method, &params, Some(&self.events.session));
    }

    /// A command of the page, and its answer.
    pub(super) fn ask<T: DeserializeOwned>(
        &mut self,
        method: &str,
        params: Value,
    ) -> Result<T, BrowserError> {
        let session = self.events.session.clone();
        self.call(method, params, Some(&session))
    }

    fn ask_browser<T: DeserializeOwned>(
        &mut self,
        method: &str,
        params: Value,
    ) -> Result<T, BrowserError> {
        self.call(method, params, None)
            .map_err(|error| match error {
                // It is the browser that does not open a page.
                BrowserError::Failed(_, why) | BrowserError::Refused(why) => {
                    self.listener.process().retire(&why);
                    BrowserError::browser(why)
                }
                other => {
                    // A context that nobody can close may have been made.
                    if self.context.is_empty() {
                        self.listener.process().retire("a page of it was cancelled");
                    }
                    other
                }
            })
    }

    fn call<T: DeserializeOwned>(
        &mut self,
        method: &str,
        params: Value,
        session: Option<&str>,
    ) -> Result<T, BrowserError> {
        let call = BrowserCall {
            method,
            params,
            session,
            deadline: self.deadline,
        };
        let (listener, events) = (&self.listener, &mut self.events);
        let answer = listener.call(&call, &mut |event| events.note(event, listener))?;
        read_json(answer.get()).map_err(|error| {
            BrowserError::page(format_args!(
                "the answer to {method} cannot be read: {error}"
            ))
        })
    }

    /// Hears what happens until this moment, or the deadline.
    pub(super) fn pause(&mut self, time: Duration) -> Result<(), BrowserError> {
        let until = clock::after(clock::instant(), time).min(self.deadline);
        while let Some(event) = self.listener.next(until)? {
            self.events.note(&event, &self.listener)?;
        }
        Ok(())
    }

    /// Opens a URL and waits until its page has reached this point.
    pub(super) fn navigate(&mut self, url: &str, point: &str) -> Result<(), BrowserError> {
        self.events.status = None;
        let navigated: Navigated =
            self.ask("Page.navigate", json!({ "url": url }))
                .map_err(|error| match error {
                    BrowserError::Refused(why) if why.contains("invalid URL") => {
                        BrowserError::Failed(FailureClass::InvalidUrl, why)
                    }
                    BrowserError::Failed(FailureClass::Timeout, _) => {
                        BrowserError::timeout("it did not begin to load in time")
                    }
                    other => other,
                })?;
        if navigated.is_download {
            return Err(BrowserError::page("it is a download, and they are refused"));
        }
        if let Some(error) = navigated.error_text {
            // An error without a page: the status says more.
            let class = match self.status() {
                Some(204 | 205) => Some(FailureClass::Page),
                status => status.and_then(FailureClass::of_status),
            };
            let class = class.unwrap_or_else(|| FailureClass::of_net_error(&error));
            return Err(BrowserError::Failed(class, error));
        }
        match navigated.loader_id {
            // Only the part behind the # is another.
            None => Ok(()),
            Some(loader) => self.wait_for(&loader, point),
        }
    }

    fn wait_for(&mut self, loader: &str, point: &str) -> Result<(), BrowserError> {
        // A page may go on to another at once: then that one is waited for.
        while self.events.loader.is_empty()
            || self.events.loader != loader && !self.has_moved_on(loader)
            || !self.events.reached.contains(point)
        {
            match self.listener.next(self.deadline)? {
                Some(event) => self.events.note(&event, &self.listener)?,
                None => {
                    let why = format_args!("it did not reach '{point}' in time");
                    return Err(BrowserError::timeout(why));
                }
            }
        }
        Ok(())
    }

    fn has_moved_on(&self, loader: &str) -> bool {
        self.events
            .status
            .as_ref()
            .is_some_and(|status| status.loader != loader && status.loader == self.events.loader)
    }

    /// The HTTP status of the last navigation.
    pub(super) fn status(&self) -> Option<u16> {
        self.events.status.as_ref().map(|status| status.status)
    }

    /// Whether its document, and those that it leads to, run their scripts.
    pub(super) fn set_scripts(&mut self, are_run: bool) -> Result<(), BrowserError> {
        let params = json!({ "value": !are_run });
        let _done: Value = self.ask("Emulation.setScriptExecutionDisabled", params)?;
        Ok(())
    }

    /// What a script comes to: its value, after it has been awaited.
    pub(super) fn evaluate(&mut self, script: &str) -> Result<Value, BrowserError> {
        let params = json!({
            "expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let evaluated: Result<Evaluated, _> = self.ask("Runtime.evaluate", params);
        let evaluated = evaluated.map_err(BrowserError::of_script)?;
        match evaluated.exception_details {
            Some(details) => Err(BrowserError::page(format_args!(
                "the script failed: {}",
                details.first_line()
            ))),
            None => Ok(evaluated.result.value),
        }
    }

    /// The element of a selector, as the browser names it; none where there is none.
    pub(super) fn object(&mut self, script: &str) -> Result<Option<String>, BrowserError> {
        let evaluated: Evaluated = self.ask("Runtime.evaluate", json!({ "expression": script }))?;
        Ok(evaluated.result.object_id)
    }

    pub(super) fn console(&self) -> Vec<String> {
        self.events.console.iter().cloned().collect()
    }

    /// The browser is not to be used for other jobs.
    pub(super) fn retire_browser(&self, why: &str) {
        self.listener.process().retire(why);
    }

    /// Closes the page with all that belongs to it.
    fn close(&mut self) {
        if self.context.is_empty() || self.share.0.connection.is_closed() {
            return;
        }
        self.listener.leave();
        let time = match self.ctx.is_cancelled() {
            true => LEAVES_IN_HASTE,
            false => CLOSES_WITHIN,
        };
        let call = BrowserCall {
            method: "Target.disposeBrowserContext",
            params: json!({ "browserContextId": self.context }),
            session: None,
            deadline: clock::after(clock::instant(), time),
        };
        if let Err(error) = self.listener.call(&call, &mut |_| Ok(())) {
            self.retire_browser(&format!("it did not close a page: {error:?}"));
        }
    }
}

impl Drop for BrowserPage<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl PageEvents {
    /// The error is the end of the page: then no command of it is answered any more.
    fn note(
        &mut self,
        event: &BrowserEvent,
        listener: &BrowserListener,
    ) -> Result<(), BrowserError> {
        let params = || read_json::<Value>(event.params.get()).unwrap_or_default();
        let session = Some(&*self.session);
        match event.method.as_str() {
            "Page.lifecycleEvent" => self.note_lifecycle(&params()),
            "Network.responseReceived" => self.note_response(&params()),
            "Inspector.targetCrashed" => {
                listener.process().retire("a page has crashed");
                return Err(BrowserError::browser("the page has crashed"));
            }
            "Target.detachedFromTarget" => {
                return Err(BrowserError::page("the page has closed itself"));
            }
            "Page.javascriptDialogOpening" => {
                // A page that asks whether it may be left is left.
                let accept = params()["type"] == "beforeunload";
                let answer = json!({ "accept": accept });
                listener.post("Page.handleJavaScriptDialog", &answer, session);
            }
            "Fetch.requestPaused" => {
                // Only what is to be blocked is asked for.
                let failed =
                    json!({ "requestId": params()["requestId"], "errorReason": "BlockedByClient" });
                listener.post("Fetch.failRequest", &failed, session);
            }
            "Target.targetCreated" => {
                let target = &params()["targetInfo"];
                // The first is the page itself.
                let is_other = !self.target.is_empty() && target["targetId"] != *self.target;
                if is_other && target["type"] == "page" {
                    let target = json!({ "targetId": target["targetId"] });
                    listener.post("Target.closeTarget", &target, None);
                    self.note_line("jobq: a pop-up was closed".to_owned());
                }
            }
            "Runtime.consoleAPICalled" => self.note_console(&params()),
            "Runtime.exceptionThrown" => {
                let details = params()["exceptionDetails"].take();
                if let Ok(details) = serde_json::from_value::<ExceptionDetails>(details) {
                    self.note_line(format!("uncaught: {}", details.first_line()));
                }
            }
            "Log.entryAdded" => {
                let entry = &params()["entry"];
                let part = |name| entry[name].as_str().unwrap_or_default();
                let line = format!("{}: {} {}", part("level"), part("text"), part("url"));
                self.note_line(line);
            }
            _ => {}
        }
        Ok(())
    }

    fn note_lifecycle(&mut self, params: &Value) {
        let text = |name| params[name].as_str().unwrap_or_default();
        if text("frameId") != self.target {
            return;
        }
        if self.loader != text("loaderId") {
            text("loaderId").clone_into(&mut self.loader);
            self.reached.clear();
        }
        self.reached.insert(text("name").to_owned());
    }

    fn note_response(&mut self, params: &Value) {
        if params["type"] == "Document" && params["frameId"] == *self.target {
            let status = params["response"]["status"].as_u64();
            let loader = params["loaderId"].as_str();
            self.status = status.zip(loader).map(|(status, loader)| DocumentStatus {
                loader: loader.to_owned(),
                status: u16::try_from(status).unwrap_or_default(),
            });
        }
    }

    fn note_console(&mut self, params: &Value) {
        let shown = |value: &Value| match (&value["value"], value["description"].as_str()) {
            (Value::String(text), _) => text.clone(),
            (Value::Null, Some(description)) => description.to_owned(),
            (value, _) => value.to_string(),
        };
        let values = params["args"].as_array().map(Vec::as_slice);
        let values: Vec<String> = values.unwrap_or_default().iter().map(shown).collect();
        let level = params["type"].as_str().unwrap_or_default();
        self.note_line(format!("{level}: {}", values.join(" ")));
    }

    fn note_line(&mut self, line: String) {
        if self.console.len() == CONSOLE_LINES {
            self.console.pop_front();
        }
        self.console
            .push_back(line.chars().take(CONSOLE_LINE_CHARS).collect());
    }
}
