//! `jobq enqueue`: what a job gets, and what becomes of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;

use super::support::{Jobq, text};

/// Words that a shell would not leave alone.
const WORDS: [&str; 16] = [
    "two words",
    "it's",
    "\"quoted\"",
    "$HOME",
    "${x:?}",
    "`id`",
    "$(id)",
    "line\nbreak\n",
    "",
    "-rf",
    "--",
    "--json",
    "*",
    "a;b|c&d>e",
    "back\\slash",
    "grüße 😀",
];

#[test]
fn a_command_gets_its_words_exactly_as_they_were_given() {
    let jobq = Jobq::new();
    jobq.script(
        "show",
        r#"for word in "$@"; do printf '%s\0' "$word"; done >words"#,
    );
    let line = [&["--", "./show"][..], &WORDS].concat();
    jobq.enqueue(&line);
    assert_eq!(jobq.job(1)["payload"]["command"], json!(line[1..]));
    jobq.drain(&[]).exits(0);
    let words = jobq.read("words");
    let words: Vec<&str> = words.split_terminator('\0').collect();
    assert_eq!(words, WORDS);
}

#[test]
fn a_shell_looks_at_the_text_of_shell_only() {
    let jobq = Jobq::new();
    jobq.enqueue(&[
        "--shell",
        "echo one two | wc -w >words; echo $((6 * 7)) >sum",
    ]);
    jobq.enqueue(&["--", "touch", "a; touch b", "$HOME"]);
    jobq.drain(&[]).exits(0);
    assert_eq!(
        (jobq.read("words").trim(), jobq.read("sum").trim()),
        ("2", "42")
    );
    assert!(jobq.path("a; touch b").exists() && jobq.path("$HOME").exists());
    assert!(!jobq.path("b").exists());
}

#[test]
fn a_command_stores_only_its_directory_and_a_few_variables() {
    let jobq = Jobq::new();
    jobq.script(
        "show",
        "pwd; echo $LANG; echo $HOME; echo ${SECRET-none} ${NAMED-none} ${GIVEN-none}",
    );
    let line = [
        "enqueue",
        "--env",
        "NAMED",
        "--env",
        "GIVEN=x=y",
        "--",
        "./show",
    ];
    let call = jobq
        .call(&line)
        .env("SECRET", "s3cret")
        .env("NAMED", "n")
        .env("LANG", "C.UTF-8");
    call.run().exits(0);
    let payload = &jobq.job(1)["payload"];
    let env = payload["env"].as_object().unwrap();
    let names: Vec<&String> = env.keys().collect();
    assert_eq!(names, ["GIVEN", "HOME", "LANG", "NAMED", "PATH", "TMPDIR"]);
    assert_eq!(text(&payload["cwd"]), jobq.work().to_str().unwrap());

    let elsewhere = jobq
        .call(&["run", "--drain"])
        .cwd("/")
        .env("HOME", "/nowhere");
    elsewhere
        .env("SECRET", "of the runner")
        .env("LANG", "C")
        .run()
        .exits(0);
    let shown = jobq.stdout(&["logs", "1"]);
    let (work, home) = (jobq.work(), jobq.folder().join("home"));
    let expected = format!(
        "{}\nC.UTF-8\n{}\nnone n x=y\n",
        work.display(),
        home.display()
    );
    assert_eq!(shown, expected);
}

#[test]
fn a_variable_that_is_not_set_here_is_refused() {
    let jobq = Jobq::new();
    let refused = jobq.run(&["enqueue", "--env", "NAMED", "--", "true"]);
    let refused = refused.fails(2, &["NAMED is not set here"]);
    assert_eq!(refused.hint(), "give it a value: NAMED=VALUE");
    jobq.run(&["enqueue", "--env", "=x", "--", "true"])
        .fails(2, &["cannot be the name"]);
}

#[test]
fn a_payload_is_kept_letter_for_letter_however_it_is_given() {
    let jobq = Jobq::new();
    let json = r#"{"b": 1.0, "a":[12345678901234567890123,-0.0,1e300], "ü":"\u00fc"}"#;
    jobq.write("payload.json", json);
    let line = ["enqueue", "--kind", "k", "--payload"];
    jobq.call(&line).arg(json).run().exits(0);
    jobq.call(&line).arg("@payload.json").run().exits(0);
    jobq.call(&line).arg("-").stdin(json).run().exits(0);
    for id in ["1", "2", "3"] {
        let shown = jobq.stdout(&["status", id, "--json"]);
        assert!(shown.contains(&format!(r#","payload":{json},"#)), "{shown}");
    }
    jobq.enqueue(&["--kind", "k"]);
    assert_eq!(jobq.job(4)["payload"], json!(null));
    for number in ["-1", "0.5", "\"-\"", "true"] {
        let id = jobq.enqueue(&["--kind", "k", "--payload", number]);
        assert_eq!(jobq.job(id)["payload"].to_string(), number);
    }
}

#[test]
fn a_payload_that_is_not_json_is_refused_and_nothing_added() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let payload = |text: &[u8]| {
        let call = jobq.call(&["enqueue", "--kind", "k", "--payload", "-"]);
        call.stdin(text).run()
    };
    for (bad, word) in [
        (&b"{\"a\":1"[..], "JSON"),
        (b"", "JSON"),
        (b"plain", "JSON"),
        (b"1 2", "JSON"),
        (b"{'a':1}", "JSON"),
        (b"\"a\0b\"", "JSON"),
        (b"\"caf\xe9\"", "not UTF-8 from byte 5"),
        (b"NaN", "JSON"),
    ] {
        payload(bad).fails(2, &[word]);
    }
    let deep = "[".repeat(100_000);
    payload(deep.as_bytes()).fails(2, &["JSON"]);
    jobq.run(&["enqueue", "--kind", "k", "--payload", "@none.json"])
        .fails(1, &["none.json", "No such file"]);
    assert_eq!(jobq.total(), 1);
}

#[test]
fn a_payload_over_the_limit_is_refused_with_both_sizes() {
    let jobq = Jobq::new();
    let limit = 16 * 1024 * 1024;
    let string = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    jobq.write("fits.json", string(limit));
    jobq.write("large.json", string(limit + 1));
    jobq.enqueue(&["--kind", "k", "--payload", "@fits.json"]);
    let large = jobq.run(&["enqueue", "--kind", "k", "--payload", "@large.json"]);
    large.fails(2, &["16777217", "16777216"]);
    let edited = jobq.run(&["edit", "1", "--payload", "@large.json"]);
    edited.fails(2, &["16777217", "16777216"]);
    assert_eq!(jobq.total(), 1);
}

#[test]
fn what_is_no_text_is_refused_in_a_command_and_named() {
    let jobq = Jobq::new();
    let odd = OsStr::from_bytes(b"caf\xe9");
    let line = ["enqueue", "--", "cp"].map(OsStr::new);
    let refused = jobq.run(&[&line[..], &[odd]].concat());
    refused.fails(2, &["argument 1", "caf\\xE9", "not UTF-8"]);
    let shell = ["enqueue", "--shell"].map(OsStr::new);
    jobq.run(&[&shell[..], &[odd]].concat())
        .fails(2, &["--shell"]);
    let folder = jobq.folder().join(odd);
    fs::create_dir(&folder).unwrap();
    let call = jobq.call(&["enqueue", "--", "true"]).cwd(&folder);
    call.run().fails(1, &["working directory", "not UTF-8"]);
    assert!(!jobq.db().exists());
}

#[test]
fn names_of_kinds_and_queues_are_checked() {
    let jobq = Jobq::new();
    let long = "k".repeat(201);
    for (option, name, word) in [
        ("--kind", "", "empty"),
        ("--kind", &long, "201"),
        ("--kind", "a\nb", "control"),
        ("--queue", "", "empty"),
        ("--queue", &long, "201"),
        ("--queue", "a\tb", "control"),
    ] {
        let line = match option {
            "--kind" => vec!["enqueue", "--kind", name],
            _ => vec!["enqueue", "--queue", name, "--", "true"],
        };
        jobq.run(&line).fails(2, &[word]);
    }
    let id = jobq.enqueue(&[
        "--kind",
        "größe/x y",
        "--queue",
        "'; DROP TABLE jobq_job; --",
    ]);
    let job = jobq.job(id);
    assert_eq!(
        (text(&job["kind"]), text(&job["queue"])),
        ("größe/x y".into(), "'; DROP TABLE jobq_job; --".into())
    );
}

#[test]
fn every_option_arrives() {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&[
        "--queue",
        "images",
        "--priority",
        "urgent",
        "--at",
        "2100-01-02T03:04:05Z",
        "--retries",
        "7",
        "--backoff",
        "quadratic",
        "--retry-delay",
        "1m30s",
        "--no-jitter",
        "--timeout",
        "2 days",
        "--fail-on",
        "2,64-78",
        "--",
        "true",
    ]);
    let job = jobq.job(id);
    for (field, expected) in [
        ("state", json!("scheduled")),
        ("queue", json!("images")),
        ("priority", json!("urgent")),
        ("run_at", json!("2100-01-02T03:04:05.000Z")),
        ("max_retries", json!(7)),
        ("retries_left", json!(7)),
        ("backoff", json!("quadratic")),
        ("jitter", json!(false)),
        ("timeout_ms", json!(172_800_000)),
    ] {
        assert_eq!(job[field], expected, "{field}");
    }
    assert_eq!(job["payload"]["fail_on"], "2,64-78");
    let shown = jobq.stdout(&["status", "1"]);
    assert!(
        shown.contains("quadratic backoff from 1m 30s without jitter"),
        "{shown}"
    );
}

#[test]
fn a_program_reads_the_id_and_a_person_what_to_do_next() {
    let jobq = Jobq::new();
    let first = jobq.run(&["enqueue", "--", "true"]).exits(0);
    assert_eq!(first.stdout, "1\n");
    assert_eq!(
        first.stderr,
        "hint: no runner is active; start one with `jobq run`\n"
    );
    let quiet = jobq.run(&["enqueue", "-q", "--", "true"]).exits(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("2\n", ""));
    let json = jobq.stdout(&["enqueue", "--json", "--", "true"]);
    assert_eq!(
        json,
        "{\"id\":3,\"state\":\"pending\",\"duplicate\":false}\n"
    );
    let json = jobq.stdout(&["--json", "enqueue", "--in", "1h", "--", "true"]);
    assert_eq!(
        json,
        "{\"id\":4,\"state\":\"scheduled\",\"duplicate\":false}\n"
    );
    let runner = jobq.runner(&[]);
    let served = jobq.run(&["enqueue", "--", "true"]).exits(0);
    assert_eq!(served.stderr, "", "a runner is alive");
    runner.stop().exits(0);
}

#[test]
fn waiting_ends_with_the_job() {
    let jobq = Jobq::new();
    let runner = jobq.runner(&[]);
    let good = jobq.run(&["enqueue", "--wait", "--", "true"]).exits(0);
    assert_eq!((good.stdout.as_str(), good.stderr.as_str()), ("1\n", ""));
    let bad = [
        "enqueue",
        "--wait",
        "--retries",
        "0",
        "--shell",
        "echo why >&2; exit 3",
    ];
    let bad = jobq.run(&bad).exits(4);
    assert_eq!(
        (bad.stdout.as_str(), bad.stderr.as_str()),
        ("2\n", "job 2 failed: exit code 3: why\n")
    );
    runner.stop().exits(0);
}

#[test]
fn following_prints_what_the_command_prints_as_it_comes() {
    let jobq = Jobq::new();
    let runner = jobq.runner(&[]);
    jobq.script(
        "job",
        "echo first; while [ ! -e gate ]; do sleep 0.02; done; echo second; exit $1",
    );
    let following = jobq.spawn(&["enqueue", "--follow", "--", "./job", "0"]);
    following.wait_until_printed("first");
    assert!(!following.stdout().contains("second"));
    jobq.write("gate", "");
    assert_eq!(following.wait().exits(0).stdout, "1\nfirst\nsecond\n");
    let line = ["enqueue", "--follow", "--retries", "0", "--", "./job", "9"];
    let failed = jobq.run(&line).exits(4);
    assert_eq!(failed.stdout, "2\nfirst\nsecond\n");
    assert!(failed.stderr.contains("exit code 9"), "{failed:?}");
    runner.stop().exits(0);
}

#[test]
fn a_command_runs_in_the_folder_that_is_named() {
    let jobq = Jobq::new();
    std::fs::create_dir(jobq.path("sub")).unwrap();
    jobq.enqueue(&["--cwd", "sub", "--", "pwd"]);
    jobq.run(&["run", "--drain"]).exits(0);
    let printed = jobq.stdout(&["logs", "1"]);
    assert!(printed.trim_end().ends_with("/sub"), "{printed}");
}
