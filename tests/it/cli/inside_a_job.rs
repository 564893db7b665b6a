//! What a command says from inside its job: progress, log entries, its result, that it wants to run again later.

use serde_json::{Value, json};

use super::support::{Jobq, millisecond, text};

#[test]
fn a_script_reports_progress_logs_and_sets_its_result() {
    let jobq = Jobq::new();
    jobq.script(
        "job",
        "jobq progress 40 reading
         jobq log 'half of it' && jobq log --level warn 'careful: -x'
         jobq result '{\"rows\": 12}'
         echo ready >ready; while [ ! -e gate ]; do sleep 0.02; done
         jobq progress 3/4
         echo '{\"rows\":13}' | jobq result -",
    );
    let id = jobq.enqueue(&["--", "./job"]);
    let runner = jobq.runner(&[]);
    jobq.wait_for_line("ready");
    let job = jobq.job(id);
    assert_eq!(
        job["progress"],
        json!({"percent": 40.0, "processed": null, "total": null, "message": "reading"})
    );
    assert_eq!(job["state"], "running");
    jobq.write("gate", "");
    jobq.run(&["wait", "1"]).exits(0);
    runner.stop().exits(0);
    let job = jobq.job(id);
    assert_eq!(job["result"], json!({"rows": 13}));
    assert_eq!(
        job["progress"],
        json!({"percent": 75.0, "processed": 3, "total": 4, "message": "reading"})
    );

    assert_eq!(
        jobq.stdout(&["logs", "1"]),
        "INFO half of it\nWARN careful: -x\n"
    );
    assert_eq!(
        jobq.stdout(&["logs", "1", "--level", "warn"]),
        "WARN careful: -x\n"
    );
    assert_eq!(jobq.stdout(&["logs", "1", "--stream", "stdout"]), "");
    let log = jobq.json_lines(&["logs", "1", "--stream", "log"]);
    let said: Vec<_> = log
        .iter()
        .map(|line| (text(&line["level"]), text(&line["message"])))
        .collect();
    assert_eq!(
        said,
        [
            ("info".into(), "half of it".into()),
            ("warn".into(), "careful: -x".to_owned())
        ]
    );
}

#[test]
fn a_result_of_a_failed_attempt_does_not_stay() {
    let jobq = Jobq::new();
    let script = "[ $JOBQ_ATTEMPT = 1 ] && jobq result 1 && exit 1; exit 0";
    let policy = [
        "--retries",
        "1",
        "--retry-delay",
        "0s",
        "--backoff",
        "fixed",
    ];
    let id = jobq.enqueue(&[&policy[..], &["--shell", script]].concat());
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.job(id)["result"], json!({"exit_code": 0}));
}

#[test]
fn a_bad_word_from_inside_is_refused_and_changes_nothing() {
    let jobq = Jobq::new();
    jobq.script(
        "job",
        "jobq result '{bad'; echo $?
         jobq progress 101; echo $?
         jobq progress many; echo $?
         jobq log --level loud x; echo $?
         jobq snooze 90; echo $?
         jobq snooze soon; echo $?
         jobq snooze -5s; echo $?",
    );
    let id = jobq.enqueue(&["--", "./job"]);
    jobq.drain(&[]).exits(0);
    assert_eq!(
        jobq.stdout(&["logs", "1", "--stream", "stdout"]),
        "2\n".repeat(7)
    );
    let errors = jobq.stdout(&["logs", "1", "--stream", "stderr"]);
    assert_eq!(errors.matches("error: ").count(), 7, "{errors}");
    assert!(errors.contains("lacks a unit: 90s") && errors.contains("1h30m"));
    let job = jobq.job(id);
    assert_eq!(
        (&job["result"], &job["progress"]),
        (&json!({"exit_code": 0}), &Value::Null)
    );
}

#[test]
fn outside_of_a_job_there_is_nothing_to_report_to() {
    let jobq = Jobq::new();
    for line in [
        &["progress", "10"][..],
        &["log", "x"],
        &["result", "1"],
        &["snooze", "1m"],
    ] {
        let refused = jobq
            .run(line)
            .fails(2, &["this only works inside a running job"]);
        assert!(refused.hint().contains("JOBQ_JOB_ID"));
    }
}

#[test]
fn an_attempt_that_no_longer_holds_its_job_is_not_heard() {
    let jobq = Jobq::new();
    jobq.script("job", "env >env; exit 0");
    jobq.enqueue(&["--", "./job"]);
    jobq.drain(&[]).exits(0);
    let before = jobq.stdout(&["status", "1", "--json"]);
    for line in [
        &["progress", "10"][..],
        &["log", "late"],
        &["result", "1"],
        &["snooze", "1m"],
    ] {
        let call = jobq
            .call(line)
            .env("JOBQ_DB", jobq.db())
            .env("JOBQ_JOB_ID", "1");
        call.env("JOBQ_ATTEMPT", "1").run().fails(1, &["job 1"]);
    }
    assert_eq!(jobq.stdout(&["status", "1", "--json"]), before);
}

fn outcomes(job: &Value) -> Vec<String> {
    let attempts = job["attempts"].as_array().unwrap();
    let outcomes = attempts.iter().map(|attempt| text(&attempt["outcome"]));
    outcomes.collect()
}

#[test]
fn a_command_that_snoozes_and_exits_with_0_runs_again_later() {
    let jobq = Jobq::new();
    let script =
        "[ $JOBQ_ATTEMPT = 1 ] || exit 0; jobq result 1; jobq snooze 1h; jobq snooze 200ms";
    let id = jobq.enqueue(&["--retries", "0", "--shell", script]);
    let runner = jobq.runner(&[]);
    jobq.run(&["wait", "1"]).exits(0);
    runner.stop().exits(0);
    let job = jobq.json(&["status", "1"]);
    assert_eq!(outcomes(&job), ["snoozed", "completed"]);
    assert_eq!(job["result"], json!({"exit_code": 0}));
    let snoozed = jobq.json_lines(&["events", "--kind", "job_snoozed"]);
    assert_eq!(snoozed.len(), 1);
    assert_eq!(snoozed[0]["job"], json!(id));
    let attempts = job["attempts"].as_array().unwrap();
    let (ended, begun) = (&attempts[0]["finished_at"], &attempts[1]["started_at"]);
    assert!(millisecond(begun) - millisecond(ended) >= 200);
}

#[test]
fn a_command_that_snoozes_and_fails_is_retried_and_told() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--retries", "0", "--shell", "jobq snooze 1h; exit 3"]);
    jobq.drain(&[]).exits(4);
    let job = jobq.json(&["status", "1"]);
    assert_eq!(outcomes(&job), ["failed"]);
    assert_eq!(
        jobq.stdout(&["logs", "1"]),
        "WARN not snoozed, as the attempt did not succeed\n"
    );
}

#[test]
fn a_snooze_is_dropped_when_the_runner_is_killed_first() {
    let jobq = Jobq::new();
    let script = "[ $JOBQ_ATTEMPT = 1 ] || exit 0; jobq snooze 1h; echo asked >asked; sleep 60";
    jobq.enqueue(&["--shell", script]);
    let runner = jobq.runner(&[]);
    jobq.wait_for_line("asked");
    runner.kill();
    jobq.drain(&[]).exits(0);
    let job = jobq.json(&["status", "1"]);
    assert_eq!(outcomes(&job), ["recovered", "completed"]);
    assert!(jobq.stdout(&["logs", "1"]).contains("not snoozed"));
}
