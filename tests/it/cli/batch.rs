//! `jobq enqueue --batch`: many jobs, all or nothing.

use serde_json::{Value, json};

use super::support::{Jobq, parse_json};

const THREE: &str = concat!(
    "{\"kind\":\"k\",\"payload\":{\"n\": 1}}\n",
    "\n",
    "{\"command\":[\"echo\",\"a b\"],\"queue\":\"q\",\"priority\":\"high\",\"in\":\"1h\",\"retries\":2}\r\n",
    "{\"shell\":\"true\",\"env\":{\"A\":\"1\"},\"cwd\":\"sub\",\"fail_on\":\"3\",\"timeout\":\"5s\"}",
);

#[test]
fn a_batch_comes_from_a_file_or_a_pipe_and_each_job_is_named() {
    let jobq = Jobq::new();
    jobq.write("jobs.jsonl", THREE);
    let piped = jobq.run(&["enqueue", "--batch", "jobs.jsonl"]).exits(0);
    assert_eq!(piped.stdout, "1\n2\n3\n");
    let json = jobq
        .call(&["enqueue", "--json", "--batch", "-"])
        .stdin(THREE);
    let lines = json.run().exits(0).stdout;
    let lines: Vec<Value> = lines.lines().map(parse_json).collect();
    let state = |id: i64, state: &str| json!({"id": id, "state": state, "duplicate": false});
    assert_eq!(
        lines,
        [
            state(4, "pending"),
            state(5, "scheduled"),
            state(6, "pending")
        ]
    );
    assert_eq!(jobq.total(), 6);
}

#[test]
fn a_line_says_what_the_options_say() {
    let jobq = Jobq::new();
    jobq.enqueue_batch(THREE);
    let [first, second, third] = [1, 2, 3].map(|id| jobq.job(id));
    assert_eq!(
        (&first["kind"], &first["payload"]),
        (&json!("k"), &json!({"n": 1}))
    );
    assert_eq!(second["payload"]["command"], json!(["echo", "a b"]));
    assert_eq!(
        (&second["queue"], &second["priority"]),
        (&json!("q"), &json!("high"))
    );
    assert_eq!(
        (&second["state"], &second["max_retries"]),
        (&json!("scheduled"), &json!(2))
    );
    let payload = &third["payload"];
    assert_eq!(
        (&payload["shell"], &payload["env"]["A"]),
        (&json!("true"), &json!("1"))
    );
    assert_eq!(payload["cwd"], json!(jobq.path("sub").to_str().unwrap()));
    assert_eq!(
        (&payload["fail_on"], &third["timeout_ms"]),
        (&json!("3"), &json!(5000))
    );
}

#[test]
fn a_bad_line_is_named_by_its_number_and_nothing_is_added() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "before"]);
    let good = "{\"kind\":\"k\"}\n";
    let cases: [(&[u8], &str); 15] = [
        (b"{\"kind\":\"k\"", "column"),
        (b"[1]", "not a JSON object"),
        (b"kind: k", "not a JSON object"),
        (b"{}", "one of 'command', 'shell' and 'kind'"),
        (b"{\"kind\":\"k\",\"shell\":\"x\"}", "one of"),
        (b"{\"command\":[]}", "empty"),
        (b"{\"command\":\"ls -l\"}", "'command': "),
        (b"{\"kind\":7}", "'kind': "),
        (b"{\"kind\":\"k\",\"in\":\"soon\"}", "90s"),
        (b"{\"kind\":\"k\",\"priority\":\"top\"}", "urgent"),
        (b"{\"kind\":\"k\",\"retries\":-1}", "'retries': "),
        (b"{\"kind\":\"\"}", "kind is empty"),
        (b"{\"kind\":\"caf\xe9\"}", "not UTF-8 from byte 13"),
        (b"{\"kind\":\"a\0b\"}", "NUL"),
        (b"{\"kind\":\"exec\",\"payload\":{\"comand\":[]}}", "comand"),
    ];
    for (bad, word) in cases {
        let text = [
            good.repeat(3).as_bytes(),
            b"\n",
            bad,
            b"\n",
            good.as_bytes(),
        ]
        .concat();
        for chunk in [&[][..], &["--chunk", "1"]] {
            let line = [&["enqueue", "--batch", "-"][..], chunk].concat();
            jobq.call(&line)
                .stdin(&text)
                .run()
                .fails(2, &["stdin line 5: ", word]);
        }
    }
    assert_eq!(jobq.total(), 1);
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let jobq = Jobq::new();
    let text = "{\"kind\":\"k\"}\n{\"kind\":\"k\",\"retires\":3}\n";
    jobq.write("jobs.jsonl", text);
    let refused = jobq.run(&["enqueue", "--batch", "jobs.jsonl"]);
    let refused = refused.fails(2, &["jobs.jsonl line 2: unknown key 'retires'"]);
    assert_eq!(refused.hint(), "did you mean 'retries'?");
    assert_eq!(jobq.total(), 0);
}

#[test]
fn a_line_over_the_payload_limit_is_named_and_nothing_is_added() {
    let jobq = Jobq::new();
    let large = "x".repeat(16 * 1024 * 1024);
    let text = format!("{{\"kind\":\"k\"}}\n{{\"kind\":\"k\",\"payload\":\"{large}\"}}\n");
    jobq.write("jobs.jsonl", text);
    let refused = jobq.run(&["enqueue", "--batch", "jobs.jsonl"]);
    refused.fails(2, &["line 2", "16777218", "16777216"]);
    assert_eq!(jobq.total(), 0);
}

#[test]
fn chunks_are_committed_one_by_one_and_told_in_order() {
    let jobq = Jobq::new();
    let text = "{\"kind\":\"k\"}\n".repeat(1000);
    let chunked = jobq
        .call(&["enqueue", "--chunk", "300", "--batch", "-"])
        .stdin(text);
    let chunked = chunked.run().exits(0);
    let expected: String = (1..=1000).map(|id| format!("{id}\n")).collect();
    assert_eq!(chunked.stdout, expected);
    // The jobs of one transaction were enqueued at one moment.
    let jobs = jobq.json_lines(&["list", "--sort", "oldest"]);
    let mut moments: Vec<&Value> = jobs.iter().map(|job| &job["created_at"]).collect();
    moments.dedup();
    assert_eq!(jobs.len(), 1000);
    assert!(moments.len() <= 4, "{moments:?}");
}

#[test]
fn a_batch_that_holds_nothing_adds_nothing_and_says_so() {
    let jobq = Jobq::new();
    for text in ["", "\n \r\n\n", "\u{feff}"] {
        let call = jobq.call(&["enqueue", "-q", "--batch", "-"]).stdin(text);
        assert_eq!(call.run().exits(0).stdout, "");
    }
    let call = jobq.call(&["enqueue", "--batch", "-"]).stdin("");
    assert!(call.run().exits(0).stderr.contains("stdin holds no jobs"));
    assert_eq!(jobq.total(), 0);
}

#[test]
fn a_batch_that_is_no_readable_file_is_refused() {
    let jobq = Jobq::new();
    jobq.run(&["enqueue", "--batch", "none"])
        .fails(1, &["none", "No such file"]);
    jobq.run(&["enqueue", "--batch", "."])
        .fails(1, &["irectory"]);
}

#[test]
fn a_job_of_a_batch_that_is_not_added_is_named_by_its_line() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--unique", "old", "--", "true"]);
    let twice = concat!(
        "{\"kind\":\"k\"}\n\n",
        "{\"kind\":\"k\",\"unique\":\"zz\"}\n",
        "{\"kind\":\"k\",\"unique\":\"zz\",\"on_duplicate\":\"reject\"}\n",
    );
    let old = "{\"kind\":\"k\",\"unique\":\"old\",\"on_duplicate\":\"reject\"}\n";
    let circle = concat!(
        "{\"kind\":\"group\",\"label\":\"p\"}\n",
        "{\"kind\":\"k\",\"parent\":\"p\",\"after\":[\"p\"]}\n",
    );
    let refused = |lines: &str| jobq.call(&["enqueue", "--batch", "-"]).stdin(lines).run();
    let at_4 = "line 4: the job of line 3 already has the unique key 'zz'";
    let told = refused(twice).fails(1, &[at_4]);
    assert!(!told.stderr.contains("jobq status"), "{told:?}");
    let real = "line 1: job 1 already has the unique key 'old'";
    refused(old).fails(1, &[real, "`jobq status 1`"]);
    let at_2 = "line 2: the job would wait for the job of line 1, which is its parent";
    refused(circle).fails(2, &[at_2]);
    assert_eq!(jobq.total(), 1);
}
