//! Rules and filters for many jobs at once: batches with labels, and verbs that take a filter.

use serde_json::{Value, json};

use super::support::{Jobq, Output, parse_json};

/// Jobs 1 to 6: of tenant `acme` the odd ones; tagged `env=prod` the first four, the first two of
/// them also `size=big`; 5 and 6 in queue `q`; 6 of kind `k`.
fn scene() -> Jobq {
    let jobq = Jobq::new();
    let lines = [
        r#"{"shell":"exit 1","retries":0,"tenant":"acme","tags":{"env":"prod","size":"big"}}"#,
        r#"{"shell":"exit 1","retries":0,"tags":{"env":"prod","size":"big"}}"#,
        r#"{"shell":"true","tenant":"acme","tags":{"env":"prod"}}"#,
        r#"{"shell":"true","tags":{"env":"prod"}}"#,
        r#"{"shell":"true","tenant":"acme","queue":"q"}"#,
        r#"{"kind":"k","queue":"q"}"#,
    ];
    jobq.enqueue_batch(&lines.join("\n"));
    jobq
}

fn listed(jobq: &Jobq, filter: &[&str]) -> Vec<i64> {
    let jobs = jobq.json_lines(&[&["list", "--sort", "oldest"], filter].concat());
    jobs.iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

/// The jobs that a call with --json has told of.
fn told(output: &Output) -> Vec<i64> {
    let lines = output.stdout.lines().map(parse_json);
    lines.map(|line| line["id"].as_i64().unwrap()).collect()
}

#[test]
fn jobs_are_listed_by_tenant_and_by_all_of_the_tags() {
    let jobq = scene();
    let list = |filter: &[&str]| listed(&jobq, filter);
    assert_eq!(list(&["--tenant", "acme"]), [1, 3, 5]);
    assert_eq!(list(&["--tag", "env=prod"]), [1, 2, 3, 4]);
    assert_eq!(list(&["--tag", "env=prod", "--tag", "size=big"]), [1, 2]);
    assert_eq!(list(&["--tag", "size=big", "--tenant", "acme"]), [1]);
    assert_eq!(list(&["--tag", "size=small"]), [0; 0]);
    assert_eq!(list(&["--tenant", "acme", "--queue", "q"]), [5]);
    let job = jobq.job(1);
    assert_eq!(job["tenant"], "acme");
    assert_eq!(job["tags"], json!({"env": "prod", "size": "big"}));
    let shown = jobq.stdout(&["status", "1"]);
    assert!(shown.contains("\ntenant\tacme\n"), "{shown}");
    assert!(shown.contains("\ntags\tenv=prod, size=big\n"), "{shown}");
    jobq.run(&["list", "--tag", "prod"])
        .fails(2, &["'prod'", "NAME=VALUE"]);
}

#[test]
fn events_are_told_by_tenant_and_by_all_of_the_tags() {
    let jobq = scene();
    let enqueued = |filter: &[&str]| -> Vec<i64> {
        let events = jobq.json_lines(&[&["events", "--kind", "job_enqueued"], filter].concat());
        let jobs = events.iter().map(|event| event["job"].as_i64().unwrap());
        jobs.collect()
    };
    assert_eq!(enqueued(&["--tenant", "acme"]), [1, 3, 5]);
    assert_eq!(
        enqueued(&["--tag", "env=prod", "--tag", "size=big"]),
        [1, 2]
    );
    assert_eq!(
        enqueued(&["--tag", "env=prod", "--tenant", "acme", "-n", "1"]),
        [3]
    );
    assert_eq!(enqueued(&["--tag", "size=small"]), [0; 0]);
    jobq.run(&["cancel", "1"]).exits(0);
    jobq.run(&["remove", "1"]).exits(0);
    assert_eq!(enqueued(&["--tenant", "acme"]), [3, 5]);
    let of_runners = jobq.json_lines(&["events", "--tenant", "nobody"]);
    assert_eq!(of_runners, [json!(null); 0]);
}

#[test]
fn cancel_takes_a_filter_and_leaves_other_jobs_alone() {
    let jobq = scene();
    let cancelled = jobq.run(&["cancel", "--json", "--tag", "env=prod", "--tenant", "acme"]);
    let cancelled = cancelled.exits(0);
    assert_eq!(told(&cancelled), [1, 3]);
    assert_eq!(cancelled.stderr, "2 jobs cancelled or asked to stop\n");
    let again = jobq.run(&["cancel", "--tag", "env=prod", "--tenant", "acme"]);
    let again = again.exits(0);
    assert_eq!(
        (&*again.stdout, &*again.stderr),
        ("", "no live job matches\n")
    );
    assert_eq!(jobq.count("pending"), 4);
    jobq.run(&["cancel", "--state", "failed"])
        .fails(2, &["failed jobs cannot be cancelled", "pending"]);
    jobq.run(&["cancel"]).fails(2, &["--queue"]);
    jobq.run(&["cancel", "1", "--queue", "q"])
        .fails(2, &["cannot be used with"]);
    assert_eq!(told(&jobq.run(&["cancel", "--json", "--kind", "k"])), [6]);
    assert_eq!(
        told(&jobq.run(&["cancel", "--json", "--state", "pending"])),
        [2, 4, 5]
    );
}

#[test]
fn the_failed_jobs_of_a_filter_are_put_back_and_removed() {
    let jobq = scene();
    jobq.drain(&["--queue", "default"]).exits(4);
    assert_eq!(listed(&jobq, &["--state", "failed"]), [1, 2]);
    let retried = jobq.run(&["retry", "--failed", "--json", "--tenant", "acme"]);
    let retried = retried.exits(0);
    assert_eq!(
        (told(&retried), &*retried.stderr),
        (vec![1], "1 job will run again\n")
    );
    let none = jobq.run(&["retry", "--failed", "--queue", "q"]).exits(0);
    assert_eq!(none.stderr, "no failed job matches\n");
    jobq.run(&["retry", "--queue", "q"]).fails(2, &["--failed"]);
    let removed = jobq
        .run(&["remove", "--json", "--tag", "env=prod"])
        .exits(0);
    assert_eq!(told(&removed), [2, 3, 4]);
    assert_eq!(removed.stderr, "3 jobs removed\n");
    assert_eq!(listed(&jobq, &[]), [1, 5, 6]);
}

#[test]
fn waiting_for_a_filter_is_waiting_for_its_jobs() {
    let jobq = scene();
    jobq.drain(&["--queue", "default"]).exits(4);
    let failed = jobq.run(&["wait", "--tag", "size=big"]).exits(4);
    assert!(
        failed
            .stderr
            .starts_with("waiting for 2 jobs\njob 1 failed")
    );
    let narrow = ["wait", "--tag", "env=prod", "--state", "completed"];
    jobq.run(&narrow).exits(0);
    let late = ["wait", "--queue", "q", "--timeout", "0s"];
    jobq.run(&late).exits(124);
    let nobody = jobq.run(&["wait", "--tenant", "nobody"]);
    nobody.fails(3, &["no job matches"]);
}

#[test]
fn the_children_of_a_job_are_cancelled_by_their_parent() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "group"]);
    for _ in 0..2 {
        jobq.enqueue(&["--parent", "1", "--", "true"]);
    }
    jobq.enqueue(&["--", "true"]);
    let cancelled = jobq.run(&["cancel", "--json", "--parent", "1"]).exits(0);
    assert_eq!(told(&cancelled), [2, 3]);
    assert_eq!(jobq.state(4), "pending");
}

#[test]
fn lines_of_a_batch_refer_to_earlier_ones_by_label() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let text = concat!(
        "{\"shell\":\"true\",\"label\":\"fetch\"}\n",
        "{\"shell\":\"true\",\"label\":\"left\",\"after\":[\"fetch\",1]}\n",
        "{\"shell\":\"true\",\"label\":\"right\",\"after\":[\"fetch\"]}\n",
        "{\"shell\":\"true\",\"after\":[\"left\"],\"after_any\":[\"right\"]}\n",
        "{\"kind\":\"group\",\"label\":\"all\"}\n",
        "{\"shell\":\"true\",\"parent\":\"all\"}\n",
    );
    let check = |first: i64| {
        let id = |line: i64| first + line;
        for (line, depends_on) in [
            (0, json!(null)),
            (1, json!([1, id(0)])),
            (2, json!([id(0)])),
            (3, json!([id(1), id(2)])),
        ] {
            assert_eq!(jobq.job(id(line))["depends_on"], depends_on, "{line}");
        }
        assert_eq!(jobq.job(id(5))["parent_id"], id(4));
    };
    let told = jobq
        .call(&["enqueue", "--json", "--batch", "-"])
        .stdin(text);
    let told = told.run().exits(0).stdout;
    let states: Vec<Value> = told.lines().map(parse_json).collect();
    let states: Vec<_> = states.iter().map(|job| &job["state"]).collect();
    assert_eq!(
        states,
        [
            "pending", "blocked", "blocked", "blocked", "waiting", "pending"
        ]
    );
    check(2);
    let chunked = ["enqueue", "--chunk", "1", "--batch", "-"];
    jobq.call(&chunked).stdin(text).run().exits(0);
    check(8);
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.count("completed"), 13);
}

#[test]
fn an_unknown_label_or_number_is_named_by_line_and_none_added() {
    let jobq = Jobq::new();
    for (text, code, words) in [
        (
            "{\"kind\":\"k\",\"after\":[\"b\"]}\n{\"kind\":\"k\",\"label\":\"b\"}",
            2,
            ["stdin line 1: ", "label 'b'"],
        ),
        (
            "{\"kind\":\"k\",\"label\":\"a\"}\n\n{\"kind\":\"k\",\"label\":\"a\"}",
            2,
            ["stdin line 3: ", "label 'a' is that of line 1"],
        ),
        (
            "{\"kind\":\"k\"}\n{\"kind\":\"k\",\"after\":[99]}",
            3,
            ["stdin line 2: there is no job 99", "wait for"],
        ),
    ] {
        let call = jobq.call(&["enqueue", "--batch", "-"]).stdin(text);
        call.run().fails(code, &words);
    }
    assert_eq!(jobq.total(), 0);
}

#[test]
fn options_go_for_every_line_that_does_not_say_otherwise() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "group"]);
    let text = concat!(
        "{\"kind\":\"k\"}\n",
        "{\"kind\":\"k\",\"queue\":\"own\",\"tags\":{\"b\":\"own\"},\"in\":\"1h\"}\n",
    );
    let options = [
        "enqueue",
        "--batch",
        "-",
        "--queue",
        "usual",
        "--tenant",
        "acme",
        "--tag",
        "a=1",
        "--tag",
        "b=2",
        "--parent",
        "1",
        "--at",
        "2100-01-01T00:00:00Z",
        "--key",
        "disk",
    ];
    jobq.call(&options).stdin(text).run().exits(0);
    let [first, second] = [2, 3].map(|id| jobq.job(id));
    assert_eq!(
        (&first["queue"], &second["queue"]),
        (&json!("usual"), &json!("own"))
    );
    assert_eq!(first["run_at"], "2100-01-01T00:00:00.000Z");
    assert_ne!(second["run_at"], first["run_at"]);
    assert_eq!(second["tags"], json!({"a": "1", "b": "own"}));
    for job in [&first, &second] {
        assert_eq!(
            (&job["tenant"], &job["parent_id"], &job["key"]),
            (&json!("acme"), &json!(1), &json!("disk"))
        );
    }
}

#[test]
fn duplicates_in_a_batch_are_told_as_such() {
    let jobq = Jobq::new();
    let line = "{\"kind\":\"k\",\"payload\":1,\"unique_by_payload\":true}\n";
    let other = "{\"kind\":\"k\",\"payload\":2,\"unique\":\"two\",\"on_duplicate\":\"keep\"}\n";
    let text = [line, line, other, line].concat();
    let told = jobq
        .call(&["enqueue", "--json", "--batch", "-"])
        .stdin(&text);
    let told = told.run().exits(0).stdout;
    let told: Vec<Value> = told.lines().map(parse_json).collect();
    let job =
        |id: i64, duplicate: bool| json!({"id": id, "state": "pending", "duplicate": duplicate});
    assert_eq!(
        told,
        [job(1, false), job(1, true), job(2, false), job(1, true)]
    );
    let again = jobq.call(&["enqueue", "--chunk", "1", "--batch", "-"]);
    assert_eq!(again.stdin(&text).run().exits(0).stdout, "1\n1\n2\n1\n");
    assert_eq!(jobq.total(), 2);
    let rejected = text.replace("keep", "reject");
    let rejected = jobq.call(&["enqueue", "--batch", "-"]).stdin(rejected);
    rejected.run().fails(1, &["'two'"]);
}
