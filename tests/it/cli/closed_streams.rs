//! stdin, stdout and stderr that are closed, full, or that nobody empties.

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Write};
use std::process::Stdio;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};

use super::support::Jobq;
use crate::support::{PATIENCE, wait_for, wait_until};

/// A device that takes nothing.
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A pipe that is full already, and its reader, who reads nothing.
fn blocked() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    for size in [4096, 1] {
        while writer.write_all(&vec![b'x'; size]).is_ok() {}
    }
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

#[test]
fn with_three_closed_streams_the_file_gets_only_the_job() {
    let jobq = Jobq::new();
    for words in ["enqueue -- true", "list", "run --drain"] {
        let line = format!("exec jobq {words} <&- >&- 2>&-");
        let mut shell = std::process::Command::new("sh");
        let status = shell
            .args(["-c", &line])
            .env("PATH", super::support::search_path())
            .env("JOBQ_DB", jobq.db())
            .current_dir(jobq.work())
            .status()
            .unwrap();
        assert!(status.success(), "{words}: {status}");
    }
    assert_eq!(jobq.state(1), "completed");
    let doctor = jobq.json_lines(&["doctor"]);
    assert!(
        doctor.iter().all(|check| check["severity"] == "ok"),
        "{doctor:?}"
    );
}

#[test]
fn an_output_that_cannot_be_written_fails_permanently() {
    let jobq = Jobq::new();
    jobq.write("batch", "{\"kind\":\"k\"}\n{\"kind\":\"k\"}\n");
    for (line, hint) in [
        ("enqueue --kind k", Some("job 1 is in the queue")),
        ("enqueue --kind k --json", Some("job 2 is in the queue")),
        (
            "enqueue --batch batch",
            Some("jobs 3 to 4 are in the queue"),
        ),
        ("list", None),
        ("status --json", None),
        ("doctor", None),
        ("man", None),
        ("help exit-codes", None),
        ("--help", None),
        ("--version", None),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let mut call = jobq.call(&words).into_command();
        let said = call.stdout(full()).stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(1), "{line}: {stderr}");
        let error = "error: the output could not be written: No space left on device";
        assert!(stderr.starts_with(error), "{line}: {stderr}");
        assert!(stderr.contains(hint.unwrap_or("")), "{line}: {stderr}");
    }
    assert_eq!(jobq.total(), 4);
}

#[test]
fn an_error_is_an_error_where_stderr_is_full() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--", "false"]);
    for (words, code) in [
        (&["status", "9"][..], 3),
        (&["list", "--nonsense"], 2),
        (&["run", "--drain"], 4),
    ] {
        let mut call = jobq.call(words).into_command();
        let status = call.stderr(full()).stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{words:?}");
    }
}

#[test]
fn a_runner_whose_stderr_is_not_read_goes_on_and_stops() {
    let jobq = Jobq::new();
    let first = jobq.runner(&["--workers", "1"]);
    let id = jobq.enqueue(&["--shell", "test $JOBQ_ATTEMPT -gt 1 || sleep 60"]);
    wait_until("it runs", PATIENCE, || jobq.state(id) == "running");
    let (_reader, stderr) = blocked();
    let mut second = jobq.call(&["run"]).into_command();
    let second = second.stderr(stderr).stdout(Stdio::null()).spawn();
    let mut second = second.unwrap();
    wait_until("a second runner is there", PATIENCE, || {
        jobq.json(&["status"])["runners"].as_array().unwrap().len() == 2
    });
    // What is said then is said by the dispatcher.
    first.kill();
    let next = jobq.enqueue(&["--", "true"]);
    wait_until("both are done", PATIENCE, || {
        [id, next].map(|id| jobq.state(id)) == ["completed", "completed"]
    });
    kill_process(Pid::from_child(&second), Signal::TERM).unwrap();
    let status = wait_for("it ends", PATIENCE, || second.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}
