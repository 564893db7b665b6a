//! A worker that drives browsers: pages are opened, read, filled in, and kept as pictures and PDFs.
//!
//! The jobs are of the built-in kind `browser`, on the pages of a small site. One of them times out and another is
//! busy, so they are tried again; one wants a login and one job has no URL of the web, so they fail at once. The worker
//! is ended by SIGKILL in the middle of a page: the next one opens the page again. In the end SIGTERM lets the last job
//! finish, and there is no browser left.
//!
//! `cargo run --features handlers --example browser_worker`

#[path = "support/http_server.rs"]
mod http_server;
#[path = "support/worker.rs"]
mod worker;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use jobq::handlers::browser::{BrowserJob, BrowserSettings};
use jobq::handlers::built_in::BuiltIn;
use jobq::{
    EventData, EventFilter, EventKind, Job, JobHandle, JobRecord, LogEntry, NewJob, Queue,
    RunnerFilter, RunnerState, State,
};
use serde_json::{Value, json};
use worker::{Anything, Worker, wait_until};

const SHOP: &str = r#"<title>Shop</title><h1>Teapots</h1><ul><li>green<li>blue</ul>
<form action=/thanks><input id=name name=name><button>Order</button></form>"#;

/// What the worker's process does: five jobs at a time.
fn work() -> Anything {
    let mut settings = BrowserSettings::default();
    settings.no_sandbox = rustix::process::geteuid().is_root();
    let browser = BuiltIn::<BrowserJob>::new(settings);
    let runner = Queue::open("jobs.db")?.runner().workers(5);
    worker::work(runner.kind(BrowserJob::KIND, browser))
}

fn main() -> Anything {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return work();
    }
    let browsers = installed();
    if browsers.is_empty() {
        println!("skipped: neither chromium-headless-shell nor chromium is installed");
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("jobq-browser-worker-{}", std::process::id()));
    let queue = Queue::open(folder.join("jobs.db"))?;
    let (url, held) = serve_pages()?;
    let site = Site { queue: &queue, url };
    let worker = Worker::start(&folder, &[])?;

    for browser in browsers {
        println!("-- a visit to the shop in {browser}");
        visit_the_shop(&site, browser)?;
    }
    println!("-- pages that do not work");
    fail(&site)?;
    cancel(&site)?;

    println!("-- the worker is killed in the middle of a page");
    let page = site.open("/held", json!({}))?;
    held.recv()?; // The browser waits for the page.
    assert!(!browser_processes(&folder)?.is_empty());
    worker.kill()?;
    let worker = Worker::start(&folder, &[])?;
    let job = site.wait(&page)?;
    assert_eq!((job.state, job.crashes), (State::Completed, 1));

    println!("-- SIGTERM while a page is open");
    let last = site.open(
        "/shop",
        json!({"actions": [title(), {"type": "wait", "ms": 1000}]}),
    )?;
    wait_until(&queue, || Ok(last.get()?.progress.is_some()))?;
    worker.stop()?;
    assert_eq!(site.wait(&last)?.state, State::Completed);
    for runner in queue.runners(RunnerFilter::AllTimes)? {
        println!("worker {} is {:?}", runner.id, runner.state);
        assert_eq!(runner.state, RunnerState::Offline);
    }
    assert_eq!(browser_processes(&folder)?, [""; 0]);
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn visit_the_shop(site: &Site<'_>, browser: &str) -> Anything {
    let visit = site.open(
        "/shop",
        json!({"browser": browser, "viewport": {"width": 800, "height": 600}, "actions": [
            {"type": "text", "selector": "li", "name": "colours", "all": true},
            {"type": "fill", "selector": "#name", "value": "Ann"},
            {"type": "screenshot", "name": "form.png"},
            {"type": "click", "selector": "button"},
            {"type": "wait", "url": "**/thanks*"},
            {"type": "text", "selector": "h1", "name": "answer"},
            {"type": "pdf", "name": "receipt.pdf"},
        ]}),
    )?;
    assert_eq!(site.wait(&visit)?.state, State::Completed);
    let result = site.queue.output::<BrowserJob>(visit.id)?;
    let result = result.ok_or("it has no result")?;
    println!("{:#?}", result.values);
    assert_eq!(result.values["colours"], json!(["green", "blue"]));
    assert_eq!(result.values["answer"], "Thank you, Ann");
    for (artifact, begin) in result.artifacts.iter().zip([b"\x89PNG", b"%PDF"]) {
        println!("{}, {} bytes", artifact.name, artifact.bytes);
        assert!(fs::read(&artifact.path)?.starts_with(begin));
    }
    Ok(())
}

/// What is tried again, and what is not.
fn fail(site: &Site<'_>) -> Anything {
    let slow = site.open("/slow", json!({"action_timeout_ms": 2000}))?;
    let busy = site.open("/busy", json!({}))?;
    let login = site.open("/login", json!({}))?;
    let no_page = site.open("", json!({"url": "ftp://example.org/"}))?;
    for (job, state, retries, class) in [
        (slow, State::Completed, 1, "timeout"),
        (busy, State::Failed, 3, "network"),
        (login, State::Failed, 0, "authentication"),
        (no_page, State::Failed, 0, "invalid_url"),
    ] {
        let job = site.wait(&job)?;
        let first = site.queue.attempts(job.id)?.remove(0);
        let error = first.end.error.unwrap_or_default();
        assert!(error.contains(class), "{error}");
        assert_eq!((job.state, job.retries), (state, retries));
    }
    Ok(())
}

fn cancel(site: &Site<'_>) -> Anything {
    let never = json!({"type": "wait", "selector": "#never", "timeout_ms": 60_000});
    let job = site.open("/shop", json!({"actions": [title(), never]}))?;
    wait_until(site.queue, || Ok(job.get()?.progress.is_some()))?;
    job.cancel()?;
    assert_eq!(site.wait(&job)?.state, State::Cancelled);
    Ok(())
}

/// An action. There is progress when it is done.
fn title() -> Value {
    json!({"type": "text", "selector": "h1", "name": "title"})
}

struct Site<'q> {
    queue: &'q Queue,
    url: String,
}

impl Site<'_> {
    /// Adds a job for a page, with other fields of its payload.
    fn open(&self, page: &str, fields: Value) -> Anything<JobHandle<NewJob>> {
        let mut payload = json!({"url": format!("{}{page}", self.url)});
        if let (Value::Object(all), Value::Object(fields)) = (&mut payload, fields) {
            all.extend(fields);
        }
        let job = NewJob::of(&serde_json::from_value::<BrowserJob>(payload)?);
        // The kind's own delays are 1, 4 and 9 s.
        let job = job.retry_delay(Duration::from_millis(100));
        Ok(self.queue.enqueue(job)?)
    }

    /// Waits until a job is final, and prints its attempts and what the handler has logged.
    fn wait(&self, job: &JobHandle<NewJob>) -> Anything<JobRecord> {
        let job = job.wait(Some(Duration::from_secs(60)))?;
        let page = job.decode::<BrowserJob>()?.url.unwrap_or_default();
        println!("job {}, {page}: {}", job.id, job.state);
        for attempt in self.queue.attempts(job.id)? {
            let error = attempt.end.error.as_deref().unwrap_or("no error");
            println!("  attempt {}: {error}", attempt.attempt);
        }
        let log = EventFilter {
            job: Some(job.id),
            kinds: vec![EventKind::Log],
            ..EventFilter::default()
        };
        for entry in self.queue.events(&log)?.events {
            let entry = entry.data.as_ref().map_or(&b""[..], EventData::as_bytes);
            let entry: LogEntry = serde_json::from_slice(entry)?;
            println!("  {}: {}", entry.level, entry.message.replace('\n', " "));
        }
        Ok(job)
    }
}

/// The installed browsers, as the kind names them.
fn installed() -> Vec<&'static str> {
    let runs = |program: &str| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    let mut browsers = Vec::new();
    for (browser, program) in [
        ("headless-shell", "chromium-headless-shell"),
        ("chromium", "chromium"),
    ] {
        if runs(program) {
            browsers.push(browser);
        }
    }
    browsers
}

/// A site, and a channel that says when a browser waits for the page `/held`. The first request for `/slow` and for
/// `/held` gets no response.
fn serve_pages() -> std::io::Result<(String, Receiver<()>)> {
    let (hold, held) = channel();
    let seen: Mutex<HashSet<String>> = Mutex::default();
    let site = http_server::serve(move |path| {
        let is_first = seen
            .lock()
            .is_ok_and(|mut seen| seen.insert(path.to_owned()));
        if is_first && ["/slow", "/held"].contains(&path) {
            if path == "/held" {
                let _ = hold.send(());
            }
            std::thread::sleep(Duration::from_secs(3600));
        }
        let (status, page) = match path {
            "/busy" => (503, ""),
            "/login" => (401, ""),
            "/thanks?name=Ann" => (200, "<h1>Thank you, Ann</h1>"),
            _ => (200, SHOP),
        };
        (status, page.to_owned())
    })?;
    Ok((site, held))
}

/// The command lines of the browsers that have their files in the worker's folder for temporary files.
fn browser_processes(folder: &Path) -> Anything<Vec<String>> {
    let folder = folder.to_str().ok_or("the folder's name is not UTF-8")?;
    let processes = fs::read_dir("/proc")?.flatten();
    // A process may end while it is looked at.
    let lines = processes.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    Ok(lines.filter(|line| line.contains(folder)).collect())
}
