//! Persistent commands with secrets in their environment.

use serde_json::json;

use super::{Stage, is_alive};
use crate::cli::secrets::{SECRET, leaks};
use crate::cli::support::set_mode;
use crate::support::{PATIENCE, wait_until};

/// A stage whose actor has a secret in TOKEN, one process at a time.
fn with_secret(settings: &str) -> Option<Stage> {
    let stage = Stage::with("")?;
    set_secret(&stage, SECRET);
    stage.configure(&format!(
        "persistent = true\nconcurrency = 1\nsecrets = {{ TOKEN = 'key' }}\n{settings}\n[secrets]\nkey = {{ file = 'key' }}"
    ));
    Some(stage)
}

fn set_secret(stage: &Stage, secret: &str) {
    set_mode(&stage.jobq.write("key", secret), 0o600);
}

#[test]
fn secrets_are_in_no_output_answer_or_error() {
    let Some(stage) = with_secret("retries = 0") else {
        return;
    };
    let token = "t = os.environ['TOKEN']";
    let said = stage.add(&format!(
        "{token}; print('first', t[:5], end='', flush=True); print(t[5:], flush=True); say('log', message=t); \
         say('progress', percent=5, message=t); skip = True; say('done', job=id, result={{'t': t}})"
    ));
    let failed = stage.add(&format!(
        "{token}; skip = True; say('fail', job=id, error='401 for ' + t)"
    ));
    let died = stage.add(&format!(
        "{token}; sys.stderr.write('bad ' + t + '\\n'); os._exit(3)"
    ));
    let drained = stage.jobq.drain(&["--output"]).exits(4);
    assert_eq!(stage.result(said), json!({ "t": "***" }));
    assert_eq!(stage.error(failed), "401 for ***");
    assert_eq!(stage.error(died), "exit code 3: bad ***");
    let logs = stage.jobq.stdout(&["logs", &said.to_string()]);
    assert!(logs.contains("***"), "{logs}");
    let printed = [drained.stdout, drained.stderr, logs];
    assert_eq!(leaks(stage.jobq.folder(), &printed), Vec::<String>::new());
}

#[test]
fn the_error_of_a_start_has_no_secret() {
    let Some(stage) = with_secret("") else {
        return;
    };
    let script = "import os, sys; sys.exit('no ' + os.environ['TOKEN'])";
    stage.jobq.write("actor.py", script);
    stage.add("");
    let runner = stage.runner();
    runner.wait_until_said("its handler does not start: exit code 1: no ***");
    let ended = runner.stop().exits(0);
    let printed = [ended.stdout, ended.stderr];
    assert_eq!(leaks(stage.jobq.folder(), &printed), Vec::<String>::new());
}

#[test]
fn another_value_of_a_secret_replaces_the_process() {
    let Some(stage) = with_secret("") else {
        return;
    };
    let runner = stage.runner();
    let code = "note('sums', sum(map(ord, os.environ['TOKEN']))); print('old is', 'open/' + 'sesame=+42', flush=True)";
    let [first, second] = [stage.add(code), stage.add(code)];
    for id in [first, second] {
        stage.wait_until_completed(id);
    }
    assert_eq!(stage.starts().len(), 1);
    set_secret(&stage, "quite another one");
    let third = stage.add(code);
    stage.wait_until_completed(third);
    let [old, _] = stage.starts()[..] else {
        panic!("two processes")
    };
    let sums = stage.numbers("sums");
    assert!(sums[0] == sums[1] && sums[1] != sums[2], "{sums:?}");
    // The mask of the jobs before is gone with their secret.
    let logs = |id: i64| stage.jobq.stdout(&["logs", &id.to_string()]);
    assert_eq!(
        [first, third].map(logs),
        ["old is ***\n", "old is open/sesame=+42\n"]
    );
    wait_until("the old one leaves", PATIENCE, || !is_alive(old));
    runner.stop().exits(0);
}

#[test]
fn a_child_with_a_secret_in_its_payload_is_refused() {
    let Some(stage) = with_secret("") else {
        return;
    };
    let id = stage.add("say('spawn', payload='print(' + os.environ['TOKEN'] + ')')");
    let drained = stage.jobq.drain(&[]).exits(4);
    assert_eq!(
        stage.error(id),
        "the payload of the 'act' job holds a secret: name the secret in it instead"
    );
    let printed = [drained.stdout, drained.stderr];
    assert_eq!(leaks(stage.jobq.folder(), &printed), Vec::<String>::new());
}
