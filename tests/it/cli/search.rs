//! Selecting jobs by a search, trying a change without making it, and failures by their errors.

use serde_json::json;

use super::support::{Jobq, text};

/// Jobs 1 to 3 failed for want of different files, 4 failed otherwise, 5 completed, 6 and 7 are pending.
fn scene() -> Jobq {
    let jobq = Jobq::new();
    for file in ["a.txt", "b.txt", "c/d.txt"] {
        let script = format!("echo cannot open /srv/{file} >&2; exit 3");
        jobq.enqueue(&["--retries", "0", "--tag", "env=prod", "--shell", &script]);
    }
    jobq.enqueue(&["--retries", "0", "--queue", "mail", "--", "false"]);
    jobq.enqueue(&["--", "true"]);
    jobq.drain(&[]).exits(4);
    jobq.enqueue(&["--tenant", "acme", "--", "sleep", "1"]);
    jobq.enqueue(&["--", "true"]);
    jobq
}

fn found(jobq: &Jobq, search: &str) -> Vec<i64> {
    let jobs = jobq.json_lines(&["list", "--search", search]);
    jobs.iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

#[test]
fn a_search_lists_the_jobs_that_match_all_its_words() {
    let jobq = scene();
    for (search, ids) in [
        ("state:failed sort:oldest", vec![1, 2, 3, 4]),
        ("state:failed queue:mail", vec![4]),
        ("\"cannot open\" tag:env=prod", vec![3, 2, 1]),
        ("error:C/D.txt", vec![3]),
        ("tenant:acme", vec![6]),
        ("id:4-6 attempt>0", vec![5, 4]),
        ("waited>1h", vec![]),
        ("since:1h until:1s state:pending", vec![]),
    ] {
        assert_eq!(found(&jobq, search), ids, "{search}");
    }
    let all = jobq.json_lines(&["list", "--search", "state:failed", "--queue", "mail"]);
    assert_eq!(all.len(), 1, "options and a search are both meant");
}

#[test]
fn a_wrong_search_is_refused_with_the_nearest_word() {
    let jobq = scene();
    let wrong = jobq.run(&["list", "--search", "stat:failed"]);
    wrong.fails(2, &["unknown word, 'stat:'", "did you mean 'state:'?"]);
    let apart = ["list", "--search", "tenant:a", "--tenant", "b"];
    jobq.run(&apart).fails(2, &["the tenant twice"]);
    let never = ["cancel", "--search", "state:failed"];
    jobq.run(&never)
        .fails(2, &["failed jobs cannot be cancelled"]);
    for (search, why) in [(" ", "the search is empty"), ("sort:oldest", "no jobs")] {
        let all = ["cancel", "--search", search];
        jobq.run(&all).fails(2, &[why]);
    }
    let help = jobq.run(&["help", "search"]).exits(0);
    assert!(help.stdout.contains("took>30s"));
}

#[test]
fn a_dry_run_counts_the_jobs_shows_some_and_changes_nothing() {
    let jobq = scene();
    let before = jobq.json_lines(&["list"]);
    let retry = jobq.json(&["retry", "--failed", "--dry-run"]);
    assert_eq!(
        (&retry["jobs"], &retry["action"], &retry["dry_run"]),
        (&json!(4), &json!("retry"), &json!(true))
    );
    let sample = retry["sample"].as_array().unwrap();
    assert_eq!(
        sample[3],
        json!({"id": 4, "state": "failed", "kind": "exec", "queue": "mail"})
    );
    let cancel = ["cancel", "--queue", "default", "--dry-run"];
    let cancel = jobq.run(&cancel).exits(0);
    assert_eq!(
        cancel.stdout,
        "6\tpending\texec\tdefault\n7\tpending\texec\tdefault\n"
    );
    assert!(cancel.stderr.contains("2 jobs to cancel"));
    let remove = jobq.json(&["remove", "--search", "id:1-3", "--dry-run"]);
    assert_eq!(remove["jobs"], 3);
    assert_eq!(jobq.json_lines(&["list"]), before);
    jobq.run(&["remove", "1", "--dry-run"])
        .fails(2, &["--dry-run"]);
}

#[test]
fn failures_are_grouped_by_what_their_errors_share() {
    let jobq = scene();
    let groups = jobq.json_lines(&["errors"]);
    let mut told: Vec<String> = groups.iter().map(|group| text(&group["message"])).collect();
    told.sort_unstable();
    assert_eq!(told, ["exit code N", "exit code N: cannot open …"]);
    let opened = groups.iter().find(|group| group["jobs"] == 3).unwrap();
    assert_eq!(opened["kinds"], json!(["exec"]));
    let id = &text(&opened["id"]);
    assert_eq!(found(&jobq, &format!("group:{id} sort:oldest")), [1, 2, 3]);
    assert_eq!(jobq.json_lines(&["errors", "--queue", "mail"]).len(), 1);
    let retried = jobq.run(&["retry", "--error", id]).exits(0);
    assert!(retried.stderr.contains("3 jobs will run again"));
    assert_eq!(jobq.count("failed"), 1);
    let nothing = ["errors", "--kind", "nothing"];
    jobq.run(&nothing).fails(3, &["no job matches"]);
}

#[test]
fn a_search_for_other_final_jobs_retries_them() {
    let jobq = scene();
    jobq.run(&["cancel", "6"]).exits(0);
    let cancelled = ["retry", "--search", "state:cancelled"];
    let retried = jobq.run(&cancelled).exits(0);
    assert_eq!(retried.stdout, "job 6 is pending again\n");
    let pending = ["retry", "--search", "state:pending"];
    jobq.run(&pending)
        .fails(2, &["pending jobs cannot be retried"]);
    let both = ["retry", "--failed", "--search", "queue:mail"];
    jobq.run(&both).exits(0);
    assert_eq!(jobq.count("failed"), 3);
}
