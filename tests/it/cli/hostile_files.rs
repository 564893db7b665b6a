//! Files that somebody has made to harm whoever opens them.

use std::fs;
use std::process::Command;

use jobq::rusqlite::Connection;

use super::support::Jobq;

const CALLS: [&[&str]; 9] = [
    &["status"],
    &["list"],
    &["why", "1"],
    &["doctor"],
    &["queue", "list"],
    &["events"],
    &["cancel", "1"],
    &["enqueue", "--", "true"],
    &["run", "--drain"],
];

fn conn(jobq: &Jobq) -> Connection {
    Connection::open(jobq.db()).unwrap()
}

#[test]
fn views_in_place_of_tables_are_refused_before_being_read() {
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    let bad = [
        (
            "jobq_queue",
            format!(
                "ALTER TABLE jobq_queue RENAME TO q; CREATE VIEW jobq_queue AS {endless} SELECT i AS id, hex(zeroblob(1000000)) AS name FROM n"
            ),
        ),
        (
            "jobq_meta",
            format!(
                "ALTER TABLE jobq_meta RENAME TO m; CREATE VIEW jobq_meta AS {endless} SELECT 'schema_version' AS key, 3 AS value FROM n"
            ),
        ),
        (
            "jobq_batch",
            // As a SQLite that knows the module would have written it.
            "DROP TABLE jobq_batch; PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES
                ('table', 'jobq_batch', 'jobq_batch', 0, 'CREATE VIRTUAL TABLE jobq_batch USING fts5(digest)')"
                .to_owned(),
        ),
        (
            "slow",
            format!(
                "CREATE TRIGGER slow AFTER INSERT ON jobq_log BEGIN DELETE FROM jobq_job WHERE id IN ({endless} SELECT i FROM n); END"
            ),
        ),
        (
            "jobq_queue",
            "ALTER TABLE jobq_queue ADD COLUMN x TEXT AS (printf('%.*c', 100000000, 'x'))"
                .to_owned(),
        ),
    ];
    for (name, sql) in bad {
        let jobq = Jobq::new();
        jobq.enqueue(&["--", "true"]);
        let db = conn(&jobq);
        db.pragma_update(None, "legacy_alter_table", true).unwrap();
        db.execute_batch(&sql).unwrap();
        for call in CALLS {
            let refused = jobq.run(call).fails(1, &[name, "jobq has not made"]);
            assert!(!refused.hint().is_empty());
        }
    }
}

#[test]
fn a_runners_name_out_of_the_file_is_no_path() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let precious = jobq.folder().join("state/precious.lock");
    fs::write(&precious, "").unwrap();
    let runners = jobq.folder().join("state/jobq/jobq.db-runners");
    fs::create_dir(&runners).unwrap();
    let pipe = "0123456789abcdef0123456789abcdef";
    let made = Command::new("mkfifo")
        .arg(runners.join(format!("{pipe}.lock")))
        .status();
    assert!(made.unwrap().success());
    let db = conn(&jobq);
    let absolute = precious.with_extension("");
    for name in [
        "../../precious",
        absolute.to_str().unwrap(),
        pipe,
        "",
        "/dev/zero",
    ] {
        for beat in [0, -1] {
            db.execute("DELETE FROM jobq_runner", []).unwrap();
            db.execute(
                "INSERT INTO jobq_runner (name, pid, host, workers, kinds, queues, state, started_at, heartbeat_at, beat)
                 VALUES (?1, 1, 'h', 5, '[]', NULL, 1, 1, 1, ?2)",
                jobq::rusqlite::params![name, beat],
            )
            .unwrap();
            jobq.run(&["status"]).exits(0);
            jobq.run(&["doctor"]).exits(0);
            jobq.drain(&[]).exits(0);
            assert!(precious.exists(), "{name:?} {beat}");
        }
    }
}

#[test]
fn numbers_out_of_the_file_make_nobody_ask_for_more_memory() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let db = conn(&jobq);
    db.execute_batch(&format!(
        "PRAGMA ignore_check_constraints = ON;
         INSERT INTO jobq_batch VALUES ('x', 1, {most}, 1);
         UPDATE jobq_job SET attempt = {most}, retries = {most}, max_retries = {most}, timeout_ms = {most};
         INSERT INTO jobq_runner (name, pid, host, workers, kinds, queues, state, started_at, heartbeat_at, beat)
         VALUES ('x', {most}, 'h', {most}, '[]', NULL, 1, {most}, {most}, {most})",
        most = i64::MAX
    ))
    .unwrap();
    for call in &CALLS[..7] {
        // 2 GB of address space are enough for all that jobq does with a sound file.
        let mut limited = Command::new("prlimit");
        limited
            .args(["--as=2000000000", env!("CARGO_BIN_EXE_jobq")])
            .args(*call);
        let ran = limited
            .env("JOBQ_DB", jobq.db())
            .env("HOME", jobq.folder())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(
            ran.status.code().is_some_and(|code| code <= 4),
            "{call:?}: {said}"
        );
    }
}

/// Every folder that SQLite would put temporary files into is made read-only, for one process.
const NO_TEMPORARY_FOLDER: &str = r#"
    mount --bind "$1" "$1"
    for folder in /tmp /var/tmp /usr/tmp; do
        [ ! -d $folder ] || { mount --rbind $folder $folder && mount -o remount,ro,bind $folder; } || exit 99
    done
    unset TMPDIR SQLITE_TMPDIR
    ! touch /tmp/jobq-test-writes-here 2>/dev/null || exit 99
    cd /proc && shift && exec "$@"
"#;

#[test]
fn without_a_folder_for_temporary_files_everything_works() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can make /tmp read-only for one process");
    }
    let jobq = Jobq::new();
    let line = "{\"kind\":\"k\",\"payload\":\"some text\",\"tags\":{\"a\":\"b\"},\"key\":\"k\"}\n";
    let batch = jobq.call(&["enqueue", "-q", "--batch", "-"]);
    batch.stdin(line.repeat(300)).run().exits(0);
    let calls: [&[&str]; 6] = [
        &["cancel", "--kind", "k"],
        &["list", "--sort", "finished", "--limit", "0"],
        &["doctor"],
        &["prune", "--older-than", "0s", "--state", "cancelled"],
        &["enqueue", "--shell", "true"],
        &["run", "--drain"],
    ];
    for call in calls {
        let mut alone = Command::new("unshare");
        alone.args(["-m", "sh", "-c", NO_TEMPORARY_FOLDER, "sh"]);
        alone
            .arg(jobq.folder())
            .arg(env!("CARGO_BIN_EXE_jobq"))
            .args(call);
        let ran = alone
            .env("JOBQ_DB", jobq.db())
            .env("HOME", jobq.folder())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        if ran.status.code() == Some(99) || said.contains("unshare") {
            return eprintln!("skipped: no mount namespace here: {said}");
        }
        assert_eq!(ran.status.code(), Some(0), "{call:?}: {said}");
    }
    assert_eq!((jobq.total(), jobq.count("completed")), (1, 1));
}
