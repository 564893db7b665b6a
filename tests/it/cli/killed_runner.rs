//! A runner that was killed, and nobody there to take over: everybody who looks says so.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Jobq, text};
use crate::support::wait_until;

const GATED: &str = "echo begun >begun; while [ ! -e gate ]; do sleep 0.02; done";

/// Job 1 was running on runner 1, which has been killed; job 2 is pending.
fn scene() -> Jobq {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", GATED]);
    let runner = jobq.runner(&[]);
    jobq.wait_for_line("begun");
    runner.kill();
    // What it left running ends, too.
    jobq.write("gate", "");
    jobq.enqueue(&["--", "true"]);
    jobq
}

#[test]
fn a_runner_that_was_killed_is_offline_at_once_for_all_who_look() {
    let jobq = scene();
    let runner = &jobq.json(&["status"])["runners"][0];
    assert_eq!(
        (&runner["id"], &runner["state"]),
        (&json!(1), &json!("offline"))
    );
    let plain = jobq.run(&["status"]).exits(0);
    let row = plain.rows().into_iter().find(|row| row[0] == "runner");
    assert_eq!(row.unwrap()[1..3], ["1", "offline"]);
    let added = jobq.run(&["enqueue", "--", "true"]).exits(0);
    let hint = "runner 1 is dead and no other is active; start one with `jobq run`";
    assert_eq!(added.hint(), hint);
    let waiting = jobq.run(&["wait", "2", "--timeout", "0s"]);
    assert_eq!(waiting.exits(124).hint(), hint);
    let found = jobq.json_lines(&["doctor"]);
    let told = |finding: &&Value| finding["check"] == "runners";
    let told: Vec<_> = found.iter().filter(told).collect();
    let messages: Vec<_> = told.iter().map(|told| text(&told["message"])).collect();
    assert_eq!(
        messages,
        [
            "runner 1 is dead; the next runner to start takes over its job",
            "no runner is active, but 3 jobs wait for one; start one with `jobq run`"
        ]
    );
    assert!(told.iter().all(|told| told["severity"] == "warning"));
}

#[test]
fn why_and_cancel_report_that_the_runner_is_gone() {
    let jobq = scene();
    let why = |id: &str| jobq.run(&["why", id]).exits(0);
    let running = why("1");
    assert_eq!(
        running.stdout,
        "job 1 is running, but runner 1 is dead; the next runner to start takes it over\n"
    );
    assert_eq!(running.hint(), "start one with `jobq run`");
    let json = jobq.json(&["why", "1"]);
    assert_eq!(
        (&json["state"], &json["why"]),
        (&json!("running"), &json!("runner_gone"))
    );
    assert_eq!(why("2").stdout, "job 2 is pending: no runner is active\n");
    let after = jobq.enqueue(&["--after", "1", "--", "true"]).to_string();
    assert_eq!(
        why(&after).hint(),
        "runner 1, which ran job 1, is dead; start one with `jobq run`"
    );
    let following = jobq.spawn(&["logs", "-f", "1"]);
    following.wait_until_said("runner 1 is dead");
    let asked = jobq.run(&["cancel", "1"]).exits(0);
    assert_eq!(
        asked.stdout,
        "job 1 is asked to stop, but runner 1 is dead; the next runner to start cancels it\n"
    );
    assert!(asked.hint().ends_with("`jobq run`"));
    assert!(why("1").stdout.ends_with("to start cancels it\n"));
    jobq.drain(&[]).exits(4);
    assert_eq!([1, 2].map(|id| jobq.state(id)), ["cancelled", "completed"]);
    following.wait().exits(0);
}

#[test]
fn a_live_runner_takes_over_from_a_killed_one_among_watchers() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", GATED]);
    let victim = jobq.runner(&[]);
    jobq.wait_for_line("begun");
    let heir = jobq.runner(&[]);
    let queue = jobq::Queue::open(jobq.db()).unwrap();
    victim.kill();
    // Sooner than a beat, with which runners look at each other in any case.
    wait_until("the heir has taken over", Duration::from_secs(8), || {
        let runners = queue.runners(jobq::RunnerFilter::Now).unwrap();
        runners.len() == 1
    });
    jobq.write("gate", "");
    jobq.run(&["wait", "1"]).exits(0);
    let said = heir.stop().exits(0).stderr;
    assert!(
        said.contains("runner 1 is lost; took over its job\n"),
        "{said}"
    );
}
