//! When a persistent command is replaced.

use std::time::Duration;

use rustix::process::Signal;

use super::{Stage, is_alive};
use crate::cli::support::Running;
use crate::support::{PATIENCE, wait_until};

/// A runner of a stage with these settings, one process at a time.
fn scene(settings: &str) -> Option<(Stage, Running)> {
    let stage = Stage::with(&format!("{settings}\nconcurrency = 1"))?;
    let runner = stage.runner();
    Some((stage, runner))
}

/// Runs so many jobs one after the other, and says how many processes there were until then.
fn starts_after(stage: &Stage, jobs: usize, code: &str) -> usize {
    for _ in 0..jobs {
        stage.wait_until_completed(stage.add(code));
    }
    stage.starts().len()
}

#[test]
fn a_process_gets_as_many_jobs_as_it_may() {
    let Some((stage, runner)) = scene("persistent = { max_jobs = 2 }") else {
        return;
    };
    assert_eq!(starts_after(&stage, 5, ""), 3);
    let [first, second, _] = stage.starts()[..] else {
        panic!("three")
    };
    wait_until("the first two leave", PATIENCE, || {
        !is_alive(first) && !is_alive(second)
    });
    runner.stop().exits(0);
}

#[test]
fn a_process_of_too_much_memory_is_replaced_after_its_job() {
    let Some((stage, runner)) = scene("persistent = { max_rss = '100MiB' }") else {
        return;
    };
    assert_eq!(starts_after(&stage, 3, ""), 1);
    assert_eq!(starts_after(&stage, 2, "keep = bytearray(120 << 20)"), 2);
    // What it has started counts, too.
    let child = "subprocess.Popen([sys.executable, '-c', 'x = bytearray(120 << 20); input()'], \
         stdin=subprocess.PIPE); time.sleep(0.5)";
    assert_eq!(starts_after(&stage, 1, child), 3);
    assert_eq!(starts_after(&stage, 2, ""), 4);
    // With a limit below what it starts with it still runs one job after the other.
    stage.configure("persistent = { max_rss = '1KiB' }\nconcurrency = 1");
    runner.wait_until_said("has changed and is in use");
    let before = stage.starts().len();
    assert_eq!(starts_after(&stage, 2, ""), before + 2);
    runner.stop().exits(0);
}

#[test]
fn an_idle_process_leaves() {
    let Some((stage, runner)) = scene("persistent = { idle = '3s' }") else {
        return;
    };
    assert_eq!(starts_after(&stage, 2, ""), 1);
    wait_until("it leaves", PATIENCE, || !is_alive(stage.starts()[0]));
    assert_eq!(starts_after(&stage, 1, ""), 2);
    runner.stop().exits(0);
}

#[test]
fn a_process_may_ask_to_be_replaced() {
    let Some((stage, runner)) = scene("persistent = true") else {
        return;
    };
    let code = "skip = True; say('done', job=id, recycle=True)";
    assert_eq!(starts_after(&stage, 3, code), 3);
    runner.stop().exits(0);
}

#[test]
fn a_changed_script_or_config_file_replaces_it() {
    let Some((stage, runner)) = scene("persistent = true") else {
        return;
    };
    assert_eq!(starts_after(&stage, 2, ""), 1);
    stage
        .jobq
        .write("actor.py", format!("{}\n# new\n", super::ACTOR));
    assert_eq!(starts_after(&stage, 2, ""), 2);
    stage.configure("persistent = true\nconcurrency = 1\nenv = ['MODE=new']");
    runner.wait_until_said("has changed and is in use");
    assert_eq!(
        starts_after(&stage, 1, "note('mode', os.environ['MODE'])"),
        3
    );
    assert_eq!(stage.jobq.read("mode"), "new\n");
    wait_until("the old ones leave", PATIENCE, || {
        stage
            .starts()
            .into_iter()
            .filter(|pid| is_alive(*pid))
            .count()
            == 1
    });
    runner.stop().exits(0);
}

#[test]
fn a_reload_lets_a_running_job_end() {
    let Some((stage, runner)) = scene("persistent = true") else {
        return;
    };
    let id = stage.add("while not os.path.exists('gate'): time.sleep(0.02)");
    stage.wait_until_begun(id);
    stage.configure("persistent = { idle = '1m' }\nconcurrency = 1");
    runner.wait_until_said("has changed and is in use");
    stage.jobq.write("gate", "");
    stage.wait_until_completed(id);
    wait_until("its process leaves", PATIENCE, || {
        !is_alive(stage.starts()[0])
    });
    runner.stop().exits(0);
}

#[test]
fn sighup_without_a_terminal_replaces_processes() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1") else {
        return;
    };
    let mut runner = stage.jobq.program("setsid", &["-w", "jobq", "run"]).spawn();
    runner.wait_until_said("is running jobs");
    let id = stage.add("while not os.path.exists('gate'): time.sleep(0.02)");
    stage.wait_until_begun(id);
    let pid = stage.jobq.json(&["status"])["runners"][0]["pid"]
        .as_i64()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    runner.wait_until_said("persistent commands are replaced once their jobs have ended");
    stage.jobq.write("gate", "");
    stage.wait_until_completed(id);
    assert_eq!(starts_after(&stage, 2, ""), 2);
    assert!(!runner.has_ended());
    // One that waits leaves at once.
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    wait_until("it leaves", Duration::from_secs(5), || {
        !is_alive(stage.starts()[1])
    });
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    runner.wait().exits(0);
}
