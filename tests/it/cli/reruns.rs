//! A duplicate of a job that runs: its payload is kept for afterwards, or it is said that it was not taken.

use super::support::Jobq;

/// A command that notes its argument, and waits for a gate where that is 1.
fn note(jobq: &Jobq) {
    jobq.script(
        "note",
        "echo $1 >>begun; [ $1 != 1 ] || while [ ! -e gate ]; do sleep 0.02; done; echo $1 >>done",
    );
}

fn add(jobq: &Jobq, how: &str, argument: &str) -> super::support::Output {
    let options = ["enqueue", "--unique", "u", "--on-duplicate", how];
    let command = ["--", "./note", argument];
    jobq.run(&[&options[..], &command].concat())
}

#[test]
fn a_payload_that_a_running_job_does_not_take_is_told() {
    let jobq = Jobq::new();
    note(&jobq);
    add(&jobq, "replace", "1").exits(0);
    let runner = jobq.runner(&["-j", "1"]);
    jobq.wait_for_line("begun");
    let refused = add(&jobq, "replace", "2").exits(1);
    assert_eq!(refused.stdout, "1\n");
    let said = "job 1 is running and keeps its own payload: the new one was not taken";
    assert!(refused.stderr.contains(said), "{refused:?}");
    assert!(refused.stderr.contains("--on-duplicate rerun"));
    let line = r#"{"command":["./note","3"],"unique":"u","on_duplicate":"replace"}"#;
    let batch = jobq.call(&["enqueue", "--batch", "-"]).stdin(line).run();
    assert!(batch.exits(1).stderr.contains("1 payload was not taken"));
    jobq.write("gate", "");
    runner.stop().exits(0);
    assert_eq!(jobq.read("done"), "1\n");
}

#[test]
fn a_rerun_runs_the_latest_once_more_after_the_running_one() {
    let jobq = Jobq::new();
    note(&jobq);
    add(&jobq, "rerun", "1").exits(0);
    let runner = jobq.runner(&["-j", "2"]);
    jobq.wait_for_line("begun");
    assert_eq!(add(&jobq, "rerun", "2").exits(0).stdout, "2\n");
    let options = ["enqueue", "--unique", "u", "--on-duplicate", "rerun"];
    let again = jobq.json(
        &[
            &options[..],
            &["--kind", "exec", "--payload", r#"{"shell":"./note 3"}"#],
        ]
        .concat(),
    );
    assert_eq!((&again["id"], &again["rerun_of"]), (&2.into(), &1.into()));
    assert_eq!(
        (&again["duplicate"], &again["state"]),
        (&true.into(), &"blocked".into())
    );
    let why = jobq.stdout(&["why", "2"]);
    assert!(why.contains("waits for 1 (running)"), "{why}");
    let line = r#"{"shell":"./note 4","unique":"u","on_duplicate":"rerun"}"#;
    jobq.enqueue_batch(line);
    jobq.run(&["doctor"]).exits(0);
    jobq.write("gate", "");
    jobq.run(&["wait", "1", "2"]).exits(0);
    runner.stop().exits(0);
    assert_eq!(jobq.read("done"), "1\n4\n");
    assert_eq!(jobq.total(), 2);
}
