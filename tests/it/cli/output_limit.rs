//! How much of a command's output is kept.

use jobq::rusqlite::Connection;

use super::support::{Jobq, Output, text};
use crate::support::{PATIENCE, wait_until};

fn logs(jobq: &Jobq, id: i64, stream: &str) -> String {
    jobq.stdout(&["logs", &id.to_string(), "--stream", stream])
}

#[test]
fn a_flood_on_one_stream_does_not_cost_the_other_its_words() {
    let jobq = Jobq::new();
    let flood = "yes | head -c 3000000";
    for (id, script, stream, said) in [
        (
            1,
            format!("{flood}; echo fatal >&2; exit 3"),
            "stderr",
            "fatal\n",
        ),
        (
            2,
            format!("echo first >&2; {flood}; exit 3"),
            "stderr",
            "first\n",
        ),
        (
            3,
            format!("{flood} >&2; echo found; exit 3"),
            "stdout",
            "found\n",
        ),
    ] {
        jobq.enqueue(&["--retries", "0", "--shell", &script]);
        jobq.drain(&[]).exits(4);
        assert_eq!(logs(&jobq, id, stream), said);
    }
    assert_eq!(jobq.job(1)["error"], "exit code 3: fatal");
}

#[test]
fn the_last_words_before_a_timeout_are_kept() {
    let jobq = Jobq::new();
    let script = "yes | head -c 3000000; echo stuck here; exec sleep 600";
    let id = jobq.enqueue(&["--retries", "0", "--timeout", "1s", "--shell", script]);
    jobq.drain(&[]).exits(4);
    let shown = logs(&jobq, id, "stdout");
    assert!(
        shown.ends_with("\nstuck here\n"),
        "{}",
        &shown[shown.len() - 100..]
    );
    assert!(shown.starts_with("y\ny\n") && shown.contains("\n[… 1,"));
}

#[test]
fn a_tail_that_was_lost_with_its_runner_is_marked() {
    let jobq = Jobq::new();
    let flood = "echo first >&2; yes | head -c 3000000; exec sleep 600";
    let script = format!("if test $JOBQ_ATTEMPT = 1; then {flood}; fi; echo again");
    let id = jobq.enqueue(&["--shell", &script]).to_string();
    let runner = jobq.runner(&[]);
    let db = Connection::open(jobq.db()).unwrap();
    let held_back = "SELECT count(*) FROM jobq_log WHERE kind = 21 AND length(data) = 0";
    wait_until("the rest is held back", PATIENCE, || {
        db.query_row(held_back, [], |row| row.get(0)) == Ok(1)
    });
    runner.kill();
    let mark = "[… the rest of the output was lost with its runner …]";
    assert!(!jobq.stdout(&["logs", &id]).contains(mark));
    jobq.drain(&[]).exits(0);
    let shown = jobq.stdout(&["logs", &id]);
    let (before, after) = shown.split_once(mark).unwrap();
    assert!(before.ends_with("y\n") && before.len() > 600_000);
    assert_eq!(after, "\nagain\n");
    assert_eq!(jobq.stdout(&["logs", &id, "--stream", "stderr"]), "first\n");
    let last = jobq.stdout(&["logs", &id, "--lines", "2"]);
    assert_eq!(last, format!("{mark}\nagain\n"));
    for ids in [&[&*id][..], &[&*id, &*id]] {
        let lines = jobq.json_lines(&[&["logs"], ids].concat());
        let marks = lines.iter().filter(|line| line["message"] == mark);
        let marks: Vec<_> = marks
            .map(|line| (text(&line["stream"]), &line["attempt"]))
            .collect();
        assert_eq!(marks, [("stdout".to_owned(), &1.into())], "{ids:?}");
    }
}

#[test]
fn both_streams_are_cut_each_in_its_middle() {
    let jobq = Jobq::new();
    let script = "seq 200000; seq 200000 >&2; echo last; echo last >&2";
    let id = jobq.enqueue(&["--shell", script]);
    jobq.drain(&[]).exits(0);
    let mut kept = 0;
    for stream in ["stdout", "stderr"] {
        let shown = logs(&jobq, id, stream);
        let (head, tail) = shown.split_once("[… ").unwrap();
        let (_, tail) = tail.split_once("]\n").unwrap();
        assert!(head.starts_with("1\n2\n3\n") && head.len() > 120_000);
        assert!(tail.ends_with("199999\n200000\nlast\n") && tail.len() > 120_000);
        kept += head.len() + tail.len();
    }
    assert!(kept <= 1_048_576 && kept > 1_048_000, "{kept}");
}

#[test]
fn output_up_to_the_limit_is_kept_whole() {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&["--shell", "head -c 1048576 /dev/urandom | tee all"]);
    jobq.enqueue(&[
        "--shell",
        &format!("jobq --db {} logs 1 >shown", jobq.db().display()),
    ]);
    jobq.run(&["run", "--drain", "-j", "1"]).exits(0);
    assert_eq!(id, 1);
    let read = |name: &str| std::fs::read(jobq.path(name)).unwrap();
    assert!(read("all") == read("shown"));
}

fn kept_bytes(jobq: &Jobq, id: i64) -> usize {
    let shown = logs(jobq, id, "stdout");
    match shown.split_once("[… ") {
        None => shown.len(),
        Some((head, rest)) => head.len() + rest.split_once("]\n").unwrap().1.len(),
    }
}

#[test]
fn the_limit_is_said_by_the_job_its_kind_or_the_defaults() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        r#"
        [defaults]
        output_limit = "10kB"
        [kinds.count]
        command = ["seq", "100000"]
        output_limit = 5000
        [kinds.usual]
        command = ["seq", "100000"]
        [schedules.s]
        cron = "@yearly"
        shell = "seq 100000"
        output_limit = "2kB"
        "#,
    );
    let count = ["--", "seq", "100000"];
    jobq.enqueue(&count);
    jobq.enqueue(&[&["--output-limit", "1k"], &count[..]].concat());
    jobq.enqueue(&[&["--output-limit", "2MiB"], &count[..]].concat());
    jobq.enqueue(&[&["--output-limit", "0"], &count[..]].concat());
    jobq.enqueue(&["--kind", "count"]);
    jobq.enqueue(&["--kind", "usual"]);
    jobq.enqueue_batch(
        r#"{"command":["seq","100000"],"output_limit":3000}
           {"command":["seq","100000"],"output_limit":"3kB"}"#,
    );
    let runner = jobq.runner(&[]);
    jobq.run(&["schedule", "run", "s"]).exits(0);
    jobq.run(&["wait", "1-9"]).exits(0);
    runner.stop();
    assert_eq!(kept_bytes(&jobq, 3), 588_895);
    for (id, limit) in [
        (1, 10_000),
        (2, 1024),
        (4, 0),
        (5, 5000),
        (6, 10_000),
        (7, 3000),
        (8, 3000),
        (9, 2000),
    ] {
        let kept = kept_bytes(&jobq, id);
        assert!(kept <= limit && kept + 20 > limit, "job {id}: {kept}");
    }
    assert_eq!(logs(&jobq, 4, "stdout"), "[… 588,895 bytes cut …]\n");
}

#[test]
fn a_limit_that_cannot_be_is_refused() {
    let jobq = Jobq::new();
    let refused =
        |limit: &str| -> Output { jobq.run(&["enqueue", "--output-limit", limit, "--", "true"]) };
    refused("much").fails(2, &["sizes look like"]);
    jobq.run(&["enqueue", "--output-limit=-1", "--", "true"])
        .fails(2, &["--output-limit"]);
    refused("65MiB").fails(2, &["68157440 bytes are too many, 67108864 are possible"]);
    jobq.run(&["enqueue", "--output-limit", "1k", "--kind", "k"])
        .fails(2, &["--kind"]);
    jobq.write("jobq.toml", "[defaults]\noutput_limit = \"1GiB\"\n");
    jobq.run(&["list"])
        .fails(2, &["jobq.toml line 2: output_limit", "64MiB"]);
    jobq.write("jobq.toml", "[kinds.k]\noutput_limit = 1\n");
    jobq.run(&["list"])
        .fails(2, &["[kinds.k]: output_limit: it goes with 'command'"]);
}
