//! What a job is about is shown beside how it ended, and beside the worker that runs it.

use super::support::Jobq;

#[test]
fn a_failed_job_is_listed_with_its_command_and_its_error() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--", "sh", "-c", "exit 3"]);
    jobq.drain(&[]).exits(4);
    let list = jobq.stdout(&["list"]);
    assert!(list.contains("sh -c 'exit 3': exit code 3"), "{list}");
    let status = jobq.stdout(&["status"]);
    let failure = status.lines().find(|line| line.starts_with("failure\t"));
    let fields: Vec<_> = failure.unwrap().split('\t').collect();
    assert_eq!(fields[4..], ["exit code 3", "sh -c 'exit 3'"], "{status}");
}

#[test]
fn a_worker_is_shown_with_the_command_that_it_runs() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "sh", "-c", "echo here >ran; sleep 30"]);
    let runner = jobq.runner(&["-j", "1"]);
    jobq.wait_for_line("ran");
    let status = jobq.stdout(&["status"]);
    let worker = status.lines().find(|line| line.starts_with("worker\t"));
    let what = worker.unwrap().rsplit('\t').next();
    assert_eq!(what, Some("sh -c 'echo here >ran; sleep 30'"), "{status}");
    runner.kill();
}
