//! Which verbs make a database or upgrade one, and what may not be one at all.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use jobq::rusqlite::Connection;
use jobq::{NewJob, OpenMode, Queue};

use super::support::{Jobq, NOBODY, set_mode};

/// What looks at a file.
const LOOKS: &[&[&str]] = &[
    &["status"],
    &["status", "1"],
    &["list"],
    &["logs", "1"],
    &["wait", "1"],
    &["why", "1"],
    &["events"],
    &["queue", "list"],
    &["schedule", "list"],
    &["schedule", "next", "nightly"],
    &["doctor"],
    &["prune", "--dry-run"],
];

/// What writes to it, and adds nothing.
const CHANGES: &[&[&str]] = &[
    &["cancel", "1"],
    &["retry", "1"],
    &["edit", "1", "--priority", "low"],
    &["remove", "1"],
    &["pause"],
    &["pause", "q"],
    &["resume"],
    &["prune"],
    &["doctor", "--fix"],
    &["schedule", "remove", "nightly"],
    &["schedule", "pause", "nightly"],
    &["schedule", "resume", "nightly"],
    &["schedule", "run", "nightly"],
];

fn inside<'a>(call: super::support::Call<'a>, db: &Path) -> super::support::Call<'a> {
    let call = call.env("JOBQ_DB", db).env("JOBQ_JOB_ID", "1");
    call.env("JOBQ_ATTEMPT", "1")
}

#[test]
fn only_what_adds_makes_a_file_or_a_folder() {
    let jobq = Jobq::new();
    let db = jobq.path("typo/jobs.db");
    let report: &[&[&str]] = &[&["progress", "5"], &["log", "x"], &["result", "1"]];
    let copy: &[&[&str]] = &[&["backup", "copy.db"]];
    for call in [LOOKS, CHANGES, report, copy].concat() {
        let refused = inside(jobq.call(call), &db).run();
        let refused = refused.fails(1, &["there is no database", "typo/jobs.db"]);
        assert!(
            refused
                .hint()
                .contains("`jobq enqueue` or `jobq run` makes it"),
            "{call:?}"
        );
        assert!(
            !jobq.path("typo").exists() && !jobq.path("copy.db").exists(),
            "{call:?}"
        );
        // Where nothing is said the database has its usual place.
        jobq.run(call)
            .exits(if report.contains(&call) { 2 } else { 1 });
        assert!(!jobq.folder().join("state").exists(), "{call:?}");
    }
    for (number, call) in [
        &["enqueue", "--", "true"][..],
        &["run", "--drain"],
        &["queue", "set", "q", "--concurrency", "2"],
        &["schedule", "add", "nightly", "0 2 * * *", "--", "true"],
    ]
    .into_iter()
    .enumerate()
    {
        let db = jobq.path(&format!("new{number}/jobs.db"));
        jobq.call(call).env("JOBQ_DB", &db).run().exits(0);
        assert!(db.exists(), "{call:?}");
    }
}

#[test]
fn a_file_without_tables_of_jobqs_gets_none_by_a_look() {
    let jobq = Jobq::new();
    let app = Connection::open(jobq.path("app.db")).unwrap();
    app.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE app (x)")
        .unwrap();
    jobq.write("empty.db", "");
    for name in ["app.db", "empty.db"] {
        for call in [LOOKS, CHANGES].concat() {
            let refused = jobq.call(call).env("JOBQ_DB", name).run();
            let refused = refused.fails(1, &["no jobq tables", name]);
            assert!(refused.hint().contains("jobq enqueue"));
        }
    }
    let tables = "SELECT count(*) FROM sqlite_schema";
    assert_eq!(app.query_row(tables, [], |row| row.get(0)), Ok(1));
    assert_eq!(jobq.read("empty.db"), "");
}

#[test]
fn an_application_opens_what_is_there_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/jobs.db");
    for mode in [OpenMode::Existing, OpenMode::AsIs] {
        let error = Queue::options().mode(mode).open(&path).err().unwrap();
        assert!(error.is_no_database(), "{error}");
        assert!(!folder.path().join("data").exists());
    }
    Queue::open(&path)
        .unwrap()
        .enqueue(NewJob::new("x"))
        .unwrap();
    for mode in [OpenMode::Existing, OpenMode::AsIs] {
        let queue = Queue::options().mode(mode).open(&path).unwrap();
        queue.enqueue(NewJob::new("x")).unwrap();
        assert_eq!(queue.upgraded_from(), None);
    }
}

const SCHEMA_1: &str = include_str!("../../data/schema_1.sql");
const ROWS: &str = include_str!("../../data/spine_rows.sql");

fn make_old(path: &Path) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; BEGIN; {SCHEMA_1}; {ROWS}; COMMIT"
    ))
    .unwrap();
}

fn schema_of(path: &Path) -> i64 {
    let conn = Connection::open(path).unwrap();
    let sql = "SELECT value FROM jobq_meta WHERE key = 'schema_version'";
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn read_verbs_do_not_upgrade_an_older_file_and_say_how_to() {
    let jobq = Jobq::new();
    let path = jobq.path("old.db");
    make_old(&path);
    for call in LOOKS {
        let refused = jobq.call(call).env("JOBQ_DB", &path).run();
        let refused = refused.fails(1, &["old.db", "schema 1"]);
        let hint = refused.hint();
        assert!(
            hint.contains("jobq backup") && hint.contains("jobq run"),
            "{call:?}: {hint}"
        );
        assert_eq!(schema_of(&path), 1, "{call:?}");
    }
    let library = Queue::options().mode(OpenMode::AsIs).open(&path).unwrap();
    assert!(library.counts().unwrap_err().is_older_schema());
    assert!(
        library
            .enqueue(NewJob::new("x"))
            .unwrap_err()
            .is_older_schema()
    );
    drop(library);
    jobq.call(&["backup", "copy.db"])
        .env("JOBQ_DB", &path)
        .run()
        .exits(0);
    assert_eq!([schema_of(&path), schema_of(&jobq.path("copy.db"))], [1, 1]);
}

#[test]
fn what_writes_upgrades_an_older_file_and_says_so_once() {
    for call in [
        &["resume"][..],
        &["enqueue", "--", "true"],
        &["run", "--drain"],
    ] {
        let jobq = Jobq::new();
        let path = jobq.path("old.db");
        make_old(&path);
        let run = || jobq.call(call).env("JOBQ_DB", &path).run();
        let first = run().stderr;
        let told = first.matches("old.db was upgraded from schema 1").count();
        assert_eq!(told, 1, "{call:?}: {first}");
        assert!(schema_of(&path) > 1);
        let second = run().stderr;
        assert!(!second.contains("upgraded"), "{second}");
    }
}

#[test]
fn an_older_file_that_may_only_be_read_is_told_as_such() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can be somebody else");
    }
    let jobq = Jobq::new();
    fs::create_dir(jobq.path("data")).unwrap();
    make_old(&jobq.path("data/old.db"));
    set_mode(&jobq.path("data"), 0o755);
    set_mode(&jobq.path("data/old.db"), 0o644);
    for call in [&["status"][..], &["resume"], &["enqueue", "--", "true"]] {
        let call = [&["--db", "data/old.db"], call].concat();
        let refused = jobq.call_as_nobody(&call).run();
        refused.fails(1, &["old.db", "schema 1", "read-only"]);
    }
}

#[test]
fn what_is_no_ordinary_file_is_refused_at_once() {
    let jobq = Jobq::new();
    let fifo = jobq.path("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let _socket = UnixListener::bind(jobq.path("socket")).unwrap();
    symlink("fifo", jobq.path("link")).unwrap();
    let places = [
        ("fifo", "named pipe"),
        ("link", "named pipe"),
        ("socket", "socket"),
        ("/dev/null", "device"),
        (".", "folder"),
    ];
    for (db, what) in places {
        for call in [
            &["list"][..],
            &["enqueue", "--", "true"],
            &["run", "--drain"],
        ] {
            let refused = jobq.run(&[&["--db", db], call].concat());
            refused.fails(1, &[what]).hint();
        }
    }
    for suffix in ["-wal", "-shm"] {
        let jobq = Jobq::new();
        jobq.enqueue(&["--", "true"]);
        let beside = jobq.folder().join(format!("state/jobq/jobq.db{suffix}"));
        let _ = fs::remove_file(&beside);
        symlink(jobq.path("precious"), &beside).unwrap();
        jobq.run(&["list"]).fails(1, &["symbolic link", suffix]);
        assert!(!jobq.path("precious").exists());
    }
}

#[test]
fn a_link_to_a_file_that_is_not_made_yet_is_followed() {
    let jobq = Jobq::new();
    fs::create_dir(jobq.path("data")).unwrap();
    symlink("data/jobs.db", jobq.path("link")).unwrap();
    jobq.run(&["--db", "link", "status"])
        .fails(1, &["there is no database", "data/jobs.db"]);
    jobq.run(&["--db", "link", "enqueue", "--", "true"])
        .exits(0);
    assert!(jobq.path("data/jobs.db").is_file() && jobq.path("link").is_symlink());
    assert_eq!(
        jobq.run(&["--db", "data/jobs.db", "list"])
            .exits(0)
            .rows()
            .len(),
        1
    );
    symlink("circle", jobq.path("circle")).unwrap();
    jobq.run(&["--db", "circle", "enqueue", "--", "true"])
        .fails(1, &["circle"])
        .hint();
}

#[test]
fn another_users_link_to_a_missing_file_is_not_followed() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can make somebody else's link");
    }
    let jobq = Jobq::new();
    let link = jobq.path("link");
    symlink(jobq.path("elsewhere.db"), &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
    let refused = jobq.run(&["--db", "link", "enqueue", "--", "true"]);
    refused.fails(1, &["link", "not there"]).hint();
    assert!(!jobq.path("elsewhere.db").exists());
    chown(jobq.work(), None, None).unwrap();
}
