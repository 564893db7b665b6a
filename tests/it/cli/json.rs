//! The JSON that other programs rely on: which fields there are, and how times look.

use serde_json::{Value, json};

use super::support::{Jobq, text};
use crate::support::{PATIENCE, wait_until};

/// A job as JSON, in the order of the contract.
const JOB: [&str; 37] = [
    "id",
    "kind",
    "queue",
    "tenant",
    "tags",
    "state",
    "priority",
    "payload",
    "result",
    "error",
    "progress",
    "attempt",
    "retries_left",
    "max_retries",
    "backoff",
    "retry_delays_ms",
    "jitter",
    "timeout_ms",
    "unique_key",
    "key",
    "parent_id",
    "children",
    "depends_on",
    "schedule",
    "slot",
    "hooks",
    "hook_jobs",
    "hook_of",
    "traceparent",
    "run_at",
    "deadline",
    "created_at",
    "updated_at",
    "started_at",
    "finished_at",
    "runner",
    "worker",
];

const ATTEMPT: [&str; 11] = [
    "attempt",
    "outcome",
    "error",
    "started_at",
    "finished_at",
    "duration_ms",
    "cpu_ms",
    "max_rss_bytes",
    "exit_code",
    "runner",
    "worker",
];

/// The keys of an object in the order in which they are written.
fn keys_in_order(object: &str) -> Vec<String> {
    let value: Value = super::support::parse_json(object);
    let mut keys: Vec<(usize, String)> = value
        .as_object()
        .unwrap()
        .keys()
        .map(|key| (object.find(&format!("\"{key}\":")).unwrap(), key.clone()))
        .collect();
    keys.sort();
    keys.into_iter().map(|(_, key)| key).collect()
}

/// `2026-03-01T12:00:00.000Z`.
fn is_time(value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return false;
    };
    let shape: String = text
        .chars()
        .map(|char| if char.is_ascii_digit() { '0' } else { char })
        .collect();
    shape == "0000-00-00T00:00:00.000Z" && text.parse::<jiff::Timestamp>().is_ok()
}

fn assert_times(object: &Value, are_times: &[&str], are_null: &[&str]) {
    for field in are_times {
        assert!(is_time(&object[field]), "{field}: {object}");
    }
    for field in are_null {
        assert_eq!(object[field], Value::Null, "{field}: {object}");
    }
}

/// Jobs 1 to 4: completed with progress, failed, scheduled, pending; and the first while it ran.
fn scene() -> (Jobq, Value) {
    let jobq = Jobq::new();
    let script = "jobq progress 3/4; echo begun >begun; while [ ! -e gate ]; do sleep 0.02; done";
    jobq.enqueue(&["--timeout", "90s", "--shell", script]);
    jobq.enqueue(&["--retries", "0", "--", "false"]);
    let runner = jobq.runner(&[]);
    jobq.wait_for_line("begun");
    jobq.run(&["wait", "2"]).exits(4);
    wait_until("the worker is known", PATIENCE, || {
        jobq.job(1)["worker"].is_number()
    });
    let running = jobq.job(1);
    jobq.write("gate", "");
    jobq.run(&["wait", "1"]).exits(0);
    runner.stop().exits(0);
    jobq.enqueue(&["--in", "1h", "--", "true"]);
    jobq.enqueue(&["--kind", "k"]);
    (jobq, running)
}

#[test]
fn a_job_has_every_field_of_the_contract_in_every_state() {
    let (jobq, running) = scene();
    let mut of_one = [&JOB[..], &["attempts", "why"]].concat();
    of_one.sort_unstable();
    assert_eq!(keys_of(&running), of_one);
    let listed = jobq.stdout(&["list", "--json"]);
    assert_eq!(listed.lines().count(), 4);
    for line in listed.lines() {
        assert_eq!(keys_in_order(line), JOB, "{line}");
    }
    for id in 1..=4 {
        let job = jobq.job(id);
        assert_eq!(keys_of(&job), of_one);
        assert_eq!(keys_of(&job["why"]), ["hint", "message", "why"]);
        let for_later = [
            "tenant",
            "tags",
            "unique_key",
            "key",
            "parent_id",
            "children",
            "depends_on",
            "schedule",
            "slot",
        ];
        assert_times(&job, &["created_at", "updated_at"], &for_later);
    }
}

#[test]
fn a_field_of_a_job_is_null_where_it_does_not_apply() {
    let (jobq, running) = scene();
    let [completed, failed, scheduled, pending] = [1, 2, 3, 4].map(|id| jobq.job(id));
    let (begun, ended) = ("started_at", "finished_at");
    assert_times(&running, &[begun], &["run_at", ended, "result", "error"]);
    assert_times(&completed, &[begun, ended], &["run_at", "error"]);
    assert_times(
        &failed,
        &[begun, ended],
        &["result", "progress", "timeout_ms"],
    );
    assert_times(
        &scheduled,
        &["run_at"],
        &[begun, "runner", "worker", "progress"],
    );
    assert_times(
        &pending,
        &[],
        &["run_at", begun, ended, "payload", "runner"],
    );
    assert_eq!(running["timeout_ms"], 90_000);
    assert_eq!(running["attempt"], 1);
    let progress = json!({"percent": 75.0, "processed": 3, "total": 4, "message": null});
    assert_eq!(completed["progress"], progress);
}

fn keys_of(object: &Value) -> Vec<&String> {
    object.as_object().unwrap().keys().collect()
}

#[test]
fn an_attempt_has_every_field_while_it_runs_and_after() {
    let jobq = Jobq::new();
    let script = "[ $JOBQ_ATTEMPT = 1 ] && exit 9; echo begun >begun; while [ ! -e gate ]; do sleep 0.02; done";
    jobq.enqueue(&[
        "--retry-delay",
        "0s",
        "--backoff",
        "fixed",
        "--shell",
        script,
    ]);
    let runner = jobq.runner(&[]);
    jobq.wait_for_line("begun");
    let job = jobq.job(1);
    let attempts = job["attempts"].as_array().unwrap();
    let mut expected = ATTEMPT;
    expected.sort_unstable();
    for attempt in attempts {
        assert_eq!(keys_of(attempt), expected);
    }
    let [first, second] = &attempts[..] else {
        panic!("{attempts:?}")
    };
    assert_eq!(
        (&first["attempt"], &first["outcome"], &first["exit_code"]),
        (&json!(1), &json!("retry"), &json!(9))
    );
    assert_times(first, &["started_at", "finished_at"], &[]);
    assert_eq!(second["attempt"], 2);
    assert_times(
        second,
        &["started_at"],
        &[
            "outcome",
            "error",
            "finished_at",
            "duration_ms",
            "cpu_ms",
            "exit_code",
        ],
    );
    jobq.write("gate", "");
    runner.stop().exits(0);
    let line = jobq.stdout(&["status", "1", "--json"]);
    let (_, attempts) = line.split_once("\"attempts\":[").unwrap();
    let (first, _) = attempts.split_once('}').unwrap();
    assert_eq!(keys_in_order(&format!("{first}}}")), ATTEMPT);
}

#[test]
fn status_has_exactly_the_keys_of_the_contract() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--in", "1h", "--", "true"]);
    let runner = jobq.runner(&["-j", "1"]);
    let line = jobq.stdout(&["status", "--json"]);
    let status = super::support::parse_json(line.trim_end());
    assert_eq!(
        keys_of(&status),
        ["counts", "next_due_at", "queues", "runners"]
    );
    let counts = [
        "scheduled",
        "blocked",
        "pending",
        "running",
        "waiting",
        "completed",
        "failed",
        "cancelled",
    ];
    let (first, _) = line.split_once('}').unwrap();
    assert_eq!(
        keys_in_order(&format!(
            "{}}}",
            first.strip_prefix("{\"counts\":").unwrap()
        )),
        counts
    );
    assert!(is_time(&status["next_due_at"]));
    let seen = &status["runners"][0];
    let mut expected = [
        "id",
        "state",
        "pid",
        "host",
        "started_at",
        "heartbeat_at",
        "workers",
    ];
    expected.sort_unstable();
    assert_eq!(keys_of(seen), expected);
    assert_eq!(seen["state"], "idle");
    assert_times(seen, &["started_at", "heartbeat_at"], &[]);
    assert_eq!(
        seen["workers"],
        json!([{"worker": 1, "job": null, "kind": null, "since": null}])
    );
    runner.stop().exits(0);
    let empty = Jobq::new();
    empty.make_database();
    let empty = empty.stdout(&["status", "--json"]);
    assert!(
        empty.ends_with(",\"queues\":[],\"runners\":[],\"next_due_at\":null}\n"),
        "{empty}"
    );
}

#[test]
fn each_object_is_on_a_line_of_its_own_whatever_is_in_it() {
    let jobq = Jobq::new();
    jobq.enqueue(&[
        "--kind",
        "k",
        "--payload",
        "{\n\"a\":\r\n\"line\\nbreak\"\n}",
    ]);
    jobq.enqueue(&["--", "printf", "a\nb"]);
    let listed = jobq.stdout(&["list", "--json", "--sort", "oldest"]);
    let lines: Vec<Value> = listed.lines().map(super::support::parse_json).collect();
    assert_eq!(lines[0]["payload"], json!({"a": "line\nbreak"}));
    assert_eq!(lines[1]["payload"]["command"][1], "a\nb");
}

#[test]
fn errors_are_said_on_stderr_with_json_too() {
    let jobq = Jobq::new();
    jobq.make_database();
    let missing = jobq.run(&["status", "7", "--json"]).exits(3);
    assert_eq!(missing.stdout, "");
    assert!(missing.stderr.starts_with("error: no job 7"), "{missing:?}");
    let answer = jobq.json(&["pause", "q"]);
    assert_eq!(
        answer,
        json!({"queue": "q", "paused": true, "changed": true})
    );
    let events = jobq.json_lines(&["events"]);
    assert_eq!(text(&events[0]["kind"]), "queue_paused");
}
