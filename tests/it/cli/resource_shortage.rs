//! Too few descriptors, processes or too little memory.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use serde_json::Value;

use super::support::{Call, Jobq};
use crate::support::{PATIENCE, wait_until};

/// How many descriptors, besides stdin, stdout and stderr, a child of this process begins with.
fn inherited(jobq: &Jobq) -> u64 {
    let listed = jobq.program("ls", &["/proc/self/fd"]).run().exits(0).stdout;
    // Those three, and the one that `ls` reads by.
    listed.lines().count() as u64 - 4
}

/// A call under a limit on something, as a shell sets it: `-n 20`.
fn limited<'a>(jobq: &'a Jobq, limit: &str, words: &str) -> Call<'a> {
    let script = format!("ulimit {limit} && exec jobq {words}");
    jobq.program("sh", &["-c", &script])
}

fn descriptors<'a>(jobq: &'a Jobq, number: u64, words: &str) -> Call<'a> {
    let number = number + inherited(jobq);
    limited(jobq, &format!("-n {number}"), words)
}

fn assert_free_of_charge(jobq: &Jobq, jobs: &[i64]) {
    for id in jobs {
        let job = jobq.job(*id);
        assert_eq!(job["state"], "completed", "{job}");
        let attempts = job["attempts"].as_array().unwrap();
        let is_free = |attempt: &Value| attempt["outcome"] == "returned";
        let charged = attempts.iter().filter(|attempt| !is_free(attempt));
        assert_eq!(charged.count(), 1, "{job}");
    }
}

#[test]
fn few_descriptors_limit_parallel_commands_and_all_complete() {
    let jobq = Jobq::new();
    let jobs: Vec<i64> = (0..12)
        .map(|_| jobq.enqueue(&["--", "sleep", "0.05"]))
        .collect();
    let drained = descriptors(&jobq, 20, "run --drain -j 10").run().exits(0);
    assert_eq!(
        drained.stderr.matches("Too many open files").count(),
        1,
        "{drained:?}"
    );
    assert!(drained.stderr.contains("12 completed"), "{drained:?}");
    assert_free_of_charge(&jobq, &jobs);
}

#[test]
fn why_and_doctor_report_a_runner_waiting_for_descriptors() {
    let jobq = Jobq::new();
    let jobs: Vec<i64> = (0..3).map(|_| jobq.enqueue(&["--", "true"])).collect();
    let runner = descriptors(&jobq, 15, "run --drain").spawn();
    runner.wait_until_said("Too many open files");
    let mut why = String::new();
    wait_until("why names it", PATIENCE, || {
        let told = jobq.json(&["why", "1"]);
        let is_told = told["why"] == "out_of_resources";
        why = jobq.stdout(&["why", "1"]);
        is_told && why.contains("takes fewer jobs at a time (0 jobs run): cannot run")
    });
    assert!(why.contains("Too many open files"), "{why}");
    let doctor = jobq.run(&["doctor"]).exits(0);
    assert!(
        doctor.stdout.contains("takes fewer jobs at a time"),
        "{doctor:?}"
    );
    let status = jobq.json(&["status"]);
    let short_of = status["runners"][0]["short_of"]
        .as_str()
        .unwrap_or_default();
    assert!(short_of.contains("Too many open files"), "{status}");
    assert_eq!(jobq.count("failed"), 0);
    runner.signal(Signal::TERM);
    let stopped = runner.wait().exits(0);
    assert_eq!(
        stopped.stderr.matches("Too many open files").count(),
        1,
        "{stopped:?}"
    );
    jobq.drain(&[]).exits(0);
    assert_free_of_charge(&jobq, &jobs);
}

#[test]
fn every_verb_says_at_once_that_there_are_too_few_descriptors() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let verbs = [
        "enqueue -- true",
        "list",
        "status",
        "why 1",
        "doctor",
        "logs 1",
        "events",
        "run --drain",
    ];
    for number in 4..9 {
        for verb in verbs {
            let began = Instant::now();
            let said = descriptors(&jobq, number, verb).run();
            assert!(began.elapsed() < Duration::from_secs(10), "{number} {verb}");
            if said.code == 0 {
                continue;
            }
            assert_eq!(said.code, 1, "{number} {verb}: {said:?}");
            let names = ["Too many open files", "ulimit -n"];
            assert!(
                names.iter().all(|name| said.stderr.contains(name)),
                "{number} {verb}: {said:?}"
            );
        }
    }
    assert_eq!(jobq.count("failed"), 0);
}

/// As a user of his own, whose other processes do not count.
fn as_somebody(jobq: &Jobq, processes: u32, words: &str) -> Option<std::process::Command> {
    const SOMEBODY: u32 = 54_323;
    if !geteuid().is_root() {
        eprintln!("skipped: only root can be another user");
        return None;
    }
    let db = jobq.folder().join("theirs");
    if !db.exists() {
        std::fs::create_dir(&db).unwrap();
        std::os::unix::fs::chown(&db, Some(SOMEBODY), None).unwrap();
    }
    let mut command = jobq.call_as_nobody(&["x"]).into_command();
    let binary = std::path::PathBuf::from(command.get_program());
    command = jobq.program("setpriv", &["--clear-groups"]).into_command();
    command
        .arg(format!("--reuid={SOMEBODY}"))
        .arg("--regid=65534");
    command.args(["prlimit", &format!("--nproc={processes}"), "jobq"]);
    command.args(words.split(' '));
    let path = format!("{}:/usr/bin:/bin", binary.parent().unwrap().display());
    command
        .env("PATH", path)
        .env("JOBQ_DB", db.join("jobs.db"))
        .current_dir("/");
    Some(command)
}

#[test]
fn few_processes_limit_parallel_commands_and_all_complete() {
    let jobq = Jobq::new();
    for _ in 0..12 {
        let Some(mut enqueue) = as_somebody(&jobq, 100, "enqueue -- sleep 0.1") else {
            return;
        };
        let added = enqueue.output().unwrap();
        assert!(added.status.success(), "{added:?}");
    }
    // Its threads are processes, too: these are too few for them.
    for processes in [1, 3, 6, 10] {
        let ran = as_somebody(&jobq, processes, "run --drain -j 10");
        let ran = ran.unwrap().output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(1), "{processes}: {said}");
        let names = ["cannot be started", "ulimit -u"];
        assert!(
            names.iter().all(|name| said.contains(name)),
            "{processes}: {said}"
        );
    }
    let drained = as_somebody(&jobq, 20, "run --drain -j 10");
    let drained = drained.unwrap().output().unwrap();
    let said = String::from_utf8(drained.stderr).unwrap();
    assert_eq!(drained.status.code(), Some(0), "{said}");
    assert_eq!(
        said.matches("Resource temporarily unavailable").count(),
        1,
        "{said}"
    );
    assert!(said.contains("12 completed"), "{said}");
}

#[test]
fn with_little_memory_no_job_is_lost_or_charged() {
    let jobq = Jobq::new();
    let jobs: Vec<i64> = (0..4).map(|_| jobq.enqueue(&["--", "true"])).collect();
    let mut drained = false;
    // In KiB; the first are too few for the process itself.
    for kibibytes in [5_000, 10_000, 20_000, 30_000, 45_000, 2_000_000] {
        let words = "run --drain -j 3 --stop-timeout 1s";
        let runner = limited(&jobq, &format!("-v {kibibytes}"), words).spawn();
        let mut runner = runner;
        let began = Instant::now();
        while !runner.has_ended() && began.elapsed() < Duration::from_secs(3) {
            std::thread::yield_now();
        }
        // It may have ended by itself just now.
        let _ = kill_process(Pid::from_raw(runner.pid() as i32).unwrap(), Signal::TERM);
        drained |= runner.wait().code == 0;
        assert_eq!(jobq.count("failed"), 0, "{kibibytes}");
    }
    assert!(drained);
    assert_free_of_charge(&jobq, &jobs);
}
