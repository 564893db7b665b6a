//! A runner as the first process of a container: of a pid namespace of its own.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::support::{Jobq, Running};
use crate::support::{PATIENCE, wait_for, wait_until};

/// What starts a program as process 1; none where that is not permitted.
fn as_first_process() -> Option<Vec<&'static str>> {
    let words = vec!["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let tried = Command::new(words[0])
        .args(&words[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if tried.is_ok_and(|status| status.success()) {
        return Some(words);
    }
    eprintln!("skipped: this user may not make a pid namespace");
    None
}

fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// The number that process 1 has outside.
fn first_process(unshare: &Running) -> u32 {
    wait_for("process 1 is there", PATIENCE, || {
        children(unshare.pid()).first().copied()
    })
}

#[test]
fn as_process_1_a_runner_reaps_orphans_and_stops_on_sigterm() {
    let Some(words) = as_first_process() else {
        return;
    };
    let jobq = Jobq::new();
    let words = [&words[1..], &["jobq", "run", "--stop-timeout", "2s"]].concat();
    let unshare = jobq.program("unshare", &words).spawn();
    unshare.wait_until_said("is running jobs");
    let runner = first_process(&unshare);

    let orphans = "echo $$; for i in 1 2 3; do (setsid sleep 0.1 &); done";
    let id = jobq.enqueue(&["--shell", orphans]);
    jobq.run(&["wait", &id.to_string()]).exits(0);
    wait_until("no zombie is left", PATIENCE, || {
        children(runner).is_empty()
    });
    // Its own command's exit status is not lost to the reaping.
    let id = jobq.enqueue(&["--retries", "0", "--shell", "(setsid true &); exit 7"]);
    jobq.run(&["wait", &id.to_string()]).exits(4);
    assert_eq!(jobq.job(id)["attempts"][0]["exit_code"], 7);

    let id = jobq.enqueue(&["--shell", "setsid sleep 600 & echo begun >begun; sleep 600"]);
    jobq.wait_for_line("begun");
    kill_process(Pid::from_raw(runner as i32).unwrap(), Signal::TERM).unwrap();
    unshare.wait_until_said("stopping");
    unshare.wait().exits(0);
    let job = jobq.job(id);
    assert_eq!(
        (&job["state"], &job["retries_left"]),
        (&json!("pending"), &json!(3))
    );
}
