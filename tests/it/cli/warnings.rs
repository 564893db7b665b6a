//! What is not as it was meant is said, and the exit code tells it.

use std::process::{Command, Stdio};

use super::support::{Jobq, search_path};
use crate::support::{PATIENCE, wait_for, wait_until};

#[test]
fn a_filter_that_no_job_fits_in_any_state_is_told_as_such() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--tag", "a=1", "--kind", "k"]);
    for verb in [
        &["wait"][..],
        &["cancel"],
        &["remove"],
        &["retry", "--failed"],
    ] {
        for typo in [["--tag", "typo=1"], ["--queue", "typo"], ["--kind", "typo"]] {
            jobq.run(&[verb, &typo].concat())
                .fails(3, &["no job matches"]);
        }
    }
    // There is one, and nothing to do to it.
    for verb in [
        &["remove", "--tag", "a=1"][..],
        &["retry", "--failed", "--tag", "a=1"],
    ] {
        jobq.run(verb).exits(0);
    }
    jobq.run(&["wait", "--state", "failed"]).exits(0);
    jobq.run(&["retry", "--failed"]).exits(0);
}

#[test]
fn a_number_that_no_job_has_is_told_wherever_one_is_taken() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "group"]);
    for verb in [
        &["status"][..],
        &["why"],
        &["logs"],
        &["logs", "-f"],
        &["wait"],
        &["cancel"],
        &["retry"],
        &["remove"],
        &["edit", "--retries", "1"],
        &["events", "--job"],
        &["events", "-f", "--job"],
        &["list", "--parent"],
        &["logs", "--parent"],
        &["wait", "--parent"],
        &["cancel", "--parent"],
    ] {
        let refused = jobq.run(&[verb, &["9"]].concat()).fails(3, &["no job 9"]);
        assert!(refused.hint().contains("jobq list"), "{verb:?}");
    }
    assert_eq!(jobq.stdout(&["list", "--parent", "1"]), "");
    // Children outlive their parent.
    jobq.enqueue(&["--parent", "1", "--", "true"]);
    jobq.drain(&[]).exits(0);
    jobq.run(&["remove", "1"]).exits(0);
    assert_eq!(
        jobq.run(&["list", "--parent", "1"]).exits(0).rows().len(),
        1
    );
}

#[test]
fn a_job_that_is_cancelled_at_once_is_told_with_the_reason() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--shell", "exit 1"]);
    jobq.drain(&[]).exits(4);
    let late = jobq
        .run(&["enqueue", "--after", "1", "--", "true"])
        .exits(4);
    assert_eq!(late.stdout, "2\n");
    assert!(
        late.stderr
            .contains("job 2 was cancelled at once: job 1, which it waits for, failed"),
        "{late:?}"
    );
    assert!(late.stderr.contains("jobq retry 1 2"), "{late:?}");
    let lines = "{\"shell\":\"true\",\"after\":1}\n".repeat(3);
    let batch = jobq
        .call(&["enqueue", "--batch", "-"])
        .stdin(lines)
        .run()
        .exits(4);
    assert!(
        batch.stderr.contains("3 jobs were cancelled at once"),
        "{batch:?}"
    );
    assert_eq!(jobq.count("cancelled"), 4);
}

#[test]
fn what_is_missing_of_a_range_is_one_line() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "k"]);
    jobq.enqueue(&["--kind", "k"]);
    jobq.run(&["cancel", "2"]).exits(0);
    for verb in ["remove", "cancel", "retry", "status"] {
        let answer = jobq.run(&[verb, "2-1000000"]);
        let answer = answer.exits(3);
        assert!(answer.stderr.lines().count() < 10, "{verb}: {answer:?}");
        assert!(answer.stderr.contains("no such jobs: "), "{answer:?}");
    }
    jobq.run(&["edit", "5-9", "--retries", "1"])
        .fails(3, &["no such jobs: 5-9 (5 of them)"]);
    jobq.run(&["remove", "7"]).fails(3, &["no job 7"]);
}

#[test]
fn a_queue_without_jobs_is_hinted_at() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--queue", "images", "--", "true"]);
    let drained = jobq.drain(&["--queue", "typo"]).exits(0);
    assert_eq!(
        drained.hint(),
        "queue 'typo' has no jobs yet; jobs wait in images (1)"
    );
    let drained = jobq.drain(&["--queue", "images"]).exits(0);
    assert!(!drained.stderr.contains("hint"), "{drained:?}");
}

#[test]
fn a_drain_with_failures_says_how_to_run_them_again() {
    let jobq = Jobq::new();
    for command in ["exit 1", "true", "exit 1", "exit 1"] {
        jobq.enqueue(&["--retries", "0", "--shell", command]);
    }
    let drained = jobq.drain(&[]).exits(4);
    assert_eq!(drained.hint(), "`jobq retry 1 3-4` runs again what failed");
    jobq.write("jobs.jsonl", "{\"shell\":\"exit 1\",\"retries\":0}\n");
    let drained = jobq.drain(&["-f", "jobs.jsonl"]).exits(4);
    assert!(
        drained.hint().contains("`jobq retry 5` only what failed"),
        "{drained:?}"
    );
}

#[test]
fn a_wait_tells_of_an_attempt_that_failed_and_of_the_next() {
    let jobq = Jobq::new();
    let runner = jobq.runner(&["-j", "1"]);
    jobq.script("flaky", "[ -e tried ] || { touch tried; exit 3; }");
    let enqueue = [
        "enqueue",
        "--wait",
        "--backoff",
        "fixed",
        "--retry-delay",
        "1s",
        "--",
        "./flaky",
    ];
    let waited = jobq.run(&enqueue).exits(0);
    assert!(waited.stderr.contains("job 1 "), "{waited:?}");
    assert!(waited.stderr.contains("exit code 3"), "{waited:?}");
    runner.stop().exits(0);
}

#[test]
fn a_second_drain_of_a_batch_waits_for_the_first() {
    let jobq = Jobq::new();
    jobq.write(
        "jobs.jsonl",
        r#"{"shell":"echo >begun; while [ ! -e gate ]; do sleep 0.02; done; exit 1","retries":0}"#,
    );
    let first = jobq.spawn(&["run", "--drain", "-f", "jobs.jsonl"]);
    jobq.wait_for_line("begun");
    let mut second = jobq.spawn(&["run", "--drain", "-f", "jobs.jsonl"]);
    second.wait_until_said("going on with");
    wait_until("the second runner is there", PATIENCE, || {
        let runners = jobq.json(&["status"])["runners"].clone();
        runners.as_array().is_some_and(|runners| runners.len() == 2)
    });
    assert!(!second.has_ended());
    jobq.write("gate", "");
    first.wait().exits(4);
    second.wait().exits(4);
}

#[test]
fn who_follows_for_a_reader_that_goes_ends_with_it() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "k"]);
    jobq.enqueue(&["--kind", "k"]);
    // Of those whose exit code says how a job has ended it is no success.
    for (words, code) in [
        (&["events", "-f", "--since", "0"][..], 0),
        (&["logs", "-f", "1"], 0),
        (&["logs", "-f", "1-2"], 0),
        (&["logs", "-f"], 0),
        (&["status", "--watch"], 0),
        (&["wait", "1"], 141),
        (&["wait", "1", "2", "--json"], 141),
        (&["wait", "--kind", "k"], 141),
    ] {
        let mut child = Command::new("jobq")
            .args(words)
            .env("PATH", search_path())
            .env("JOBQ_DB", jobq.db())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = wait_for(&format!("{words:?} ends"), PATIENCE, || {
            child.try_wait().unwrap()
        });
        assert_eq!(ended.code(), Some(code), "{words:?}");
    }
}

#[test]
fn a_wait_whose_reader_goes_before_the_last_line_is_no_success() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    jobq.drain(&[]).exits(0);
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let mut wait = jobq.call(&["wait", "1", "--json"]).into_command();
    let wait = wait.stdout(write).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(wait.status.code(), Some(141));
    assert_eq!(wait.stderr, b"");
}
