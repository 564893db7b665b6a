//! A list of delays before retries, wherever a job's options can be given.

use serde_json::{Value, json};

use super::support::{Jobq, millisecond};
use crate::support::{PATIENCE, wait_until};

const LIST: [&str; 2] = ["--retry-delays", "5s,5m,2h"];
const LIST_MS: [i64; 3] = [5000, 300_000, 7_200_000];

fn retried(job: &Value) -> [&Value; 4] {
    ["retry_delays_ms", "max_retries", "backoff", "jitter"].map(|field| &job[field])
}

#[test]
fn a_list_shows_in_place_of_a_backoff() {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&[&LIST[..], &["--", "true"]].concat());
    let expected = [json!(LIST_MS), json!(3), Value::Null, json!(false)];
    assert_eq!(retried(&jobq.job(id)), expected.each_ref());
    assert_eq!(retried(&jobq.json_lines(&["list"])[0]), expected.each_ref());
    let shown = jobq.stdout(&["status", "1"]);
    assert!(shown.contains("3 of 3 left, after 5s, 5m, 2h"), "{shown}");
    let id = jobq.enqueue(&[&LIST[..], &["--retries", "9", "--jitter", "--", "true"]].concat());
    let expected = [json!(LIST_MS), json!(9), Value::Null, json!(true)];
    assert_eq!(retried(&jobq.job(id)), expected.each_ref());
    let shown = jobq.stdout(&["status", "2"]);
    assert!(shown.contains("5s, 5m, 2h with jitter"), "{shown}");
}

#[test]
fn a_command_is_retried_when_its_list_says() {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&["--retry-delays", "0s,10ms", "--", "false"]);
    jobq.drain(&[]).exits(4);
    let job = jobq.job(id);
    assert_eq!(
        (&job["attempt"], &job["state"]),
        (&json!(3), &json!("failed"))
    );
    let id = jobq.enqueue(&[&LIST[..], &["--", "false"]].concat());
    let runner = jobq.runner(&[]);
    wait_until("the first retry is due", PATIENCE, || {
        jobq.state(id) == "scheduled"
    });
    runner.stop().exits(0);
    let retry = jobq
        .json_lines(&["events", "--kind", "job_retry"])
        .pop()
        .unwrap();
    assert_eq!(retry["job"], json!(id));
    let due = millisecond(&jobq.job(id)["run_at"]);
    assert_eq!(due - millisecond(&retry["at"]), 5000);
}

#[test]
fn a_list_can_be_given_wherever_a_backoff_can() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        "[defaults]\nretry_delays = ['1s', '2s']\n[kinds.listed]\nretry_delays = ['3s']\nretries = 4\n\
         [kinds.backoff]\nbackoff = 'fixed'\n[schedules.often]\ncron = '@yearly'\nkind = 'listed'\n\
         retry_delays = ['6s', '7s']",
    );
    let mut seen = Vec::new();
    let mut add = |line: &[&str]| {
        let job = jobq.job(jobq.enqueue(line));
        seen.push(json!([
            job["retry_delays_ms"],
            job["max_retries"],
            job["jitter"]
        ]));
    };
    add(&["--kind", "plain"]);
    add(&["--kind", "plain", "--retries", "7"]);
    add(&["--kind", "plain", "--backoff", "fixed"]);
    add(&["--kind", "listed"]);
    add(&["--kind", "listed", "--retry-delays", "8s"]);
    add(&["--kind", "backoff"]);
    let runner = jobq.runner(&[]);
    runner.stop().exits(0);
    jobq.run(&["schedule", "run", "often"]).exits(0);
    jobq.enqueue_batch("{\"kind\":\"listed\",\"retry_delays\":[\"9s\"],\"retries\":2}");
    for id in [7, 8] {
        let job = jobq.job(id);
        seen.push(json!([
            job["retry_delays_ms"],
            job["max_retries"],
            job["jitter"]
        ]));
    }
    assert_eq!(
        Value::from(seen),
        json!([
            [[1000, 2000], 2, false],
            [[1000, 2000], 7, false],
            [null, 2, true],
            [[3000], 4, false],
            [[8000], 1, false],
            [null, 2, true],
            [[6000, 7000], 2, false],
            [[9000], 2, false]
        ])
    );
}

#[test]
fn an_edit_gives_a_list_and_takes_it_away() {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&["--in", "1h", "--", "true"]);
    jobq.run(&[&["edit", "1"], &LIST[..]].concat()).exits(0);
    let expected = [json!(LIST_MS), json!(3), Value::Null, json!(false)];
    assert_eq!(retried(&jobq.job(id)), expected.each_ref());
    jobq.run(&["edit", "1", "--backoff", "fixed", "--jitter"])
        .exits(0);
    let expected = [Value::Null, json!(3), json!("fixed"), json!(true)];
    assert_eq!(retried(&jobq.job(id)), expected.each_ref());
}

#[test]
fn a_list_that_contradicts_is_refused_where_it_stands() {
    let jobq = Jobq::new();
    let with = |options: &[&str]| jobq.run(&[&["enqueue"], options, &["--", "true"]].concat());
    with(&["--retry-delays", "5s", "--backoff", "fixed"]).fails(2, &["cannot be used with"]);
    with(&["--retry-delays", "5s", "--retry-delay", "1s"]).fails(2, &["cannot be used with"]);
    with(&["--retry-delays", "5s,soon"]).fails(2, &["soon", "1h30m"]);
    let batch = |line: &str| {
        jobq.write("batch", line);
        jobq.run(&["enqueue", "--batch", "batch"])
    };
    batch(r#"{"command":["true"],"retry_delays":["5s"],"retry_delay":"1s"}"#)
        .fails(2, &["line 1", "given twice"]);
    batch(r#"{"command":["true"],"retry_delays":[]}"#).fails(2, &["line 1", "empty"]);
    batch(r#"{"command":["true"],"retry_delays":["5"]}"#).fails(2, &["line 1", "lacks a unit"]);
    for (config, said) in [
        (
            "[defaults]\nretry_delays = ['5s']\nbackoff = 'fixed'",
            "[defaults]",
        ),
        (
            "[kinds.k]\nretry_delays = ['5s']\nretry_delay = '1s'",
            "[kinds.k]",
        ),
    ] {
        jobq.write("jobq.toml", config);
        with(&[]).fails(2, &[said, "given twice"]);
    }
}
