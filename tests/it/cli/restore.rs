//! `jobq restore`, and a copy that was put in the place of the file by hand: never two files mixed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jobq::rusqlite::Connection;
use jobq::{LogAtClose, NewJob, Queue};
use rustix::process::{Signal, geteuid};
use serde_json::Value;

use super::support::{Jobq, mode, set_mode, text};
use crate::support::{PATIENCE, wait_until};

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn add(jobq: &Jobq, jobs: usize) {
    for _ in 0..jobs {
        jobq.enqueue(&["--", "true"]);
    }
}

/// The names of the files beside the database.
fn beside(jobq: &Jobq) -> Vec<String> {
    let entries = fs::read_dir(jobq.db().parent().unwrap()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The same with their lengths; of one that has just gone none.
fn sizes_beside(jobq: &Jobq) -> Vec<(String, Option<u64>)> {
    let folder = jobq.db().parent().unwrap().to_owned();
    let names = beside(jobq).into_iter();
    let sizes = names.map(|name| {
        let length = fs::metadata(folder.join(&name)).map(|found| found.len());
        (name, length.ok())
    });
    sizes.collect()
}

/// Five jobs in a backup, ten in the file, and a log that has the last of them.
fn five_and_ten() -> Jobq {
    let jobq = Jobq::new();
    add(&jobq, 5);
    jobq.run(&["backup", "b.db"]).exits(0);
    add(&jobq, 4);
    jobq.drain(&[]).exits(0);
    add(&jobq, 1);
    assert!(with(&jobq.db(), "-wal").exists());
    jobq
}

fn is_the_backup(jobq: &Jobq) {
    jobq.run(&["doctor"]).exits(0);
    assert_eq!((jobq.total(), jobq.count("pending")), (5, 5));
    let ended = jobq.drain(&[]).exits(0);
    assert!(ended.stderr.contains("5 completed"), "{ended:?}");
    let conn = Connection::open(jobq.db()).unwrap();
    let sound: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}

#[test]
fn a_copy_put_in_place_by_hand_is_not_mixed_with_the_old_log() {
    type Put = fn(&Path, &Path);
    let puts: [Put; 3] = [
        |from, to| assert!(fs::copy(from, to).unwrap() > 0),
        |from, to| fs::rename(from, to).unwrap(),
        |from, to| {
            let times = fs::metadata(from).unwrap().modified().unwrap();
            fs::copy(from, to).unwrap();
            let file = fs::File::options().write(true).open(to).unwrap();
            file.set_modified(times).unwrap();
        },
    ];
    for put in puts {
        let jobq = five_and_ten();
        put(&jobq.path("b.db"), &jobq.db());
        let looked = jobq.run(&["status"]).exits(0);
        assert!(
            looked.stderr.contains("a copy was put in the place of"),
            "{looked:?}"
        );
        let kept = beside(&jobq)
            .into_iter()
            .find(|name| name.contains("-wal-of-"));
        assert!(kept.is_some_and(|kept| looked.stderr.contains(&kept)));
        is_the_backup(&jobq);
    }
}

#[test]
fn a_copy_restored_after_a_kill_is_not_mixed_with_the_old_log() {
    let jobq = five_and_ten();
    let runner = jobq.runner(&[]);
    jobq.run(&["enqueue", "--wait", "--", "true"]).exits(0);
    runner.kill();
    fs::copy(jobq.path("b.db"), jobq.db()).unwrap();
    jobq.run(&["list"]).exits(0);
    is_the_backup(&jobq);
}

#[test]
fn a_log_of_its_own_is_kept_after_a_kill_and_a_change_of_mode() {
    let jobq = five_and_ten();
    // Neither is a sign that the file was replaced: the log is looked at, and is its own.
    set_mode(&jobq.db(), 0o640);
    let moved = jobq.path("moved.db");
    for end in ["", "-wal"] {
        fs::rename(with(&jobq.db(), end), with(&moved, end)).unwrap();
    }
    let listed = jobq.run(&["--db", "moved.db", "list"]).exits(0);
    assert_eq!((listed.rows().len(), listed.stderr.as_str()), (10, ""));
}

#[test]
fn a_restore_over_a_file_in_use_is_refused() {
    let jobq = five_and_ten();
    // A program that does not notice; a runner does, and ends.
    let other = Connection::open(jobq.db()).unwrap();
    other
        .execute("UPDATE jobq_job SET tenant = 'other' WHERE id = 1", [])
        .unwrap();
    fs::rename(jobq.path("b.db"), jobq.db()).unwrap();
    for verb in [
        &["enqueue", "--", "true"][..],
        &["status"],
        &["run", "--drain"],
    ] {
        let refused = jobq
            .run(verb)
            .fails(1, &["was replaced while a process works with"]);
        assert!(refused.hint().contains("end that process"));
    }
    drop(other);
    is_the_backup(&jobq);
}

#[test]
fn the_last_verb_or_runner_to_close_leaves_no_log_behind() {
    let jobq = Jobq::new();
    let verbs: &[&[&str]] = &[
        &["status"],
        &["list"],
        &["why", "1"],
        &["events"],
        &["logs", "1"],
        &["edit", "1", "--priority", "high"],
        &["pause"],
        &["resume"],
        &["queue", "set", "q", "--concurrency", "2"],
        &["queue", "list"],
        &["schedule", "add", "s", "0 2 * * *", "--", "true"],
        &["schedule", "list"],
        &["cancel", "1"],
        &["retry", "1"],
        &["doctor"],
        &["doctor", "--fix"],
        &["run", "--drain"],
        &["remove", "2"],
        &["prune", "--older-than", "0s"],
        &["backup", "b.db"],
        &["restore", "b.db"],
    ];
    for verb in verbs {
        jobq.enqueue(&["--", "true"]);
        jobq.run(verb).exits(0);
        for end in ["-wal", "-shm"] {
            assert!(!with(&jobq.db(), end).exists(), "{verb:?} leaves {end}");
        }
    }
    let runner = jobq.runner(&[]);
    jobq.run(&["enqueue", "--wait", "--", "true"]).exits(0);
    runner.stop().exits(0);
    assert!(!with(&jobq.db(), "-wal").exists(), "the runner leaves it");
    // So a plain copy has everything.
    fs::copy(jobq.db(), jobq.path("plain.db")).unwrap();
    let copied = jobq.json_lines(&["--db", "plain.db", "list", "--limit", "0"]);
    assert_eq!(copied.len() as u64, jobq.total());
}

#[test]
fn a_queue_leaves_its_log_behind_only_where_it_was_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    for (at_close, is_left) in [(LogAtClose::KeepShort, true), (LogAtClose::Remove, false)] {
        let queue = Queue::options().log_at_close(at_close).open(&path).unwrap();
        queue.enqueue(NewJob::new("k")).unwrap();
        queue.counts().unwrap();
        drop(queue);
        assert_eq!(with(&path, "-wal").exists(), is_left, "{at_close:?}");
    }
}

#[test]
fn restore_puts_the_backup_in_place_and_keeps_what_was_there() {
    let jobq = five_and_ten();
    let before = jobq.json(&["status"]);
    set_mode(&jobq.db(), 0o640);
    let id = |path: &Path| -> String {
        let sql = "SELECT value FROM jobq_meta WHERE key = 'file_id'";
        let conn = Connection::open(path).unwrap();
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let ids = [id(&jobq.db()), id(&jobq.path("b.db"))];
    let backup = fs::read(jobq.path("b.db")).unwrap();
    let restored = jobq.run(&["restore", "b.db"]).exits(0);
    assert_eq!(
        restored.stdout,
        format!("{} (5 jobs)\n", jobq.db().display())
    );
    let kept = with(&jobq.db(), ".before-restore");
    assert!(
        restored
            .stderr
            .contains("had 10 jobs, 5 newer than the backup; it is kept as")
    );
    assert!(
        restored.stderr.contains(kept.to_str().unwrap()),
        "{restored:?}"
    );
    assert_eq!(
        beside(&jobq),
        ["jobq.db", "jobq.db-runners", "jobq.db.before-restore"]
    );
    assert_eq!(mode(&jobq.db()), 0o640);
    assert_eq!(fs::read(jobq.path("b.db")).unwrap(), backup);
    let own = id(&jobq.db());
    assert!(!ids.contains(&own), "{own} of {ids:?}");
    is_the_backup(&jobq);
    let of_kept = jobq.json(&["--db", kept.to_str().unwrap(), "status"]);
    assert_eq!(of_kept["counts"], before["counts"]);

    let again = jobq.json(&["restore", "b.db"]);
    assert_eq!(
        (&again["jobs"], &again["replaced_jobs"]),
        (&Value::from(5), &Value::from(5))
    );
    assert!(text(&again["kept"]).ends_with(".before-restore-2"));
}

#[test]
fn a_backup_is_restored_over_a_missing_or_a_damaged_file() {
    let jobq = five_and_ten();
    let elsewhere = jobq.json(&["--db", "new.db", "restore", "b.db"]);
    assert_eq!(
        (&elsewhere["jobs"], &elsewhere["kept"]),
        (&Value::from(5), &Value::Null)
    );
    assert_eq!(mode(&jobq.path("new.db")), 0o600);
    let damages: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes[..100].fill(b'x'),
        |bytes| bytes[4096..].fill(0xAA),
        |bytes| bytes.clear(),
    ];
    for damage in damages {
        let mut bytes = fs::read(jobq.db()).unwrap();
        damage(&mut bytes);
        fs::write(jobq.db(), &bytes).unwrap();
        jobq.run(&["restore", "b.db"]).exits(0);
        jobq.run(&["doctor"]).exits(0);
        assert_eq!(jobq.total(), 5);
    }
}

#[test]
fn what_is_no_sound_backup_is_refused_and_changes_nothing() {
    let jobq = five_and_ten();
    let conn = Connection::open(jobq.path("foreign.db")).unwrap();
    conn.execute_batch("CREATE TABLE t (x)").unwrap();
    let conn = Connection::open(jobq.path("application.db")).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
        .unwrap();
    drop(Queue::open(jobq.path("application.db")).unwrap());
    let newer = jobq.path("newer.db");
    fs::copy(jobq.path("b.db"), &newer).unwrap();
    let sql = "UPDATE jobq_meta SET value = 99 WHERE key = 'schema_version'";
    Connection::open(&newer).unwrap().execute(sql, []).unwrap();
    let mut bytes = fs::read(jobq.path("b.db")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xAA);
    jobq.write("damaged.db", &bytes);
    jobq.write("short.db", &bytes[..5000]);
    jobq.write(
        "text.db",
        "this is no database at all, and long enough to be looked at\n".repeat(9),
    );
    jobq.write("empty.db", "");
    fs::create_dir(jobq.path("folder")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, jobq.path("fifo"), rustix::fs::Mode::RWXU).unwrap();
    let db = jobq.db();
    for (name, code, words) in [
        ("foreign.db", 1, "no jobq tables"),
        ("application.db", 1, "application"),
        ("newer.db", 1, "schema 99"),
        ("damaged.db", 1, "damaged.db: "),
        ("short.db", 1, "short.db: "),
        ("text.db", 1, "text.db: "),
        ("empty.db", 1, "empty"),
        ("folder", 2, "not a regular file"),
        ("fifo", 2, "not a regular file"),
        ("absent", 1, "absent: "),
        (db.to_str().unwrap(), 2, "is the database itself"),
    ] {
        let refused = jobq.run(&["restore", name]).fails(code, &[words]);
        assert!(refused.stderr.contains(name), "{refused:?}");
        assert_eq!(jobq.total(), 10, "{name}");
    }
    assert_eq!(beside(&jobq), ["jobq.db", "jobq.db-runners"]);
    jobq.run(&["--db", "typo/jobs.db", "restore", "absent"])
        .fails(1, &["absent: "]);
    assert!(!jobq.path("typo").exists());
}

#[test]
fn a_backup_of_an_older_schema_is_restored_and_stays_as_it_is() {
    let jobq = five_and_ten();
    let old = jobq.path("old.db");
    let conn = Connection::open(&old).unwrap();
    let schema = include_str!("../../data/schema_2.sql");
    conn.execute_batch(&format!(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; BEGIN; {schema};
         INSERT INTO jobq_meta (key, value) VALUES ('schema_version', 2), ('created_by', 'jobq'), ('created_at', 0);
         COMMIT"
    ))
    .unwrap();
    drop(conn);
    let before = fs::read(&old).unwrap();
    let answer = jobq.json(&["restore", "old.db"]);
    assert_eq!(
        (&answer["jobs"], &answer["newer_jobs"]),
        (&Value::from(0), &Value::from(10))
    );
    jobq.run(&["doctor"]).exits(0);
    add(&jobq, 1);
    assert_eq!(jobq.total(), 1);
    assert_eq!(fs::read(&old).unwrap(), before);
}

#[test]
fn an_applications_file_is_not_replaced() {
    let jobq = five_and_ten();
    for make in [
        "CREATE TABLE t (x)",
        "CREATE TABLE t (x); PRAGMA journal_mode = WAL",
    ] {
        let path = jobq.path("application.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(make).unwrap();
        if make.contains("WAL") {
            drop(Queue::open(&path).unwrap());
        }
        for force in [&[][..], &["--force"]] {
            let words = [&["--db", "application.db", "restore", "b.db"], force].concat();
            jobq.run(&words).fails(1, &["tables"]);
        }
        conn.query_row("SELECT count(*) FROM t", [], |_| Ok(()))
            .unwrap();
        drop(conn);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn restore_refuses_while_a_runner_lives_or_the_file_is_open() {
    let jobq = five_and_ten();
    let runner = jobq.runner(&[]);
    let refused = jobq
        .run(&["restore", "b.db"])
        .fails(1, &["runner ", "is running jobs from"]);
    assert!(refused.hint().contains("--force"), "{refused:?}");
    runner.stop().exits(0);
    let mut events = jobq.spawn(&["events", "-f"]);
    wait_until("events has it open", PATIENCE, || {
        jobq.enqueue(&["--", "true"]);
        events.stdout().contains("enqueued")
    });
    let refused = jobq
        .run(&["restore", "b.db"])
        .fails(75, &["another process has"]);
    assert!(refused.hint().contains("--force"), "{refused:?}");
    assert!(!events.has_ended());
    events.kill();
    // A runner that was killed is none that lives, once a command that it was just starting has begun.
    let runner = jobq.runner(&[]);
    runner.kill();
    wait_until("the dead runner's lock is free", PATIENCE, || {
        jobq.run(&["restore", "b.db"]).code == 0
    });
    is_the_backup(&jobq);
}

#[test]
fn forced_restore_replaces_a_file_in_use_and_loses_no_jobs() {
    let jobq = five_and_ten();
    let runner = jobq.runner(&[]);
    jobq.run(&["enqueue", "--wait", "--", "true"]).exits(0);
    let answer = jobq.json(&["restore", "b.db", "--force"]);
    assert_eq!(
        (&answer["jobs"], &answer["replaced_jobs"]),
        (&Value::from(5), &Value::from(11))
    );
    runner.signal(Signal::TERM);
    drop(runner.wait());
    // What the runner has written since, and its log, went to the old file.
    is_the_backup(&jobq);
    let kept = text(&answer["kept"]);
    jobq.run(&["--db", &kept, "doctor"]).exits(0);
    assert_eq!(
        jobq.json_lines(&["--db", &kept, "list", "--limit", "0"])
            .len(),
        11
    );
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_file_or_the_new_one() {
    let jobq = Jobq::new();
    let line = format!(
        "{{\"kind\":\"k\",\"payload\":\"{}\"}}\n",
        "x".repeat(10_000)
    );
    jobq.enqueue_batch(&line.repeat(200));
    jobq.run(&["backup", "b.db"]).exits(0);
    let mut seen = [0, 0];
    // A round each for the moments at which a file comes, goes or has another size.
    for changes in 0..12 {
        jobq.enqueue(&["--kind", "more"]);
        let before = jobq.total();
        jobq.enqueue(&["--kind", "more"]);
        let mut restore = jobq.spawn(&["restore", "b.db"]);
        let mut last = sizes_beside(&jobq);
        let mut seen_changes = 0;
        wait_until("files change, or it has ended", PATIENCE, || {
            let now = sizes_beside(&jobq);
            seen_changes += usize::from(now != last);
            last = now;
            seen_changes >= changes || restore.has_ended()
        });
        restore.kill();
        jobq.run(&["doctor"]).exits(0);
        let after = jobq.total();
        assert!(after == before + 1 || after == 200, "{after} of {before}");
        seen[usize::from(after == 200)] += 1;
    }
    assert!(seen[0] > 0, "no kill came early: {seen:?}");
}

#[test]
fn a_restored_file_keeps_its_owner() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can give a file to somebody else");
        return;
    }
    let jobq = five_and_ten();
    std::os::unix::fs::chown(jobq.db(), Some(65534), Some(65533)).unwrap();
    jobq.run(&["restore", "b.db"]).exits(0);
    let found = fs::metadata(jobq.db()).unwrap();
    assert_eq!((found.uid(), found.gid()), (65534, 65533));
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
}
