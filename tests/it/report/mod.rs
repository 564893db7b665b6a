//! The kind `report`, on real files.

mod formats;
mod hostile;
mod mail;
mod settings;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jobq::handlers::built_in::{BuiltIn, BuiltInJob};
use jobq::handlers::email::{Email, EmailSettings};
use jobq::handlers::report::{ReportJob, ReportResult, ReportSettings};
use jobq::rusqlite::Connection;
use jobq::{Job, JobId, JobRecord, NewJob, Queue, RunnerBuilder, State};
use serde_json::{Value, json};

use crate::support::names;
use crate::support::place::Scene;

/// A queue, a folder with a database, and the settings of its reports.
struct Office {
    scene: Scene,
    folder: tempfile::TempDir,
    settings: Value,
    /// Where mail goes.
    port: u16,
}

impl Office {
    fn new() -> Office {
        let office = Office {
            scene: Scene::new(),
            folder: tempfile::tempdir().unwrap(),
            settings: json!({ "database": "app.db", "to": "out" }),
            port: 1,
        };
        office.fill(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, who TEXT, price REAL, note);
             INSERT INTO orders (who, price, note) VALUES ('ann', 1.5, NULL), ('bob', 2, x'00ff'), ('ann', 10, 7);",
        );
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn connect(&self) -> Connection {
        Connection::open(self.path("app.db")).unwrap()
    }

    fn fill(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }

    fn set(mut self, key: &str, value: impl Into<Value>) -> Office {
        self.settings[key] = value.into();
        self
    }

    fn runner(&self, queue: &Queue) -> RunnerBuilder {
        let settings: ReportSettings = serde_json::from_value(self.settings.clone()).unwrap();
        let settings = ReportJob::relative_to(settings, self.folder.path());
        let mail: EmailSettings = serde_json::from_value(json!({ "servers": { "default": {
            "host": "127.0.0.1", "port": self.port, "tls": "none", "from": "Jobs <jobs@x.org>",
        } } }))
        .unwrap();
        queue
            .runner()
            .kind(ReportJob::KIND, BuiltIn::<ReportJob>::new(settings))
            .kind(Email::KIND, BuiltIn::<Email>::new(mail))
    }

    fn enqueue(&self, queue: &Queue, payload: &Value) -> JobId {
        let job = NewJob::new(ReportJob::KIND).payload(payload).max_retries(0);
        queue.enqueue(job).unwrap().id
    }

    /// The job when nothing more is due.
    fn run(&self, payload: &Value) -> JobRecord {
        let queue = self.scene.open();
        let id = self.enqueue(&queue, payload);
        self.runner(&queue).run_due().unwrap();
        queue.get(id).unwrap().unwrap()
    }

    fn done(&self, payload: &Value) -> ReportResult {
        let job = self.run(payload);
        assert_eq!(job.state, State::Completed, "{job:?}");
        serde_json::from_str(job.result.unwrap().get()).unwrap()
    }

    fn error(&self, payload: &Value) -> String {
        let job = self.run(payload);
        assert_eq!(job.state, State::Failed, "{job:?}");
        job.error.unwrap()
    }

    /// The text of the file that a report has made.
    fn text(&self, payload: &Value) -> String {
        let result = self.done(payload);
        let text = fs::read_to_string(result.path.unwrap()).unwrap();
        assert_eq!(result.bytes, text.len() as u64);
        text
    }

    fn files(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }
}

/// Base64 read by a program that is none of jobq's.
fn decoded(base64: &str) -> Vec<u8> {
    let mut child = Command::new("base64")
        .arg("-d")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(base64.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap().stdout
}

/// The payload of a report with one query.
fn query(sql: &str, output: &str) -> Value {
    json!({ "queries": [{ "sql": sql }], "output": output })
}

const PYTHON: &str = "/usr/bin/python3";

/// What Python reads in a file; none where there is no Python.
fn read_by_python(path: &Path) -> Option<Value> {
    let run = Command::new(PYTHON)
        .args(["-c", include_str!("read.py")])
        .arg(path)
        .output();
    let Ok(run) = run else {
        eprintln!("skipped: there is no {PYTHON}");
        return None;
    };
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{stderr}");
    Some(serde_json::from_slice(&run.stdout).unwrap())
}
