//! Persistent commands that end, or are to.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{Stage, is_alive};
use crate::cli::support::text;
use crate::support::{PATIENCE, wait_until};

#[test]
fn death_during_a_job_is_that_attempts_failure() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1\nretries = 0") else {
        return;
    };
    let cases = [
        (
            "sys.stderr.write('out of ink\\n'); os._exit(3)",
            "exit code 3: out of ink",
        ),
        ("os.kill(os.getpid(), 9)", "killed by signal 9 (SIGKILL)"),
        ("os._exit(0)", "it ended without an answer"),
        ("raise KeyError('photo')", "exit code 1: KeyError: 'photo'"),
    ];
    let ids = cases.map(|(code, _)| stage.add(code));
    let last = stage.add("");
    stage.jobq.drain(&[]).exits(4);
    for (id, (code, error)) in ids.iter().zip(cases) {
        assert_eq!(stage.error(*id), error, "{code}");
    }
    let job = stage.jobq.job(last);
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&json!("completed"), &json!(1))
    );
    assert_eq!(stage.starts().len(), 5);
    let killed = stage.jobq.job(ids[0]);
    assert_eq!(killed["attempts"][0]["exit_code"], json!(3));
}

#[test]
fn exit_codes_are_classes_as_for_other_commands() {
    let Some(stage) = Stage::with("persistent = true\nretries = 1\nretry_delay = '0s'") else {
        return;
    };
    let [later, never] = ["os._exit(75)", "os._exit(126)"].map(|code| stage.add(code));
    stage.jobq.drain(&[]).exits(4);
    assert_eq!(stage.jobq.job(later)["attempt"], json!(2));
    assert_eq!(stage.jobq.job(never)["attempt"], json!(1));
}

#[test]
fn death_between_jobs_costs_nothing() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1\nretries = 0") else {
        return;
    };
    let runner = stage.runner();
    let dies = stage.add("skip = True; say('done', job=id); os._exit(1)");
    stage.wait_until_completed(dies);
    let next = stage.add("");
    stage.wait_until_completed(next);
    // One that is killed while it waits.
    let waiting = stage.starts()[1];
    kill_process(Pid::from_raw(waiting).unwrap(), Signal::KILL).unwrap();
    let last = stage.add("");
    stage.wait_until_completed(last);
    assert_eq!(stage.starts().len(), 3);
    let attempts = [dies, next, last].map(|id| stage.jobq.job(id)["attempt"].clone());
    assert_eq!(attempts, [1, 1, 1]);
    runner.stop().exits(0);
}

#[test]
fn a_cancelled_job_ends_within_a_second() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1") else {
        return;
    };
    let runner = stage.runner();
    let id = stage.add(
        "child = subprocess.Popen(['sleep', '600']); note('child', child.pid); time.sleep(600)",
    );
    stage.wait_until_begun(id);
    let child: i32 = stage.jobq.wait_for_line("child").parse().unwrap();
    let handler = stage.starts()[0];
    let began = Instant::now();
    stage.jobq.run(&["cancel", &id.to_string()]).exits(0);
    wait_until("the handler and its child end", PATIENCE, || {
        !is_alive(handler) && !is_alive(child)
    });
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    wait_until("it is cancelled", PATIENCE, || {
        stage.jobq.state(id) == "cancelled"
    });
    let next = stage.add("");
    stage.wait_until_completed(next);
    runner.stop().exits(0);
}

#[test]
fn a_handler_that_hears_of_a_cancel_lives_on() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1") else {
        return;
    };
    let runner = stage.runner();
    let code = "heard = json.loads(sys.stdin.readline()); note('heard', heard['cancel']); skip = True\n\
         say('fail', job=id, error='stopped')";
    let id = stage.add(code);
    stage.wait_until_begun(id);
    stage.jobq.run(&["cancel", &id.to_string()]).exits(0);
    wait_until("it is cancelled", PATIENCE, || {
        stage.jobq.state(id) == "cancelled"
    });
    assert_eq!(stage.jobq.read("heard"), format!("{id}\n"));
    // The same at a timeout, which costs a retry.
    let late = stage.add_with(&["--timeout", "200ms", "--retries", "0"], code);
    wait_until("it fails", PATIENCE, || stage.jobq.state(late) == "failed");
    let next = stage.add("");
    stage.wait_until_completed(next);
    assert_eq!(stage.starts().len(), 1);
    runner.stop().exits(0);
}

#[test]
fn a_timeout_ends_the_process_and_costs_a_retry() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1\nretry_delay = '0s'") else {
        return;
    };
    let code = "if job['attempt'] == 1: time.sleep(600)";
    let id = stage.add_with(&["--timeout", "2s"], code);
    stage.jobq.drain(&[]).exits(0);
    let job = stage.jobq.job(id);
    assert_eq!(
        (&job["attempt"], &job["retries_left"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(job["attempts"][0]["error"], "timed out after 2s");
    assert!(stage.starts().into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn what_ignores_sigterm_is_killed_before_the_runner_ends() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1") else {
        return;
    };
    let runner = stage.jobq.runner(&["--stop-timeout", "2s"]);
    let id = stage
        .add("signal.signal(signal.SIGTERM, signal.SIG_IGN); note('deaf', 1); time.sleep(600)");
    stage.jobq.wait_for_line("deaf");
    runner.stop().exits(0);
    assert!(!is_alive(stage.starts()[0]));
    let job = stage.jobq.job(id);
    assert_eq!(
        (&job["state"], &job["retries_left"]),
        (&json!("pending"), &json!(3))
    );
}

#[test]
fn a_process_that_stays_after_its_stdin_has_ended_is_ended() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1") else {
        return;
    };
    let deaf = "import threading; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         threading.Thread(target=lambda: time.sleep(600)).start()";
    stage.add(deaf);
    let began = Instant::now();
    stage.jobq.drain(&[]).exits(0);
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    assert!(!is_alive(stage.starts()[0]));
}

#[test]
fn a_closed_stdout_ends_the_attempt() {
    let Some(stage) = Stage::with("persistent = true\nretries = 0") else {
        return;
    };
    let id = stage.add("os.close(1); time.sleep(600)");
    stage.jobq.drain(&[]).exits(4);
    assert_eq!(stage.error(id), "it closed its stdout and gave no answer");
}

#[test]
fn a_command_that_does_not_start_only_pauses_its_kind() {
    let Some(stage) = Stage::with("persistent = true") else {
        return;
    };
    stage.jobq.write("actor.py", "import no_such_module\n");
    let [id, other] = ["", ""].map(|code| stage.add(code));
    let runner = stage.runner();
    let reason = "its handler does not start: exit code 1: ModuleNotFoundError: No module named 'no_such_module'";
    wait_until("why says so", PATIENCE, || {
        [id, other].iter().all(|id| {
            let why = stage.jobq.json(&["why", &id.to_string()]);
            text(&why["message"]).ends_with(reason) && why["why"] == "handler_unavailable"
        })
    });
    runner.wait_until_said(reason);
    // Other kinds run meanwhile.
    let free = stage.jobq.enqueue(&["--", "true"]);
    stage.wait_until_completed(free);
    stage.jobq.write("actor.py", super::ACTOR);
    for id in [id, other] {
        stage.wait_until_completed(id);
        assert_eq!(stage.jobq.job(id)["retries_left"], json!(3));
    }
    let next = stage.add("time.sleep(0.5)");
    wait_until("it is running", PATIENCE, || {
        stage.jobq.state(next) == "running"
    });
    runner.stop().exits(0);
}

#[test]
fn a_drain_leaves_jobs_whose_handler_does_not_start() {
    let Some(stage) = Stage::with("persistent = true") else {
        return;
    };
    stage.jobq.write("actor.py", "raise SystemExit(9)\n");
    let id = stage.add("");
    let drain = stage.jobq.drain(&[]).exits(0);
    let told = "left: 1 job: kind 'act': its handler does not start: exit code 9";
    assert!(drain.stderr.contains(told), "{}", drain.stderr);
    let job = stage.jobq.job(id);
    assert_eq!(
        (&job["state"], &job["retries_left"]),
        (&json!("pending"), &json!(3))
    );
}

#[test]
fn a_command_that_never_reads_is_not_ready_in_time() {
    let Some(stage) = Stage::with("persistent = { start_timeout = '200ms' }") else {
        return;
    };
    stage
        .jobq
        .write("actor.py", "import time; time.sleep(600)\n");
    let id = stage.add("");
    let runner = stage.runner();
    runner.wait_until_said("its handler does not start: it was not ready within 200ms");
    assert_eq!(stage.jobq.job(id)["retries_left"], json!(3));
    runner.stop().exits(0);
}

#[test]
fn a_slow_start_is_no_failure() {
    let Some(stage) = Stage::with("persistent = { start_timeout = '10s' }\nretries = 0") else {
        return;
    };
    let slow = format!("import time; time.sleep(1)\n{}", super::ACTOR);
    stage.jobq.write("actor.py", slow);
    stage.add("");
    stage.jobq.drain(&[]).exits(0);
}

#[test]
fn a_command_that_is_not_there_only_pauses_its_kind() {
    let Some(stage) = Stage::with("persistent = true") else {
        return;
    };
    let config = stage.jobq.read("jobq.toml");
    let missing = config.replace("['python3', 'actor.py']", "['./actor', 'actor.py']");
    stage.jobq.write("jobq.toml", missing);
    let id = stage.add("");
    let runner = stage.runner();
    runner.wait_until_said("its handler does not start: command not found: ");
    assert_eq!(stage.jobq.job(id)["retries_left"], json!(3));
    stage.jobq.script("actor", "exec python3 \"$@\"\n");
    stage.wait_until_completed(id);
    runner.stop().exits(0);
}

#[test]
fn a_timeout_before_the_start_costs_no_retry() {
    let Some(stage) = Stage::with("persistent = true\ntimeout = '300ms'\nretries = 0") else {
        return;
    };
    stage
        .jobq
        .write("actor.py", "import time; time.sleep(600)\n");
    let id = stage.add("");
    let runner = stage.runner();
    runner.wait_until_said(
        "its handler does not start: it was not ready when the job's timeout was over",
    );
    wait_until("it is tried again", PATIENCE, || {
        stage.jobq.job(id)["attempt"].as_u64().unwrap() >= 4
    });
    assert_ne!(stage.jobq.state(id), "failed");
    runner.stop().exits(0);
}

#[test]
fn a_process_that_has_not_read_its_whole_job_gets_no_other() {
    let Some(stage) =
        Stage::with("persistent = true\nconcurrency = 1\ntimeout = '9s'\nretries = 0")
    else {
        return;
    };
    // Answers once it has read the number of the job, and reads no more of a line that is longer than a pipe holds.
    let script = "import json, os, time\n\
         head = os.read(0, 100).decode()\n\
         id = int(head.split(':')[1].split(',')[0])\n\
         print(json.dumps({'jobq': 'done', 'job': id, 'result': os.getpid()}), flush=True)\n\
         time.sleep(600)\n";
    stage.jobq.write("actor.py", script);
    stage
        .jobq
        .write("long", json!("x".repeat(100_000)).to_string());
    let ids = [(); 2].map(|()| stage.jobq.enqueue(&["--kind", "act", "--payload", "@long"]));
    stage.jobq.drain(&[]).exits(0);
    assert_ne!(stage.result(ids[0]), stage.result(ids[1]));
}
