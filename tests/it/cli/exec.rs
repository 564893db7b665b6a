//! What a command gets, and what its end means.

use serde_json::{Value, json};

use super::support::{Jobq, text};
use crate::support::{PATIENCE, wait_until};

/// Adds a shell job that is tried again at once, so often.
fn shell(jobq: &Jobq, retries: &str, script: &str) -> i64 {
    let policy = [
        "--retries",
        retries,
        "--backoff",
        "fixed",
        "--retry-delay",
        "0s",
    ];
    jobq.enqueue(&[&policy[..], &["--shell", script]].concat())
}

/// How its attempts ended, with their exit codes.
fn ends(job: &Value) -> Vec<(String, i64)> {
    let attempts = job["attempts"].as_array().unwrap().iter();
    let end = |attempt: &Value| {
        (
            text(&attempt["outcome"]),
            attempt["exit_code"].as_i64().unwrap(),
        )
    };
    attempts.map(end).collect()
}

#[test]
fn a_command_finds_its_attempt_in_its_environment() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    let script = "echo $JOBQ_DB; echo $JOBQ_JOB_ID/$JOBQ_ATTEMPT; [ $JOBQ_ATTEMPT = 2 ]";
    let id = shell(&jobq, "1", script);
    jobq.drain(&[]).exits(0);
    let shown = jobq.stdout(&["logs", &id.to_string()]);
    let db = jobq.db();
    let db = db.display();
    assert_eq!(shown, format!("{db}\n{id}/1\n{db}\n{id}/2\n"));
}

#[test]
fn output_is_kept_in_order_by_stream_and_attempt() {
    let jobq = Jobq::new();
    let script = "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo out $JOBQ_ATTEMPT.$i; echo err $JOBQ_ATTEMPT.$i >&2; done; exit $((2-JOBQ_ATTEMPT))";
    let id = shell(&jobq, "1", script).to_string();
    jobq.drain(&[]).exits(0);
    let expected = |stream: &str, attempts: &[u32]| -> String {
        let of = |attempt: &u32| {
            (1..=50)
                .map(|i| format!("{stream} {attempt}.{i}\n"))
                .collect::<String>()
        };
        attempts.iter().map(of).collect()
    };
    assert_eq!(
        jobq.stdout(&["logs", &id, "--stream", "stdout"]),
        expected("out", &[1, 2])
    );
    assert_eq!(
        jobq.stdout(&["logs", &id, "--stream", "stderr"]),
        expected("err", &[1, 2])
    );
    let second = ["logs", &id, "--stream", "stderr", "--attempt", "2"];
    assert_eq!(jobq.stdout(&second), expected("err", &[2]));
    let all = jobq.json_lines(&["logs", &id]);
    assert_eq!(all.len(), 200);
    let attempts: Vec<i64> = all
        .iter()
        .map(|line| line["attempt"].as_i64().unwrap())
        .collect();
    assert!(attempts.is_sorted());
    assert_eq!(
        all[0].as_object().unwrap().keys().collect::<Vec<_>>(),
        [
            "at", "attempt", "fields", "job", "level", "message", "stream"
        ]
    );
}

#[test]
fn output_over_a_mebibyte_per_attempt_is_cut_and_marked() {
    let jobq = Jobq::new();
    let id = shell(
        &jobq,
        "0",
        "yes 0123456789 | head -c 3000000; echo last words >&2; exit 1",
    );
    jobq.drain(&[]).exits(4);
    let kept = jobq.stdout(&["logs", &id.to_string()]);
    let (head, rest) = kept.split_once("[… ").unwrap();
    let (mark, tail) = rest.split_once("]\n").unwrap();
    let line = "0123456789\n";
    // What stderr says after a flood is kept at once, before the end of stdout.
    assert_eq!(head.replace(line, ""), "last words\n");
    assert_eq!(tail.len() % line.len(), 3_000_000 % line.len());
    assert!(tail.len() > 300_000);
    let kept = head.len() + tail.len();
    assert!((1_048_000..=1_048_576).contains(&kept), "{kept}");
    let count = 3_000_000 + "last words\n".len() - kept;
    assert_eq!(mark.replace(',', ""), format!("{count} bytes cut …"));
    let stderr = ["logs", &id.to_string(), "--stream", "stderr"];
    assert_eq!(jobq.stdout(&stderr), "last words\n");
    assert_eq!(jobq.job(id)["error"], "exit code 1: last words");
}

#[test]
fn binary_output_is_kept_byte_for_byte_and_is_text_in_json() {
    let jobq = Jobq::new();
    let id = shell(&jobq, "0", r"printf 'a\377\000b\nno end'").to_string();
    jobq.drain(&[]).exits(0);
    jobq.script(
        "show",
        &format!("jobq logs {id} >raw; wc -c <raw; od -An -tx1 raw"),
    );
    let shown = jobq
        .enqueue(&["--env", "XDG_STATE_HOME", "--", "./show"])
        .to_string();
    jobq.drain(&[]).exits(0);
    let shown = jobq.stdout(&["logs", &shown]);
    let words: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(
        words,
        "11 61 ff 00 62 0a 6e 6f 20 65 6e 64"
            .split(' ')
            .collect::<Vec<_>>()
    );
    let messages: Vec<String> = jobq
        .json_lines(&["logs", &id])
        .iter()
        .map(|line| text(&line["message"]))
        .collect();
    assert_eq!(messages, ["a\u{fffd}\u{0}b", "no end"]);
}

#[test]
fn zero_is_done_and_leaves_its_exit_code_as_the_result() {
    let jobq = Jobq::new();
    let id = shell(&jobq, "0", "exit 0");
    jobq.drain(&[]).exits(0);
    let job = jobq.job(id);
    assert_eq!(
        (&job["state"], &job["result"]),
        (&json!("completed"), &json!({"exit_code": 0}))
    );
    assert_eq!(ends(&job), [("completed".to_owned(), 0)]);
    assert_eq!(job["error"], Value::Null);
}

#[test]
fn other_codes_and_signals_retry_and_fail_with_the_last_error() {
    let jobq = Jobq::new();
    let code = shell(&jobq, "2", "echo first; echo no such thing >&2; exit 3");
    let signal = shell(&jobq, "1", "kill -9 $$");
    jobq.drain(&[]).exits(4);
    let [code, signal] = [code, signal].map(|id| jobq.job(id));
    let end = |name: &str, code: i64| (name.to_owned(), code);
    assert_eq!(
        ends(&code),
        [end("retry", 3), end("retry", 3), end("failed", 3)]
    );
    assert_eq!(code["error"], "exit code 3: no such thing");
    assert_eq!(
        (&code["retries_left"], &code["result"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(ends(&signal), [end("retry", 137), end("failed", 137)]);
    assert_eq!(signal["error"], "killed by signal 9 (SIGKILL)");
}

#[test]
fn what_cannot_run_fails_for_good() {
    let jobq = Jobq::new();
    jobq.write("plain", "no program");
    let retries = ["--retries", "3"];
    let enqueue = |words: &[&str]| jobq.enqueue(&[&retries[..], words].concat());
    let ids = [
        (
            enqueue(&["--", "surely-no-such-command"]),
            127,
            "command not found: surely-no-such-command",
        ),
        (enqueue(&["--", "./none"]), 127, "command not found"),
        (enqueue(&["--", "./plain"]), 126, "permission denied"),
        (enqueue(&["--", "/"]), 126, "directory"),
        (enqueue(&["--shell", "exit 127"]), 127, "exit code 127"),
        (enqueue(&["--shell", "exit 126"]), 126, "exit code 126"),
    ];
    jobq.drain(&[]).exits(4);
    for (id, code, error) in ids {
        let job = jobq.job(id);
        assert_eq!(ends(&job), [("failed".to_owned(), code)], "{job}");
        assert!(text(&job["error"]).contains(error), "{job}");
        jobq.run(&["wait", "--exit-code", &id.to_string()])
            .exits(code as i32);
    }
}

#[test]
fn codes_of_fail_on_fail_for_good_but_75_never_does() {
    let jobq = Jobq::new();
    let policy = [
        "--fail-on",
        "2,64-78",
        "--retries",
        "1",
        "--backoff",
        "fixed",
        "--retry-delay",
        "0s",
    ];
    let ids = ["2", "64", "70", "78", "3", "63", "75"].map(|code| {
        let script = format!("exit {code}");
        jobq.enqueue(&[&policy[..], &["--shell", &script]].concat())
    });
    jobq.drain(&[]).exits(4);
    let attempts = ids.map(|id| ends(&jobq.job(id)).len());
    assert_eq!(attempts, [1, 1, 1, 1, 2, 2, 2]);
    for bad in ["", "x", "5-2", "256", "1-"] {
        jobq.run(&["enqueue", "--fail-on", bad, "--", "true"])
            .fails(2, &["fail_on"]);
    }
}

#[test]
fn a_command_whose_directory_is_not_there_yet_is_tried_again() {
    let jobq = Jobq::new();
    std::fs::create_dir(jobq.path("sub")).unwrap();
    let words = ["enqueue", "--backoff", "fixed", "--retry-delay", "50ms"];
    let call = jobq.call(&[&words[..], &["--", "true"]].concat());
    call.cwd(jobq.path("sub")).run().exits(0);
    std::fs::remove_dir(jobq.path("sub")).unwrap();
    let drain = jobq.spawn(&["run", "--drain"]);
    wait_until("it is tried", PATIENCE, || {
        jobq.job(1)["attempt"].as_u64() >= Some(1)
    });
    std::fs::create_dir(jobq.path("sub")).unwrap();
    drain.wait().exits(0);
    assert_eq!(jobq.state(1), "completed");
}

#[test]
fn a_command_whose_directory_is_gone_says_so() {
    let jobq = Jobq::new();
    std::fs::create_dir(jobq.path("sub")).unwrap();
    let call = jobq
        .call(&["enqueue", "--retries", "0", "--", "true"])
        .cwd(jobq.path("sub"));
    call.run().exits(0);
    std::fs::remove_dir(jobq.path("sub")).unwrap();
    jobq.drain(&[]).exits(4);
    let error = text(&jobq.job(1)["error"]);
    assert!(
        error.contains("working directory") && error.contains("does not exist"),
        "{error}"
    );
}
