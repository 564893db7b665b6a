//! How long a stop takes, and what a runner that was killed costs its jobs.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::support::{Jobq, text};
use crate::support::{PATIENCE, wait_until};

/// Does not end by SIGTERM, and tells when it has begun.
const STUBBORN: &str =
    "trap '' TERM; echo $JOBQ_ATTEMPT >>begun; while [ -e begun ]; do sleep 0.05; done";

fn wait_for_attempts(jobq: &Jobq, attempts: usize) {
    wait_until("the next attempt begins", PATIENCE, || {
        let begun = std::fs::read_to_string(jobq.path("begun")).unwrap_or_default();
        begun.lines().count() >= attempts
    });
}

/// The outcomes of the attempts of job 1, oldest first.
fn outcomes(jobq: &Jobq) -> Vec<String> {
    let job = jobq.job(1);
    let attempts = job["attempts"].as_array().unwrap().clone();
    attempts
        .iter()
        .filter(|attempt| !attempt["outcome"].is_null())
        .map(|attempt| text(&attempt["outcome"]))
        .collect()
}

#[test]
fn a_runner_killed_while_it_stops_costs_its_jobs_nothing() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", STUBBORN]);
    for attempt in 1..=4 {
        let runner = jobq.runner(&["-j", "1"]);
        wait_for_attempts(&jobq, attempt);
        runner.signal(Signal::TERM);
        let mut seen = || jobq.json(&["status"])["runners"][0]["state"] == "stopping";
        wait_until("it is stopping", PATIENCE, &mut seen);
        runner.kill();
    }
    let last = jobq.runner(&["-j", "1"]);
    wait_for_attempts(&jobq, 5);
    assert_eq!(jobq.state(1), "running");
    assert_eq!(outcomes(&jobq), ["returned"; 4]);
    jobq.run(&["cancel", "1"]).exits(0);
    last.signal(Signal::TERM);
    last.signal(Signal::TERM);
    drop(last);
}

#[test]
fn a_killed_runner_is_charged_and_the_third_crash_fails_the_job() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", STUBBORN]);
    for attempt in 1..=3 {
        let runner = jobq.runner(&["-j", "1"]);
        wait_for_attempts(&jobq, attempt);
        runner.kill();
    }
    jobq.drain(&[]).exits(4);
    assert_eq!(jobq.state(1), "failed");
}

#[test]
fn over_a_restart_of_the_machine_no_crash_is_charged() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", STUBBORN]);
    for attempt in 1..=4 {
        let runner = jobq.runner(&["-j", "1"]);
        wait_for_attempts(&jobq, attempt);
        runner.kill();
        let conn = jobq::rusqlite::Connection::open(jobq.db()).unwrap();
        let sql = "UPDATE jobq_runner SET boot = 'another' WHERE state <= 2 AND boot IS NOT NULL";
        assert_eq!(conn.execute(sql, []).unwrap(), 1);
    }
    let last = jobq.runner(&["-j", "1"]);
    wait_for_attempts(&jobq, 5);
    assert_eq!(outcomes(&jobq), ["returned"; 4]);
    last.kill();
}

#[test]
fn a_stop_ends_within_its_timeout_despite_a_deaf_command() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", STUBBORN]);
    let runner = jobq.runner(&["-j", "1", "--stop-timeout", "2s"]);
    wait_for_attempts(&jobq, 1);
    let asked = Instant::now();
    runner.stop().exits(0);
    // On a busy machine its last steps take their time; the command would have had 10 s.
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(jobq.state(1), "pending");
    assert_eq!(outcomes(&jobq), ["returned"]);
}

#[test]
fn a_stop_shortens_the_grace_of_a_command_already_cancelled() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", STUBBORN]);
    jobq.write("jobq.toml", "stop_timeout = \"1s\"\n");
    let runner = jobq.runner(&["-j", "1"]);
    wait_for_attempts(&jobq, 1);
    jobq.run(&["cancel", "1"]).exits(0);
    let asked = Instant::now();
    runner.stop().exits(0);
    assert!(
        asked.elapsed() < Duration::from_millis(1500),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(jobq.state(1), "cancelled");
}
