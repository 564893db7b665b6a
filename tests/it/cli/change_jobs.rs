//! The verbs that change jobs and queues: cancel, retry, edit, remove, pause, resume.

use serde_json::{Value, json};

use super::support::{Jobq, millisecond, text};
use crate::support::process::is_alive;

const GATED: &str = "while [ ! -e gate ]; do sleep 0.02; done";

#[test]
fn a_pending_job_is_cancelled_at_once_and_never_runs() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "touch", "ran"]);
    jobq.enqueue(&["--in", "1h", "--", "touch", "ran"]);
    let cancelled = jobq.run(&["cancel", "1-2"]).exits(0);
    assert_eq!(cancelled.stdout, "job 1 cancelled\njob 2 cancelled\n");
    jobq.drain(&[]).exits(0);
    assert!(!jobq.path("ran").exists());
    assert_eq!((jobq.count("cancelled"), jobq.total()), (2, 2));
    let again = jobq.run(&["cancel", "1"]);
    again.fails(1, &["job 1 is cancelled already"]);
}

#[test]
fn a_running_job_is_cancelled_within_a_second_with_its_children() {
    let jobq = Jobq::new();
    jobq.script("job", "sleep 300 & echo $! >child; wait");
    let id = jobq.enqueue(&["--", "./job"]);
    let runner = jobq.runner(&[]);
    let child: u32 = jobq.wait_for_line("child").parse().unwrap();
    let answer = jobq.json(&["cancel", "1"]);
    assert_eq!(answer, json!({"id": 1, "result": "cancel_requested"}));
    jobq.run(&["wait", "1"]).exits(4);
    assert!(!is_alive(child));
    let job = jobq.job(id);
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&json!("cancelled"), &json!(1))
    );
    assert_eq!(job["attempts"][0]["outcome"], "cancelled");
    let told = [
        "events",
        "--kind",
        "job_cancel_requested",
        "--kind",
        "job_cancelled",
    ];
    let moments = jobq
        .json_lines(&told)
        .into_iter()
        .map(|event| millisecond(&event["at"]));
    let moments: Vec<i64> = moments.collect();
    assert!(
        moments.len() == 2 && moments[1] - moments[0] < 1000,
        "{moments:?}"
    );
    runner.stop().exits(0);
}

#[test]
fn a_final_job_is_retried_with_its_history_kept() {
    let jobq = Jobq::new();
    let script = "[ -e fixed ] || exit 1";
    jobq.enqueue(&["--retries", "1", "--retry-delay", "0s", "--shell", script]);
    jobq.drain(&[]).exits(4);
    jobq.write("fixed", "");
    let retried = jobq.run(&["retry", "1"]).exits(0);
    assert_eq!(retried.stdout, "job 1 is pending again\n");
    let job = jobq.job(1);
    assert_eq!(
        (&job["state"], &job["retries_left"]),
        (&json!("pending"), &json!(1))
    );
    assert_eq!(job["finished_at"], Value::Null);
    jobq.run(&["retry", "1"])
        .fails(1, &["job 1 is pending; only final jobs"]);
    jobq.drain(&[]).exits(0);
    let job = jobq.job(1);
    let attempts = job["attempts"].as_array().unwrap();
    let outcomes: Vec<String> = attempts
        .iter()
        .map(|attempt| text(&attempt["outcome"]))
        .collect();
    assert_eq!(outcomes, ["retry", "failed", "completed"]);
    assert_eq!(job["result"], json!({"exit_code": 0}));
}

#[test]
fn all_that_has_failed_is_retried_and_nothing_else() {
    let jobq = Jobq::new();
    for script in ["exit 1", "exit 0", "exit 1"] {
        jobq.enqueue(&["--retries", "0", "--shell", script]);
    }
    jobq.drain(&[]).exits(4);
    jobq.enqueue(&["--", "true"]);
    jobq.run(&["cancel", "4"]).exits(0);
    let retried = jobq.json_lines(&["retry", "--failed"]);
    assert_eq!(
        retried,
        [
            json!({"id": 1, "result": "pending"}),
            json!({"id": 3, "result": "pending"})
        ]
    );
    let states = [1, 2, 3, 4].map(|id| jobq.state(id));
    assert_eq!(states, ["pending", "completed", "pending", "cancelled"]);
    let none = jobq.run(&["retry", "--failed"]).exits(0);
    assert_eq!(
        (none.stdout.as_str(), none.stderr.as_str()),
        ("", "no job has failed\n")
    );
}

#[test]
fn what_does_not_run_is_edited_and_what_runs_is_not() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--in", "1h", "--shell", "exit 1"]);
    let changed = jobq.run(&[
        "edit",
        "1",
        "--queue",
        "q",
        "--priority",
        "high",
        "--retries",
        "9",
        "--backoff",
        "fixed",
        "--retry-delay",
        "3s",
        "--timeout",
        "5s",
        "--at",
        "2100-01-01T00:00:00Z",
        "--payload",
        r#"{"shell":"exit 0"}"#,
    ]);
    assert_eq!(changed.exits(0).stdout, "job 1 edited\n");
    let job = jobq.job(1);
    for (field, expected) in [
        ("queue", json!("q")),
        ("priority", json!("high")),
        ("max_retries", json!(9)),
        ("backoff", json!("fixed")),
        ("timeout_ms", json!(5000)),
        ("run_at", json!("2100-01-01T00:00:00.000Z")),
        ("state", json!("scheduled")),
    ] {
        assert_eq!(job[field], expected, "{field}");
    }
    assert_eq!(job["payload"]["shell"], json!("exit 0"));
    jobq.run(&["edit", "1", "--in", "0s"]).exits(0);
    assert_eq!(jobq.state(1), "pending");
    jobq.drain(&[]).exits(0);

    jobq.enqueue(&["--shell", &format!("echo begun >begun; {GATED}")]);
    let runner = jobq.runner(&[]);
    jobq.wait_for_line("begun");
    let running = jobq.run(&["edit", "2", "--retries", "1"]);
    let running = running.fails(1, &["job 2 is running and cannot be edited"]);
    assert!(running.hint().contains("jobq cancel 2"));
    jobq.write("gate", "");
    runner.stop().exits(0);
}

#[test]
fn a_bad_edit_changes_nothing() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let before = jobq.stdout(&["status", "1", "--json"]);
    for (change, word) in [
        (["--payload", "{bad"], "`b` in place of a key"),
        (["--payload", "{\"comand\":[\"x\"]}"], "comand"),
        (["--queue", ""], "empty"),
        (["--priority", "top"], "urgent"),
    ] {
        jobq.run(&["edit", "1", change[0], change[1]])
            .fails(2, &[word]);
    }
    jobq.run(&["edit", "1", "--in", "1h"])
        .fails(1, &["only a scheduled job"]);
    assert_eq!(jobq.stdout(&["status", "1", "--json"]), before);
    jobq.enqueue(&["--kind", "k"]);
    jobq.run(&["edit", "2", "--payload", "{bad"]).fails(
        2,
        &["error: the payload is not JSON: `b` in place of a key"],
    );
}

#[test]
fn a_final_job_is_removed_and_its_number_is_never_given_again() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "echo", "x"]);
    let pending = jobq.run(&["remove", "1"]);
    let pending = pending.fails(1, &["job 1 is pending; only final jobs can be removed"]);
    assert_eq!(pending.hint(), "cancel it first: `jobq cancel 1`");
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.stdout(&["remove", "1"]), "job 1 removed\n");
    jobq.run(&["status", "1"]).fails(3, &["no job 1"]);
    jobq.run(&["events", "--job", "1"]).fails(3, &["no job 1"]);
    assert_eq!(jobq.total(), 0);
    assert_eq!(jobq.enqueue(&["--", "true"]), 2);
}

#[test]
fn a_paused_queue_starts_nothing_until_it_is_resumed() {
    let jobq = Jobq::new();
    jobq.make_database();
    let paused = jobq.run(&["pause", "q"]).exits(0);
    assert_eq!(paused.stdout, "queue 'q' is paused; it has no jobs yet\n");
    assert!(paused.stderr.starts_with("hint: "), "{paused:?}");
    assert_eq!(
        jobq.stdout(&["pause", "q"]),
        "queue 'q' was paused already\n"
    );
    jobq.enqueue(&["--queue", "q", "--", "true"]);
    jobq.enqueue(&["--", "true"]);
    // Two runners, one after the other: a pause outlives them.
    for _ in 0..2 {
        jobq.drain(&[]).exits(0);
        assert_eq!([1, 2].map(|id| jobq.state(id)), ["pending", "completed"]);
    }
    let runner = jobq.runner(&[]);
    assert_eq!(jobq.stdout(&["resume", "q"]), "queue 'q' is resumed\n");
    jobq.run(&["wait", "1"]).exits(0);
    runner.stop().exits(0);
    assert_eq!(jobq.stdout(&["resume", "q"]), "queue 'q' was not paused\n");
    assert_eq!(jobq.stdout(&["pause", "q"]), "queue 'q' is paused\n");
}

#[test]
fn a_pause_of_all_queues_holds_each_and_lets_running_jobs_end() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", &format!("echo begun >begun; {GATED}")]);
    let runner = jobq.runner(&[]);
    jobq.wait_for_line("begun");
    assert_eq!(
        jobq.json(&["pause"]),
        json!({"queue": null, "paused": true, "changed": true})
    );
    jobq.enqueue(&["--queue", "new", "--", "true"]);
    jobq.write("gate", "");
    jobq.run(&["wait", "1"]).exits(0);
    assert_eq!(jobq.state(2), "pending");
    let queues = jobq.json_lines(&["queue", "list"]);
    assert!(
        queues
            .iter()
            .all(|queue| queue["paused"] == true && queue["paused_at"].is_string())
    );
    runner.stop().exits(0);
    jobq.enqueue(&["--queue", "newer", "--", "true"]);
    let left = jobq.drain(&[]).exits(0);
    let told: Vec<&str> = left
        .stderr
        .lines()
        .filter(|line| line.starts_with("left: "))
        .collect();
    assert_eq!(told, ["left: 2 jobs: everything is paused"]);
    jobq.run(&["resume"]).exits(0);
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.count("completed"), 3);
}

#[test]
fn resuming_all_names_the_queues_that_stay_paused() {
    let jobq = Jobq::new();
    jobq.make_database();
    jobq.run(&["pause", "my queue"]).exits(0);
    jobq.run(&["pause"]).exits(0);
    let resumed = jobq.run(&["resume"]).exits(0);
    assert!(
        resumed.stderr.contains("`jobq resume 'my queue'`"),
        "{resumed:?}"
    );
    let queues = jobq.json_lines(&["queue", "list"]);
    assert_eq!(
        (&queues[0]["name"], &queues[0]["paused"]),
        (&json!("my queue"), &json!(true))
    );
}
