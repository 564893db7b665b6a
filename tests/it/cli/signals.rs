//! `jobq run` under a service manager: signals, readiness, the watchdog.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::support::Jobq;
use crate::support::{PATIENCE, assert_stays, wait_for, wait_until};

/// A job that runs until the file `gate` is there.
const GATED: &str = "echo begun >begun; while [ ! -e gate ]; do sleep 0.02; done; echo done >done";

#[test]
fn sigterm_finishes_running_jobs_starts_no_more_and_exits_0() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", GATED]);
    let mut runner = jobq.runner(&["-j", "1"]);
    jobq.wait_for_line("begun");
    let later = jobq.enqueue(&["--", "touch", "later"]);
    runner.signal(Signal::TERM);
    runner.wait_until_said("stopping: waiting for running jobs");
    let mut seen = || jobq.json(&["status"])["runners"][0]["state"] == "stopping";
    wait_until("others see it stopping", PATIENCE, &mut seen);
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
        assert_stays("it waits", Duration::from_millis(100), || {
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
fn a_service_manager_hears_ready_alive_and_stopping() {
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

/// A command that runs until the file `gate` is there, says its number, and leaves a daemon behind.
const WITH_DAEMON: &str = "setsid sh -c 'echo $$ >daemon; exec sleep 600' &
    echo $$ >begun; while [ ! -e gate ]; do sleep 0.02; done";

fn pid(text: &str) -> u32 {
    text.trim().parse().unwrap()
}

fn process_state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.chars().next().unwrap()
}

/// A runner that was started by a shell which ignores some signals.
fn runner_after(jobq: &Jobq, shell: &str) -> super::support::Running {
    let text = format!("{shell}; exec jobq run");
    let running = jobq.program("/bin/sh", &["-c", &text]).spawn();
    running.wait_until_said("is running jobs");
    running
}

#[test]
fn a_closed_terminal_stops_a_runner_as_sigterm_does() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", GATED]);
    let terminal = jobq.program("script", &["-qec", "exec jobq run", "/dev/null"]);
    let terminal = terminal.spawn();
    jobq.wait_for_line("begun");
    terminal.kill();
    let runner = || jobq.json(&["status"])["runners"][0].clone();
    wait_until("it stops", PATIENCE, || runner()["state"] == "stopping");
    jobq.write("gate", "");
    wait_until("it has ended", PATIENCE, || runner().is_null());
    assert_eq!(jobq.state(1), "completed");
}

#[test]
fn a_power_failure_or_a_limit_stops_a_runner_as_sigterm_does() {
    for signal in [Signal::POWER, Signal::XCPU] {
        let jobq = Jobq::new();
        jobq.enqueue(&["--shell", GATED]);
        let runner = jobq.runner(&[]);
        jobq.wait_for_line("begun");
        runner.signal(signal);
        runner.wait_until_said("stopping");
        jobq.write("gate", "");
        runner.wait().exits(0);
        assert_eq!(jobq.state(1), "completed");
    }
}

#[test]
fn a_runner_under_nohup_outlives_its_terminal() {
    let jobq = Jobq::new();
    let mut runner = runner_after(&jobq, "trap '' HUP QUIT");
    runner.signal(Signal::HUP);
    runner.signal(Signal::QUIT);
    jobq.enqueue(&["--", "grep", "SigIgn", "/proc/self/status"]);
    jobq.run(&["wait", "1"]).exits(0);
    assert!(!runner.has_ended());
    // Its commands hear every signal.
    let shown = jobq.stdout(&["logs", "1"]);
    let mask = u64::from_str_radix(shown.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    // Two above are the C library's own.
    assert_eq!(mask & 0x7fff_ffff, 0, "{shown}");
    runner.stop().exits(0);
}

#[test]
fn stray_signals_end_no_runner() {
    let jobq = Jobq::new();
    let mut runner = jobq.runner(&[]);
    let strays = [
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::XFSZ,
    ];
    strays.iter().for_each(|signal| runner.signal(*signal));
    jobq.enqueue(&["--", "true"]);
    jobq.run(&["wait", "1"]).exits(0);
    assert!(!runner.has_ended());
    runner.stop().exits(0);
}

#[test]
fn sigquit_hurries_a_runner_at_once() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", GATED]);
    let runner = jobq.runner(&[]);
    jobq.wait_for_line("begun");
    runner.signal(Signal::QUIT);
    runner.wait();
    let job = jobq.job(1);
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&json!("pending"), &json!(1))
    );
}

#[test]
fn ctrl_z_stops_a_runner_with_its_commands_and_continues_them() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", WITH_DAEMON]);
    let runner = jobq.runner(&[]);
    let pids = ["begun", "daemon"].map(|name| pid(&jobq.wait_for_line(name)));
    runner.signal(Signal::TSTP);
    let all = [runner.pid(), pids[0], pids[1]];
    // D: a shell waits for the child that is to become a `sleep`, and that one is stopped.
    wait_until("all of it is stopped", PATIENCE, || {
        all.iter()
            .all(|pid| matches!(process_state(*pid), 'T' | 'D'))
    });
    runner.signal(Signal::CONT);
    wait_until("all of it goes on", PATIENCE, || {
        all.iter().all(|pid| process_state(*pid) != 'T')
    });
    jobq.write("gate", "");
    jobq.run(&["wait", "1"]).exits(0);
    runner.stop().exits(0);
    // It was left after a clean end.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pids[1] as i32).unwrap(),
        Signal::KILL,
    )
    .unwrap();
}

/// Becomes itself anew all the time, in a session of its own: while it does, its environment is empty.
const ANEW: &str = "#!/bin/sh
[ ! -e gate ] || exit 0
echo x >>times
exec ./anew";

#[test]
fn ctrl_z_reaches_a_process_that_becomes_another_program() {
    let jobq = Jobq::new();
    jobq.write("anew", ANEW);
    fs::set_permissions(jobq.path("anew"), Permissions::from_mode(0o755)).unwrap();
    jobq.enqueue(&[
        "--shell",
        "(setsid ./anew &); while [ ! -e gate ]; do sleep 0.02; done",
    ]);
    let runner = jobq.runner(&[]);
    let times = || fs::read(jobq.path("times")).map_or(0, |lines| lines.len());
    for _ in 0..20 {
        let before = times();
        wait_until("it goes on", PATIENCE, || times() > before + 4);
        runner.signal(Signal::TSTP);
        wait_until("the runner is stopped", PATIENCE, || {
            process_state(runner.pid()) == 'T'
        });
        assert_stays(
            "what a stopped one has done",
            Duration::from_millis(50),
            times,
        );
        runner.signal(Signal::CONT);
    }
    jobq.write("gate", "");
    jobq.run(&["wait", "1"]).exits(0);
    runner.stop().exits(0);
}

#[test]
fn a_file_limit_is_a_full_disk_for_every_verb() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let payload = format!("\"{}\"", "x".repeat(200_000));
    jobq.write("large.json", payload);
    let script = "ulimit -f 8; exec jobq enqueue --kind x --payload @large.json";
    let output = jobq.program("/bin/sh", &["-c", script]).run();
    let output = output.fails(75, &["may not become larger than"]);
    assert!(output.hint().contains("ulimit -f"));
    assert_eq!(jobq.total(), 1);
    jobq.drain(&[]).exits(0);
}

#[test]
fn what_commands_leave_behind_is_reaped_by_their_runner() {
    let jobq = Jobq::new();
    let runner = jobq.runner(&[]);
    jobq.enqueue(&[
        "--shell",
        "for i in 1 2 3; do (setsid sleep 0.2 & echo $! >>left); done",
    ]);
    jobq.run(&["wait", "1"]).exits(0);
    let left = jobq.read("left");
    assert_eq!(left.lines().count(), 3);
    wait_until("no zombie is left", PATIENCE, || {
        left.lines().all(|line| {
            let exists = std::path::Path::new("/proc").join(line).exists();
            !exists
        })
    });
    // Nor has it taken the exit status of its own commands.
    let ids: Vec<i64> = (0..20)
        .map(|_| jobq.enqueue(&["--retries", "0", "--shell", "(setsid sleep 0.01 &); exit 3"]))
        .collect();
    let words: Vec<String> = ids.iter().map(i64::to_string).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    jobq.run(&[&["wait"], &words[..]].concat()).exits(4);
    for id in ids {
        assert_eq!(jobq.job(id)["attempts"][0]["exit_code"], 3);
    }
    runner.stop().exits(0);
}
