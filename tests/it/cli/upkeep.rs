//! Upkeep: queue list, prune, backup, doctor.

use std::fs;

use jobq::rusqlite::Connection;
use serde_json::{Value, json};

use super::support::{Jobq, mode, text};

#[test]
fn queues_are_listed_with_their_counts() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--queue", "b", "--retries", "0", "--", "false"]);
    jobq.drain(&[]).exits(4);
    jobq.enqueue(&["--queue", "b", "--", "true"]);
    jobq.enqueue(&["--queue", "a", "--in", "1h", "--", "true"]);
    jobq.run(&["pause", "a"]).exits(0);
    let plain = jobq.run(&["queue", "list"]).exits(0);
    let rows = plain.rows();
    assert_eq!(rows[0][..7], ["a", "1", "0", "0", "0", "0", "0"]);
    assert!(rows[0][7].ends_with('Z'), "{rows:?}");
    assert_eq!(
        rows[1],
        ["b", "0", "1", "0", "0", "1", "0", "", "0", "0", ""]
    );
    let json = jobq.json_lines(&["queue", "list"]);
    assert_eq!(json[1]["counts"]["failed"], 1);
    let keys: Vec<_> = json[1].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "concurrency",
            "counts",
            "max_size",
            "name",
            "paused",
            "paused_at",
            "rate",
            "weight"
        ]
    );
}

#[test]
fn old_final_jobs_are_pruned_and_their_space_is_given_back() {
    let jobq = Jobq::new();
    let large = "x".repeat(100_000);
    let line = format!("{{\"kind\":\"k\",\"payload\":\"{large}\"}}\n");
    jobq.enqueue_batch(&line.repeat(100));
    let keep = jobq.enqueue(&["--kind", "k"]);
    jobq.run(&["cancel", "1-100"]).exits(0);
    // Whatever moves the log into the file: its size is that of its pages.
    let pages = || {
        let conn = Connection::open(jobq.db()).unwrap();
        conn.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let before = pages();
    assert!(before * 4096 > 6_000_000, "{before}");

    let dry = jobq.json_lines(&["prune", "--older-than", "0s", "--dry-run"]);
    let removed = |answers: &[Value], state: &str| {
        let answer = answers
            .iter()
            .find(|answer| answer["state"] == state)
            .unwrap();
        (
            answer["removed"].as_u64().unwrap(),
            answer["dry_run"].as_bool().unwrap(),
        )
    };
    assert_eq!(removed(&dry, "cancelled"), (100, true));
    assert_eq!(jobq.total(), 101);
    let young = jobq.run(&["prune"]).exits(0);
    assert_eq!(jobq.total(), 101, "{young:?}");
    jobq.run(&["prune", "--older-than", "0s", "--state", "completed"])
        .exits(0);
    assert_eq!(jobq.total(), 101);
    let wet = jobq.json_lines(&["prune", "--older-than", "0s"]);
    assert_eq!(removed(&wet, "cancelled"), (100, false));
    assert_eq!((jobq.total(), jobq.state(keep).as_str()), (1, "pending"));
    assert!(pages() < before / 5, "{} of {before}", pages());
}

#[test]
fn prune_without_an_age_removes_what_the_config_file_expires() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    jobq.enqueue(&["--retries", "0", "--", "false"]);
    jobq.drain(&[]).exits(4);
    jobq.write("jobq.toml", "[retention]\ncompleted = '0s'\n");
    jobq.run(&["prune"]).exits(0);
    assert_eq!((jobq.count("completed"), jobq.count("failed")), (0, 1));
}

#[test]
fn a_runner_prunes_by_itself_as_the_config_file_says() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        "[retention]\ncompleted = '0s'\nevery = '50ms'\n",
    );
    let runner = jobq.runner(&[]);
    jobq.enqueue(&["--", "true"]);
    crate::support::wait_until("nothing is left", crate::support::PATIENCE, || {
        jobq.total() == 0
    });
    runner.stop().exits(0);
}

#[test]
fn a_backup_of_the_live_file_opens_as_a_database_of_its_own() {
    let jobq = Jobq::new();
    let runner = jobq.runner(&[]);
    jobq.run(&["enqueue", "--wait", "--", "echo", "x"]).exits(0);
    let answer = jobq.json(&["backup", "copy.db"]);
    let copy = jobq.path("copy.db");
    assert_eq!(
        answer,
        json!({"file": "copy.db", "bytes": fs::metadata(&copy).unwrap().len()})
    );
    assert_eq!(mode(&copy), 0o600);
    runner.stop().exits(0);
    let examined = jobq.run(&["--db", "copy.db", "doctor"]).exits(0);
    assert!(
        examined.rows().iter().all(|row| row[1] != "error"),
        "{examined:?}"
    );
    assert_eq!(jobq.stdout(&["--db", "copy.db", "logs", "1"]), "x\n");
    assert_eq!(
        jobq.run(&["--db", "copy.db", "enqueue", "--", "true"])
            .exits(0)
            .stdout,
        "2\n"
    );
    assert_eq!(jobq.total(), 1);
}

#[test]
fn a_backup_never_overwrites_anything() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    jobq.write("there", "precious");
    let refused = jobq
        .run(&["backup", "there"])
        .fails(2, &["there", "is there already"]);
    assert!(refused.hint().contains("does not exist yet"));
    assert_eq!(jobq.read("there"), "precious");
    let db = jobq.db();
    jobq.run(&["backup", db.to_str().unwrap()])
        .fails(2, &["is there already"]);
    fs::create_dir(jobq.path("folder")).unwrap();
    jobq.run(&["backup", "folder"])
        .fails(2, &["is there already"]);
    assert_eq!(jobq.total(), 1);
}

#[test]
fn the_doctor_finds_a_healthy_file_healthy() {
    let jobq = Jobq::new();
    let absent = jobq.run(&["doctor"]).fails(1, &["there is no database"]);
    assert!(absent.hint().contains("jobq enqueue") && !jobq.db().exists());
    jobq.enqueue(&["--", "true"]);
    jobq.drain(&[]).exits(0);
    let found = jobq.json_lines(&["doctor"]);
    for finding in &found {
        // The disk of the machine may well be nearly full.
        if finding["check"] != "space" {
            assert_eq!(finding["severity"], "ok", "{finding}");
        }
        let keys: Vec<_> = finding.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["check", "message", "severity"]);
    }
    let checks: Vec<String> = found
        .iter()
        .map(|finding| text(&finding["check"]))
        .collect();
    assert_eq!(
        checks,
        [
            "integrity",
            "rows",
            "references",
            "counters",
            "rules",
            "limits",
            "schedules",
            "journal",
            "locks",
            "size",
            "mode",
            "space",
            "runners"
        ]
    );
}

#[test]
fn doctor_finds_wrong_counters_and_repairs_them_on_request() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let conn = Connection::open(jobq.db()).unwrap();
    conn.execute("UPDATE jobq_number SET value = 7 WHERE what = 2", [])
        .unwrap();
    drop(conn);
    let sick = jobq.run(&["doctor"]).exits(1);
    let row = sick
        .rows()
        .into_iter()
        .find(|row| row[0] == "counters")
        .unwrap();
    assert!(
        row[1] == "error" && row[2].contains("jobq doctor --fix"),
        "{row:?}"
    );
    jobq.run(&["doctor", "--fix"]).exits(0);
    jobq.run(&["doctor"]).exits(0);
    assert_eq!(jobq.count("pending"), 1);
}

#[test]
fn doctor_warns_of_a_readable_file_and_of_jobs_nobody_runs() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "unknown"]);
    super::support::set_mode(&jobq.db(), 0o644);
    let warned = |check: &str| {
        let found = jobq.json_lines(&["doctor"]);
        let finding = found
            .into_iter()
            .find(|finding| finding["check"] == check)
            .unwrap();
        (text(&finding["severity"]), text(&finding["message"]))
    };
    let (severity, message) = warned("mode");
    assert!(
        severity == "warning" && message.contains("chmod 600"),
        "{message}"
    );
    let (severity, message) = warned("runners");
    assert!(
        severity == "warning" && message.contains("jobq run"),
        "{message}"
    );
    let runner = jobq.runner(&[]);
    let (severity, message) = warned("handlers");
    assert!(
        severity == "warning" && message.contains("'unknown' (1 job)"),
        "{message}"
    );
    runner.stop().exits(0);
}
