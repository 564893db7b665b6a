//! `--each`: a job for each item of a list.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::support::{Jobq, Output, parse_json, text};
use crate::support::{PATIENCE, wait_until};

/// Names that a shell, a wrong split or a second expansion would spoil.
const HOSTILE: [&str; 14] = [
    "plain",
    "two words",
    " leading and trailing ",
    "it's \"quoted\"",
    "-rf",
    "--help",
    "{}",
    "{.}{#}.x",
    "$(touch ran)`touch ran`",
    "; touch ran &",
    "*?[a]",
    "back\\slash\\n",
    "line\nend\n",
    "caf\u{e9} \u{202e}\u{1f4be}\t\u{1b}[31m",
];

fn enqueue(jobq: &Jobq, options: &[&str], list: impl AsRef<[u8]>) -> Output {
    let words = [&["enqueue", "--each"], options].concat();
    jobq.call(&words).stdin(list).run()
}

/// The commands of all jobs, oldest first.
fn commands(jobq: &Jobq) -> Vec<Value> {
    let ids: Vec<String> = (1..=jobq.total()).map(|id| id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
    let jobs = jobq.json_lines(&[&["status"], &ids[..]].concat());
    let commands = jobs.into_iter();
    commands
        .map(|job| job["payload"]["command"].clone())
        .collect()
}

fn done(jobq: &Jobq) -> Vec<String> {
    let mut done: Vec<_> = jobq.read("done").lines().map(str::to_owned).collect();
    done.sort();
    done
}

#[test]
fn any_file_name_reaches_the_command_as_it_is() {
    let jobq = Jobq::new();
    jobq.script("keep", "cp -- \"in/$1\" \"out/$2\"");
    for folder in ["in", "out"] {
        fs::create_dir(jobq.path(folder)).unwrap();
    }
    for name in HOSTILE {
        jobq.write(&format!("in/{name}"), name);
    }
    let options = ["-0", "--", "./keep", "{}", "{#}"];
    let added = enqueue(&jobq, &options, HOSTILE.join("\0")).exits(0);
    let ids: String = (1..=HOSTILE.len()).map(|id| format!("{id}\n")).collect();
    assert_eq!(added.stdout, ids);
    jobq.drain(&[]).exits(0);
    for (name, number) in HOSTILE.iter().zip(1..) {
        assert_eq!(jobq.read(&format!("out/{number}")), *name);
    }
    assert!(!jobq.path("ran").exists());
}

#[test]
fn a_line_is_an_item_with_its_blanks_and_empty_ones_count() {
    let jobq = Jobq::new();
    let options = ["--", "echo", "{#}:{}", "{/.}", "{//}", "{.}{/}"];
    enqueue(&jobq, &options, " d/a.b.c \r\n\n/x").exits(0);
    let expected = [
        json!(["echo", "1: d/a.b.c \r", "a.b", " d", " d/a.ba.b.c \r"]),
        json!(["echo", "2:", "", ".", ""]),
        json!(["echo", "3:/x", "x", "/", "/xx"]),
    ];
    assert_eq!(commands(&jobq), expected);
}

#[test]
fn without_a_placeholder_the_item_comes_last() {
    let jobq = Jobq::new();
    enqueue(&jobq, &["--", "gzip", "-9"], "a b\nc\n").exits(0);
    let expected = [json!(["gzip", "-9", "a b"]), json!(["gzip", "-9", "c"])];
    assert_eq!(commands(&jobq), expected);
}

#[test]
fn a_list_comes_from_a_file_as_well() {
    let jobq = Jobq::new();
    jobq.write("list", "a\nb\n");
    let expected = [json!(["echo", "a"]), json!(["echo", "b"])];
    jobq.run(&["enqueue", "--each", "list", "--", "echo"])
        .exits(0);
    assert_eq!(commands(&jobq), expected);
    jobq.run(&["enqueue", "--each", "none", "--", "echo"])
        .fails(1, &["none: No such file"]);
    jobq.run(&["enqueue", "--each=.", "--", "echo"])
        .fails(1, &["irectory"]);
}

#[test]
fn a_name_that_is_not_utf8_is_named_and_nothing_is_added() {
    let jobq = Jobq::new();
    let list = b"good.jpg\ncaf\xe9.jpg\nalso good.jpg\n";
    for chunk in [&["--", "ls"][..], &["--chunk", "1", "--", "ls"]] {
        let refused = enqueue(&jobq, chunk, list);
        let refused = refused.fails(2, &["stdin item 2: it is not UTF-8: \"caf\\xE9.jpg\""]);
        assert!(refused.hint().contains("rename the file"), "{refused:?}");
    }
    let refused = enqueue(&jobq, &["--", "ls"], "a\0b\0");
    let refused = refused.fails(2, &["stdin item 1: it has a NUL character"]);
    assert!(refused.hint().contains("--null"), "{refused:?}");
    assert_eq!(jobq.total(), 0);
}

#[test]
fn thousands_of_items_are_added_in_one_transaction_or_in_chunks() {
    let jobq = Jobq::new();
    let list: String = (1..=5000)
        .map(|number| format!("item {number}\n"))
        .collect();
    let ids = |from: u32| -> String { (from..from + 5000).map(|id| format!("{id}\n")).collect() };
    let whole = enqueue(&jobq, &["--", "echo"], &list).exits(0);
    assert_eq!(whole.stdout, ids(1));
    let chunks = enqueue(&jobq, &["--chunk", "1500", "--", "echo"], &list).exits(0);
    assert_eq!(chunks.stdout, ids(5001));
    assert_eq!(
        jobq.job(5000)["payload"]["command"],
        json!(["echo", "item 5000"])
    );
    // The jobs of one transaction were enqueued at one moment.
    let moments = |ids: [i64; 2]| ids.map(|id| text(&jobq.job(id)["created_at"]));
    let [first, last] = moments([1, 5000]);
    assert_eq!(first, last);
    let [first, last] = moments([5001, 10_000]);
    assert_ne!(first, last);
}

#[test]
fn an_empty_list_adds_nothing_and_says_so() {
    let jobq = Jobq::new();
    let empty = enqueue(&jobq, &["--", "ls"], "").exits(0);
    assert_eq!(empty.stdout, "");
    assert!(empty.stderr.contains("stdin holds no jobs"), "{empty:?}");
    let drain = jobq.call(&["run", "--drain", "--each", "--", "ls"]);
    let drained = drain.stdin("").run().exits(0);
    assert!(
        drained.stderr.contains("stdin holds no jobs"),
        "{drained:?}"
    );
    assert_eq!(jobq.total(), 0);
}

#[test]
fn a_stdin_that_is_closed_or_breaks_off_is_no_trap() {
    let jobq = Jobq::new();
    let shell = |line: &str| jobq.program("sh", &["-c", line]).run();
    let closed = shell("exec jobq enqueue --each -- ls <&-").exits(0);
    assert!(closed.stderr.contains("stdin holds no jobs"), "{closed:?}");
    let folder = shell("exec jobq enqueue --each -- ls <.");
    folder.fails(1, &["stdin: ", "irectory"]);
    // What a writer has written before it was killed is a list like any other.
    let writer = "sh -c 'echo a; printf b; kill -9 $$'";
    let killed = shell(&format!("{writer} | jobq enqueue --each -- ls")).exits(0);
    assert_eq!(killed.stdout, "1\n2\n");
    assert_eq!(commands(&jobq)[1], json!(["ls", "b"]));
}

#[test]
fn options_go_for_each_job_and_keys_have_placeholders() {
    let jobq = Jobq::new();
    let options = [
        "--queue",
        "small",
        "--retries",
        "1",
        "--priority",
        "high",
        "--in",
        "1h",
        "--timeout",
        "5s",
        "--tag",
        "photo={/.}",
        "--key",
        "{//}",
        "--cwd",
        "/in/{//}",
        "--env",
        "MODE={}",
        "--fail-on",
        "3",
        "--",
        "ls",
    ];
    enqueue(&jobq, &options, "d/cat.jpg\ne/dog.jpg\n").exits(0);
    let [cat, dog] = [1, 2].map(|id| jobq.job(id));
    for job in [&cat, &dog] {
        assert_eq!(job["queue"], "small");
        assert_eq!(job["priority"], "high");
        assert_eq!(job["max_retries"], 1);
        assert_eq!(job["state"], "scheduled");
        assert_eq!(job["timeout_ms"], 5000);
        assert_eq!(job["payload"]["fail_on"], "3");
        assert_eq!(job["payload"]["env"]["MODE"], "{}");
    }
    assert_eq!(cat["tags"], json!({"photo": "cat"}));
    assert_eq!(dog["tags"], json!({"photo": "dog"}));
    assert_eq!((&cat["key"], &dog["key"]), (&json!("d"), &json!("e")));
    assert_eq!(cat["payload"]["cwd"], "/in/d");
}

#[test]
fn a_unique_key_for_each_item_adds_only_new_ones() {
    let jobq = Jobq::new();
    let add = |list: &str| -> Vec<(i64, bool)> {
        let options = ["--json", "--unique", "thumb-{}", "--", "ls"];
        let printed = enqueue(&jobq, &options, list).exits(0).stdout;
        let jobs = printed.lines().map(parse_json);
        jobs.map(|job| (job["id"].as_i64().unwrap(), job["duplicate"] == true))
            .collect()
    };
    assert_eq!(add("a\nb\n"), [(1, false), (2, false)]);
    assert_eq!(add("b\nc\na\n"), [(2, true), (3, false), (1, true)]);
    assert_eq!(jobq.job(3)["unique_key"], "thumb-c");
    let refused = enqueue(
        &jobq,
        &["--unique", "{}", "--on-duplicate", "reject", "--", "ls"],
        "new\nnew\n",
    );
    refused.fails(1, &["stdin item 2: the job of item 1 already has"]);
    assert_eq!(jobq.total(), 3);
}

#[test]
fn a_key_that_an_item_cannot_make_is_refused_with_the_item() {
    let jobq = Jobq::new();
    let options = ["-0", "--unique", "{}", "--", "ls"];
    enqueue(&jobq, &options, "a\0b\nc\0").fails(2, &["stdin item 2: ", "control character"]);
    assert_eq!(jobq.total(), 0);
}

#[test]
fn what_does_not_go_with_each_is_refused_before_a_file_is_made() {
    let jobq = Jobq::new();
    for (line, words) in [
        ("enqueue --each", &[][..]),
        ("enqueue -0 -- ls", &["--each"]),
        ("enqueue --each --wait -- ls", &["--wait"]),
        ("enqueue --each --follow -- ls", &["--follow"]),
        ("enqueue --each --batch list", &["--batch"]),
        ("enqueue --each --batch list -- ls", &["--batch"]),
        ("enqueue --each --kind k", &["not with --kind"]),
        ("enqueue --each --shell ls", &["--shell", "sh -c"]),
        ("enqueue --each --unique k -- ls", &["unique key 'k'"]),
        ("enqueue --each --input - -- ls", &["both read stdin"]),
        ("enqueue --chunk 5 -- ls", &["--each"]),
        ("run --each", &["a command", "--each -- CMD"]),
        ("run --each -f list -- ls", &["--file"]),
        ("run -- ls", &["--each"]),
        ("run --again", &["--each"]),
        ("run --retries 2", &["go with --each"]),
        ("run -f list --retries 2", &["go with --each"]),
        ("run --each --queue a --queue b -- ls", &["one queue"]),
        ("schedule add n @daily --each -- ls", &["no --each"]),
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        let refused = jobq.call(&args).stdin("a\n").run();
        refused.fails(2, words);
    }
    assert!(!jobq.db().exists());
}

#[test]
fn a_command_without_its_dashes_is_not_taken_for_a_file() {
    let jobq = Jobq::new();
    for (line, hint) in [
        ("enqueue --each cp {} x", "enqueue --each -- cp '{}' x"),
        (
            "run --drain --each ls x -l",
            "run --drain --each -- ls x -l",
        ),
        ("enqueue --each list ls -l", "enqueue --each list -- ls -l"),
    ] {
        jobq.write("list", "a\n");
        let args: Vec<&str> = line.split(' ').collect();
        let refused = jobq.run(&args).fails(2, &[]);
        let hint = format!("a command follows two dashes: jobq {hint}");
        assert_eq!(refused.hint(), hint);
    }
}

#[test]
fn a_list_is_run_to_its_end_and_goes_on_after_a_kill() {
    let jobq = Jobq::new();
    jobq.script(
        "note",
        "[ $1 -lt 20 ] || [ -e gate ] || { touch waits; while [ ! -e gate ]; do sleep 0.02; done; }; echo $1 >>done",
    );
    let list: String = (1..=40).map(|number| format!("{number}\n")).collect();
    let call = || {
        let words = ["run", "--drain", "-j", "3", "--each", "--", "./note"];
        jobq.call(&words).stdin(&list)
    };
    let runner = call().spawn();
    wait_until("the list is in its middle", PATIENCE, || {
        jobq.path("waits").exists()
    });
    runner.kill();
    let finished = jobq.count("completed");
    assert!((1..40).contains(&finished), "{finished}");
    jobq.write("gate", "");
    let drained = call().run().exits(0);
    assert!(
        drained
            .stderr
            .contains("going on with jobs 1–40 of this batch, "),
        "{drained:?}"
    );
    assert_eq!((jobq.count("completed"), jobq.total()), (40, 40));
    let all: BTreeSet<String> = done(&jobq).into_iter().collect();
    assert_eq!(all.len(), 40);
}

#[test]
fn a_drained_list_runs_its_failures_again_and_then_starts_anew() {
    let jobq = Jobq::new();
    jobq.script(
        "note",
        "[ $1 != b ] || [ -e gate ] || exit 1; echo $1 >>done",
    );
    let drain = |options: &[&str]| {
        let words = [
            &["run", "--drain", "--each", "--retries", "0"],
            options,
            &["--", "./note"],
        ];
        jobq.call(&words.concat()).stdin("a\nb\n").run()
    };
    let failed = drain(&[]).exits(4);
    assert!(
        failed.stderr.contains("2 jobs enqueued (1–2)"),
        "{failed:?}"
    );
    jobq.write("gate", "");
    let again = drain(&[]).exits(0);
    let said = "going on with jobs 1–2 of this batch, 1 that failed or was cancelled is run again";
    assert!(again.stderr.contains(said), "{again:?}");
    assert_eq!(done(&jobq), ["a", "b"]);
    let anew = drain(&[]).exits(0);
    assert!(anew.stderr.contains("2 jobs enqueued (3–4)"), "{anew:?}");
    let other_options = drain(&["--tag", "run=2"]).exits(0);
    assert!(
        other_options.stderr.contains("2 jobs enqueued (5–6)"),
        "{other_options:?}"
    );
}

#[test]
fn an_unfinished_list_is_known_by_its_items_and_its_command() {
    let jobq = Jobq::new();
    jobq.make_database();
    jobq.run(&["pause"]).exits(0);
    let drain = |options: &[&str], list: &str| {
        let words = [&["run", "--drain", "--each"], options].concat();
        let drained = jobq.call(&words).stdin(list).run().exits(0);
        let goes_on = drained.stderr.contains("going on with");
        assert_ne!(goes_on, drained.stderr.contains("enqueued"), "{drained:?}");
        goes_on
    };
    assert!(!drain(&["--", "echo"], "a\nb\n"));
    assert!(drain(&["--", "echo"], "a\nb\n"));
    assert!(!drain(&["--", "echo", "x"], "a\nb\n"));
    assert!(!drain(&["--", "echo"], "a\nb\nc\n"));
    assert!(!drain(&["--again", "--", "echo"], "a\nb\n"));
}

#[test]
fn a_drained_list_goes_to_the_queue_of_its_runner() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "touch", "ran"]);
    let words = ["run", "--drain", "--queue", "q", "--each", "--", "touch"];
    jobq.call(&words).stdin("a\nb\n").run().exits(0);
    assert!(jobq.path("a").exists() && jobq.path("b").exists());
    assert!(!jobq.path("ran").exists());
    assert_eq!(jobq.job(3)["queue"], "q");
}

#[test]
fn a_script_gets_the_item_as_an_argument_and_never_as_text() {
    let jobq = Jobq::new();
    let script = "printf '%s' \"$1\" >\"out-$2\"";
    let words = [
        "run", "--drain", "--each", "-0", "--", "sh", "-c", script, "sh", "{}", "{#}",
    ];
    let list = HOSTILE.map(|name| format!("{name}\0")).concat();
    jobq.call(&words).stdin(list).run().exits(0);
    for (name, number) in HOSTILE.iter().zip(1..) {
        assert_eq!(jobq.read(&format!("out-{number}")), *name);
    }
    assert!(!jobq.path("ran").exists());
}

#[test]
fn inside_a_job_a_list_becomes_its_children() {
    let jobq = Jobq::new();
    jobq.script(
        "fan",
        "printf '%s\\n' a b | jobq enqueue --each --parent $JOBQ_JOB_ID -- touch",
    );
    jobq.enqueue(&["--", "./fan"]);
    jobq.drain(&[]).exits(0);
    assert!(jobq.path("a").exists() && jobq.path("b").exists());
    assert_eq!(jobq.job(1)["children"]["done"], 2);
}

#[test]
fn a_list_on_stdin_is_read_from_where_it_stands() {
    let jobq = Jobq::new();
    jobq.write("list", "header\na\nb\n");
    let line = "{ read header; exec jobq enqueue --each -- ls; } <list";
    let added = jobq.program("sh", &["-c", line]).run().exits(0);
    assert_eq!(added.stdout, "1\n2\n");
    assert_eq!(commands(&jobq)[0], json!(["ls", "a"]));
}
