//! Persistent commands of runners that stop, or are killed.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{Stage, is_alive};
use crate::support::{PATIENCE, number_from_environment, wait_until};

#[test]
fn a_stop_waits_for_the_running_job_and_ends_the_process() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1") else {
        return;
    };
    let runner = stage.runner();
    let id = stage.add("while not os.path.exists('gate'): time.sleep(0.02)");
    stage.wait_until_begun(id);
    runner.signal(rustix::process::Signal::TERM);
    runner.wait_until_said("stopping");
    stage.jobq.write("gate", "");
    runner.wait().exits(0);
    assert_eq!(stage.jobq.state(id), "completed");
    assert!(!is_alive(stage.starts()[0]));
}

#[test]
fn a_killed_runners_processes_end_before_their_jobs_run_again() {
    let Some(stage) = Stage::with("persistent = true") else {
        return;
    };
    // Busy, deaf, and with a process of its own outside of its group.
    let code = "def lives(pid):\n \
          try: return open(f'/proc/{pid}/stat').read().rsplit(')')[-1].split()[0] not in 'ZX'\n \
          except FileNotFoundError: return False\n\
         signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         if job['attempt'] == 1:\n  \
         note('left', subprocess.Popen(['setsid', 'sleep', '600']).pid); note('left', os.getpid()); time.sleep(600)\n\
         alive = [pid for pid in open('left') if lives(pid.strip())]\n\
         skip = True; say('done', job=id, result=alive)";
    let runner = stage.runner();
    let idle = stage.add("");
    stage.wait_until_completed(idle);
    let ids = [stage.add(code), stage.add(code)];
    wait_until("both have begun", PATIENCE, || {
        stage.numbers("left").len() == 4
    });
    runner.kill();
    stage.jobq.drain(&[]).exits(0);
    for id in ids {
        let job = stage.jobq.job(id);
        assert_eq!((&job["attempt"], &job["result"]), (&json!(2), &json!([])));
    }
    let all = stage.starts().into_iter().chain(stage.numbers("left"));
    assert_eq!(all.filter(|pid| is_alive(*pid)).count(), 0);
}

/// Runners that are killed at any moment: every job takes effect, and completes once.
#[test]
fn jobs_outlive_runners_that_are_killed_at_random() {
    let rounds = number_from_environment("JOBQ_ROUNDS").unwrap_or(6);
    let Some(stage) = Stage::with("persistent = { max_jobs = 7 }") else {
        return;
    };
    let jobs: BTreeSet<i64> = (0..rounds * 10)
        .map(|_| stage.add("time.sleep(0.02)"))
        .collect();
    for _ in 0..rounds {
        let runner = stage.runner();
        thread::sleep(Duration::from_millis(fastrand::u64(20..200)));
        runner.kill();
    }
    // Some may have been there at three crashes, the last of which this one finds.
    stage.jobq.drain(&[]);
    stage.jobq.run(&["retry", "--failed"]);
    stage.jobq.drain(&[]).exits(0);
    let seen: BTreeSet<i64> = stage.numbers("jobs").into_iter().map(i64::from).collect();
    assert_eq!(seen, jobs);
    assert_eq!(stage.jobq.count("completed"), jobs.len() as u64);
    assert_eq!(
        stage
            .starts()
            .into_iter()
            .filter(|pid| is_alive(*pid))
            .count(),
        0
    );
}
