//! What an attempt was told to stop for decides its outcome, whatever exit code it ends with.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{Jobq, text};
use crate::support::{PATIENCE, wait_until};

/// A polite server: ends with 0 on SIGTERM, as servers, Python and Node do. It has a result already.
const POLITE: &str = "trap 'echo told >>told; exit 0' TERM
    jobq result '{\"half\": true}'; echo begun >begun; sleep 60 & wait";

/// A job of kind `exec`, and one of a kind that is a command: the same holds for both.
const KINDS: [&[&str]; 2] = [&["--", "./polite"], &["--kind", "polite"]];

fn with_polite() -> Jobq {
    let jobq = Jobq::new();
    jobq.script("polite", POLITE);
    jobq.write("jobq.toml", "[kinds.polite]\ncommand = ['./polite']");
    jobq
}

fn outcomes(job: &Value) -> Vec<String> {
    let attempts = job["attempts"].as_array().unwrap();
    attempts.iter().map(|it| text(&it["outcome"])).collect()
}

fn enqueue(jobq: &Jobq, options: &[&str], kind: &[&str]) -> i64 {
    jobq.enqueue(&[options, kind].concat())
}

#[test]
fn exit_0_after_a_timeout_is_a_timeout() {
    for kind in KINDS {
        let jobq = with_polite();
        let id = enqueue(&jobq, &["--timeout", "300ms", "--retries", "0"], kind);
        jobq.drain(&[]).exits(4);
        let job = jobq.job(id);
        assert_eq!(jobq.read("told"), "told\n");
        assert_eq!(
            (&job["state"], &job["error"], &job["result"]),
            (
                &json!("failed"),
                &json!("timed out after 300ms"),
                &Value::Null
            )
        );
        assert_eq!(job["attempts"][0]["exit_code"], 0);
    }
}

#[test]
fn exit_0_after_a_timeout_is_retried_as_any_timeout() {
    let jobq = with_polite();
    let options = [
        "--timeout",
        "300ms",
        "--retries",
        "1",
        "--retry-delay",
        "0s",
    ];
    let id = enqueue(&jobq, &options, KINDS[0]);
    jobq.drain(&[]).exits(4);
    assert_eq!(outcomes(&jobq.job(id)), ["retry", "failed"]);
}

#[test]
fn exit_0_after_a_cancel_from_another_process_is_cancelled() {
    for kind in KINDS {
        let jobq = with_polite();
        let id = enqueue(&jobq, &[], kind);
        let runner = jobq.runner(&[]);
        jobq.wait_for_line("begun");
        jobq.run(&["cancel", "1"]).exits(0);
        wait_until("it has ended", PATIENCE, || jobq.state(id) != "running");
        assert_eq!(jobq.state(id), "cancelled");
        assert_eq!(jobq.read("told"), "told\n");
        runner.stop().exits(0);
    }
}

#[test]
fn exit_0_after_a_second_interrupt_is_given_back_at_no_cost() {
    for (kind, signal) in KINDS.into_iter().zip([Signal::INT, Signal::TERM]) {
        let jobq = with_polite();
        let id = enqueue(&jobq, &["--retries", "0"], kind);
        let runner = jobq.runner(&[]);
        jobq.wait_for_line("begun");
        runner.signal(signal);
        runner.wait_until_said("stopping");
        runner.signal(signal);
        runner.wait();
        let job = jobq.job(id);
        assert_eq!(
            (&job["state"], &job["retries_left"], &job["attempt"]),
            (&json!("pending"), &json!(0), &json!(1))
        );
        assert_eq!(jobq.read("told"), "told\n");
    }
}

#[test]
fn exit_0_of_its_own_before_anybody_said_stop_is_completed() {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&["--timeout", "10s", "--shell", "echo done"]);
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.state(id), "completed");
}
