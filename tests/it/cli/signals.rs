//! `jobq run` under a service manager: signals, readiness, the watchdog.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::support::Jobq;
use crate::support::{PATIENCE, wait_for};

/// A job that runs until the file `gate` is there.
const GATED: &str = "echo begun >begun; while [ ! -e gate ]; do sleep 0.02; done; echo done >done";

#[test]
fn sigterm_lets_what_runs_finish_starts_nothing_more_and_exits_with_0() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", GATED]);
    let mut runner = jobq.runner(&["-j", "1"]);
    jobq.wait_for_line("begun");
    let later = jobq.enqueue(&["--", "touch", "later"]);
    runner.signal(Signal::TERM);
    runner.wait_until_said("stopping: waiting for running jobs");
    let mut seen = || jobq.json(&["status"])["runners"][0]["state"] == "stopping";
    crate::support::wait_until("others see it stopping", PATIENCE, &mut seen);
    assert!(!runner.has_ended());
    jobq.write("gate", "");
    let ended = runner.wait().exits(0);
    assert!(ended.stderr.contains("1 completed in "), "{ended:?}");
    assert_eq!(jobq.read("done"), "done\n");
    assert_eq!(
        [1, later].map(|id| jobq.state(id)),
        ["completed", "pending"]
    );
    assert!(!jobq.path("later").exists());
    assert_eq!(jobq.json(&["status"])["runners"], json!([]));
}

#[test]
fn an_idle_runner_ends_at_once_and_leaves_no_file_behind() {
    let jobq = Jobq::new();
    for signal in [Signal::TERM, Signal::INT] {
        let runner = jobq.runner(&[]);
        let start = Instant::now();
        runner.signal(signal);
        let code = if signal == Signal::INT { 130 } else { 0 };
        runner.wait().exits(code);
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    }
    let folder = jobq.db().with_file_name("jobq.db-runners");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}

#[test]
fn a_drain_that_is_stopped_leaves_the_rest() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", GATED]);
    jobq.enqueue(&["--", "touch", "later"]);
    let runner = jobq.spawn(&["run", "--drain", "-j", "1"]);
    jobq.wait_for_line("begun");
    runner.signal(Signal::TERM);
    runner.wait_until_said("stopping");
    jobq.write("gate", "");
    runner.wait().exits(0);
    assert_eq!([1, 2].map(|id| jobq.state(id)), ["completed", "pending"]);
}

#[test]
fn a_wait_and_a_follow_end_by_their_interrupt_and_hurt_nothing() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    for line in [&["wait", "1"][..], &["logs", "-f", "1"], &["events", "-f"]] {
        let mut waiting = jobq.spawn(line);
        crate::support::assert_stays("it waits", Duration::from_millis(100), || {
            waiting.has_ended()
        });
        waiting.signal(Signal::INT);
        assert_eq!(waiting.wait().exits(130).stdout, "");
    }
    jobq.drain(&[]).exits(0);
}

/// The messages that a service manager got until one of them was this.
fn heard_until(socket: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut heard = Vec::new();
    wait_for(
        &format!("{wanted} comes, after {heard:?}"),
        PATIENCE,
        || {
            let mut bytes = [0; 256];
            let length = socket.recv(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..length])
                .trim_end()
                .to_owned();
            heard.push(text);
            heard
                .last()
                .unwrap()
                .lines()
                .any(|line| line == wanted)
                .then_some(())
        },
    );
    heard
}

#[test]
fn a_service_manager_hears_when_it_is_ready_that_it_lives_and_when_it_stops() {
    let jobq = Jobq::new();
    let path = jobq.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    jobq.enqueue(&["--shell", GATED]);
    let call = jobq
        .call(&["run"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "300000");
    let runner = call.spawn();
    assert_eq!(heard_until(&socket, "READY=1"), ["READY=1"]);
    assert_eq!(
        jobq.json(&["status"])["runners"].as_array().unwrap().len(),
        1
    );
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(heard_until(&socket, "WATCHDOG=1"), ["WATCHDOG=1"]);
    }
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(3),
        "{took:?}"
    );
    runner.signal(Signal::TERM);
    let heard = heard_until(&socket, "STOPPING=1");
    assert!(
        heard
            .iter()
            .all(|text| text == "WATCHDOG=1" || text == "STOPPING=1"),
        "{heard:?}"
    );
    // What runs is waited for, and the watchdog must not bite meanwhile.
    heard_until(&socket, "WATCHDOG=1");
    jobq.write("gate", "");
    runner.wait().exits(0);
}
