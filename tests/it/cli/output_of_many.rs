//! The output of many jobs at once: `run --output`, and `logs` of several.

use super::support::{Jobq, text};

/// The lines of one job, without what stands in front of them.
fn of(printed: &str, job: i64) -> Vec<&str> {
    let front = format!("[{job}] ");
    printed
        .lines()
        .filter_map(|line| line.strip_prefix(&front))
        .collect()
}

#[test]
fn run_output_prints_whole_lines_of_all_jobs_as_they_come() {
    let jobq = Jobq::new();
    jobq.write("jobq.toml", "[kinds.show]\ncommand = [\"cat\"]\n");
    let count = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $JOBQ_JOB_ID line $i; echo $JOBQ_JOB_ID err $i >&2; done; printf end";
    for _ in 0..4 {
        jobq.enqueue(&["--shell", count]);
    }
    jobq.enqueue(&["--kind", "show", "--payload", "[5]"]);
    let ran = jobq.drain(&["--output"]).exits(0);
    for job in 1..=4 {
        let lines = (1..=300).map(|i| format!("{job} line {i}"));
        let expected: Vec<String> = lines.chain(["end".to_owned()]).collect();
        assert_eq!(of(&ran.stdout, job), expected);
        let expected: Vec<String> = (1..=300).map(|i| format!("{job} err {i}")).collect();
        assert_eq!(of(&ran.stderr, job), expected);
    }
    assert_eq!(of(&ran.stdout, 5), ["[5]"]);
    assert_eq!(ran.stdout.lines().count(), 4 * 301 + 1);
    // It is kept all the same.
    assert_eq!(
        jobq.stdout(&["logs", "2", "--stream", "stderr"])
            .lines()
            .count(),
        300
    );
}

#[test]
fn run_shows_output_live_and_beyond_the_output_limit() {
    let jobq = Jobq::new();
    let script = "seq 300000; echo ready; until [ -e go ]; do sleep 0.01; done";
    jobq.enqueue(&["--output-limit", "1k", "--shell", script]);
    let running = jobq.spawn(&["run", "--drain", "--output"]);
    running.wait_until_printed("[1] 300000\n[1] ready\n");
    jobq.write("go", "");
    let ran = running.wait().exits(0);
    assert_eq!(ran.stdout.lines().count(), 300_001);
}

#[test]
fn run_output_goes_on_without_a_reader_and_is_json_when_asked() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", "echo out; echo err >&2"]);
    let lines = jobq.json_lines(&["run", "--drain", "--output"]);
    assert_eq!(lines.len(), 3, "{lines:?}");
    let shown = [0, 1].map(|at| (lines[at]["job"].as_i64(), text(&lines[at]["stream"])));
    assert!(shown.contains(&(Some(1), "stdout".to_owned())), "{lines:?}");
    assert!(shown.contains(&(Some(1), "stderr".to_owned())), "{lines:?}");
    let late = jobq.enqueue(&["--shell", "seq 200000"]);
    jobq.script("cut", "jobq run --drain --output | head -1");
    let cut = std::process::Command::new("./cut")
        .env_clear()
        .env("PATH", super::support::search_path())
        .env("HOME", jobq.folder().join("home"))
        .env("XDG_STATE_HOME", jobq.folder().join("state"))
        .current_dir(jobq.work())
        .output()
        .unwrap();
    assert_eq!(cut.stdout, format!("[{late}] 1\n").as_bytes());
    let said = String::from_utf8(cut.stderr).unwrap();
    let gone = "the reader of the jobs' output has gone away: the runner goes on";
    assert_eq!(said.matches(gone).count(), 1, "{said}");
    assert_eq!(jobq.state(late), "completed");
    let kept = jobq.stdout(&["logs", &late.to_string()]);
    assert!(kept.ends_with("200000\n"));
}

/// Three jobs in two queues, and what they have printed.
fn three(jobq: &Jobq) {
    for (queue, word) in [("a", "one"), ("b", "two"), ("a", "three")] {
        let script = format!("echo {word}; printf '{word} end'; echo {word} err >&2");
        jobq.enqueue(&[
            "--queue",
            queue,
            "--tag",
            &format!("word={word}"),
            "--shell",
            &script,
        ]);
    }
    jobq.run(&["run", "--drain", "-j", "1"]).exits(0);
}

#[test]
fn logs_of_several_jobs_name_the_job_of_each_line() {
    let jobq = Jobq::new();
    three(&jobq);
    let all = jobq.stdout(&["logs"]);
    for (job, word) in [(1, "one"), (2, "two"), (3, "three")] {
        let mut lines = of(&all, job);
        lines.sort_unstable();
        let expected = [
            word.to_owned(),
            format!("{word} end"),
            format!("{word} err"),
        ];
        assert_eq!(lines, expected);
    }
    let jobs = |words: &[&str]| {
        let words = [&["logs", "--stream", "stdout"], words].concat();
        let printed = jobq.stdout(&words);
        let mut jobs: Vec<char> = printed
            .lines()
            .map(|line| line.chars().nth(1).unwrap())
            .collect();
        jobs.sort_unstable();
        jobs.dedup();
        jobs.into_iter().collect::<String>()
    };
    assert_eq!(jobs(&["1", "3"]), "13");
    assert_eq!(jobs(&["2-3"]), "23");
    assert_eq!(jobs(&["--queue", "a"]), "13");
    assert_eq!(jobs(&["--tag", "word=two"]), "2");
    assert_eq!(jobs(&["--kind", "none"]), "");
    assert_eq!(jobs(&["-n", "1"]), "3");
    let lines = jobq.json_lines(&["logs", "1-2", "--stream", "stderr"]);
    assert_eq!(
        (lines[0]["job"].as_i64(), lines[1]["job"].as_i64()),
        (Some(1), Some(2))
    );
    jobq.run(&["logs", "1", "9"]).fails(3, &["no job 9"]);
    jobq.run(&["logs", "1", "--queue", "a"])
        .fails(2, &["--queue"]);
}

#[test]
fn several_jobs_are_followed_until_all_are_final() {
    let jobq = Jobq::new();
    for word in ["one", "two"] {
        let script =
            format!("echo {word}; until [ -e go ]; do sleep 0.01; done; printf {word}-end");
        jobq.enqueue(&["--shell", &script]);
    }
    let named = jobq.spawn(&["logs", "-f", "1", "2"]);
    let mut all = jobq.spawn(&["logs", "-f"]);
    let runner = jobq.runner(&[]);
    for follower in [&named, &all] {
        follower.wait_until_printed("[1] one\n");
        follower.wait_until_printed("[2] two\n");
    }
    jobq.write("go", "");
    let named = named.wait().exits(0);
    assert_eq!(of(&named.stdout, 1), ["one", "one-end"]);
    assert_eq!(of(&named.stdout, 2), ["two", "two-end"]);
    // Who follows all hears of jobs to come.
    jobq.enqueue(&["--shell", "echo three"]);
    all.wait_until_printed("[3] three\n");
    assert!(!all.has_ended());
    all.kill();
    runner.stop();
}

#[test]
fn the_output_of_a_batch_is_found_by_its_file() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "echo", "other"]);
    let lines = r#"{"command":["echo","one"]}
{"command":["echo","two"]}"#;
    jobq.write("b.jsonl", lines);
    jobq.drain(&["-f", "b.jsonl"]).exits(0);
    for follow in [
        &["logs", "--batch", "b.jsonl"][..],
        &["logs", "-f", "--batch", "b.jsonl"],
    ] {
        let printed = jobq.stdout(follow);
        assert_eq!(
            (of(&printed, 2), of(&printed, 3)),
            (vec!["one"], vec!["two"])
        );
        assert_eq!(printed.lines().count(), 2);
    }
    jobq.write("c.jsonl", r#"{"command":["echo","three"]}"#);
    let missing = jobq.run(&["logs", "--batch", "c.jsonl"]);
    missing.fails(3, &["no batch c.jsonl"]).hint();
    jobq.run(&["logs", "--batch", "fnv1a128:00:1"])
        .fails(3, &["no batch"]);
}
