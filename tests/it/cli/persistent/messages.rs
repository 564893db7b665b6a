//! What a persistent command says, and what of it is output.

use serde_json::{Value, json};

use super::Stage;
use crate::cli::support::text;

#[test]
fn messages_report_progress_and_logs_and_spawn_children() {
    let Some(stage) = Stage::with("persistent = true") else {
        return;
    };
    let code = "say('progress', percent=40, message='half')\n\
         say('log', level='warn', message='careful', fields={'a': 1})\n\
         say('spawn', payload=\"note('child', 1)\")";
    let id = stage.add(code);
    stage.jobq.drain(&[]).exits(0);
    let job = stage.jobq.job(id);
    assert_eq!(job["progress"]["percent"], json!(40.0));
    assert_eq!(job["children"]["done"], json!(1), "{job}");
    assert_eq!(stage.jobq.read("child"), "1\n");
    let logs = stage.jobq.stdout(&["logs", &id.to_string()]);
    assert!(logs.contains("careful") && !logs.contains("jobq"), "{logs}");
}

#[test]
fn a_child_that_is_refused_fails_the_job_for_good() {
    let Some(stage) = Stage::with("persistent = true") else {
        return;
    };
    let id = stage.add("say('spawn', kind='')");
    stage.jobq.drain(&[]).exits(4);
    let job = stage.jobq.job(id);
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&json!("failed"), &json!(1))
    );
}

#[test]
fn each_answer_is_an_outcome() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1") else {
        return;
    };
    let once = |answer: &str| format!("if job['attempt'] == 1: skip = True; say({answer})");
    let retried = stage.add(&once("'retry', job=id, error='busy', after_ms=50"));
    let snoozed = stage.add(&once("'snooze', job=id, for_ms=50"));
    let failed = stage.add("skip = True; say('fail', job=id, error='no such shop')");
    let none = stage.add("skip = True; say('done', job=id)");
    let nothing = stage.add("skip = True; say('fail', job=id)");
    let exact = stage.add(
        "skip = True; print('{\"jobq\":\"done\",\"job\":%d,\"result\":1.10}' % id, flush=True)",
    );
    let runner = stage.runner();
    for id in [retried, snoozed, none, exact] {
        stage.wait_until_completed(id);
    }
    runner.stop().exits(0);
    let job = stage.jobq.job(retried);
    assert_eq!(
        (&job["state"], &job["retries_left"]),
        (&json!("completed"), &json!(2))
    );
    assert_eq!(job["attempts"][0]["error"], "busy");
    let job = stage.jobq.job(snoozed);
    assert_eq!(
        (&job["state"], &job["retries_left"]),
        (&json!("completed"), &json!(3))
    );
    let job = stage.jobq.job(failed);
    assert_eq!(
        (text(&job["error"]), &job["attempt"]),
        ("no such shop".to_owned(), &json!(1))
    );
    assert_eq!(stage.result(none), Value::Null);
    assert_eq!(stage.error(nothing), "its handler gave no reason");
    let digits = stage.jobq.stdout(&["status", &exact.to_string(), "--json"]);
    assert!(
        digits.contains("\"result\":1.10"),
        "digits stay as they are written"
    );
    assert_eq!(stage.starts().len(), 1);
}

#[test]
fn all_that_is_no_message_is_the_output_of_the_job() {
    let Some(stage) = Stage::with("persistent = true") else {
        return;
    };
    let code = "sys.stdout.buffer.write(b'a\\xffb\\n{\"jobq\": 1}\\n{\"x\": 1}\\n{\"jobq\": \"dance\"}\\n{\\n')\n\
         print('x {\"jobq\": \"done\", \"job\": %d}' % id)\n\
         print('{' + 'y' * 3000000)\n\
         sys.stdout.flush(); sys.stderr.write('to stderr\\n'); sys.stderr.flush()";
    let id = stage.add_with(&[], code);
    stage.jobq.drain(&[]).exits(0);
    let logs = stage.jobq.stdout(&["logs", &id.to_string()]);
    let expected = "a\u{fffd}b\n{\"jobq\": 1}\n{\"x\": 1}\n{\"jobq\": \"dance\"}\n{\nx {";
    assert!(logs.starts_with(expected), "{}", &logs[..200]);
    assert!(logs.contains("yyy") && logs.contains("to stderr"));
    assert_eq!(stage.result(id), stage.starts()[0]);
}

#[test]
fn a_message_about_another_job_is_dropped() {
    let Some(stage) = Stage::with("persistent = true") else {
        return;
    };
    let id = stage.add(
        "say('done', job=id + 1, result='wrong'); say('progress', job=id + 1, percent=9); time.sleep(0.2)",
    );
    let drain = stage.jobq.drain(&[]).exits(0);
    assert!(
        drain
            .stderr
            .contains("a message about job 2 came while job 1 ran"),
        "{}",
        drain.stderr
    );
    assert_eq!(stage.result(id), stage.starts()[0]);
    assert_eq!(stage.jobq.job(id)["progress"], Value::Null);
}

#[test]
fn a_late_answer_of_an_earlier_attempt_is_dropped() {
    let Some(stage) = Stage::with("persistent = true\nretry_delay = '0s'\nconcurrency = 1") else {
        return;
    };
    let code = "skip = True\n\
         if job['attempt'] == 1: say('retry', job=id, attempt=1, error='busy')\n\
         else: say('done', job=id, attempt=1, result='late'); say('progress', job=id, attempt=1, percent=9); \
         say('done', job=id, attempt=2, result='right')";
    let id = stage.add(code);
    stage.jobq.drain(&[]).exits(0);
    assert_eq!(stage.result(id), "right");
    assert_eq!(stage.jobq.job(id)["progress"], Value::Null);
    assert_eq!(stage.starts().len(), 1);
}

#[test]
fn the_job_of_a_hook_says_what_it_is_for() {
    let Some(stage) = Stage::with(
        "persistent = true\n[hooks.failed]\nkind = 'act'\npayload = \"note('hook', json.dumps(job['hook']))\"",
    ) else {
        return;
    };
    let failed = stage.jobq.enqueue(&["--retries", "0", "--", "false"]);
    let plain = stage.add("note('none', job['hook'])");
    stage.jobq.drain(&[]).exits(4);
    stage.wait_until_completed(plain);
    assert_eq!(stage.jobq.read("none"), "None\n");
    let hook: Value = serde_json::from_str(&stage.jobq.read("hook")).unwrap();
    assert_eq!(
        (&hook["hook"], &hook["job"]),
        (&json!("failed"), &json!(failed))
    );
    assert_eq!(
        (&hook["state"], &hook["kind"]),
        (&json!("failed"), &json!("exec"))
    );
}

#[test]
fn output_after_the_answer_does_not_reach_the_next_job() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1") else {
        return;
    };
    stage.add(
        "skip = True; say('done', job=id); time.sleep(0.1); print('late'); say('done', job=id)",
    );
    let next = stage.add("print('mine')");
    stage.jobq.drain(&[]).exits(0);
    let logs = stage.jobq.stdout(&["logs", &next.to_string()]);
    assert!(logs.ends_with("mine\n"), "{logs}");
    assert_eq!(stage.jobq.count("completed"), 2);
    assert_eq!(stage.result(next), stage.starts()[0]);
}

#[test]
fn a_huge_answer_fails_the_attempt() {
    let Some(stage) = Stage::with("persistent = true\nconcurrency = 1\nretries = 0") else {
        return;
    };
    let id = stage.add("skip = True; say('done', job=id, result='x' * 2000000)");
    let next = stage.add("");
    stage.jobq.drain(&[]).exits(4);
    assert_eq!(stage.error(id), "it printed a message of more than 1 MiB");
    assert_eq!(stage.jobq.state(next), "completed");
}

#[test]
fn the_error_of_a_timeout_names_an_answer_that_was_none() {
    let Some(stage) = Stage::with("persistent = true\ntimeout = '2s'\nretries = 0") else {
        return;
    };
    let hang = "time.sleep(60)";
    let cut = "sys.stdout.write(json.dumps({'jobq': 'done', 'job': id})); sys.stdout.flush()";
    let cases = [
        (hang.to_owned(), ""),
        (
            format!("{cut}; {hang}"),
            ": it printed an answer without a newline",
        ),
        (
            format!("say('done'); {hang}"),
            ": it printed an answer that names no job",
        ),
        (
            format!("say('finished', job=id); {hang}"),
            ": it printed a message that is none: unknown variant `finished`",
        ),
    ];
    let ids = cases.each_ref().map(|(code, _)| stage.add(code));
    stage.jobq.drain(&[]).exits(4);
    for (id, (code, why)) in ids.iter().zip(&cases) {
        let error = stage.error(*id);
        assert!(
            error.starts_with(&format!("timed out after 2s{why}")),
            "{code}: {error}"
        );
    }
}

#[test]
fn a_payload_with_newlines_is_one_line() {
    let Some(stage) = Stage::with("persistent = true") else {
        return;
    };
    let batch = "{\"kind\":\"act\",\"payload\":\"note('text', 'a b')\"}";
    stage.jobq.enqueue_batch(batch);
    let payload = "\n\"note('text',\\n'c')\"\r\n";
    stage.jobq.enqueue(&["--kind", "act", "--payload", payload]);
    stage.jobq.drain(&[]).exits(0);
    let mut lines: Vec<String> = stage.jobq.read("text").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["a b", "c"]);
}
