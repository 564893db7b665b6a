//! A browser that a test drives through the DevTools protocol, over two pipes.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::support::PATIENCE;

const PROGRAMS: [&str; 2] = ["chromium-headless-shell", "chromium"];

/// Two looks at the page lie so far apart.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The browser reads commands from file 3 and writes to file 4; a shell makes them of stdin and stdout.
const PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >&2"#;

/// A browser with one page.
pub(super) struct Chrome {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    /// Events that nobody has looked at yet.
    events: VecDeque<Value>,
    next_id: u64,
    session: Option<String>,
    /// Its profile; removed with it.
    _profile: tempfile::TempDir,
}

impl Chrome {
    /// None, with a message, where no browser is installed.
    pub(super) fn start() -> Option<Chrome> {
        let Some(program) = PROGRAMS.into_iter().find(|program| is_installed(program)) else {
            eprintln!("skipped: there is no {}", PROGRAMS.join(" and no "));
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh")
            .args(["-c", PIPES, program])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe",
                "about:blank",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            loop {
                let mut bytes = Vec::new();
                match answers.read_until(0, &mut bytes) {
                    Ok(read) if read > 0 => bytes.pop(),
                    _ => return,
                };
                if sender
                    .send(serde_json::from_slice(&bytes).unwrap())
                    .is_err()
                {
                    return;
                }
            }
        });
        let mut chrome = Chrome {
            child,
            commands,
            messages,
            events: VecDeque::new(),
            next_id: 1,
            session: None,
            _profile: profile,
        };
        chrome.open_page();
        Some(chrome)
    }

    fn open_page(&mut self) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call("Target.attachToTarget", target);
        self.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime", "Page", "Log", "Audits", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// The answer to a command.
    pub(super) fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        let mut command = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&command).unwrap();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left);
            let message =
                message.unwrap_or_else(|_| panic!("the browser has no answer to {method}"));
            if message["id"] != json!(id) {
                self.events.push_back(message);
                continue;
            }
            assert!(message["error"].is_null(), "{method}: {message}");
            return message["result"].clone();
        }
    }

    /// The value of an expression; of a promise, what it comes to.
    pub(super) fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", params);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(super) fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.eval(&format!("Boolean({expression})")) != json!(true) {
            let is_late = Instant::now() > deadline;
            assert!(!is_late, "waited in vain: {expression}\n{}", self.text());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until the page says this.
    pub(super) fn until_said(&mut self, text: &str) {
        self.until(&format!(
            "document.body?.innerText.includes({})",
            json!(text)
        ));
    }

    /// What the page says.
    pub(super) fn text(&mut self) -> String {
        let text = self.eval("document.body?.innerText ?? ''");
        text.as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn go(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
    }

    /// Opens another view of the page.
    pub(super) fn view(&mut self, hash: &str) {
        self.eval(&format!("location.hash = {}", json!(hash)));
    }

    /// Clicks the first button or link that says this, once there is one.
    pub(super) fn click(&mut self, text: &str) {
        let found = format!(
            "[...document.querySelectorAll('dialog[open] button, dialog[open] a')].concat(document.querySelector('dialog[open]') ? [] : \
             [...document.querySelectorAll('button, a, summary')]).find((one) => !one.disabled && one.innerText.trim().startsWith({}))",
            json!(text)
        );
        self.until(&found);
        self.eval(&format!("{found}.click()"));
    }

    /// Presses a key, as `a`, `Enter` or `Ctrl+k`.
    pub(super) fn press(&mut self, key: &str) {
        let (modifiers, key) = match key.strip_prefix("Ctrl+") {
            Some(key) => (2, key),
            None => (0, key),
        };
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "Tab" => (9, ""),
            "ArrowDown" => (40, ""),
            letter => (u32::from(letter.as_bytes()[0].to_ascii_uppercase()), letter),
        };
        let text = if modifiers == 0 { text } else { "" };
        let kind = if text.is_empty() {
            "rawKeyDown"
        } else {
            "keyDown"
        };
        let mut event = json!({
            "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code, "modifiers": modifiers,
        });
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = json!("keyUp");
        event["text"] = json!("");
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Types a text where the focus is.
    pub(super) fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// What the browser complained about so far: errors and warnings of the console, exceptions, and what the content
    /// security policy refused. A request that the server refuses with an answer is not an error of the page.
    pub(super) fn complaints(&mut self) -> Vec<String> {
        // What was said before this answer has come.
        self.eval("1");
        let events = self.events.drain(..);
        let complaints = events.filter(|event| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Audits.issueAdded") => {
                event["params"]["issue"]["code"] == "ContentSecurityPolicyIssue"
            }
            Some("Runtime.consoleAPICalled") => {
                matches!(
                    event["params"]["type"].as_str(),
                    Some("error" | "warning" | "assert")
                )
            }
            Some("Log.entryAdded") => {
                let entry = &event["params"]["entry"];
                entry["level"] == "error" && entry["source"] != "network"
            }
            _ => false,
        });
        complaints.map(|event| event.to_string()).collect()
    }

    /// The addresses that the page has asked for.
    pub(super) fn requests(&mut self) -> Vec<String> {
        self.eval("1");
        let requests = self
            .events
            .iter()
            .filter_map(|event| match event["method"].as_str() {
                Some("Network.requestWillBeSent") => event["params"]["request"]["url"].as_str(),
                Some("Network.webSocketCreated") => event["params"]["url"].as_str(),
                _ => None,
            });
        requests.map(str::to_owned).collect()
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        // What is called is a script of the distribution; the browser is its child.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let version = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    version.is_ok_and(|output| output.status.success())
}
