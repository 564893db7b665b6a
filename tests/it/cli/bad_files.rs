//! A database that is none, is broken, or may not be written: named, left as it is, never a panic.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use jobq::rusqlite::Connection;

use super::support::{Jobq, NOBODY, Output, set_mode};

/// Calls that read, write, and look at everything.
const CALLS: [&[&str]; 6] = [
    &["list"],
    &["status"],
    &["enqueue", "--", "true"],
    &["run", "--drain"],
    &["doctor"],
    &["prune", "--older-than", "0s"],
];

fn on(jobq: &Jobq, db: &str, call: &[&str]) -> Output {
    jobq.run(&[&["--db", db], call].concat())
}

/// A file with this many jobs, all of it in the file itself and nothing in its log.
fn database(jobq: &Jobq, name: &str, jobs: usize) {
    let text = "{\"kind\":\"k\",\"payload\":\"some text\"}\n".repeat(jobs);
    let line = ["--db", name, "enqueue", "-q", "--batch", "-"];
    jobq.call(&line).stdin(text).run().exits(0);
    let conn = Connection::open(jobq.path(name)).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
}

#[test]
fn a_folder_is_no_database() {
    let jobq = Jobq::new();
    fs::create_dir(jobq.path("folder")).unwrap();
    for call in CALLS {
        let refused = on(&jobq, "folder", call).fails(1, &["folder is a folder"]);
        assert!(!refused.hint().is_empty());
    }
    assert_eq!(fs::read_dir(jobq.path("folder")).unwrap().count(), 0);
}

#[test]
fn a_file_in_place_of_a_folder_is_named() {
    let jobq = Jobq::new();
    jobq.write("file", "text");
    for call in [&["list"][..], &["enqueue", "--", "true"]] {
        on(&jobq, "file/jobs.db", call).fails(1, &["file"]);
    }
    assert_eq!(jobq.read("file"), "text");
}

#[test]
fn a_text_file_is_no_database_and_stays_as_it_is() {
    let jobq = Jobq::new();
    let text = "Dear diary,\n".repeat(1000);
    jobq.write("diary.txt", &text);
    for call in CALLS {
        let refused = on(&jobq, "diary.txt", call);
        let refused = refused.fails(1, &["diary.txt", "not a SQLite database"]);
        assert!(refused.hint().contains("some other file"));
    }
    assert_eq!(jobq.read("diary.txt"), text);
}

#[test]
fn another_programs_database_keeps_its_tables() {
    let jobq = Jobq::new();
    let conn = Connection::open(jobq.path("app.db")).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE app (x); INSERT INTO app VALUES (7); PRAGMA user_version = 3")
        .unwrap();
    on(&jobq, "app.db", &["enqueue", "--", "true"]).exits(0);
    on(&jobq, "app.db", &["run", "--drain"]).exits(0);
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT x FROM app"), 7);
    assert_eq!(number("PRAGMA user_version"), 3);
    let others = "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'jobq_%' AND name NOT LIKE 'sqlite_%'";
    assert_eq!(number(others), 1);
}

#[test]
fn a_file_with_overwritten_pages_is_told_to_be_damaged() {
    let jobq = Jobq::new();
    database(&jobq, "jobs.db", 2000);
    let mut bytes = fs::read(jobq.path("jobs.db")).unwrap();
    let length = bytes.len();
    assert!(length > 40 * 4096);
    bytes[2 * 4096..length - 4096].fill(0xa5);
    jobq.write("jobs.db", &bytes);
    for call in [
        &["list"][..],
        &["enqueue", "--", "true"],
        &["run", "--drain"],
    ] {
        let refused = on(&jobq, "jobs.db", call).exits(1);
        assert!(
            refused.stderr.contains("error: ") && refused.stderr.contains("damaged"),
            "{call:?}: {refused:?}"
        );
    }
    let examined = on(&jobq, "jobs.db", &["doctor"]).exits(1);
    let told = [examined.stdout.as_str(), &examined.stderr].concat();
    assert!(told.contains("error"), "{examined:?}");
    let after = fs::read(jobq.path("jobs.db")).unwrap();
    assert!(after == bytes, "the damaged file is as it was");
}

#[test]
fn a_file_whose_index_is_broken_is_found_by_the_doctor() {
    let jobq = Jobq::new();
    database(&jobq, "jobs.db", 10);
    on(&jobq, "jobs.db", &["cancel", "3"]).exits(0);
    let conn = Connection::open(jobq.path("jobs.db")).unwrap();
    conn.execute_batch(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'WHERE state = 2', 'WHERE state >= 2')
         WHERE name = 'jobq_job_pending'",
    )
    .unwrap();
    drop(conn);
    let examined = on(&jobq, "jobs.db", &["doctor"]).exits(1);
    let row = examined
        .rows()
        .into_iter()
        .find(|row| row[0] == "integrity")
        .unwrap();
    assert!(
        row[1] == "error" && row[2].contains("jobq_job_pending"),
        "{examined:?}"
    );
}

#[test]
fn a_truncated_file_is_told_to_be_damaged() {
    let jobq = Jobq::new();
    database(&jobq, "jobs.db", 2000);
    let bytes = fs::read(jobq.path("jobs.db")).unwrap();
    for length in [50, 4096, 10 * 4096, bytes.len() / 2, bytes.len() - 100] {
        jobq.write("jobs.db", &bytes[..length]);
        let examined = on(&jobq, "jobs.db", &["doctor"]).exits(1);
        assert!(
            [examined.stdout.as_str(), &examined.stderr]
                .concat()
                .contains("error"),
            "{length}: {examined:?}"
        );
        for call in [&["list"][..], &["enqueue", "--", "true"]] {
            let done = on(&jobq, "jobs.db", call);
            if done.code != 0 {
                assert_eq!(done.code, 1, "{length} {call:?}: {done:?}");
                assert!(done.stderr.contains("error: "), "{length}: {done:?}");
            }
        }
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(jobq.path(&format!("jobs.db{suffix}")));
        }
    }
}

#[test]
fn an_empty_file_becomes_a_database() {
    let jobq = Jobq::new();
    jobq.write("jobs.db", "");
    assert_eq!(
        on(&jobq, "jobs.db", &["enqueue", "--", "true"])
            .exits(0)
            .stdout,
        "1\n"
    );
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let jobq = Jobq::new();
    database(&jobq, "jobs.db", 1);
    let conn = Connection::open(jobq.path("jobs.db")).unwrap();
    conn.execute(
        "UPDATE jobq_meta SET value = 99 WHERE key = 'schema_version'",
        [],
    )
    .unwrap();
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(conn);
    let before = fs::read(jobq.path("jobs.db")).unwrap();
    for call in CALLS {
        let refused = on(&jobq, "jobs.db", call).fails(1, &["99"]);
        assert!(refused.hint().contains("newer jobq"), "{refused:?}");
    }
    assert!(fs::read(jobq.path("jobs.db")).unwrap() == before);
}

/// Gives a folder and what is in it to nobody, with these modes.
fn hand_over(folder: &Path, folder_mode: u32, file_mode: u32) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        set_mode(&path, if path.is_dir() { 0o700 } else { file_mode });
    }
    if rustix::process::geteuid().is_root() {
        chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    set_mode(folder, folder_mode);
}

#[test]
fn a_file_that_may_only_be_read_is_read_and_not_changed() {
    let jobq = Jobq::new();
    fs::create_dir(jobq.path("data")).unwrap();
    database(&jobq, "data/jobs.db", 3);
    for (folder_mode, file_mode) in [(0o700, 0o400), (0o500, 0o400), (0o500, 0o600)] {
        hand_over(&jobq.path("data"), folder_mode, file_mode);
        let before = fs::read(jobq.path("data/jobs.db")).unwrap();
        let call = |words: &[&str]| {
            jobq.call_as_nobody(&[&["--db", "data/jobs.db"], words].concat())
                .run()
        };
        let listed = call(&["list"]).exits(0);
        assert_eq!(
            listed.rows().len(),
            3,
            "{folder_mode:o} {file_mode:o}: {listed:?}"
        );
        if file_mode == 0o400 {
            assert!(listed.stderr.contains("read-only"), "{listed:?}");
            for words in [
                &["enqueue", "--", "true"][..],
                &["cancel", "1"],
                &["run", "--drain"],
            ] {
                let refused = call(words).exits(1);
                assert!(refused.stderr.contains("error: "), "{refused:?}");
                assert!(
                    refused.stderr.contains("read-only"),
                    "{folder_mode:o} {words:?}: {refused:?}"
                );
            }
        }
        assert!(fs::read(jobq.path("data/jobs.db")).unwrap() == before);
        set_mode(&jobq.path("data"), 0o700);
        set_mode(&jobq.path("data/jobs.db"), 0o600);
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(jobq.path(&format!("data/jobs.db{suffix}")));
        }
    }
}

#[test]
fn a_file_or_a_folder_that_may_not_be_entered_is_named() {
    let jobq = Jobq::new();
    fs::create_dir(jobq.path("data")).unwrap();
    database(&jobq, "data/jobs.db", 1);
    for (folder_mode, file_mode) in [(0o700, 0o000), (0o000, 0o600)] {
        hand_over(&jobq.path("data"), folder_mode, file_mode);
        for words in [&["list"][..], &["enqueue", "--", "true"]] {
            let call = jobq.call_as_nobody(&[&["--db", "data/jobs.db"], words].concat());
            call.run().fails(1, &["data/jobs.db"]);
        }
        set_mode(&jobq.path("data"), 0o700);
    }
    set_mode(&jobq.path("data"), 0o500);
    let call = jobq.call_as_nobody(&["--db", "data/new/jobs.db", "enqueue", "--", "true"]);
    call.run().fails(1, &["data/new"]);
    set_mode(&jobq.path("data"), 0o700);
}
