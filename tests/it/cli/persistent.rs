//! Kinds whose command stays and is given one job after the other.

mod ends;
mod messages;
mod recycling;
mod runners;
mod secrets;

use std::process::Command;

use serde_json::{Value, json};

use super::support::{Jobq, Running, text};
use crate::support::{PATIENCE, wait_until};

/// Runs the Python code of each payload, and then answers with its process id, unless the code has said `skip`. It
/// writes down its starts and its jobs.
const ACTOR: &str = r#"
import json, os, select, signal, subprocess, sys, time

def say(word, **fields):
    print(json.dumps({"jobq": word, **fields}), flush=True)

def note(name, text):
    with open(name, "a") as file:
        file.write(f"{text}\n")

note("starts", os.getpid())
for line in sys.stdin:
    job = json.loads(line)
    if "cancel" in job:
        note("cancels", job["cancel"])
        continue
    id, skip = job["job"], False
    note("jobs", id)
    exec(job["payload"] or "")
    if not skip:
        say("done", job=id, result=os.getpid())
"#;

/// The actor as the handler of kind `act`, with these settings in its table.
struct Stage {
    jobq: Jobq,
}

impl Stage {
    /// None, and a word about it, where there is no Python.
    fn with(settings: &str) -> Option<Stage> {
        if Command::new("python3").arg("-V").output().is_err() {
            eprintln!("skipped: there is no python3");
            return None;
        }
        let jobq = Jobq::new();
        jobq.write("actor.py", ACTOR);
        let stage = Stage { jobq };
        stage.configure(settings);
        Some(stage)
    }

    fn configure(&self, settings: &str) {
        let kind = "[kinds.act]\ncommand = ['python3', 'actor.py']";
        self.jobq
            .write("jobq.toml", format!("{kind}\n{settings}\n"));
    }

    /// Adds a job that runs this code.
    fn add(&self, code: &str) -> i64 {
        self.add_with(&[], code)
    }

    fn add_with(&self, options: &[&str], code: &str) -> i64 {
        let payload = json!(code).to_string();
        let job = ["--kind", "act", "--payload", &payload];
        self.jobq.enqueue(&[&job, options].concat())
    }

    fn result(&self, id: i64) -> Value {
        self.jobq.job(id)["result"].clone()
    }

    fn error(&self, id: i64) -> String {
        text(&self.jobq.job(id)["error"])
    }

    /// The process ids of the handlers that were started, in order.
    fn starts(&self) -> Vec<i32> {
        self.numbers("starts")
    }

    fn numbers(&self, name: &str) -> Vec<i32> {
        let lines = std::fs::read_to_string(self.jobq.path(name)).unwrap_or_default();
        lines.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn wait_until_completed(&self, id: i64) {
        wait_until("it completes", PATIENCE, || {
            self.jobq.state(id) == "completed"
        });
    }

    /// Waits until the handler is at work on this job.
    fn wait_until_begun(&self, id: i64) {
        wait_until("it has begun", PATIENCE, || {
            self.numbers("jobs").contains(&i32::try_from(id).unwrap())
        });
    }

    fn runner(&self) -> Running {
        self.jobq.runner(&[])
    }
}

/// Whether a process runs; a zombie does not.
fn is_alive(pid: i32) -> bool {
    crate::support::process::is_alive(u32::try_from(pid).unwrap())
}

#[test]
fn jobs_share_a_process_one_after_the_other() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1") else {
        return;
    };
    let ids: Vec<i64> = (0..20)
        .map(|number| stage.add(&format!("print('number', {number})")))
        .collect();
    stage.jobq.drain(&[]).exits(0);
    let starts = stage.starts();
    assert_eq!(starts.len(), 1);
    for (id, number) in ids.iter().zip(0..) {
        assert_eq!(stage.result(*id), starts[0]);
        let logs = stage.jobq.stdout(&["logs", &id.to_string()]);
        assert_eq!(logs, format!("number {number}\n"));
    }
    let order: Vec<i32> = ids.iter().map(|id| i32::try_from(*id).unwrap()).collect();
    assert_eq!(stage.numbers("jobs"), order);
    assert!(!is_alive(starts[0]), "it ends with its runner");
}

#[test]
fn there_are_as_many_processes_as_jobs_at_once() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 3") else {
        return;
    };
    for _ in 0..9 {
        stage.add("time.sleep(0.2)");
    }
    stage.jobq.drain(&[]).exits(0);
    assert!(
        (2..=3).contains(&stage.starts().len()),
        "{:?}",
        stage.starts()
    );
    assert_eq!(stage.jobq.count("completed"), 9);
}

#[test]
fn it_gets_the_job_as_a_line_and_little_environment() {
    let Some(stage) = Stage::with("persistent = true\nenv = ['MODE=fast']\ntimeout = '1m'") else {
        return;
    };
    let id = stage.add("note('job', json.dumps(job)); note('env', '\\n'.join(sorted(os.environ)))");
    let drain = stage.jobq.call(&["run", "--drain"]);
    drain.env("SECRET", "x").run().exits(0);
    let job: Value = serde_json::from_str(&stage.jobq.read("job")).unwrap();
    assert_eq!(job["job"], id);
    assert_eq!((&job["attempt"], &job["kind"]), (&json!(1), &json!("act")));
    assert_eq!((&job["phase"], &job["slot"]), (&json!("run"), &Value::Null));
    assert!((55_000..=60_000).contains(&job["timeout_ms"].as_u64().unwrap()));
    assert!(text(&job["idempotency_key"]).ends_with("-1"), "{job}");
    let names = stage.jobq.read("env");
    let names: Vec<&str> = names.lines().collect();
    for name in ["JOBQ_DB", "JOBQ_HANDLER", "JOBQ_PERSISTENT", "MODE", "PATH"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for name in ["SECRET", "JOBQ_JOB_ID", "JOBQ_ATTEMPT"] {
        assert!(!names.contains(&name), "{names:?}");
    }
}

#[test]
fn what_a_job_used_is_its_own() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1") else {
        return;
    };
    let spin = "end = time.process_time() + 0.3\nwhile time.process_time() < end: pass";
    let [first, busy, idle] = ["", spin, ""].map(|code| stage.add(code));
    let fat = stage.add("x = bytearray(64 << 20); x = None");
    let slim = stage.add("");
    stage.jobq.drain(&[]).exits(0);
    let used = |id: i64, what: &str| stage.jobq.job(id)["attempts"][0][what].as_u64().unwrap();
    assert!(used(busy, "cpu_ms") >= 250, "{}", used(busy, "cpu_ms"));
    assert!(used(idle, "cpu_ms") < 100 && used(first, "cpu_ms") < 300);
    let megabytes = |id: i64| used(id, "max_rss_bytes") >> 20;
    assert!(megabytes(fat) >= 64 && megabytes(slim) < 64);
}
