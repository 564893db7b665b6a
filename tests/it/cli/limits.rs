//! Limits of queues over all runners, and of kinds in one: `queue set`, `[queues]` and `[kinds]`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{Jobq, millisecond};
use crate::support::{PATIENCE, wait_until};

/// Tells when it begins and ends; two that run at once leave two beginnings in a row.
const TELLING: &str = "echo begin >> told; sleep 0.03; echo end >> told";

/// How many ran at once at most, by what they told.
fn most_at_once(jobq: &Jobq) -> i32 {
    let (mut now, mut most) = (0, 0);
    for line in jobq.read("told").lines() {
        now += if line == "begin" { 1 } else { -1 };
        most = most.max(now);
    }
    assert_eq!(now, 0, "{}", jobq.read("told"));
    most
}

fn queue(jobq: &Jobq, name: &str) -> Value {
    let queues = jobq.json_lines(&["queue", "list"]);
    let queue = queues.into_iter().find(|queue| queue["name"] == name);
    queue.unwrap_or_else(|| panic!("no queue {name}"))
}

#[test]
fn two_runners_never_run_more_of_a_queue_than_it_is_limited_to() {
    for limit in ["1", "3"] {
        let jobq = Jobq::new();
        jobq.run(&["queue", "set", "images", "--concurrency", limit])
            .exits(0);
        let runners = [(); 2].map(|()| jobq.runner(&["--workers", "2"]));
        let line = format!("{{\"shell\":\"{TELLING}\",\"queue\":\"images\"}}\n");
        jobq.enqueue_batch(&line.repeat(20));
        wait_until("all have run", PATIENCE, || jobq.count("completed") == 20);
        for runner in runners {
            runner.stop().exits(0);
        }
        assert_eq!(most_at_once(&jobq).to_string(), limit);
        let took_part: BTreeSet<i64> = (1..=20)
            .map(|id| jobq.job(id)["runner"].as_i64().unwrap())
            .collect();
        // One runner alone has no workers for three places.
        assert!(limit == "1" || took_part.len() == 2, "{took_part:?}");
    }
}

#[test]
fn a_drain_waits_for_places_that_another_runner_holds() {
    let jobq = Jobq::new();
    jobq.run(&["queue", "set", "images", "--concurrency", "1"])
        .exits(0);
    let waits = "echo here >> told; until [ -e go ]; do sleep 0.01; done";
    jobq.enqueue(&["--queue", "images", "--shell", waits]);
    let other = jobq.runner(&["--workers", "1"]);
    jobq.wait_for_line("told");
    jobq.enqueue(&["--queue", "images", "--", "true"]);
    jobq.enqueue(&["--", "true"]);
    let mut drain = jobq.spawn(&["run", "--drain"]);
    wait_until("it has run what it could", PATIENCE, || {
        jobq.count("completed") == 1
    });
    assert!(!drain.has_ended());
    jobq.write("go", "");
    drain.wait().exits(0);
    wait_until("nothing is left", PATIENCE, || jobq.count("completed") == 3);
    other.stop();
}

#[test]
fn a_killed_runner_leaks_no_place() {
    let jobq = Jobq::new();
    jobq.run(&["queue", "set", "images", "--concurrency", "1"])
        .exits(0);
    let hangs_first = "[ $JOBQ_ATTEMPT -gt 1 ] || { echo here >> told; exec sleep 60; }";
    let first = jobq.enqueue(&["--queue", "images", "--shell", hangs_first]);
    for _ in 0..3 {
        jobq.enqueue(&["--queue", "images", "--", "true"]);
    }
    let killed = jobq.runner(&[]);
    jobq.wait_for_line("told");
    let why = jobq.json(&["why", "2"]);
    assert_eq!(why["why"], "queue_limit");
    assert_eq!(
        why["message"],
        format!("job 2 is pending: queue images is at its limit of 1: {first}")
    );
    let heir = jobq.runner(&[]);
    assert_eq!(jobq.count("pending"), 3);
    killed.kill();
    wait_until("the other runner has run all", PATIENCE, || {
        jobq.count("completed") == 4
    });
    heir.stop();
    jobq.run(&["doctor"]).exits(0);
    assert_eq!(queue(&jobq, "images")["counts"]["running"], 0);
}

#[test]
fn a_raised_limit_is_taken_up_by_a_runner_that_is_there() {
    let jobq = Jobq::new();
    jobq.run(&["queue", "set", "images", "--concurrency", "1"])
        .exits(0);
    for _ in 0..2 {
        jobq.enqueue(&["--queue", "images", "--", "sleep", "60"]);
    }
    let _runner = jobq.runner(&[]);
    wait_until("one runs", PATIENCE, || jobq.count("running") == 1);
    jobq.run(&["queue", "set", "images", "--concurrency", "none"])
        .exits(0);
    wait_until("both run", PATIENCE, || jobq.count("running") == 2);
}

#[test]
fn a_rate_spaces_the_starts_and_a_drain_waits_for_it() {
    let jobq = Jobq::new();
    jobq.run(&["queue", "set", "mail", "--rate", "2/400ms"])
        .exits(0);
    for _ in 0..5 {
        jobq.enqueue(&["--queue", "mail", "--", "true"]);
    }
    let began = Instant::now();
    let drains = [(); 2].map(|()| jobq.spawn(&["run", "--drain"]));
    for drain in drains {
        drain.wait().exits(0);
    }
    assert!(began.elapsed() >= Duration::from_millis(800));
    let mut starts: Vec<i64> = (1..=5)
        .map(|id| millisecond(&jobq.job(id)["started_at"]))
        .collect();
    starts.sort_unstable();
    for span in starts.windows(3) {
        assert!(span[2] - span[0] >= 400, "{starts:?}");
    }
}

#[test]
fn a_job_that_waits_for_the_rate_says_when_the_next_may_start() {
    let jobq = Jobq::new();
    jobq.run(&["queue", "set", "mail", "--rate", "1/1h"])
        .exits(0);
    for _ in 0..2 {
        jobq.enqueue(&["--queue", "mail", "--", "true"]);
    }
    let runner = jobq.runner(&[]);
    wait_until("the first is through", PATIENCE, || {
        jobq.count("completed") == 1
    });
    let why = jobq.json(&["why", "2"]);
    assert_eq!(why["why"], "queue_rate");
    let message = why["message"].as_str().unwrap();
    assert!(
        message.contains("queue mail may start 1 job in 1h: the next in 59m"),
        "{message}"
    );
    runner.stop();
}

#[test]
fn a_full_queue_is_told_apart_and_nothing_of_a_batch_goes_in() {
    let jobq = Jobq::new();
    jobq.run(&["queue", "set", "small", "--max-size", "3"])
        .exits(0);
    for _ in 0..2 {
        jobq.enqueue(&["--queue", "small", "--", "true"]);
    }
    let line = "{\"shell\":\"true\",\"queue\":\"small\"}\n";
    let batch = jobq
        .call(&["enqueue", "--batch", "-"])
        .stdin(line.repeat(2));
    batch
        .run()
        .fails(75, &["stdin line 2: ", "queue 'small' is full"]);
    assert_eq!(jobq.total(), 2);
    jobq.enqueue(&["--queue", "small", "--", "true"]);
    let full = jobq.run(&["enqueue", "--queue", "small", "--", "true"]);
    let full = full.fails(75, &["it holds 3 jobs that have not ended, its limit is 3"]);
    assert!(full.hint().contains("jobq queue set small --max-size"));
    jobq.enqueue(&["--", "true"]);
    jobq.drain(&[]).exits(0);
    jobq.enqueue(&["--queue", "small", "--", "true"]);
}

#[test]
fn sizes_of_the_config_file_hold_for_what_is_enqueued() {
    let jobq = Jobq::new();
    jobq.write("jobq.toml", "[defaults]\nmax_queue_size = 1");
    jobq.enqueue(&["--", "true"]);
    let full = jobq.run(&["enqueue", "--", "true"]).fails(75, &["is full"]);
    assert!(full.hint().contains("max_queue_size"), "{full:?}");
    jobq.write("jobq.toml", "max_file_size = \"256KiB\"");
    jobq.enqueue(&["--", "true", &"x".repeat(60_000)]);
    let full = jobq.run(&["enqueue", "--", "true"]);
    let full = full.fails(75, &["size budget", "0.2 MiB are allowed"]);
    assert!(full.hint().contains("max_file_size"), "{full:?}");
    // What is there goes on.
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.count("completed"), 2);
}

#[test]
fn limits_are_set_shown_kept_and_cleared() {
    let jobq = Jobq::new();
    let set = jobq.json(&[
        "queue",
        "set",
        "q",
        "--concurrency",
        "2",
        "--rate",
        "10/1m",
        "--max-size",
        "100",
        "--weight",
        "3",
    ]);
    let limits = |queue: &Value| {
        json!([
            queue["concurrency"],
            queue["rate"],
            queue["max_size"],
            queue["weight"]
        ])
    };
    let all = json!([2, {"jobs": 10, "per_ms": 60000}, 100, 3]);
    assert_eq!(limits(&set), all);
    assert_eq!(limits(&queue(&jobq, "q")), all);
    let list = jobq.run(&["queue", "list"]).exits(0);
    assert_eq!(
        list.rows()[0][10],
        "concurrency=2 rate=10/1m max-size=100 weight=3"
    );
    let said = jobq.stdout(&["queue", "set", "q", "--rate", "none", "--weight", "1"]);
    assert_eq!(said, "queue 'q': 2 at once, at most 100 jobs\n");
    assert_eq!(limits(&queue(&jobq, "q")), json!([2, null, 100, 1]));
    jobq.run(&["queue", "set", "q", "--concurrency", "2"])
        .exits(0);
    let events = jobq.json_lines(&["events", "--kind", "queue_limited"]);
    assert_eq!(events.len(), 2, "what changes nothing is no event");
    assert_eq!(events[1]["data"]["queue"], "q");
    assert_eq!(events[1]["data"]["concurrency"], 2);
}

#[test]
fn a_limit_that_cannot_be_is_refused() {
    let jobq = Jobq::new();
    for (words, said) in [
        (&["q"][..], "--concurrency"),
        (
            &["q", "--concurrency", "0"],
            "concurrency must be at least 1",
        ),
        (
            &["q", "--concurrency", "many"],
            "a number is wanted, or none",
        ),
        (&["q", "--concurrency", "-1"], "-1"),
        (&["q", "--rate", "10"], "rates look like 10/1m"),
        (&["q", "--rate", "0/1m"], "jobs must be 1 to"),
        (
            &["q", "--rate", "5/0s"],
            "a rate's duration must be 1ms to 366 days",
        ),
        (&["q", "--rate", "5/90"], "90s"),
        (&["q", "--max-size", "0"], "size must be at least 1"),
        (&["q", "--weight", "0"], "weight must be 1 to"),
        (&["q", "--weight", "none"], "none"),
        (&["", "--weight", "2"], "name"),
    ] {
        let call = jobq.run(&[&["queue", "set"], words].concat());
        call.fails(2, &[said]);
    }
    assert_eq!(jobq.stdout(&["queue", "list"]), "");
}

#[test]
fn the_config_file_limits_queues_when_a_runner_starts() {
    let jobq = Jobq::new();
    jobq.run(&["queue", "set", "images", "--weight", "7"])
        .exits(0);
    jobq.write(
        "jobq.toml",
        "[queues.images]\nconcurrency = 1\nrate = \"100/1s\"\nmax_size = 30",
    );
    let line = format!("{{\"shell\":\"{TELLING}\",\"queue\":\"images\"}}\n");
    jobq.enqueue_batch(&line.repeat(6));
    jobq.drain(&[]).exits(0);
    jobq.drain(&[]).exits(0);
    assert_eq!(most_at_once(&jobq), 1);
    let images = queue(&jobq, "images");
    assert_eq!(
        (&images["concurrency"], &images["weight"]),
        (&json!(1), &json!(7))
    );
    let events = jobq.json_lines(&["events", "--kind", "queue_limited"]);
    assert_eq!(events.len(), 2, "the second runner changed nothing");
    jobq.write("jobq.toml", "[queues.images]\nconcurrency = 0");
    let refused = jobq.drain(&[]);
    let refused = refused.fails(
        2,
        &[
            "jobq.toml: [queues.images]: ",
            "concurrency must be at least 1",
        ],
    );
    assert_eq!(
        refused.hint(),
        "leave concurrency out to set none; `jobq pause images` lets nothing of the queue start"
    );
}

#[test]
fn config_file_limits_queues_before_any_runner_has_started() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        "[defaults]\nmax_queue_size = 2\n[queues.images]\nmax_size = 4",
    );
    let line = "{\"shell\":\"true\",\"queue\":\"images\"}\n";
    jobq.write("five.jsonl", line.repeat(5));
    for words in [
        ["enqueue", "--batch", "five.jsonl"],
        ["run", "-f", "five.jsonl"],
    ] {
        jobq.run(&words).fails(75, &["line 5: ", "its limit is 4"]);
    }
    // Its own limit, and not the one of queues without.
    for _ in 0..4 {
        jobq.enqueue(&["--queue", "images", "--", "true"]);
    }
    let one = ["enqueue", "--queue", "images", "--", "true"];
    jobq.run(&one).fails(75, &["its limit is 4"]);
    let events = || jobq.json_lines(&["events", "--kind", "queue_limited"]);
    assert_eq!(events().len(), 1, "the first brought it");
    let set = jobq.run(&["queue", "set", "images", "--max-size", "9"]);
    assert!(set.exits(0).hint().contains("[queues.images]"));
    jobq.run(&one).fails(75, &["its limit is 4"]);
    assert_eq!(events().len(), 3, "set, and brought back");
}

#[test]
fn a_kind_runs_no_more_often_at_once_than_its_runner_is_told() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        format!("[kinds.slow]\ncommand = [\"sh\", \"-c\", \"{TELLING}\"]\nconcurrency = 2"),
    );
    jobq.enqueue_batch(&"{\"kind\":\"slow\"}\n".repeat(15));
    // Another kind is not held up by it.
    let other = jobq.enqueue(&["--", "true"]);
    jobq.drain(&["--workers", "5"]).exits(0);
    assert_eq!(jobq.state(other), "completed");
    assert_eq!(jobq.count("completed"), 16);
    assert_eq!(most_at_once(&jobq), 2);
}

#[test]
fn a_job_whose_kind_is_at_its_limit_in_each_runner_is_told_so() {
    let jobq = Jobq::new();
    let waits = "echo here >> told; until [ -e go ]; do sleep 0.01; done";
    jobq.write(
        "jobq.toml",
        format!("[kinds.slow]\ncommand = [\"sh\", \"-c\", \"{waits}\"]\nconcurrency = 1"),
    );
    jobq.enqueue_batch(&"{\"kind\":\"slow\"}\n".repeat(2));
    let runner = jobq.runner(&[]);
    jobq.wait_for_line("told");
    let why = jobq.json(&["why", "2"]);
    assert_eq!(why["why"], "kind_limit");
    assert_eq!(
        why["message"],
        "job 2 is pending: kind slow is at its limit of 1 in each runner: 1"
    );
    // Another kind is not held up by it.
    jobq.enqueue(&["--", "true"]);
    wait_until("the other kind is through", PATIENCE, || {
        jobq.count("completed") == 1
    });
    jobq.write("go", "");
    wait_until("all are through", PATIENCE, || jobq.count("completed") == 3);
    runner.stop().exits(0);
}

#[test]
fn a_job_in_line_for_a_place_is_told_what_its_holder_does() {
    let jobq = Jobq::new();
    jobq.make_database();
    jobq.run(&["pause", "copies"]).exits(0);
    for queue in ["copies", "default"] {
        jobq.enqueue(&["--key", "disk-1", "--queue", queue, "--", "true"]);
    }
    let why = jobq.run(&["why", "2"]).exits(0);
    assert_eq!(
        why.stdout,
        "job 2 is blocked: key 'disk-1' is at its limit of 1: 1 (pending)\n"
    );
    assert!(why.hint().contains("`jobq why 1`"), "{why:?}");
}

#[test]
fn a_kind_is_kept_for_its_own_time() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        "[retention]\ncompleted = \"1h\"\n[kinds.brief]\ncommand = [\"true\"]\n[kinds.brief.retention]\ncompleted = \"0s\"",
    );
    jobq.enqueue_batch(&"{\"kind\":\"brief\"}\n{\"shell\":\"true\"}\n".repeat(3));
    jobq.drain(&[]).exits(0);
    let pruned = jobq.json_lines(&["prune", "--state", "completed"]);
    let told: Vec<_> = pruned
        .iter()
        .map(|answer| {
            (
                answer["kind"].as_str(),
                answer["older_than_ms"].as_u64(),
                answer["removed"].as_u64(),
            )
        })
        .collect();
    // The runner may have removed some already.
    assert_eq!(
        told.iter().map(|told| (told.0, told.1)).collect::<Vec<_>>(),
        [(None, Some(3_600_000)), (Some("brief"), Some(0))]
    );
    assert_eq!(told[0].2, Some(0));
    assert_eq!((jobq.count("completed"), jobq.total()), (3, 3));
}

#[test]
fn a_runner_removes_old_jobs_of_each_kind_in_its_own_time() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        "[retention]\nevery = \"50ms\"\n[kinds.brief]\ncommand = [\"true\"]\nretention = { completed = \"0s\" }",
    );
    jobq.enqueue_batch(&"{\"kind\":\"brief\"}\n{\"shell\":\"true\"}\n".repeat(3));
    let runner = jobq.runner(&[]);
    wait_until("the brief ones are gone", PATIENCE, || {
        jobq.count("completed") == 3 && jobq.total() == 3
    });
    runner.stop().exits(0);
    let kinds = jobq.json_lines(&["list"]);
    assert!(kinds.iter().all(|job| job["kind"] == "exec"), "{kinds:?}");
}

#[test]
fn a_queue_is_shown_with_the_rules_of_its_pending_jobs() {
    let jobq = Jobq::new();
    for kind in ["a", "a", "b"] {
        jobq.enqueue(&["--queue", "images", "--kind", kind]);
    }
    let show = ["queue", "show", "images"];
    let said = "queue 'images': 3 pending\n3 pending: no runner is active\n  hint: start one with `jobq run`\n";
    assert_eq!(jobq.stdout(&show), said);
    let verdict = jobq.json(&show);
    assert_eq!(verdict["counts"]["pending"], 3);
    let rule = json!({
        "jobs": 3, "at_least": false, "why": "no_runner", "message": "no runner is active",
        "hint": "start one with `jobq run`",
    });
    assert_eq!(verdict["pending"], json!([rule]));
    jobq.run(&["queue", "show", "post"])
        .fails(3, &["no queue 'post'"]);
}
