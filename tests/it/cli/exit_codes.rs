//! Every exit code of the contract, by a situation that leads to it.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::support::Jobq;

#[test]
fn what_works_exits_with_0() {
    let jobq = Jobq::new();
    jobq.run(&["enqueue", "--", "true"]).exits(0);
    jobq.drain(&[]).exits(0);
    jobq.run(&["wait", "1"]).exits(0);
}

#[test]
fn what_fails_exits_with_1() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    jobq.run(&["cancel", "1"]).exits(0);
    jobq.run(&["cancel", "1"])
        .fails(1, &["job 1 is cancelled already"]);
    let missing = jobq.run(&["enqueue", "--batch", "none.jsonl"]);
    missing.fails(1, &["none.jsonl", "No such file"]);
}

#[test]
fn what_is_asked_wrongly_exits_with_2_and_makes_no_database() {
    let jobq = Jobq::new();
    for (line, word) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["enqeue", "--", "true"], "'enqueue'"),
        (&["enqueue"], "required"),
        (&["enqueue", "--", ""], "empty"),
        (&["enqueue", "--priority", "top", "--", "true"], "urgent"),
        (&["enqueue", "--in", "90", "--", "true"], "90s"),
        (&["enqueue", "--in=-5s", "--", "true"], "negative"),
        (&["enqueue", "--at", "noon", "--", "true"], "18:30"),
        (&["enqueue", "--retries", "many", "--", "true"], "many"),
        (&["enqueue", "--colour", "--", "true"], "--colour"),
        (&["run", "--workers", "0"], "1 to 1024"),
        (&["list", "--state", "done"], "completed"),
        (&["wait", "--timeout", "soon", "1"], "90s"),
        (&["prune", "--state", "pending"], "completed"),
        (&["logs", "one"], "'one' is not a job id"),
        (&["why", "1-2"], "one is wanted"),
        (&["edit", "1"], "nothing to change"),
        (&["help", "nothing"], "nothing"),
    ] {
        jobq.run(line).fails(2, &[word]);
    }
    assert!(!jobq.db().exists());
    jobq.make_database();
    let backwards = jobq
        .run(&["cancel", "9-3"])
        .fails(2, &["'9-3' runs backwards"]);
    assert_eq!(backwards.hint(), "write 3-9");
}

#[test]
fn the_usage_after_an_error_shows_nothing_that_was_not_typed() {
    let jobq = Jobq::new();
    let call = jobq.call(&["why"]).env("JOBQ_DB", "jobs.db");
    let refused = call.env("JOBQ_DURABILITY", "normal").run();
    refused.fails(2, &["Usage: jobq why <ID>\n"]);
    let call = jobq.call(&["why", "1"]).env("JOBQ_DURABILITY", "some");
    call.run().fails(2, &["'some'", "normal"]);
}

#[test]
fn what_is_not_there_exits_with_3_whoever_asks_for_it() {
    let jobq = Jobq::new();
    jobq.make_database();
    jobq.run(&["status", "@last"]).fails(3, &["no job"]);
    jobq.enqueue(&["--", "true"]);
    for verb in ["status", "logs", "why", "wait", "cancel", "retry", "remove"] {
        jobq.run(&[verb, "7"]).fails(3, &["no job 7"]);
    }
    jobq.run(&["edit", "7", "--retries", "1"])
        .fails(3, &["no job 7"]);
    jobq.run(&["resume", "nights"])
        .fails(3, &["no queue 'nights'"]);
}

#[test]
fn a_missing_job_does_not_prevent_changes_to_the_others() {
    let jobq = Jobq::new();
    jobq.enqueue_batch("{\"kind\":\"k\"}\n{\"kind\":\"k\"}");
    let cancelled = jobq.run(&["cancel", "1", "9", "2"]).exits(3);
    assert_eq!(cancelled.stdout, "job 1 cancelled\njob 2 cancelled\n");
    assert!(
        cancelled.stderr.contains("error: no job 9"),
        "{cancelled:?}"
    );
}

#[test]
fn a_failed_job_makes_its_waiter_and_its_drain_exit_with_4() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--", "false"]);
    let drained = jobq.drain(&[]).exits(4);
    assert!(drained.stderr.contains("1 failed"), "{drained:?}");
    let waited = jobq.run(&["wait", "1"]).exits(4);
    assert_eq!(waited.stderr, "job 1 failed: exit code 1\n");
    jobq.run(&["wait", "1", "--exit-code"]).exits(1);
    let cancelled = jobq.enqueue(&["--", "true"]).to_string();
    jobq.run(&["cancel", &cancelled]).exits(0);
    jobq.run(&["wait", &cancelled]).exits(4);
}

/// A disk of its own is mounted where only the script sees it.
const FULL_DISK: &str = r#"
mount -t tmpfs -o size=3m none disk || exit 99
export JOBQ_DB=disk/jobs.db
jobq enqueue -q --kind before || exit 98
dd if=/dev/zero of=disk/filler bs=64k 2>/dev/null
dd if=/dev/zero bs=1 2>/dev/null >>disk/filler
for round in 1 2 3; do
    jobq enqueue -q --kind large --payload @large.json
    echo "enqueue $?"
done
jobq list
echo "list $?"
rm disk/filler
jobq enqueue -q --kind after
echo "room $?"
jobq doctor >doctor
echo "doctor $?"
jobq list
"#;

#[test]
fn a_full_disk_exits_75_changes_nothing_and_recovers() {
    let jobq = Jobq::new();
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script]);
        command
    };
    fs::create_dir(jobq.path("disk")).unwrap();
    match namespace("mount -t tmpfs none disk")
        .current_dir(jobq.work())
        .output()
    {
        Ok(output) if output.status.success() => {}
        refused => return eprintln!("SKIPPED: no disk can be mounted here: {refused:?}"),
    }
    jobq.write("large.json", format!("\"{}\"", "x".repeat(100_000)));
    let said = namespace(FULL_DISK)
        .current_dir(jobq.work())
        .env("PATH", super::support::search_path())
        .output()
        .unwrap();
    let stdout = String::from_utf8(said.stdout).unwrap();
    let stderr = String::from_utf8(said.stderr).unwrap();
    let codes: Vec<&str> = stdout.lines().filter(|line| !line.contains('\t')).collect();
    assert_eq!(
        codes,
        [
            "1",
            "enqueue 75",
            "enqueue 75",
            "enqueue 75",
            "list 0",
            "2",
            "room 0",
            "doctor 0"
        ],
        "{stdout}{stderr}"
    );
    assert_eq!(stderr.matches("error: ").count(), 3, "{stderr}");
    assert_eq!(
        stderr.matches("disk is full; nothing was changed").count(),
        3,
        "{stderr}"
    );
    assert_eq!(
        stderr.matches("hint: free some space").count(),
        3,
        "{stderr}"
    );
    let kinds: Vec<&str> = stdout
        .lines()
        .filter_map(|line| line.split('\t').nth(2))
        .collect();
    assert_eq!(kinds, ["before", "after", "before"]);
}

#[test]
fn what_does_not_happen_in_time_exits_with_124() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    jobq.run(&["wait", "1", "--timeout", "50ms"])
        .fails(124, &["time"]);
    let both = ["enqueue", "--wait", "--wait-timeout", "50ms", "--", "true"];
    let waited = jobq.run(&both).exits(124);
    assert_eq!(waited.stdout, "2\n");
    assert_eq!(jobq.total(), 2);
}

#[test]
fn an_interrupt_exits_with_130_and_the_running_job_has_its_time() {
    let jobq = Jobq::new();
    jobq.script("job", "echo begun >begun; cat gate; echo done >done");
    assert!(
        Command::new("mkfifo")
            .arg(jobq.path("gate"))
            .status()
            .unwrap()
            .success()
    );
    jobq.enqueue(&["--", "./job"]);
    let mut runner = jobq.runner(&[]);
    jobq.wait_for_line("begun");
    runner.signal(Signal::INT);
    runner.wait_until_said("stopping");
    assert!(!runner.has_ended());
    fs::write(jobq.path("gate"), "go on").unwrap();
    runner.wait().exits(130);
    assert_eq!(jobq.read("done"), "done\n");
    assert_eq!(jobq.state(1), "completed");
}

#[test]
fn a_second_interrupt_ends_what_runs_and_costs_it_no_retry() {
    let jobq = Jobq::new();
    jobq.script(
        "job",
        "trap 'echo told >told; exit 1' TERM; echo begun >begun; sleep 60 & wait",
    );
    jobq.enqueue(&["--retries", "0", "--", "./job"]);
    let runner = jobq.runner(&[]);
    jobq.wait_for_line("begun");
    runner.signal(Signal::INT);
    runner.wait_until_said("stopping");
    runner.signal(Signal::INT);
    runner.wait().exits(130);
    assert_eq!(jobq.read("told"), "told\n");
    let job = jobq.job(1);
    assert_eq!(job["state"], "pending", "{job}");
    assert_eq!(job["attempts"][0]["outcome"], "returned", "{job}");
}
