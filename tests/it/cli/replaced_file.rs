//! The database is removed, or another file takes its place, while processes have it open.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jobq::{NewJob, Queue, Until};

use super::support::{Jobq, Output, Running};
use crate::support::{PATIENCE, by, monotonic, wait_until};

/// What somebody does to a file that is in use, and what the processes that use it say of that.
type Deed = (&'static str, fn(&Jobq), &'static str);

const DEEDS: [Deed; 6] = [
    (
        "a copy is put in its place",
        put_backup_in_place,
        "jobq.db was replaced",
    ),
    (
        "it is removed with its log",
        remove_all,
        "jobq.db was removed",
    ),
    ("its log is removed", remove_log, "jobq.db-wal was removed"),
    (
        "its shared memory is removed",
        remove_memory,
        "jobq.db-shm was removed",
    ),
    (
        "its folder is moved away",
        move_folder,
        "jobq.db was removed",
    ),
    ("its folder is replaced", replace_folder, "jobq.db was re"),
];

fn beside(jobq: &Jobq, suffix: &str) -> std::path::PathBuf {
    jobq.folder().join(format!("state/jobq/jobq.db{suffix}"))
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn put_backup_in_place(jobq: &Jobq) {
    let copy = beside(jobq, ".copy");
    jobq.stdout(&["backup", copy.to_str().unwrap()]);
    fs::rename(copy, jobq.db()).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(beside(jobq, suffix));
    }
}

fn remove_all(jobq: &Jobq) {
    for suffix in ["", "-wal", "-shm"] {
        remove(&beside(jobq, suffix));
    }
}

fn remove_log(jobq: &Jobq) {
    remove(&beside(jobq, "-wal"));
}

fn remove_memory(jobq: &Jobq) {
    remove(&beside(jobq, "-shm"));
}

fn move_folder(jobq: &Jobq) {
    fs::rename(jobq.folder().join("state/jobq"), jobq.path("old")).unwrap();
}

fn replace_folder(jobq: &Jobq) {
    move_folder(jobq);
    let empty = Jobq::new();
    empty.enqueue(&["--", "true"]);
    fs::rename(
        empty.folder().join("state/jobq"),
        jobq.folder().join("state/jobq"),
    )
    .unwrap();
}

fn ends_and_says(running: Running, said: &str, what: &str) -> Output {
    let output = running.wait();
    let error = output
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "));
    let errors: Vec<_> = error.collect();
    assert_eq!((output.code, errors.len()), (1, 1), "{what}: {output:?}");
    assert!(errors[0].contains(said), "{what}: {output:?}");
    assert!(
        output.stderr.contains("hint: start again"),
        "{what}: {output:?}"
    );
    output
}

#[test]
fn a_runner_whose_file_is_gone_ends_its_commands_and_itself() {
    for (what, deed, said) in DEEDS {
        let jobq = Jobq::new();
        jobq.enqueue(&["--shell", "echo $$ >pid; exec sleep 300"]);
        let runner = jobq.runner(&[]);
        let pid = jobq.wait_for_line("pid");
        deed(&jobq);
        ends_and_says(runner, said, what);
        let gone = || !Path::new("/proc").join(&pid).exists();
        wait_until("the command is gone", PATIENCE, gone);
    }
}

#[test]
fn what_is_enqueued_after_a_copy_was_put_in_place_runs() {
    let jobq = Jobq::new();
    let held = jobq.enqueue(&[
        "--shell",
        "echo begun >>begun; [ -e again ] || exec sleep 300",
    ]);
    let runner = jobq.runner(&[]);
    jobq.wait_for_line("begun");
    put_backup_in_place(&jobq);
    let added = jobq.enqueue(&["--", "true"]);
    ends_and_says(runner, "replaced", "a copy");
    // In the copy the runner still holds its job: it is reported as dead, and its job is taken over.
    let found = jobq.run(&["doctor"]).exits(0).stdout;
    assert!(
        found.contains("is dead") && found.contains("no runner"),
        "{found}"
    );
    jobq.write("again", "");
    jobq.drain(&[]).exits(0);
    assert_eq!([held, added].map(|id| jobq.state(id)), ["completed"; 2]);
}

#[test]
fn whoever_follows_a_file_that_is_gone_says_so_and_ends() {
    let calls: [&[&str]; 5] = [
        &["status", "--watch"],
        &["logs", "-f", "1"],
        &["events", "-f"],
        &["wait", "1"],
        &["enqueue", "--wait", "--", "true"],
    ];
    // Another follower may make a new log before one has looked.
    for (what, deed, said) in [DEEDS[0], (DEEDS[2].0, DEEDS[2].1, "jobq.db-wal was re")] {
        let jobq = Jobq::new();
        jobq.enqueue(&["--", "true"]);
        // It keeps the log: else the last process that ends may remove it.
        let queue = Queue::open(jobq.db()).unwrap();
        queue.enqueue(NewJob::new("x")).unwrap();
        let following = calls.map(|call| {
            let running = jobq.spawn(call);
            // Its own look at the file is what it has opened a second connection for.
            let ready = || connections(running.pid()) >= 2;
            wait_until(&format!("{call:?} follows"), PATIENCE, ready);
            running
        });
        deed(&jobq);
        for (call, running) in calls.iter().zip(following) {
            ends_and_says(running, said, &format!("{what}: {call:?}"));
        }
        assert!(queue.counts().unwrap_err().is_replaced(), "{what}");
    }
}

/// How many connections a process has to the database.
fn connections(pid: u32) -> usize {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return 0;
    };
    let open = descriptors
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok());
    open.filter(|path| path.ends_with("jobq.db")).count()
}

#[test]
fn an_application_learns_at_its_next_call_that_its_file_is_gone() {
    for (what, deed, said) in DEEDS {
        let jobq = Jobq::new();
        let queue = Queue::open(jobq.db()).unwrap();
        queue.enqueue(NewJob::new("x")).unwrap();
        let runner = queue
            .runner()
            .kind("y", by(|_| jobq::Outcome::Done(None)))
            .until(Until::Stopped);
        let runner = runner.start().unwrap();
        deed(&jobq);
        // Looks within ten milliseconds are one.
        let since = monotonic();
        wait_until("the next look is another one", PATIENCE, || {
            monotonic() > since + Duration::from_millis(10)
        });
        let error = queue.enqueue(NewJob::new("x")).unwrap_err();
        assert!(
            error.is_replaced() && error.to_string().contains(said),
            "{what}: {error}"
        );
        assert!(queue.counts().unwrap_err().is_replaced(), "{what}");
        assert!(
            queue.changes().is_err_and(|error| error.is_replaced()),
            "{what}"
        );
        let ended = runner.wait().unwrap_err();
        assert!(ended.is_replaced(), "{what}: {ended}");
        let alone = queue.transaction(|_| Ok::<_, jobq::Error>(())).unwrap_err();
        assert!(alone.is_replaced(), "{what}: {alone}");
    }
}

#[test]
fn who_closes_the_old_file_leaves_the_log_of_the_new_one() {
    let jobq = Jobq::new();
    let old = Queue::open(jobq.db()).unwrap();
    // Long enough for the log to be removed at the close.
    let big = "x".repeat(1 << 20);
    old.enqueue(NewJob::new("x").payload(&big)).unwrap();
    put_backup_in_place(&jobq);
    let new = Queue::open(jobq.db()).unwrap();
    new.enqueue(NewJob::new("x")).unwrap();
    assert!(beside(&jobq, "-wal").exists());
    drop(old);
    assert!(beside(&jobq, "-wal").exists() && beside(&jobq, "-shm").exists());
    new.enqueue(NewJob::new("x")).unwrap();
    assert_eq!(jobq.total(), 3);
    jobq.run(&["doctor"]).exits(0);
}
