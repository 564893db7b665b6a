//! Kinds with a handler in `jobq.toml`, and kinds that have none.

use std::fs;

use serde_json::json;

use super::support::{Jobq, text};

#[test]
fn a_script_of_the_config_file_gets_its_payload_on_stdin() {
    let jobq = Jobq::new();
    jobq.script(
        "thumbnail",
        "echo \"$1 $JOBQ_JOB_ID/$JOBQ_ATTEMPT\"; cat >payload; jobq result '\"cat.png\"'",
    );
    jobq.write(
        "jobq.toml",
        "[kinds.thumbnail]\ncommand = ['./thumbnail', 'a b']\ntimeout = '2m'\nretries = 2",
    );
    fs::create_dir(jobq.path("sub")).unwrap();
    let payload = r#"{"photo":"cat.jpg", "w": 10}"#;
    let id = jobq.enqueue(&["--kind", "thumbnail", "--payload", payload]);
    let job = jobq.job(id);
    assert_eq!(
        (&job["max_retries"], &job["timeout_ms"]),
        (&json!(2), &json!(120_000))
    );
    // Wherever the runner is started: the handler is relative to its config file.
    let elsewhere = ["run", "--drain", "--config", "../jobq.toml"];
    jobq.call(&elsewhere).cwd(jobq.path("sub")).run().exits(0);
    assert_eq!(jobq.read("payload"), payload);
    assert_eq!(jobq.stdout(&["logs", "1"]), "a b 1/1\n");
    assert_eq!(jobq.job(id)["result"], "cat.png");
}

#[test]
fn the_kind_timeout_applies_to_jobs_enqueued_without_one() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "slow", "--retries", "0"]);
    jobq.write(
        "jobq.toml",
        "[kinds.slow]\ncommand = ['sleep', '60']\ntimeout = '200ms'",
    );
    jobq.drain(&[]).exits(4);
    assert_eq!(jobq.job(1)["error"], "timed out after 200ms");
}

#[test]
fn config_file_defaults_apply_where_a_job_sets_nothing() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        "[defaults]\nretries = 9\nbackoff = 'linear'\ntimeout = '1h'",
    );
    let [plain, own] = [
        &["--", "true"][..],
        &["--retries", "1", "--timeout", "1s", "--", "true"],
    ]
    .map(|line| jobq.job(jobq.enqueue(line)));
    assert_eq!(
        (&plain["max_retries"], &plain["backoff"]),
        (&json!(9), &json!("linear"))
    );
    assert_eq!(
        (&own["max_retries"], &own["timeout_ms"]),
        (&json!(1), &json!(1000))
    );
    assert_eq!(plain["timeout_ms"], 3_600_000);
}

#[test]
fn jitter_can_be_said_wherever_backoff_can() {
    let jobq = Jobq::new();
    let jitter = |id: i64| jobq.job(id)["jitter"].as_bool().unwrap();
    assert!(jitter(jobq.enqueue(&["--kind", "plain"])));
    assert!(!jitter(jobq.enqueue(&["--no-jitter", "--kind", "plain"])));
    jobq.write(
        "jobq.toml",
        "[defaults]\njitter = false\n[kinds.spread]\njitter = true\n\
         [schedules.exact]\ncron = '@yearly'\nkind = 'spread'\njitter = false\n\
         [schedules.spread]\ncron = '@yearly'\nkind = 'spread'",
    );
    assert!(!jitter(jobq.enqueue(&["--kind", "plain"])));
    assert!(jitter(jobq.enqueue(&["--kind", "spread"])));
    assert!(jitter(jobq.enqueue(&["--jitter", "--kind", "plain"])));
    assert!(!jitter(jobq.enqueue(&["--no-jitter", "--kind", "spread"])));
    jobq.enqueue_batch(
        "{\"kind\":\"plain\",\"jitter\":true}\n{\"kind\":\"spread\"}\n{\"kind\":\"plain\"}",
    );
    assert_eq!([7, 8, 9].map(jitter), [true, true, false]);
    let runner = jobq.runner(&[]);
    runner.stop().exits(0);
    jobq.run(&["schedule", "run", "exact", "spread"]).exits(0);
    assert_eq!([10, 11].map(jitter), [false, true]);
    jobq.run(&["edit", "10", "--jitter"]).exits(0);
    assert!(jitter(10));
}

#[test]
fn a_kind_without_a_handler_stays_or_fails_as_is_asked_for() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "unknown"]);
    jobq.drain(&["--unknown-kinds", "keep"]).exits(0);
    assert_eq!(jobq.state(1), "pending");
    jobq.drain(&["--unknown-kinds", "fail"]).exits(4);
    let job = jobq.job(1);
    assert_eq!(job["state"], "failed");
    assert!(text(&job["error"]).contains("unknown"), "{job}");
    jobq.enqueue(&["--kind", "unknown"]);
    jobq.write("jobq.toml", "unknown_kinds = 'fail'");
    jobq.drain(&[]).exits(4);
    jobq.enqueue(&["--kind", "unknown"]);
    jobq.drain(&["--unknown-kinds", "keep"]).exits(0);
    assert_eq!(jobq.state(3), "pending");
}

#[test]
fn the_built_in_sleep_sleeps() {
    let jobq = Jobq::new();
    let payload = "{\"delay_ms\":120}";
    let id = jobq.enqueue(&["--kind", "sleep", "--payload", payload]);
    jobq.drain(&[]).exits(0);
    let job = jobq.job(id);
    assert!(
        job["attempts"][0]["duration_ms"].as_u64().unwrap() >= 120,
        "{job}"
    );
}

#[test]
fn a_handler_that_is_not_there_fails_its_jobs_and_nothing_else() {
    let jobq = Jobq::new();
    jobq.write("jobq.toml", "[kinds.broken]\ncommand = ['./none']");
    jobq.enqueue(&["--kind", "broken"]);
    jobq.enqueue(&["--", "true"]);
    jobq.drain(&[]).exits(4);
    assert_eq!([1, 2].map(|id| jobq.state(id)), ["failed", "completed"]);
    assert!(text(&jobq.job(1)["error"]).contains("command not found"));
}

/// A job's own options win, then those of its kind, then the defaults; tags are joined.
#[test]
fn each_option_can_be_given_for_all_jobs_and_for_a_kind() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        r#"
        [defaults]
        queue = "all"
        tenant = "acme"
        tags = { team = "ops", of = "all" }
        retries = 1
        [kinds.gpu]
        command = ["cat"]
        queue = "slow"
        priority = "low"
        key = "gpu"
        key_limit = 2
        unique_by_payload = true
        retries = 2
        jitter = false
        tags = { of = "kind" }
        "#,
    );
    jobq.enqueue(&["--", "true"]);
    jobq.enqueue(&["--kind", "gpu", "--payload", "1"]);
    jobq.enqueue(&[
        "--kind",
        "gpu",
        "--payload",
        "2",
        "--queue",
        "own",
        "--key",
        "own",
    ]);
    jobq.write("jobs.jsonl", r#"{"kind":"gpu","payload":1}"#);
    jobq.run(&["enqueue", "--batch", "jobs.jsonl"]).exits(0);
    let jobs = jobq.json_lines(&["list", "--sort", "oldest"]);
    let jobs: Vec<_> = jobs
        .iter()
        .map(|job| {
            let [queue, priority, tenant, key] =
                ["queue", "priority", "tenant", "key"].map(|name| job[name].clone());
            let [retries, tags] = ["max_retries", "tags"].map(|name| job[name].clone());
            json!([queue, priority, tenant, key, retries, tags])
        })
        .collect();
    let kind = json!({ "of": "kind", "team": "ops" });
    assert_eq!(
        jobs,
        [
            json!(["all", "normal", "acme", null, 1, { "of": "all", "team": "ops" }]),
            json!(["slow", "low", "acme", "gpu", 2, kind]),
            json!(["own", "low", "acme", "own", 2, kind]),
        ],
        "the line of the batch is a duplicate"
    );
}

/// What becomes of a duplicate is said by the kind: that its payload was not taken is told all the same.
#[test]
fn kind_duplicate_and_key_settings_apply_to_its_jobs_only() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        "[defaults]
        key = 'disk'
        key_limit = 2
        [kinds.once]
        unique = 'u'
        on_duplicate = 'replace'
        [kinds.strict]
        unique_by_payload = true
        on_duplicate = 'reject'",
    );
    // A group has nothing to do that a key could limit.
    jobq.enqueue(&["--kind", "group"]);
    jobq.enqueue(&["--kind", "once", "--payload", "1"]);
    jobq.run(&["cancel", "2"]).exits(0);
    jobq.enqueue(&["--kind", "once", "--unique-for", "1h"]);
    jobq.run(&["cancel", "3"]).exits(0);
    let again = jobq.run(&["enqueue", "--kind", "once", "--payload", "2"]);
    assert!(again.exits(1).stderr.contains("payload was not taken"));
    jobq.write("jobs.jsonl", r#"{"kind":"once","payload":3}"#);
    let again = jobq.run(&["enqueue", "--batch", "jobs.jsonl"]).exits(1);
    let told = &again.stderr;
    assert!(told.contains("1 payload was not taken"), "{told}");
    let strict = ["enqueue", "--kind", "strict", "--unique-by-payload"];
    jobq.run(&strict).exits(0);
    jobq.run(&strict).fails(1, &["already has the unique key"]);
    jobq.run(&[
        "enqueue",
        "--kind",
        "strict",
        "--payload",
        "1",
        "--key-limit",
        "3",
    ])
    .exits(0);
}
