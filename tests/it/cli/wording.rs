//! What jobq says, in the words of the people who read it.

use super::support::Jobq;

#[test]
fn why_says_how_a_job_ended_with_one_verb() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--shell", "exit 3"]);
    jobq.enqueue(&["--", "true"]);
    jobq.drain(&[]).exits(4);
    jobq.enqueue(&["--", "true"]);
    jobq.run(&["cancel", "3"]).exits(0);
    let why = |id: &str| jobq.stdout(&["why", id]);
    assert_eq!(why("1"), "job 1 failed: exit code 3\n");
    assert_eq!(why("2"), "job 2 completed\n");
    assert_eq!(why("3"), "job 3 was cancelled\n");
}

#[test]
fn a_retry_says_how_long_it_waits_seen_from_the_failure() {
    let jobq = Jobq::new();
    let once = "test -e tried || { touch tried; exit 3; }";
    jobq.enqueue(&[
        "--retry-delay",
        "500ms",
        "--backoff",
        "fixed",
        "--shell",
        once,
    ]);
    let drained = jobq.drain(&[]).exits(0);
    assert!(
        drained.stderr.contains("exit code 3; retrying in "),
        "{drained:?}"
    );
    let log = jobq.stdout(&["logs", "1"]);
    assert!(
        !log.contains("ago") && !drained.stderr.contains("ago"),
        "{log}"
    );
}

#[test]
fn one_job_is_not_a_range_of_jobs() {
    let jobq = Jobq::new();
    jobq.write("one.jsonl", "{\"command\":[\"true\"]}\n");
    let added = jobq.drain(&["-f", "one.jsonl"]).exits(0);
    assert!(
        added.stderr.starts_with("1 job enqueued (1)\n"),
        "{added:?}"
    );
}

#[test]
fn without_a_runner_one_is_told_how_to_start_one() {
    let jobq = Jobq::new();
    let added = jobq.run(&["enqueue", "--", "true"]).exits(0);
    assert_eq!(
        added.hint(),
        "no runner is active; start one with `jobq run`"
    );
}

#[test]
fn help_says_what_a_verb_does() {
    let jobq = Jobq::new();
    let help = jobq.stdout(&["help"]);
    for line in [
        "cancel       Cancel jobs",
        "retry        Run final jobs again (history is kept)",
        "schedule     Manage recurring jobs",
    ] {
        assert!(help.contains(line), "{line}\n{help}");
    }
    let words = |verb: &str| {
        let help = jobq.stdout(&["help", verb]);
        help.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (verb, line) in [
        ("enqueue", "--retries <N> Maximum retries [default: 3]"),
        ("enqueue", "--tenant <NAME> Tenant that owns the job"),
        ("list", "--limit <N> Show at most N (0: all)"),
        ("doctor", "--fix Repair derived data"),
    ] {
        let help = words(verb);
        assert!(help.contains(line), "{line}\n{help}");
    }
}

#[test]
fn a_number_out_of_range_is_told_the_range() {
    let jobq = Jobq::new();
    let range = "workers must be 1 to 1024";
    jobq.run(&["run", "--workers", "0"]).fails(2, &[range]);
    jobq.write("jobq.toml", "workers = 0\n");
    jobq.run(&["run"]).fails(2, &[range, "not 0"]);
}
