//! What a kill leaves beside the database, and copies that two make at once.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::support::Jobq;
use crate::support::names;
use crate::support::{PATIENCE, wait_until};

/// As if it were from long ago.
fn age(path: &Path) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(long_ago).unwrap();
}

/// Jobs of a few megabytes.
fn large() -> Jobq {
    let jobq = Jobq::new();
    let line = format!(
        "{{\"kind\":\"k\",\"payload\":\"{}\"}}\n",
        "x".repeat(20_000)
    );
    jobq.enqueue_batch(&line.repeat(300));
    jobq
}

#[test]
fn of_two_backups_to_one_name_one_succeeds_and_is_whole() {
    let jobq = large();
    for _ in 0..4 {
        let both = [0, 1].map(|_| jobq.spawn(&["backup", "b.db"]));
        let mut both = both.map(|backup| backup.wait());
        both.sort_by_key(|backup| backup.code);
        let codes = [both[0].code, both[1].code];
        assert_eq!(codes, [0, 2], "{both:?}");
        jobq.run(&["--db", "b.db", "doctor"]).exits(0);
        assert_eq!(
            jobq.json_lines(&["--db", "b.db", "list", "--limit", "0"])
                .len(),
            300
        );
        fs::remove_file(jobq.path("b.db")).unwrap();
        assert_eq!(names(&jobq.work()), [""; 0]);
    }
}

#[test]
fn a_backup_never_writes_through_a_link_or_into_what_is_there() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    jobq.write("theirs", "");
    symlink("theirs", jobq.path("b.db.part")).unwrap();
    jobq.run(&["backup", "b.db"]).exits(0);
    assert_eq!(jobq.read("theirs"), "");
    symlink("nowhere", jobq.path("c.db")).unwrap();
    jobq.run(&["backup", "c.db"])
        .fails(2, &["is there already"]);
    assert!(!jobq.path("nowhere").exists());
    rustix::fs::mkfifoat(rustix::fs::CWD, jobq.path("fifo"), rustix::fs::Mode::RWXU).unwrap();
    jobq.run(&["backup", "fifo"])
        .fails(2, &["is there already"]);
    let missing = jobq.run(&["backup", "no/such/b.db"]).fails(1, &["no/such"]);
    assert!(missing.hint().contains("mkdir -p"), "{missing:?}");
}

#[test]
fn remains_of_an_interrupted_or_killed_backup_are_removed() {
    let jobq = large();
    let code = |signal| match signal {
        Signal::INT => 130,
        _ => 143,
    };
    let mut interrupted = 0;
    for round in 0..6 {
        let signal = [Signal::INT, Signal::TERM][round % 2];
        let backup = jobq.spawn(&["backup", "b.db"]);
        let making = || {
            names(&jobq.work())
                .iter()
                .any(|name| name.starts_with(".jobq-new-"))
        };
        wait_until("it makes the copy, or has", PATIENCE, || {
            making() || jobq.path("b.db").exists()
        });
        backup.signal(signal);
        let ended = backup.wait();
        let left = names(&jobq.work());
        if ended.code == 0 {
            assert_eq!(left, ["b.db"]);
            fs::remove_file(jobq.path("b.db")).unwrap();
        } else {
            assert_eq!(
                (ended.code, left.len()),
                (code(signal), 0),
                "{ended:?} {left:?}"
            );
            interrupted += 1;
        }
    }
    assert!(interrupted > 0);
    let whole = fs::metadata(jobq.db()).unwrap().len();
    for sixth in 0..6 {
        let backup = jobq.spawn(&["backup", "b.db"]);
        wait_until("a part of the copy is made, or all of it", PATIENCE, || {
            let has_part = |name: &String| {
                name.starts_with(".jobq-new-")
                    && fs::metadata(jobq.path(name))
                        .is_ok_and(|found| found.len() >= whole * sixth / 6)
            };
            names(&jobq.work()).iter().any(has_part) || jobq.path("b.db").exists()
        });
        backup.kill();
        // Whatever has its name is whole.
        if jobq.path("b.db").exists() {
            jobq.run(&["--db", "b.db", "doctor"]).exits(0);
            fs::remove_file(jobq.path("b.db")).unwrap();
        }
    }
    for name in names(&jobq.work()) {
        if name.starts_with(".jobq-new-") {
            age(&jobq.path(&name));
        }
    }
    jobq.run(&["backup", "last.db"]).exits(0);
    let left = names(&jobq.work());
    assert!(
        left.iter().all(|name| !name.starts_with(".jobq-new-")),
        "{left:?}"
    );
}

#[test]
fn an_orphaned_lock_file_is_removed_by_a_runner_or_the_doctor() {
    let jobq = Jobq::new();
    let runner = jobq.runner(&[]);
    let folder = jobq.db().with_file_name("jobq.db-runners");
    let live = names(&folder).remove(0);
    age(&folder.join(&live));
    let stray = format!("{:032x}.lock", 7);
    for with in [&["doctor", "--fix"][..], &["run", "--drain"]] {
        for name in [stray.as_str(), "notes.txt", "young"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let young = format!("{:032x}.lock", 8);
        fs::write(folder.join(&young), "").unwrap();
        age(&folder.join(&stray));
        age(&folder.join("notes.txt"));
        jobq.run(with).exits(0);
        let left = names(&folder);
        assert!(!left.contains(&stray), "{with:?}: {left:?}");
        for kept in [&live, &young, &"notes.txt".to_owned()] {
            assert!(left.contains(kept), "{with:?}: {left:?}");
        }
    }
    runner.stop().exits(0);
}

#[test]
fn a_batch_that_is_killed_while_it_is_read_leaves_no_file() {
    let jobq = Jobq::new();
    let mut writer = {
        let (read, write) = std::io::pipe().unwrap();
        let batch = std::process::Command::new(env!("CARGO_BIN_EXE_jobq"))
            .args(["enqueue", "--batch", "-"])
            .env("TMPDIR", jobq.folder())
            .env("JOBQ_DB", jobq.db())
            .stdin(read)
            .spawn()
            .unwrap();
        (write, batch)
    };
    use std::io::Write;
    writeln!(writer.0, "{{\"kind\":\"k\"}}").unwrap();
    wait_until("it has read the line", PATIENCE, || {
        rustix::io::ioctl_fionread(&writer.0).is_ok_and(|unread| unread == 0)
    });
    writer.1.kill().unwrap();
    writer.1.wait().unwrap();
    let left = names(jobq.folder());
    assert!(
        left.iter().all(|name| !name.starts_with("jobq-")),
        "{left:?}"
    );
}
