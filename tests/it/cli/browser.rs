//! The kind `browser`, as `jobq run` runs it.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::support::{Jobq, text};
use crate::browser::{is_installed, processes_of, profile_of, wrapper};
use crate::support::{PATIENCE, wait_until};

const WAIT: &str = r#"{"html":"<h1>a</h1>","actions":[{"type":"evaluate","script":"1"},{"type":"wait","ms":60000}]}"#;

fn with_browser() -> Option<Jobq> {
    if !is_installed() {
        return None;
    }
    let jobq = Jobq::new();
    let program = wrapper(jobq.folder());
    jobq.write(
        "jobq.toml",
        format!("[kinds.browser]\nretries = 0\nsettings = {{ no_sandbox = true, headless_shell = {program:?} }}"),
    );
    Some(jobq)
}

#[test]
fn a_killed_runner_leaves_no_browser_and_no_folder() {
    let Some(jobq) = with_browser() else { return };
    let id = jobq.enqueue(&["--kind", "browser", "--payload", WAIT]);
    let runner = jobq.runner(&[]);
    wait_until("the page is there", PATIENCE, || {
        jobq.job(id)["progress"]["processed"] == json!(1)
    });
    let profile = profile_of(&processes_of(jobq.folder()));
    runner.kill();
    wait_until("the browser ends", Duration::from_secs(5), || {
        processes_of(jobq.folder()).is_empty()
    });
    assert!(profile.exists(), "nobody could remove it");
    jobq.run(&["cancel", &id.to_string()]).exits(0);
    let html = r#"{"html":"<h1>a</h1>"}"#;
    let id = jobq.enqueue(&["--kind", "browser", "--payload", html]);
    jobq.drain(&[]);
    assert_eq!(jobq.state(id), "completed");
    assert!(!profile.exists());
    assert_eq!(processes_of(jobq.folder()), []);
}

#[test]
fn a_killed_runner_leaves_no_browser_that_hangs() {
    let Some(jobq) = with_browser() else { return };
    let id = jobq.enqueue(&["--kind", "browser", "--payload", WAIT]);
    let runner = jobq.runner(&[]);
    wait_until("the page is there", PATIENCE, || {
        jobq.job(id)["progress"]["processed"] == json!(1)
    });
    let processes = processes_of(jobq.folder());
    assert!(!processes.is_empty());
    for (pid, _) in processes {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    }
    runner.kill();
    jobq.run(&["cancel", &id.to_string()]).exits(0);
    jobq.drain(&[]);
    assert_eq!(processes_of(jobq.folder()), []);
}

#[test]
fn the_example_of_its_help_page_runs() {
    let Some(jobq) = with_browser() else { return };
    let help = jobq.stdout(&["help", "browser"]);
    let (_, payload) = help.split_once("--payload '").unwrap();
    let (payload, _) = payload.split_once('\'').unwrap();
    let id = jobq.enqueue(&["--kind", "browser", "--payload", payload]);
    jobq.drain(&[]).exits(0);
    let result = &jobq.job(id)["result"];
    assert_eq!(result["values"]["title"], "Hello");
    for artifact in result["artifacts"].as_array().unwrap() {
        let length = fs::metadata(text(&artifact["path"])).unwrap().len();
        assert_eq!(json!(length), artifact["bytes"]);
    }
}

#[test]
fn root_is_told_how_to_start_a_browser() {
    if !is_installed() || !rustix::process::geteuid().is_root() {
        return;
    }
    let jobq = Jobq::new();
    let payload = r#"{"html":"<h1>a</h1>"}"#;
    let id = jobq.enqueue(&["--kind", "browser", "--retries", "0", "--payload", payload]);
    jobq.drain(&[]).exits(4);
    let error = text(&jobq.job(id)["error"]);
    assert!(
        error.starts_with("browser: ") && error.contains("no_sandbox = true"),
        "{error}"
    );
}
