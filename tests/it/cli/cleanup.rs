//! The kind `cleanup`, as `jobq run` runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::mounts::in_namespace;
use super::support::{Jobq, text};
use crate::support::{PATIENCE, wait_until};

/// A file of the work folder that was written 40 days ago.
fn old(jobq: &Jobq, name: &str) -> PathBuf {
    let path = jobq.write(name, "old");
    let file = fs::File::options().write(true).open(&path).unwrap();
    let age = Duration::from_secs(40 * 86_400);
    file.set_modified(SystemTime::now() - age).unwrap();
    path
}

fn clean(jobq: &Jobq, paths: &[&Path]) -> i64 {
    let payload = json!({
        "paths": paths, "match": ["*.log"], "olderThan": "30 days", "recursive": true, "emptyDirs": true,
        "maxDelete": 100_000,
    });
    jobq.enqueue(&["--kind", "cleanup", "--payload", &payload.to_string()])
}

/// A folder of the work folder, by its path without links.
fn folder(jobq: &Jobq, name: &str) -> PathBuf {
    let path = jobq.path(name);
    fs::create_dir(&path).unwrap();
    path.canonicalize().unwrap()
}

#[test]
fn a_cleanup_takes_its_options_and_settings_from_the_config() {
    let jobq = Jobq::new();
    let logs = folder(&jobq, "logs");
    old(&jobq, "logs/a.log");
    let job = jobq.job(clean(&jobq, &[&logs.join("none")]));
    assert_eq!(
        (&job["max_retries"], &job["timeout_ms"]),
        (&json!(2), &json!(600_000))
    );
    jobq.run(&["cancel", "1"]).exits(0);
    jobq.write(
        "jobq.toml",
        format!(
            "[kinds.cleanup]\nretries = 5\nsettings = {{ roots = [{logs:?}], remove_old_logs = [{logs:?}] }}"
        ),
    );
    let payload = r#"{"action":"remove_old_logs","older_than":"30 days"}"#;
    let id = jobq.enqueue(&["--kind", "cleanup", "--payload", payload]);
    let job = jobq.job(id);
    assert_eq!(
        (&job["max_retries"], &job["timeout_ms"]),
        (&json!(5), &json!(600_000))
    );
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.job(id)["result"]["deleted"], 1);
    let elsewhere = folder(&jobq, "elsewhere");
    let id = clean(&jobq, &[&elsewhere]);
    jobq.drain(&[]).exits(4);
    assert!(text(&jobq.job(id)["error"]).contains("'roots'"));
}

#[test]
fn a_misspelt_field_of_a_cleanup_is_not_enqueued() {
    let jobq = Jobq::new();
    let payload = r#"{"paths":["/var/log/app"],"match":["*"],"olderthan":"30 days"}"#;
    jobq.call(&["enqueue", "--kind", "cleanup", "--payload", payload])
        .run()
        .fails(
            2,
            &[
                "unknown field 'olderthan' in a payload of cleanup",
                "did you mean 'older_than'?",
            ],
        );
    assert!(jobq.stdout(&["help", "cleanup"]).contains("older_than"));
}

#[test]
fn a_cleanup_that_was_killed_is_run_again_to_its_end() {
    let jobq = Jobq::new();
    let logs = folder(&jobq, "logs");
    const FILES: usize = 20_000;
    for number in 0..FILES {
        old(&jobq, &format!("logs/{number}.log"));
    }
    let id = clean(&jobq, &[&logs]);
    let left = || fs::read_dir(&logs).unwrap().count();
    let runner = jobq.runner(&[]);
    wait_until("some files are gone", PATIENCE, || left() < FILES);
    runner.kill();
    let between = left();
    assert!(between > 0, "it was too fast to be killed");
    jobq.drain(&[]).exits(0);
    assert_eq!(left(), 0);
    let job = jobq.job(id);
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&json!("completed"), &json!(2))
    );
    assert_eq!(job["result"]["deleted"], json!(between));
}

#[test]
fn another_file_system_in_the_tree_is_left_alone() {
    let jobq = Jobq::new();
    let logs = folder(&jobq, "logs");
    let mounted = folder(&jobq, "logs/mounted");
    old(&jobq, "logs/a.log");
    let id = clean(&jobq, &[&logs]);
    if in_namespace(
        &jobq,
        "mount -t tmpfs none logs/mounted && touch -d '40 days ago' logs/mounted/b.log
         jobq run --drain && test -e logs/mounted/b.log",
    ) {
        let result = &jobq.job(id)["result"];
        assert_eq!(result["deleted"], 1, "{result}");
        let skipped = json!([{ "path": mounted, "why": "it is on another file system" }]);
        assert_eq!(result["skipped"], skipped);
    }
}

#[test]
fn a_file_that_cannot_be_removed_fails_only_where_all_do() {
    let jobq = Jobq::new();
    let [logs, fixed] = ["logs", "fixed"].map(|name| folder(&jobq, name));
    old(&jobq, "logs/a.log");
    let both = clean(&jobq, &[&logs, &fixed]);
    let one = clean(&jobq, &[&fixed]);
    if in_namespace(
        &jobq,
        "mount -t tmpfs none fixed && touch -d '40 days ago' fixed/b.log && mount -o remount,ro fixed
         jobq run --drain || test $? = 4",
    ) {
        let result = &jobq.job(both)["result"];
        assert_eq!(result["deleted"], 1, "{result}");
        assert!(text(&result["errors"][0]["why"]).contains("Read-only"), "{result}");
        let failed = jobq.job(one);
        assert_eq!((&failed["state"], &failed["attempt"]), (&json!("failed"), &json!(1)));
        assert_eq!(failed["result"], Value::Null);
        assert!(text(&failed["error"]).contains("b.log"), "{failed}");
    }
}
