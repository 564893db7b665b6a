//! `jobq undo`.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::Jobq;

#[test]
fn changes_are_listed_newest_first_and_undone() {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&["--kind", "k"]);
    let dependent = jobq.enqueue(&["--kind", "k", "--after", "1"]);
    assert_eq!(jobq.json_lines(&["undo"]), Vec::<Value>::new());
    let none = jobq.run(&["undo", "@last"]).exits(3).stderr;
    assert!(none.contains("no change"), "{none}");
    jobq.run(&["cancel", "1"]).exits(0);
    jobq.run(&["edit", "2", "--priority", "high"]).exits(0);
    jobq.run(&["pause", "mail"]).exits(0);
    let listed = jobq.json_lines(&["undo"]);
    let kinds: Vec<&Value> = listed.iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds, ["queue_paused", "job_edited", "job_cancelled"]);
    let pause = json!({ "event": listed[0]["id"], "undone": "queue_paused", "job": null, "state": null,
        "others": null, "queue": "mail", "schedule": null });
    assert_eq!(jobq.json(&["undo", "@last"]), pause);
    let refused = jobq.run(&["undo", &listed[0]["id"].to_string()]).exits(1);
    assert!(
        refused.stderr.contains("queue 'mail' has changed since"),
        "{refused:?}"
    );
    let cancel = listed[2]["id"].to_string();
    let said = jobq.stdout(&["undo", &cancel]);
    assert_eq!(said, "job 1 is pending again, and 1 job with it\n");
    assert_eq!(
        [id, dependent].map(|id| jobq.state(id)),
        ["pending", "blocked"]
    );
    let history = jobq.stdout(&["events", "--job", "1"]);
    assert!(history.contains(&format!("\"undo\":{cancel}")), "{history}");
}

#[test]
fn what_cannot_be_undone_is_told() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "k"]);
    let refused = jobq.run(&["undo", "1"]).exits(1).stderr;
    assert!(
        refused.contains("event 1 is job_enqueued, which cannot be undone"),
        "{refused}"
    );
    jobq.run(&["undo", "999"]).exits(3);
    jobq.run(&["undo", "never"]).exits(2);
}

#[test]
fn an_undo_that_is_killed_has_done_all_or_nothing() {
    const JOBS: u64 = 1500;
    let jobq = Jobq::new();
    let lines = "{\"kind\":\"k\",\"after\":1}\n".repeat(JOBS as usize - 1);
    jobq.enqueue(&["--kind", "k"]);
    jobq.enqueue_batch(&lines);
    jobq.run(&["cancel", "1"]).exits(0);
    let event = jobq.json(&["undo"])["id"].to_string();
    let mut kills = 0;
    for wait_ms in (0..).step_by(4) {
        let undo = jobq.spawn(&["undo", &event]);
        thread::sleep(Duration::from_millis(wait_ms));
        undo.signal(Signal::KILL);
        let was_killed = undo.wait().code == 137;
        kills += u32::from(was_killed);
        match jobq.count("cancelled") {
            // The next one is killed later.
            JOBS if was_killed => {}
            0 => break,
            cancelled => panic!("{cancelled} of {JOBS} are still cancelled"),
        }
    }
    assert!(kills > 0);
    assert_eq!(
        (jobq.count("pending"), jobq.count("blocked")),
        (1, JOBS - 1)
    );
    jobq.run(&["doctor"]).exits(0);
}
