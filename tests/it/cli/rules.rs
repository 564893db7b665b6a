//! Rules between jobs on the command line: what they wait for, whose children they are, what there
//! is only one of, and whose they are.

use serde_json::{Value, json};

use super::support::{Jobq, millisecond, parse_json};

fn ids(jobs: &[Value]) -> Vec<i64> {
    jobs.iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

fn listed(jobq: &Jobq, filter: &[&str]) -> Vec<i64> {
    ids(&jobq.json_lines(&[&["list", "--sort", "oldest"], filter].concat()))
}

fn fields<'a>(job: &'a Value, names: &[&str]) -> Vec<&'a Value> {
    names.iter().map(|name| &job[*name]).collect()
}

fn has_line(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "{line:?}: {text}");
}

#[test]
fn a_job_after_others_is_blocked_until_they_have_completed() {
    let jobq = Jobq::new();
    for _ in 0..4 {
        jobq.enqueue(&["--", "true"]);
    }
    let told = jobq.stdout(&[
        "enqueue", "--json", "--after", "1", "3-4", "@last", "--", "true",
    ]);
    assert_eq!(
        told,
        "{\"id\":5,\"state\":\"blocked\",\"duplicate\":false}\n"
    );
    assert_eq!(jobq.job(5)["depends_on"], json!([1, 3, 4]));
    assert_eq!(jobq.count("blocked"), 1);
    let queues = jobq.run(&["queue", "list"]).exits(0);
    assert_eq!(queues.rows()[0][8..10], ["1", "0"], "{queues:?}");
    let shown = jobq.stdout(&["status", "5"]);
    has_line(&shown, "after\t1 pending, 3 pending, 4 pending");
    jobq.drain(&["-j", "1"]).exits(0);
    let jobs = [1, 3, 4, 5].map(|id| jobq.job(id));
    let [finished @ .., last] = jobs;
    for before in finished {
        assert!(
            millisecond(&before["finished_at"]) <= millisecond(&last["started_at"]),
            "{before} {last}"
        );
    }
    assert_eq!(last["state"], "completed");
}

#[test]
fn a_failed_prerequisite_cancels_only_what_needs_its_success() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--", "false"]);
    jobq.enqueue(&["--after", "1", "--", "true"]);
    jobq.enqueue(&["--after", "2", "--", "true"]);
    jobq.enqueue(&["--after-any", "1,2", "--after-any", "3", "--", "true"]);
    jobq.drain(&[]).exits(4);
    let states = [1, 2, 3, 4].map(|id| jobq.state(id));
    assert_eq!(states, ["failed", "cancelled", "cancelled", "completed"]);
    let why = "job 1, which it waits for, failed";
    assert_eq!(jobq.job(2)["error"], why);
    let shown = jobq.stdout(&["status", "4"]);
    has_line(&shown, "after any\t1 failed, 2 cancelled, 3 cancelled");
    let events = jobq.stdout(&["events", "--job", "2"]);
    assert!(
        events.contains(&format!("{{\"error\":\"{why}\"}}")),
        "{events}"
    );
    let events = jobq.stdout(&["events", "--kind", "job_released"]);
    assert_eq!(events.lines().count(), 1, "{events}");
}

#[test]
fn a_job_that_is_not_there_cannot_be_waited_for_nor_be_a_parent() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    for (option, id, code, words) in [
        ("--after", "7", 3, ["no job 7", "jobq list"]),
        ("--after-any", "1-2", 3, ["no job 2", "jobq list"]),
        ("--parent", "7", 3, ["no job 7", "jobq list"]),
        ("--after", "x", 2, ["'x' is not a job id", "@last"]),
        ("--parent", "1-2", 2, ["'1-2' names several jobs", "one"]),
    ] {
        let refused = jobq.run(&["enqueue", option, id, "--", "true"]);
        refused.fails(code, &words);
    }
    assert_eq!(jobq.total(), 1);
}

#[test]
fn a_unique_key_is_kept_replaced_or_rejected_as_asked() {
    let jobq = Jobq::new();
    let unique = |how: &[&str], word: &str| {
        let line = [&["enqueue", "--json", "--unique", "report"], how].concat();
        jobq.run(&[&line[..], &["--", "echo", word]].concat())
    };
    let said = |output: super::support::Output| parse_json(&output.exits(0).stdout);
    assert_eq!(said(unique(&[], "a"))["duplicate"], false);
    let kept = json!({"id": 1, "state": "pending", "duplicate": true});
    assert_eq!(said(unique(&[], "b")), kept);
    assert_eq!(said(unique(&["--on-duplicate", "keep"], "c")), kept);
    let word = || jobq.job(1)["payload"]["command"][1].clone();
    assert_eq!(word(), "a");
    let replaced = json!({"id": 1, "state": "pending", "duplicate": true, "replaced": true});
    assert_eq!(said(unique(&["--on-duplicate", "replace"], "d")), replaced);
    assert_eq!(word(), "d");
    let rejected = unique(&["--on-duplicate", "reject"], "e");
    rejected.fails(1, &["job 1", "'report'", "jobq status 1"]);
    assert_eq!(
        (jobq.total(), jobq.job(1)["unique_key"].clone()),
        (1, json!("report"))
    );
    has_line(&jobq.stdout(&["status", "1"]), "unique\treport");
    jobq.drain(&[]).exits(0);
    assert_eq!(said(unique(&["--unique-for", "1h"], "f"))["id"], 2);
    jobq.drain(&[]).exits(0);
    let ended = said(unique(&[], "g"));
    assert_eq!(
        ended,
        json!({"id": 2, "state": "completed", "duplicate": true})
    );
}

#[test]
fn a_job_whose_key_is_taken_is_not_retried_but_the_rest_are() {
    let jobq = Jobq::new();
    let once = ["--retries", "0", "--unique", "u", "--", "false"];
    jobq.enqueue(&once);
    jobq.enqueue(&["--retries", "0", "--", "false"]);
    jobq.drain(&[]).exits(4);
    jobq.enqueue(&once);
    let retried = jobq.run(&["retry", "1", "2"]).exits(1);
    assert_eq!(retried.stdout, "job 2 is pending again\n");
    assert!(retried.stderr.contains("unique key 'u'"), "{retried:?}");
    let again = jobq.run(&["retry", "--failed"]);
    let again = again.fails(1, &["unique key 'u'"]);
    assert_eq!(again.stderr.lines().count(), 1, "{again:?}");
}

#[test]
fn jobs_of_a_kind_are_unique_by_their_payload_where_asked() {
    let jobq = Jobq::new();
    let add = |kind: &str, payload: &str| {
        jobq.enqueue(&["--unique-by-payload", "--kind", kind, "--payload", payload])
    };
    assert_eq!(add("send", r#"{"to":"ann","n":1}"#), 1);
    assert_eq!(add("send", r#"{ "n": 1, "to": "ann" }"#), 1);
    assert_eq!(add("send", r#"{"to":"bob","n":1}"#), 2);
    assert_eq!(add("call", r#"{"to":"ann","n":1}"#), 3);
}

#[test]
fn what_concerns_a_unique_key_is_refused_without_one() {
    let jobq = Jobq::new();
    for option in [&["--on-duplicate", "reject"], &["--unique-for", "1h"]] {
        let line = [&["enqueue"][..], option, &["--", "true"]].concat();
        let refused = jobq.run(&line).fails(2, &[&option[0][2..], "unique key"]);
        assert!(refused.hint().contains("--unique KEY"));
    }
    assert!(!jobq.db().exists());
}

#[test]
fn a_concurrency_key_has_a_limit() {
    let jobq = Jobq::new();
    let add = |more: &[&str]| jobq.enqueue(&[more, &["--key", "disk", "--", "true"]].concat());
    add(&[]);
    add(&[]);
    assert_eq!([1, 2].map(|id| jobq.state(id)), ["pending", "blocked"]);
    add(&["--key-limit", "3"]);
    let states = [1, 2, 3].map(|id| jobq.state(id));
    assert_eq!(states, ["pending", "pending", "pending"]);
    assert_eq!(jobq.job(3)["key"], "disk");
    has_line(&jobq.stdout(&["status", "3"]), "key\tdisk");
    let too_wide = [
        "enqueue",
        "--key",
        "disk",
        "--key-limit",
        "1001",
        "--",
        "true",
    ];
    let refused = jobq
        .run(&too_wide)
        .fails(2, &["a key limit is at most 1000"]);
    assert!(refused.hint().contains("without a key"));
    jobq.drain(&[]).exits(0);
}

#[test]
fn a_deadline_is_a_moment_or_a_duration_from_now() {
    let jobq = Jobq::new();
    let deadline = |text: &str| {
        let id = jobq.enqueue(&["--deadline", text, "--", "true"]);
        jobq.job(id)["deadline"].clone()
    };
    assert_eq!(deadline("2100-01-02T03:04:05Z"), "2100-01-02T03:04:05.000Z");
    has_line(
        &jobq.stdout(&["status", "1"]),
        "deadline\t2100-01-02T03:04:05.000Z",
    );
    let left = millisecond(&deadline("1h")) - millisecond(&jobq.job(2)["created_at"]);
    assert!((3_590_000..=3_600_000).contains(&left), "{left}");
    let bad = jobq.run(&["enqueue", "--deadline", "soon", "--", "true"]);
    bad.fails(2, &["'soon'", "18:30", "90s from now"]);
    let over = ["enqueue", "--deadline", "2001-01-01T00:00:00Z"];
    let over = jobq.run(&[&over[..], &["--", "touch", "ran"]].concat());
    assert!(over.exits(0).stderr.contains("already passed"));
    let why = jobq.run(&["why", "3"]).exits(0);
    assert_eq!(
        why.stdout,
        "job 3 is pending: its deadline (2001-01-01T00:00:00.000Z) has passed; the next active runner will cancel it\n"
    );
    assert!(why.hint().contains("jobq retry 3"), "{why:?}");
    let late = ["enqueue", "--in", "2h", "--deadline", "1h", "--", "true"];
    let late = jobq.run(&late).exits(0);
    assert!(late.stderr.contains("due only after its deadline"));
    jobq.drain(&[]);
    assert_eq!(jobq.state(3), "cancelled");
    assert!(!jobq.path("ran").exists());
}

#[test]
fn a_parent_completes_after_the_children_that_are_added_to_it() {
    let jobq = Jobq::new();
    let parent = jobq.enqueue(&["--kind", "group"]);
    assert_eq!(jobq.state(parent), "waiting");
    for _ in 0..3 {
        jobq.enqueue(&["--parent", "1", "--", "true"]);
    }
    let group = jobq.job(parent);
    assert_eq!(
        group["children"],
        json!({"total": 3, "done": 0, "failed": 0})
    );
    assert_eq!(
        fields(&jobq.job(2), &["parent_id", "depends_on"]),
        [&json!(1), &Value::Null]
    );
    has_line(&jobq.stdout(&["status", "2"]), "parent\t1");
    let shown = jobq.stdout(&["status", "1"]);
    has_line(&shown, "children\t0 of 3 done");
    assert!(!shown.contains("null"), "it has no payload: {shown}");
    let groups = jobq.run(&["list", "--kind", "group"]).exits(0);
    assert_eq!(groups.rows()[0][7], "0 of 3 done");
    jobq.enqueue(&["--parent", "1", "--retries", "0", "--", "false"]);
    assert_eq!(listed(&jobq, &["--parent", "1"]), [2, 3, 4, 5]);
    jobq.drain(&[]).exits(4);
    assert_eq!(jobq.state(parent), "failed", "a child has failed");
    has_line(
        &jobq.stdout(&["status", "1"]),
        "children\t3 of 4 done, 1 failed or cancelled",
    );
    let late = jobq.run(&["enqueue", "--parent", "1", "--", "true"]);
    late.fails(1, &["job 1 is failed"]);
}

#[test]
fn what_a_childs_failure_means_is_the_parents_choice() {
    let jobq = Jobq::new();
    for (policy, state) in [("tolerate", "completed"), ("fail-fast", "failed")] {
        let parent = jobq.enqueue(&["--kind", "group", "--child-policy", policy]);
        let of = parent.to_string();
        jobq.enqueue(&["--parent", &of, "--retries", "0", "--", "false"]);
        jobq.enqueue(&["--parent", &of, "--", "true"]);
        jobq.drain(&[]).exits(4);
        assert_eq!(jobq.state(parent), state, "{policy}");
    }
    let bad = ["enqueue", "--child-policy", "pray", "--kind", "group"];
    jobq.run(&bad).fails(2, &["pray", "cancel-others"]);
}

/// A command that adds a child and fails at its first attempt.
const SPAWNER: &str = "jobq enqueue --parent $JOBQ_JOB_ID -- sh -c 'echo child >>ran' >>spawned
    [ $JOBQ_ATTEMPT != 1 ]";

#[test]
fn a_child_from_inside_is_added_with_the_attempt_that_completes() {
    let jobq = Jobq::new();
    jobq.script("job", SPAWNER);
    let at_once = ["--retries", "1", "--retry-delay", "0s"];
    jobq.enqueue(&[&at_once[..], &["--", "./job"]].concat());
    jobq.drain(&[]);
    assert_eq!(jobq.read("spawned").lines().count(), 2, "it ran twice");
    assert_eq!(jobq.read("ran"), "child\n", "the retry doubles nothing");
    let parent = jobq.job(1);
    assert_eq!(
        fields(&parent, &["state", "children"]),
        [
            &json!("completed"),
            &json!({"total": 1, "done": 1, "failed": 0})
        ]
    );
}

#[test]
fn a_finalize_phase_comes_after_the_children() {
    let jobq = Jobq::new();
    jobq.script(
        "job",
        "echo ${JOBQ_PHASE-own} >>steps
         [ -n \"$JOBQ_PHASE\" ] || jobq enqueue --parent $JOBQ_JOB_ID -- sh -c 'echo child >>steps'",
    );
    jobq.enqueue(&["--finalize", "--", "./job"]);
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.read("steps"), "own\nchild\nfinalize\n");
}

#[test]
fn an_attempt_cannot_wait_for_a_child_that_begins_after_it() {
    let jobq = Jobq::new();
    jobq.script(
        "job",
        "jobq enqueue --parent $JOBQ_JOB_ID --wait -- true; echo $?
         jobq enqueue --parent $JOBQ_JOB_ID --follow -- true; echo $?",
    );
    jobq.enqueue(&["--", "./job"]);
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.stdout(&["logs", "1", "--stream", "stdout"]), "2\n2\n");
    let said = jobq.stdout(&["logs", "1", "--stream", "stderr"]);
    assert_eq!(said.matches("cannot wait for it").count(), 2, "{said}");
    assert_eq!(jobq.total(), 1);
}

#[test]
fn from_inside_a_job_of_another_file_is_a_parent_as_any_other() {
    let jobq = Jobq::new();
    let other = jobq.path("other.db");
    let elsewhere = |words: &[&str]| {
        let call = jobq.call(&["--db"]).arg(&other);
        words.iter().fold(call, |call, word| call.arg(word)).run()
    };
    elsewhere(&["enqueue", "--kind", "group"]).exits(0);
    jobq.script(
        "job",
        "jobq --db other.db enqueue --parent 1 -- true; exit 1",
    );
    jobq.enqueue(&["--retries", "0", "--", "./job"]);
    jobq.drain(&[]).exits(4);
    let child = elsewhere(&["status", "2", "--json"]).exits(0);
    let child = parse_json(&child.stdout);
    assert_eq!(
        fields(&child, &["state", "parent_id"]),
        [&json!("pending"), &json!(1)],
        "it does not depend on the attempt"
    );
}

#[test]
fn a_retried_group_whose_children_were_removed_is_done() {
    let jobq = Jobq::new();
    let group = jobq.enqueue(&["--kind", "group"]).to_string();
    let child = jobq.enqueue(&["--parent", &group, "--retries", "0", "--", "false"]);
    jobq.drain(&[]).exits(4);
    jobq.run(&["remove", &child.to_string()]).exits(0);
    jobq.run(&["retry", &group]).exits(0);
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.state(1), "completed");
}
