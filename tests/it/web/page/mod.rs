//! The page in a real browser. Skipped where none is installed.

mod acts;
mod chrome;
mod files;
mod hostile;
mod looks;
mod modules;

use rustix::process::Signal;
use serde_json::Value;

use crate::cli::support::{Jobq, Running};
use crate::support::{PATIENCE, wait_for};
use chrome::Chrome;

/// A server with its page open in a browser.
struct Lab {
    chrome: Chrome,
    server: Running,
    /// The address that the server printed.
    url: String,
    jobq: Jobq,
}

impl Lab {
    /// None where there is no browser.
    fn new(prepare: impl FnOnce(&Jobq)) -> Option<Lab> {
        Lab::with(&[], prepare)
    }

    /// The server has these options.
    fn with(options: &[&str], prepare: impl FnOnce(&Jobq)) -> Option<Lab> {
        let chrome = Chrome::start()?;
        let jobq = Jobq::new();
        jobq.make_database();
        prepare(&jobq);
        let listen = ["serve", "--json", "--listen", "127.0.0.1:0"];
        let server = jobq.spawn(&[&listen, options].concat());
        let printed = wait_for("the address of the server", PATIENCE, || {
            let text = server.stdout();
            serde_json::from_str::<Value>(text.trim()).ok()
        });
        let url = printed["url"].as_str().unwrap().to_owned();
        let mut lab = Lab {
            chrome,
            server,
            url,
            jobq,
        };
        lab.chrome.go(&lab.url);
        lab.chrome
            .until("document.querySelector('main .view') && !document.querySelector('.loading')");
        Some(lab)
    }

    /// Everything was well: the browser complained of nothing, and the server ends when it is told to.
    fn ends_well(mut self) {
        assert_eq!(self.chrome.complaints(), Vec::<String>::new());
        self.server.signal(Signal::TERM);
        self.server.wait().exits(0);
    }

    /// The address without what is behind it.
    fn origin(&self) -> &str {
        self.url.split_once("/#").unwrap().0
    }

    fn token(&self) -> &str {
        self.url.split_once("token=").unwrap().1
    }
}

/// Two completed jobs and three that have failed.
fn five_ended(jobq: &Jobq) {
    for command in ["true", "true", "false", "false", "false"] {
        jobq.enqueue(&["--retries", "0", "--", command]);
    }
    jobq.drain(&[]).exits(4);
}
