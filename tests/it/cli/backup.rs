//! The kind `backup`, as `jobq run` runs it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Jobq, millisecond, text};
use crate::support::names;

fn backup(jobq: &Jobq, payload: Value, options: &[&str]) -> i64 {
    let payload = payload.to_string();
    let mut words = vec!["--kind", "backup", "--payload", &payload];
    words.extend(options);
    jobq.enqueue(&words)
}

#[test]
fn a_backup_takes_its_options_and_folder_from_the_config() {
    let jobq = Jobq::new();
    jobq.write("jobq.toml", "[kinds.backup]\nsettings = { to = \"safe\" }");
    let id = backup(
        &jobq,
        json!({ "what": "queue", "retention": "30 days" }),
        &[],
    );
    let job = jobq.job(id);
    assert_eq!(
        (&job["max_retries"], &job["timeout_ms"]),
        (&json!(1), &json!(600_000))
    );
    jobq.drain(&[]).exits(0);
    let path = text(&jobq.job(id)["result"]["path"]);
    assert!(path.contains("/safe/"), "{path}");
    // The other end of it.
    let unpacked = jobq.path("copy.db");
    let ran = Command::new("zstd")
        .args(["-qd", &path, "-o"])
        .arg(&unpacked)
        .status();
    if ran.is_ok_and(|status| status.success()) {
        let copy = unpacked.to_str().unwrap();
        jobq.run(&["--db", copy, "restore", "--help"]).exits(0);
        let restored = jobq.path("restored.db");
        jobq.run(&["--db", restored.to_str().unwrap(), "restore", copy])
            .exits(0);
    }
}

#[test]
fn the_kind_backup_and_the_command_have_a_page_each() {
    let jobq = Jobq::new();
    let kind = jobq.stdout(&["help", "kind", "backup"]);
    assert!(kind.contains("retention"), "{kind}");
    let command = jobq.stdout(&["help", "backup"]);
    assert!(command.contains("Usage: jobq"), "{command}");
}

/// Kills runners at any moment.
#[test]
fn a_backup_that_is_killed_is_whole_or_not_there() {
    let jobq = Jobq::new();
    fs::create_dir(jobq.path("data")).unwrap();
    fastrand::seed(3);
    for number in 0..200 {
        let content: Vec<u8> = (0..40_000).map(|_| fastrand::u8(..)).collect();
        jobq.write(&format!("data/{number}"), content);
    }
    let files = json!({ "what": "files", "source": "data", "to": "copies" });
    let queue = json!({ "what": "queue", "to": "copies", "name": "queue-{time}.db" });
    for round in 0..8 {
        let ids = [&files, &queue].map(|payload| backup(&jobq, payload.clone(), &[]));
        let runner = jobq.runner(&[]);
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..150)));
        runner.kill();
        check(&jobq, round);
        jobq.drain(&[]).exits(0);
        assert!(check(&jobq, round) >= 2);
        assert!(ids.iter().all(|id| jobq.state(*id) == "completed"));
        let left = names(&jobq.path("copies"));
        assert!(!left.iter().any(|name| name.starts_with('.')), "{left:?}");
    }
}

/// Every file that has its name is whole. Returns how many there are.
fn check(jobq: &Jobq, round: u32) -> usize {
    let names = names(&jobq.path("copies"));
    for checksum in names
        .iter()
        .filter(|name| name.ends_with(".sha256") && !name.starts_with('.'))
    {
        let copies = jobq.path("copies");
        let mut check = Command::new("sha256sum");
        let checked = check
            .arg("-c")
            .arg(checksum)
            .current_dir(copies)
            .output()
            .unwrap();
        assert!(checked.status.success(), "round {round}: {checksum}");
    }
    let whole = names
        .iter()
        .filter(|name| !name.starts_with('.') && !name.ends_with(".sha256"));
    for name in whole.clone() {
        let path = jobq.path(&format!("copies/{name}"));
        if name.ends_with(".tar.zst") {
            let file = fs::File::open(&path).unwrap();
            let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
            let entries = archive.entries().unwrap();
            let bytes: u64 = entries.map(|entry| entry.unwrap().size()).sum();
            assert_eq!(bytes, 200 * 40_000, "round {round}: {name}");
        } else {
            let conn = jobq::rusqlite::Connection::open(&path).unwrap();
            let sound: String = conn
                .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                .unwrap();
            assert_eq!(sound, "ok", "round {round}: {name}");
            conn.close().unwrap();
        }
    }
    whole.count()
}

#[test]
fn a_full_disk_is_tried_again_later_and_nothing_is_left() {
    let jobq = Jobq::new();
    fs::create_dir(jobq.path("disk")).unwrap();
    let noise: Vec<u8> = (0..6 << 20).map(|_| fastrand::u8(..)).collect();
    jobq.write("noise", noise);
    let files = json!({ "what": "files", "source": "noise", "to": "disk" });
    let queue = json!({ "what": "queue", "to": "disk" });
    let ids = [files, queue].map(|payload| backup(&jobq, payload, &[]));
    let large = jobq.write("large.json", format!("\"{}\"", "x".repeat(6 << 20)));
    let large = format!("@{}", large.display());
    jobq.run(&["enqueue", "--kind", "later", "--payload", &large]);
    let script = "mount -t tmpfs -o size=4m none disk
        jobq run & runner=$!
        until test \"$(jobq list --state scheduled | wc -l)\" = 2; do sleep 0.05; done
        kill $runner; wait $runner; ls -A disk >left";
    let run = jobq.program("unshare", &["-rm", "sh", "-ec", script]).run();
    if run.stderr.contains("unshare") || run.stderr.contains("mount:") {
        eprintln!("skipped: nothing can be mounted here: {}", run.stderr);
        return;
    }
    assert_eq!(jobq.read("left"), "", "{}", run.stderr);
    for id in ids {
        let job = jobq.job(id);
        let error = text(&job["error"]);
        assert!(
            error.contains("full") || error.contains("No space"),
            "{job}"
        );
        let waits = millisecond(&job["run_at"]) - millisecond(&job["updated_at"]);
        assert!(waits > 590_000, "{job}");
    }
}
