//! `jobq run`: what a runner takes, what a drain waits for and what it leaves.

use std::fs::File;
use std::time::{Duration, Instant};

use jobq::rusqlite::Connection;
use serde_json::{Value, json};

use super::support::{Jobq, millisecond, text};
use crate::support::{PATIENCE, assert_stays, wait_until};

#[test]
fn a_drain_waits_for_retries() {
    let jobq = Jobq::new();
    jobq.enqueue(&[
        "--retry-delay",
        "400ms",
        "--backoff",
        "fixed",
        "--shell",
        "[ $JOBQ_ATTEMPT -ge 3 ]",
    ]);
    let start = Instant::now();
    let drained = jobq.drain(&[]).exits(0);
    assert!(start.elapsed() >= Duration::from_millis(800));
    assert!(
        drained.stderr.contains("1 completed, 2 retried"),
        "{drained:?}"
    );
    assert_eq!(jobq.job(1)["attempt"], 3);
}

#[test]
fn a_drain_leaves_what_it_cannot_run_and_names_it() {
    let jobq = Jobq::new();
    jobq.enqueue_batch(
        "{\"shell\":\"true\"}
         {\"shell\":\"true\",\"in\":\"1h\"}
         {\"shell\":\"true\",\"at\":\"2100-01-01T00:00:00Z\"}
         {\"kind\":\"unknown\"}
         {\"shell\":\"true\",\"queue\":\"nights\"}",
    );
    jobq.run(&["pause", "nights"]).exits(0);
    let drained = jobq.drain(&[]).exits(0);
    for left in [
        "left: 2 jobs: delayed",
        "left: 1 job: no handler for kind 'unknown'",
        "left: 1 job: queue 'nights' is paused",
    ] {
        assert!(
            drained.stderr.lines().any(|line| line == left),
            "{left}: {drained:?}"
        );
    }
    assert_eq!(drained.stdout, "");
    assert_eq!((jobq.count("completed"), jobq.total()), (1, 5));

    let summary = jobq.json(&["run", "--drain"]);
    assert_eq!(summary["completed"], 0);
    let left: u64 = summary["left"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| left["jobs"].as_u64().unwrap())
        .sum();
    assert_eq!(left, 4);
}

#[test]
fn a_drain_of_an_empty_file_ends_at_once() {
    let jobq = Jobq::new();
    let drained = jobq.drain(&[]).exits(0);
    assert!(drained.stderr.starts_with("0 completed in "), "{drained:?}");
}

#[test]
fn a_drain_runs_what_its_jobs_enqueue() {
    let jobq = Jobq::new();
    jobq.script(
        "more",
        "[ $1 = 0 ] || jobq enqueue -q -- ./more $(($1 - 1))",
    );
    let line = ["enqueue", "--env", "XDG_STATE_HOME", "--", "./more", "5"];
    jobq.run(&line).exits(0);
    jobq.drain(&[]).exits(0);
    assert_eq!((jobq.count("completed"), jobq.total()), (6, 6));
}

#[test]
fn each_failure_is_told_with_its_reason_and_quiet_tells_nothing() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--shell", "echo broken pipe >&2; exit 5"]);
    let drained = jobq.drain(&[]).exits(4);
    let line = drained.stderr.lines().next().unwrap();
    assert!(
        line.starts_with("job 1 failed after ") && line.contains("exit code 5: broken pipe"),
        "{drained:?}"
    );
    assert!(
        drained.stderr.contains("0 completed, 1 failed in "),
        "{drained:?}"
    );
    jobq.run(&["retry", "1"]).exits(0);
    assert_eq!(jobq.drain(&["-q"]).exits(4).stderr, "");
}

#[test]
fn an_earlier_failure_is_not_the_drains() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--", "false"]);
    jobq.drain(&[]).exits(4);
    jobq.enqueue(&["--", "true"]);
    jobq.drain(&[]).exits(0);
}

#[test]
fn so_many_jobs_run_at_a_time_as_there_are_workers() {
    let jobq = Jobq::new();
    let script = "echo + >>log; while [ $(grep -c + log) -lt 3 ]; do sleep 0.02; done";
    for _ in 0..3 {
        jobq.enqueue(&["--timeout", "30s", "--shell", script]);
    }
    jobq.drain(&["-j", "3"]).exits(0);

    let jobq = Jobq::new();
    let script = "mkdir alone || exit 9; sleep 0.05; rmdir alone";
    for _ in 0..4 {
        jobq.enqueue(&["--retries", "0", "--shell", script]);
    }
    jobq.drain(&["--workers", "1"]).exits(0);
    assert_eq!(jobq.count("completed"), 4);
}

#[test]
fn a_runner_has_five_workers_or_as_many_as_the_config_says() {
    let jobq = Jobq::new();
    let workers = |options: &[&str]| {
        let runner = jobq.runner(options);
        let status = jobq.json(&["status"]);
        runner.stop().exits(0);
        status["runners"][0]["workers"].as_array().unwrap().len()
    };
    assert_eq!(workers(&[]), 5);
    jobq.write("jobq.toml", "workers = 2");
    assert_eq!(workers(&[]), 2);
    assert_eq!(workers(&["-j", "7"]), 7);
}

#[test]
fn a_runner_takes_from_its_queues_only() {
    let jobq = Jobq::new();
    for queue in ["a", "b", "c"] {
        jobq.enqueue(&["--queue", queue, "--", "true"]);
    }
    let drained = jobq.drain(&["--queue", "a", "--queue", "c"]).exits(0);
    assert!(
        drained
            .stderr
            .contains("left: 1 job: queue 'b' is not served here"),
        "{drained:?}"
    );
    assert_eq!(
        [1, 2, 3].map(|id| jobq.state(id)),
        ["completed", "pending", "completed"]
    );
}

#[test]
fn the_most_urgent_goes_first_and_among_equals_the_oldest() {
    let jobq = Jobq::new();
    for priority in ["low", "normal", "urgent", "high", "urgent", "normal"] {
        jobq.enqueue(&[
            "--priority",
            priority,
            "--shell",
            "echo $JOBQ_JOB_ID >>order",
        ]);
    }
    jobq.drain(&["-j", "1"]).exits(0);
    assert_eq!(jobq.read("order"), "3\n5\n4\n2\n6\n1\n");
}

#[test]
fn a_delayed_job_runs_when_it_is_due() {
    let jobq = Jobq::new();
    let runner = jobq.runner(&[]);
    let start = Instant::now();
    jobq.run(&["enqueue", "--wait", "--in", "700ms", "--", "true"])
        .exits(0);
    assert!(start.elapsed() >= Duration::from_millis(700));
    runner.stop().exits(0);
}

#[test]
fn a_job_enqueued_while_a_runner_idles_starts_without_delay() {
    let jobq = Jobq::new();
    let runner = jobq.runner(&[]);
    for id in 1..=5 {
        jobq.enqueue(&["--", "true"]);
        jobq.run(&["wait", &id.to_string()]).exits(0);
    }
    let mut delays: Vec<i64> = (1..=5).map(|id| delay_ms(&jobq.job(id))).collect();
    delays.sort_unstable();
    assert!(delays[2] < 500, "{delays:?}");
    runner.stop().exits(0);
}

/// Between the moment when a job was enqueued and its start.
fn delay_ms(job: &Value) -> i64 {
    millisecond(&job["started_at"]) - millisecond(&job["created_at"])
}

#[test]
fn a_killed_runners_job_runs_again_on_the_next_and_is_told_so() {
    let jobq = Jobq::new();
    let script = "echo $JOBQ_ATTEMPT >>begun; [ $JOBQ_ATTEMPT = 2 ] || exec sleep 60";
    let id = jobq.enqueue(&["--retries", "0", "--shell", script]);
    let first = jobq.runner(&[]);
    jobq.wait_for_line("begun");
    first.kill();
    assert_eq!(
        jobq.json(&["status"])["runners"].as_array().map(Vec::len),
        Some(1)
    );
    let start = Instant::now();
    jobq.drain(&[]).exits(0);
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "{:?}",
        start.elapsed()
    );
    let job = jobq.job(id);
    let outcomes = [0, 1].map(|at: usize| text(&job["attempts"][at]["outcome"]));
    assert_eq!(outcomes, ["recovered", "completed"], "{job}");
    assert_eq!(jobq.read("begun"), "1\n2\n");
    let lost = jobq.json_lines(&["events", "--kind", "runner_lost"]);
    assert_eq!(lost.len(), 1);
}

#[test]
fn two_runners_share_the_jobs_and_run_none_twice() {
    let jobq = Jobq::new();
    let runners = [jobq.runner(&["-j", "2"]), jobq.runner(&["-j", "2"])];
    let line = "{\"shell\":\"echo $JOBQ_JOB_ID >>ran\"}\n";
    jobq.enqueue_batch(&line.repeat(60));
    jobq.run(&["wait", "1-60"]).exits(0);
    let mut ran: Vec<u32> = jobq
        .read("ran")
        .lines()
        .map(|id| id.parse().unwrap())
        .collect();
    ran.sort_unstable();
    assert_eq!(ran, (1..=60).collect::<Vec<_>>());
    let states = jobq.json(&["status"])["runners"].as_array().unwrap().len();
    assert_eq!(states, 2);
    for runner in runners {
        runner.stop().exits(0);
    }
    wait_until("no runner is left", PATIENCE, || {
        jobq.json(&["status"])["runners"] == json!([])
    });
}

/// It found the lock still held, and left at once with the job that nobody ran any more.
#[test]
fn a_drain_right_after_a_kill_takes_over_the_running_jobs() {
    let jobq = Jobq::new();
    jobq.script(
        "work",
        "touch begun; while [ ! -e gate ]; do sleep 0.02; done",
    );
    jobq.enqueue(&["--", "./work"]);
    let runner = jobq.runner(&[]);
    wait_until("it runs", PATIENCE, || jobq.path("begun").exists());
    // A process that is killed holds its lock for some milliseconds more, as we do for it.
    let locks = jobq.db().with_file_name("jobq.db-runners");
    let lock = std::fs::read_dir(locks).unwrap().next().unwrap().unwrap();
    let lock = File::options().write(true).open(lock.path()).unwrap();
    runner.kill();
    lock.lock().unwrap();
    jobq.write("gate", "");
    let conn = Connection::open(jobq.db()).unwrap();
    let runners = "SELECT count(*) FROM jobq_runner";
    let mut drain = jobq.spawn(&["run", "--drain"]);
    wait_until("the drain looks", PATIENCE, || {
        conn.query_row(runners, [], |row| row.get::<_, i64>(0))
            .unwrap()
            == 2
    });
    assert_stays("it has ended", Duration::from_millis(100), || {
        drain.has_ended()
    });
    drop(lock);
    drain.wait().exits(0);
    assert_eq!(jobq.state(1), "completed");
}
