//! How commands end when somebody ends them, and what they leave behind.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::support::{Jobq, text};
use crate::support::process::is_alive;
use crate::support::{PATIENCE, wait_until};

fn pid(text: &str) -> u32 {
    text.trim().parse().unwrap()
}

#[test]
fn a_command_leads_a_process_group_of_its_own() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", "cut -d' ' -f1,5 /proc/$$/stat"]);
    jobq.enqueue(&["--shell", "cut -d' ' -f1,5 /proc/$$/stat"]);
    jobq.drain(&[]).exits(0);
    let shown = ["1", "2"].map(|id| jobq.stdout(&["logs", id]));
    for shown in &shown {
        let (pid, group) = shown.trim().split_once(' ').unwrap();
        assert_eq!(pid, group);
    }
    assert_ne!(shown[0], shown[1]);
}

#[test]
fn a_timeout_ends_the_whole_group_and_the_attempt_is_retried() {
    let jobq = Jobq::new();
    jobq.script(
        "job",
        "trap 'echo told >>told; exit 1' TERM
         (sleep 300 & echo $! >>pids; sleep 300) & echo $! >>pids; echo $$ >>pids; wait",
    );
    let policy = [
        "--timeout",
        "300ms",
        "--retries",
        "1",
        "--retry-delay",
        "0s",
        "--backoff",
        "fixed",
    ];
    let id = jobq.enqueue(&[&policy[..], &["--", "./job"]].concat());
    let start = Instant::now();
    jobq.drain(&[]).exits(4);
    assert!(
        start.elapsed() >= Duration::from_millis(600) && start.elapsed() < Duration::from_secs(9)
    );
    let pids = jobq.read("pids");
    let pids: Vec<u32> = pids.lines().map(pid).collect();
    assert_eq!(pids.len(), 6);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert_eq!(jobq.read("told"), "told\ntold\n");
    let job = jobq.job(id);
    let outcomes: Vec<String> = job["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| text(&attempt["outcome"]))
        .collect();
    assert_eq!(outcomes, ["retry", "failed"]);
    assert_eq!(job["error"], "timed out after 300ms");
}

#[test]
fn a_command_ignoring_sigterm_is_killed_with_its_children() {
    let jobq = Jobq::new();
    jobq.script(
        "job",
        "trap '' TERM HUP; sleep 300 & echo $! >>pids; echo $$ >>pids; while :; do sleep 300; done",
    );
    let id = jobq.enqueue(&["--timeout", "100ms", "--retries", "0", "--", "./job"]);
    let start = Instant::now();
    jobq.drain(&[]).exits(4);
    assert!(
        start.elapsed() >= Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    let pids = jobq.read("pids");
    assert_eq!(pids.lines().count(), 2);
    wait_until("all of the group is gone", PATIENCE, || {
        pids.lines().all(|line| !is_alive(pid(line)))
    });
    let job = jobq.job(id);
    assert_eq!(job["error"], "timed out after 100ms");
    assert_eq!(job["attempts"][0]["exit_code"], 137);
}

#[test]
fn a_background_process_delays_neither_the_job_nor_the_runner() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", "echo before; sleep 300 & echo $! >pid"]);
    jobq.enqueue(&["--shell", "setsid sleep 300 & echo $! >other"]);
    let start = Instant::now();
    jobq.drain(&[]).exits(0);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    let pids = ["pid", "other"].map(|name| pid(&jobq.read(name)));
    assert!(is_alive(pids[0]), "it lives on");
    assert_eq!(jobq.stdout(&["logs", "1"]), "before\n");
    for pid in pids.into_iter().filter(|pid| is_alive(*pid)) {
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    }
}

#[test]
fn a_command_that_ignores_a_large_payload_does_not_fail() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        "[kinds.deaf]\ncommand = ['true']\n[kinds.counts]\ncommand = ['wc', '-c']",
    );
    jobq.write("large.json", format!("\"{}\"", "x".repeat(999_998)));
    jobq.enqueue(&["--kind", "deaf", "--payload", "@large.json"]);
    jobq.enqueue(&["--kind", "counts", "--payload", "@large.json"]);
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.stdout(&["logs", "2"]).trim(), "1000000");
}

#[test]
fn what_an_attempt_has_used_is_known_afterwards() {
    let jobq = Jobq::new();
    let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; exit 3";
    let id = jobq.enqueue(&["--retries", "0", "--shell", script]);
    jobq.drain(&[]).exits(4);
    let attempt = &jobq.job(id)["attempts"][0];
    let number = |field: &str| attempt[field].as_u64().unwrap();
    assert!(number("cpu_ms") > 0, "{attempt}");
    assert!(number("cpu_ms") <= number("duration_ms") + 20, "{attempt}");
    assert!(number("max_rss_bytes") > 500_000, "{attempt}");
    assert_eq!(
        (&attempt["exit_code"], &attempt["outcome"]),
        (&json!(3), &json!("failed"))
    );
    assert!(number("runner") > 0 && number("worker") > 0);
}

#[test]
fn nothing_of_the_runner_is_handed_down_to_a_command() {
    let jobq = Jobq::new();
    jobq.enqueue(&[
        "--shell",
        "ls /proc/self/fd; cat /proc/self/environ | tr '\\0' '\\n' | cut -d= -f1 | sort >names",
    ]);
    let run = jobq
        .call(&["run", "--drain"])
        .env("AWS_SECRET", "x")
        .env("NOTIFY_SOCKET", "/none");
    run.env("RUST_LOG", "error").run().exits(0);
    let shown = jobq.stdout(&["logs", "1"]);
    // What this process hands down itself, from whoever started it, is not the runner's.
    let own = Command::new("ls")
        .arg("/proc/self/fd")
        .stdin(Stdio::piped())
        .output();
    assert_eq!(shown, String::from_utf8(own.unwrap().stdout).unwrap());
    let names = jobq.read("names");
    for name in names
        .lines()
        .filter(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name))
    {
        let known = [
            "HOME",
            "JOBQ_ATTEMPT",
            "JOBQ_DB",
            "JOBQ_IDEMPOTENCY_KEY",
            "JOBQ_JOB_ID",
            "PATH",
            "TMPDIR",
        ];
        assert!(known.contains(&name), "{names}");
    }
}
