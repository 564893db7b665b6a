//! What a user gives as JSON is kept as it is, or refused with the reason: never changed, and never such
//! that what jobq prints cannot be read.

use rusqlite::Connection;

use super::support::Jobq;

fn deep(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

#[test]
fn what_other_json_readers_refuse_is_refused_with_the_place() {
    let jobq = Jobq::new();
    let deep = deep(101);
    for (payload, why) in [
        (r#""\ud800""#, "\\ud800 is half of a surrogate pair"),
        (r#"{"\udfff":1}"#, "\\udfff is half of a surrogate pair"),
        (&deep, "more than 100 arrays and objects"),
        ("1e400", "too large for other JSON readers"),
        ("NaN", "`N` in place of a value (line 1, column 1)"),
        ("\u{feff}{}", "a byte order mark"),
        (
            "{\"a\":\n'b'}",
            "`'` in place of a value (line 2, column 1)",
        ),
    ] {
        let enqueue = ["enqueue", "--kind", "k", "--payload", payload];
        jobq.run(&enqueue).fails(2, &["JSON: ", why]);
        let add = ["schedule", "add", "n", "@daily", "--kind", "k", "--payload"];
        jobq.run(&[&add[..], &[payload]].concat()).fails(2, &[why]);
        let line = format!(
            "{{\"kind\":\"k\",\"payload\":{}}}",
            payload.replace('\n', " ")
        );
        let batch = jobq.call(&["enqueue", "--batch", "-"]).stdin(line);
        let word = why.split('(').next().unwrap();
        batch
            .run()
            .fails(2, &["stdin line 1: it is not JSON: ", word, "column"]);
    }
    assert_eq!(jobq.total(), 0);
    jobq.enqueue(&["--kind", "k"]);
    let edit = ["edit", "1", "--payload", r#""\ud800""#];
    jobq.run(&edit).fails(2, &["half of a surrogate pair"]);
}

#[test]
fn a_result_or_a_tag_that_others_cannot_read_is_refused_too() {
    let jobq = Jobq::new();
    jobq.enqueue(&[
        "--retries",
        "0",
        "--shell",
        r#"jobq result '"\ud800"' 2>said; jobq result "$(cat deep)" 2>>said"#,
    ]);
    jobq.write("deep", deep(101));
    jobq.drain(&[]);
    let said = jobq.read("said");
    assert!(said.contains("half of a surrogate pair"), "{said}");
    assert!(said.contains("more than 100"), "{said}");
    let line = r#"{"kind":"k","tags":{"a":"\ud800"}}"#;
    let batch = jobq.call(&["enqueue", "--batch", "-"]).stdin(line);
    batch
        .run()
        .fails(2, &["stdin line 1: ", "half of a surrogate pair"]);
}

#[test]
fn a_list_is_json_whatever_the_file_holds() {
    let jobq = Jobq::new();
    for _ in 0..5 {
        jobq.enqueue(&["--kind", "k"]);
    }
    let conn = Connection::open(jobq.db()).unwrap();
    let write = |id: i64, payload: &str| {
        let sql = "UPDATE jobq_payload SET payload = ?2 WHERE job_id = ?1";
        conn.execute(sql, rusqlite::params![id, payload]).unwrap();
        let sql = "INSERT INTO jobq_outcome (job_id, result) VALUES (?1, ?2)";
        conn.execute(sql, rusqlite::params![id, payload]).unwrap();
    };
    write(1, r#""\ud800""#);
    write(2, &deep(5000));
    write(3, "1e999");
    write(4, "{bad");
    let jobs = jobq.json_lines(&["list", "--sort", "oldest"]);
    assert_eq!(jobs.len(), 5);
    assert_eq!(jobs[0]["payload"], "\"\\ud800\"");
    assert_eq!(jobs[1]["result"], deep(5000));
    assert_eq!(jobs[3]["payload"], "{bad");
    assert_eq!(jobs[4]["payload"], serde_json::Value::Null);
    for id in ["1", "2", "3", "4"] {
        jobq.json(&["status", id]);
    }
}

#[test]
fn payloads_that_differ_in_a_digit_are_two_by_their_unique_key() {
    let jobq = Jobq::new();
    let add = |payload: &str| {
        let options = ["--kind", "k", "--unique-by-payload", "--payload", payload];
        jobq.enqueue(&options)
    };
    for (number, payload) in [
        r#"{"id":123456789012345678901}"#,
        r#"{"id":123456789012345678902}"#,
        "0.12345678901234567890",
        "0.12345678901234567891",
        r#"{"a":1,"a":2}"#,
        r#"{"a":2}"#,
        "1",
        "1.0",
        "1e0",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(add(payload), number as i64 + 1, "{payload}");
    }
    for (payload, same) in [
        (r#"{ "id" : 123456789012345678901 }"#, 1),
        (r#"{"\u0061":2}"#, 6),
        (" 1 ", 7),
    ] {
        assert_eq!(add(payload), same, "{payload}");
    }
}

#[test]
fn a_mistake_in_a_batch_is_told_with_its_key_in_plain_words() {
    let jobq = Jobq::new();
    for (line, words) in [
        (
            r#"{"command":"ls -l"}"#,
            r#"'command': found the text "ls -l", expected a list of texts"#,
        ),
        (
            r#"{"kind":7}"#,
            "'kind': found the number 7, expected a text",
        ),
        (
            r#"{"kind":"k","retries":-1}"#,
            "'retries': found the number -1",
        ),
        (
            r#"{"kind":"k","priority":"top"}"#,
            "'priority': there is no 'top'; it can be low",
        ),
        (
            r#"{"kind":"k","in":"soon"}"#,
            "'in': invalid duration 'soon'",
        ),
        (
            r#"{"kind":"k","tags":["a"]}"#,
            "'tags': found a list, expected an object",
        ),
        (
            r#"{"kind":"exec","payload":{"command":"ls"}}"#,
            r#"'command': found the text "ls""#,
        ),
    ] {
        let batch = jobq.call(&["enqueue", "--batch", "-"]).stdin(line);
        let refused = batch.run().fails(2, &["stdin line 1: ", words]);
        for serde in ["invalid type", "invalid value", "variant", "sequence"] {
            assert!(!refused.stderr.contains(serde), "{refused:?}");
        }
    }
    let batch = jobq
        .call(&["enqueue", "--batch", "-"])
        .stdin(r#"{"cmd":["ls"]}"#);
    let refused = batch.run().fails(2, &["unknown key 'cmd'"]);
    assert_eq!(refused.hint(), "did you mean 'command'?");
    jobq.write("jobq.toml", "[kinds.k]\ncommand = \"./x\"\n");
    jobq.run(&["status"]).fails(
        2,
        &["jobq.toml line 2: 'command': found the text \"./x\", expected a list"],
    );
}

#[test]
fn a_bare_command_hints_at_the_dashes() {
    let jobq = Jobq::new();
    let refused = jobq
        .run(&["enqueue", "ls"])
        .fails(2, &["unexpected argument 'ls'"]);
    assert_eq!(
        refused.hint(),
        "a command follows two dashes: jobq enqueue -- ls"
    );
    let words = ["enqueue", "--queue", "q", "cp", "-r", "a b", "c"];
    let refused = jobq.run(&words).fails(2, &["'cp'"]);
    assert_eq!(
        refused.hint(),
        "a command follows two dashes: jobq enqueue --queue q -- cp -r 'a b' c"
    );
    let words = ["schedule", "add", "n", "@daily", "make", "all"];
    let refused = jobq.run(&words).fails(2, &["'make'"]);
    assert!(
        refused.hint().ends_with("add n @daily -- make all"),
        "{refused:?}"
    );
}
