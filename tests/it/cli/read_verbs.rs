//! The verbs that only look: status, list, logs, events, why, wait.

use serde_json::{Value, json};

use super::support::{Jobq, text};
use crate::support::{PATIENCE, wait_until};

/// Jobs 1 to 6: completed, failed, cancelled, pending in queue `q`, scheduled and urgent, of kind `k`.
fn scene() -> Jobq {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "echo", "one"]);
    jobq.enqueue(&["--retries", "0", "--shell", "echo no >&2; exit 2"]);
    jobq.drain(&[]).exits(4);
    jobq.enqueue(&["--", "true"]);
    jobq.run(&["cancel", "3"]).exits(0);
    jobq.enqueue(&["--queue", "q", "--", "true"]);
    jobq.enqueue(&["--in", "1h", "--priority", "urgent", "--", "true"]);
    jobq.enqueue(&["--kind", "k"]);
    jobq
}

fn ids(jobq: &Jobq, filter: &[&str]) -> Vec<i64> {
    let jobs = jobq.json_lines(&[&["list"], filter].concat());
    jobs.iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

#[test]
fn a_list_is_searched_for_a_text() {
    let jobq = Jobq::new();
    for payload in ["{\"city\":\"Oslo\"}", "{\"city\":\"100% Rome\"}"] {
        jobq.enqueue(&["--kind", "visit", "--payload", payload]);
    }
    for (text, found) in [
        ("oslo", &[1][..]),
        ("0%", &[2]),
        ("VISIT", &[2, 1]),
        ("1_", &[]),
    ] {
        assert_eq!(ids(&jobq, &["--text", text]), found, "{text}");
    }
    jobq.run(&["list", "--text", ""]).fails(2, &["is empty"]);
}

#[test]
fn a_list_is_filtered_and_sorted_as_asked() {
    let jobq = scene();
    let list = |filter: &[&str]| ids(&jobq, filter);
    assert_eq!(list(&[]), [6, 5, 4, 3, 2, 1]);
    assert_eq!(list(&["--state", "failed"]), [2]);
    assert_eq!(
        list(&["--state", "pending,scheduled", "--state", "failed"]),
        [6, 5, 4, 2]
    );
    assert_eq!(list(&["--queue", "q"]), [4]);
    assert_eq!(list(&["--queue", "none"]), Vec::<i64>::new());
    assert_eq!(list(&["--kind", "k"]), [6]);
    assert_eq!(list(&["--kind", "exec", "--state", "pending"]), [4]);
    assert_eq!(list(&["--since", "1h"]), [6, 5, 4, 3, 2, 1]);
    assert_eq!(list(&["--since", "0s"]), Vec::<i64>::new());
    assert_eq!(list(&["--limit", "2"]), [6, 5]);
    assert_eq!(list(&["--limit", "2", "--sort", "oldest"]), [1, 2]);
    assert_eq!(list(&["--sort", "priority", "--limit", "1"]), [5]);
    assert_eq!(list(&["--sort", "due", "--limit", "1"]), [5]);
    assert_eq!(list(&["--sort", "finished", "--limit", "3"])[0], 3);
    assert_eq!(
        list(&["--sort", "oldest", "--limit", "0"]),
        [1, 2, 3, 4, 5, 6]
    );
}

#[test]
fn status_counts_states_and_names_queues_and_next_due_time() {
    let jobq = scene();
    let status = jobq.json(&["status"]);
    assert_eq!(
        status["counts"],
        json!({"scheduled": 1, "blocked": 0, "pending": 2, "running": 0, "waiting": 0,
            "completed": 1, "failed": 1, "cancelled": 1})
    );
    let queues: Vec<_> = status["queues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| &queue["name"])
        .collect();
    assert_eq!(queues, ["default", "q"]);
    assert_eq!(status["next_due_at"], jobq.job(5)["run_at"]);
}

#[test]
fn status_shows_a_runner_and_what_its_workers_do() {
    let jobq = Jobq::new();
    jobq.enqueue(&[
        "--shell",
        "echo begun >begun; while [ ! -e gate ]; do sleep 0.02; done",
    ]);
    let runner = jobq.runner(&["-j", "2"]);
    jobq.wait_for_line("begun");
    wait_until("the worker is known", PATIENCE, || {
        jobq.job(1)["worker"].is_number()
    });
    let status = jobq.json(&["status"]);
    let seen = &status["runners"][0];
    assert_eq!(
        (&seen["state"], &seen["pid"]),
        (&json!("busy"), &json!(runner.pid()))
    );
    let workers = seen["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2, "{seen}");
    let busy: Vec<_> = workers.iter().filter(|worker| worker["job"] == 1).collect();
    assert_eq!(busy.len(), 1);
    assert_eq!(busy[0]["kind"], "exec");
    assert_eq!(busy[0]["worker"], jobq.job(1)["worker"]);
    let idle: Vec<_> = workers
        .iter()
        .filter(|worker| worker["job"].is_null())
        .collect();
    assert_eq!((idle.len(), &idle[0]["since"]), (1, &Value::Null));
    jobq.write("gate", "");
    runner.stop().exits(0);
}

#[test]
fn a_watched_status_is_shown_again_whenever_something_changes() {
    let jobq = Jobq::new();
    jobq.make_database();
    let watching = jobq.spawn(&["status", "--watch", "--json"]);
    watching.wait_until_printed("\"pending\":0");
    let mut pending = 0;
    // A change may come before it has begun to watch: its page has it then.
    wait_until("a page shows a change", PATIENCE, || {
        jobq.enqueue(&["--kind", "k"]);
        pending += 1;
        watching.stdout().lines().count() > 1
    });
    watching.wait_until_printed(&format!("\"pending\":{pending},"));
    watching.kill();
}

#[test]
fn showing_several_jobs_in_full_survives_a_missing_one() {
    let jobq = scene();
    let shown = jobq.run(&["status", "1", "9", "@last", "--json"]).exits(3);
    let ids: Vec<_> = shown
        .stdout
        .lines()
        .map(super::support::parse_json)
        .map(|job| job["id"].clone())
        .collect();
    assert_eq!(ids, [1, 6]);
    assert!(shown.stderr.contains("error: no job 9"), "{shown:?}");
    let plain = jobq.stdout(&["status", "2"]);
    for fact in ["state\tfailed", "error\texit code 2: no", "queue\tdefault"] {
        assert!(plain.lines().any(|line| line == fact), "{fact}: {plain}");
    }
}

#[test]
fn a_job_that_is_tried_again_at_once_is_said_to_be() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--backoff", "none", "--retry-delay", "1s", "--", "true"]);
    jobq.enqueue(&["--backoff", "fixed", "--retry-delay", "1s", "--", "true"]);
    for (id, retries) in [
        ("1", "retries\t3 of 3 left, without a wait"),
        ("2", "retries\t3 of 3 left, fixed backoff from 1s"),
    ] {
        let shown = jobq.stdout(&["status", id]);
        assert!(shown.lines().any(|line| line == retries), "{shown}");
    }
}

#[test]
fn each_rule_that_holds_a_job_back_is_explained_with_a_remedy() {
    let jobq = scene();
    let why = |id: &str| jobq.json(&["why", id]);
    let rule = |id: &str| text(&why(id)["why"]);
    assert_eq!(
        ["1", "2", "3"].map(rule),
        ["completed", "failed", "cancelled"]
    );
    assert_eq!(rule("4"), "no_runner");
    assert_eq!(rule("5"), "delayed");
    jobq.run(&["pause", "q"]).exits(0);
    assert_eq!(rule("4"), "queue_paused");
    assert_eq!(why("4")["hint"], "`jobq resume q` resumes it");
    jobq.run(&["pause"]).exits(0);
    assert_eq!(rule("4"), "all_paused");
    jobq.run(&["resume"]).exits(0);
    let runner = jobq.runner(&["--queue", "default"]);
    assert_eq!(rule("6"), "no_handler");
    jobq.run(&["resume", "q"]).exits(0);
    assert_eq!(rule("4"), "queue_not_served");
    runner.stop().exits(0);
    let answer = why("4");
    assert_eq!(
        answer.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["hint", "id", "message", "state", "why"]
    );
    let plain = jobq.run(&["why", "4"]).exits(0);
    assert_eq!(plain.stdout, "job 4 is pending: no runner is active\n");
    assert_eq!(plain.stderr, "hint: start one with `jobq run`\n");
}

#[test]
fn a_job_behind_busy_workers_is_told_its_place_in_the_line() {
    let jobq = Jobq::new();
    let gated = "echo begun >begun; while [ ! -e gate ]; do sleep 0.02; done";
    jobq.enqueue(&["--shell", gated]);
    let runner = jobq.runner(&["-j", "1"]);
    jobq.wait_for_line("begun");
    jobq.enqueue(&["--", "true"]);
    jobq.enqueue(&["--", "true"]);
    let why = ["1", "3"].map(|id| jobq.json(&["why", id]));
    assert_eq!(
        (&why[0]["why"], &why[1]["why"]),
        (&json!("running"), &json!("in_line"))
    );
    assert!(
        text(&why[1]["message"]).contains("1 job of its queue goes first"),
        "{why:?}"
    );
    jobq.write("gate", "");
    runner.stop().exits(0);
}

#[test]
fn logs_show_the_last_lines_and_follow_to_the_end_of_the_job() {
    let jobq = Jobq::new();
    jobq.script(
        "job",
        "seq 1 5; echo e >&2; while [ ! -e gate ]; do sleep 0.02; done; seq 6 7; printf rest",
    );
    jobq.enqueue(&["--", "./job"]);
    let waiting = jobq.spawn(&["logs", "1", "-f"]);
    waiting.wait_until_said("no runner is active");
    let runner = jobq.runner(&[]);
    waiting.wait_until_printed("5\n");
    waiting.wait_until_printed("e\n");
    assert_eq!(
        jobq.stdout(&["logs", "1", "-n", "2", "--stream", "stdout"]),
        "4\n5\n"
    );
    let late = jobq.spawn(&["logs", "1", "-f", "-n", "1", "--stream", "stdout"]);
    late.wait_until_printed("5\n");
    jobq.write("gate", "");
    assert_eq!(
        waiting.wait().exits(0).stdout,
        "1\n2\n3\n4\n5\ne\n6\n7\nrest"
    );
    assert_eq!(late.wait().exits(0).stdout, "5\n6\n7\nrest");
    assert_eq!(
        jobq.stdout(&["logs", "1", "-n", "2", "--stream", "stdout"]),
        "7\nrest\n"
    );
    assert_eq!(jobq.stdout(&["logs", "1", "-n", "0"]), "");
    assert_eq!(jobq.stdout(&["logs", "@last", "--stream", "stderr"]), "e\n");
    runner.stop().exits(0);
}

#[test]
fn history_lists_in_order_by_kind_by_job_and_from_an_event() {
    let jobq = scene();
    let kinds = |options: &[&str]| -> Vec<String> {
        let events = jobq.json_lines(&[&["events"], options].concat());
        events.iter().map(|event| text(&event["kind"])).collect()
    };
    assert_eq!(
        kinds(&["--job", "1"]),
        ["job_enqueued", "job_started", "job_completed"]
    );
    assert_eq!(
        kinds(&["--job", "2"]),
        ["job_enqueued", "job_started", "job_failed"]
    );
    assert_eq!(
        kinds(&["--job", "1", "--kind", "job_stdout"]),
        ["job_stdout"]
    );
    assert_eq!(
        kinds(&["--kind", "job_cancelled,runner_stopped"]),
        ["runner_stopped", "job_cancelled"]
    );
    assert_eq!(
        kinds(&["-n", "2", "--job", "3"]),
        ["job_enqueued", "job_cancelled"]
    );
    let all = jobq.json_lines(&["events"]);
    let numbers: Vec<i64> = all
        .iter()
        .map(|event| event["id"].as_i64().unwrap())
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    let since = numbers[numbers.len() - 3].to_string();
    assert_eq!(
        kinds(&["--since", &since]),
        ["job_enqueued", "job_enqueued"]
    );
    assert_eq!(
        all[0].as_object().unwrap().keys().collect::<Vec<_>>(),
        [
            "at", "attempt", "data", "id", "job", "kind", "runner", "took_ms", "worker"
        ]
    );
    let plain = jobq
        .run(&["events", "--job", "2", "--kind", "job_failed"])
        .exits(0);
    let row = &plain.rows()[0];
    assert_eq!(
        (row.len(), row[2], row[3], row[4]),
        (9, "job_failed", "2", "1")
    );
    jobq.run(&["events", "--kind", "job_faild"])
        .fails(2, &["job_failed"]);
}

#[test]
fn following_the_history_tells_what_happens_from_now_on() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "before"]);
    let follower = jobq.spawn(&["events", "-f", "--json"]);
    let mut id = 1;
    // It says nothing when it has begun to follow: so something happens until it has told of it.
    wait_until("something is told", PATIENCE, || {
        id = jobq.enqueue(&["--kind", "after"]);
        !follower.stdout().is_empty()
    });
    follower.wait_until_printed(&format!("\"job\":{id},"));
    assert!(!follower.stdout().contains("\"job\":1,"));
    follower.kill();
}

#[test]
fn waiting_for_several_ends_with_the_last_and_names_failures() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    jobq.enqueue(&["--retries", "0", "--", "false"]);
    jobq.enqueue(&["--shell", "while [ ! -e gate ]; do sleep 0.02; done"]);
    let runner = jobq.runner(&[]);
    let waiting = jobq.spawn(&["wait", "1-3"]);
    jobq.run(&["wait", "1", "2"]).exits(4);
    jobq.write("gate", "");
    assert_eq!(
        waiting.wait().exits(4).stderr,
        "job 2 failed: exit code 1\n"
    );
    jobq.run(&["wait", "1", "3", "--timeout", "10s"]).exits(0);
    runner.stop().exits(0);
    let both = jobq.run(&["wait", "--exit-code", "1", "2"]);
    both.fails(2, &["--exit-code goes with one job"]);
}

#[test]
fn a_program_that_waits_is_told_where_each_job_has_ended() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    jobq.enqueue(&["--retries", "0", "--", "false"]);
    let waiting = jobq.spawn(&["wait", "2", "1", "--json"]);
    jobq.drain(&[]).exits(4);
    let told = "{\"id\":2,\"state\":\"failed\"}\n{\"id\":1,\"state\":\"completed\"}\n";
    assert_eq!(waiting.wait().exits(4).stdout, told);
    let one = jobq.run(&["wait", "--exit-code", "1", "--json"]).exits(0);
    assert_eq!(one.stdout, "{\"id\":1,\"state\":\"completed\"}\n");
}

#[test]
fn the_exit_code_that_is_waited_for_is_the_commands_own() {
    let jobq = Jobq::new();
    for script in ["exit 0", "exit 7", "kill -TERM $$"] {
        jobq.enqueue(&["--retries", "0", "--shell", script]);
    }
    jobq.drain(&[]).exits(4);
    for (id, code) in [("1", 0), ("2", 7), ("3", 143)] {
        jobq.run(&["wait", "--exit-code", id]).exits(code);
    }
    jobq.enqueue(&["--", "true"]);
    jobq.run(&["cancel", "4"]).exits(0);
    jobq.run(&["wait", "--exit-code", "4"]).exits(4);
}

#[test]
fn the_history_says_who_made_a_change() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "k"]);
    for (user, expected) in [("ann", Some("cli:ann")), ("", None)] {
        jobq.call(&["pause"]).env("USER", user).run().exits(0);
        let event = jobq
            .json_lines(&["events", "--kind", "queue_paused"])
            .pop()
            .unwrap();
        assert_eq!(event["data"]["by"].as_str(), expected, "{event}");
        jobq.run(&["resume"]).exits(0);
    }
    let said = jobq
        .call(&["events", "--kind", "queue_paused"])
        .run()
        .exits(0)
        .stdout;
    assert!(said.contains("cli:ann"), "{said}");
}
