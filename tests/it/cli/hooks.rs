//! Hooks: commands on the command line and in batches, and the tables of `jobq.toml`.

use serde_json::{Value, json};

use super::support::Jobq;
use crate::support::{PATIENCE, wait_until};

/// Adds what it is for to a file.
const TELL: &str = r#"echo "$JOBQ_HOOK $JOBQ_HOOK_JOB $JOBQ_HOOK_KIND $JOBQ_HOOK_QUEUE $JOBQ_HOOK_STATE $JOBQ_HOOK_ATTEMPTS $JOBQ_HOOK_ERROR" >> told"#;

fn told(jobq: &Jobq) -> Vec<String> {
    let told = jobq.read("told");
    told.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[test]
fn a_command_is_run_for_each_end_that_has_a_hook() {
    let jobq = Jobq::new();
    let fails = [
        "--on-failure",
        TELL,
        "--on-success",
        "touch wrong",
        "--retries",
        "0",
    ];
    let id = jobq.enqueue(&[&fails[..], &["--", "false"]].concat());
    let job = jobq.job(id);
    assert_eq!(job["hooks"], json!(["completed", "failed"]));
    assert_eq!(
        (&job["hook_jobs"], &job["hook_of"]),
        (&Value::Null, &Value::Null)
    );
    jobq.drain(&[]).exits(4);
    assert_eq!(told(&jobq), ["failed 1 exec default failed 1 exit code 1"]);
    assert!(!jobq.path("wrong").exists());

    assert_eq!(jobq.job(id)["hook_jobs"], json!([2]));
    let hook_job = jobq.job(2);
    assert_eq!(hook_job["state"], json!("completed"));
    assert_eq!(hook_job["hook_of"]["job"], json!(id));
    let shown = jobq.stdout(&["status", "2"]);
    assert!(shown.contains("job 1, which has failed"), "{shown}");
    let shown = jobq.stdout(&["status", "1"]);
    assert!(shown.contains("hook jobs\t2"), "{shown}");

    jobq.run(&["retry", "1"]).exits(0);
    jobq.drain(&[]).exits(4);
    assert_eq!(told(&jobq).len(), 2, "an end is an end");
}

#[test]
fn a_hook_remembers_where_it_came_from_and_is_no_hooks_parent() {
    let jobq = Jobq::new();
    std::fs::create_dir(jobq.path("sub")).unwrap();
    let tell = "pwd > told; echo $COLOUR >> told; false";
    jobq.write(
        "jobq.toml",
        "[defaults]\nretries = 0\non_end = 'touch usual'",
    );
    let hook = ["--cwd", "sub", "--env", "COLOUR=red", "--on-end", tell];
    jobq.enqueue(&[&hook[..], &["--", "true"]].concat());
    jobq.drain(&[]).exits(4);
    let told = jobq.read("sub/told");
    let (folder, colour) = told.split_once('\n').unwrap();
    assert!(folder.ends_with("/sub"), "{folder}");
    assert_eq!(colour.trim(), "red");
    assert_eq!((jobq.total(), jobq.path("usual").exists()), (2, false));
    jobq.enqueue(&["--", "true"]);
    jobq.drain(&[]).exits(0);
    assert!(jobq.path("usual").exists());
    assert_eq!(jobq.total(), 4);
}

#[test]
fn cancelling_a_job_fires_its_hook_without_a_runner() {
    let jobq = Jobq::new();
    let id = jobq.enqueue(&[
        "--on-end",
        TELL,
        "--on-failure",
        "touch wrong",
        "--",
        "true",
    ]);
    jobq.run(&["cancel", &id.to_string()]).exits(0);
    assert_eq!(jobq.total(), 2);
    jobq.drain(&[]).exits(0);
    assert_eq!(told(&jobq), ["ended 1 exec default cancelled 0"]);
}

#[test]
fn lines_of_a_batch_schedules_and_items_have_hooks() {
    let jobq = Jobq::new();
    jobq.enqueue_batch(
        "{\"shell\":\"true\",\"on_success\":\"echo line >> told\"}\n\
         {\"kind\":\"group\",\"label\":\"all\",\"on_end\":[\"touch\",\"group-done\"]}\n\
         {\"command\":[\"true\"],\"parent\":\"all\"}",
    )
    .exits(0);
    let add = ["schedule", "add", "nightly", "0 0 1 1 *", "--on-success"];
    jobq.run(&[&add[..], &["echo nightly >> told", "--", "true"]].concat())
        .exits(0);
    jobq.run(&["schedule", "run", "nightly"]).exits(0);
    let each = [
        "enqueue",
        "--each",
        "-",
        "--on-success",
        "echo item >> told",
        "--",
        "test",
    ];
    jobq.call(&each).stdin("a\nb\n").run().exits(0);
    jobq.drain(&[]).exits(0);
    let mut told = told(&jobq);
    told.sort();
    assert_eq!(told, ["item", "item", "line", "nightly"]);
    assert!(jobq.path("group-done").exists());
}

#[test]
fn hooks_of_the_config_file_are_for_what_ends_in_its_runners() {
    let jobq = Jobq::new();
    let tell = TELL.replace('"', "\\\"");
    jobq.write(
        "jobq.toml",
        format!(
            "[defaults]\nretries = 0\nunique_by_payload = true\n\
             [kinds.thumb]\ncommand = ['false']\n\
             [hooks.failed]\nkinds = ['thumb']\nshell = \"{tell}\"\nqueue = 'hooks'\n\
             [hooks.completed]\nqueues = ['mail']\ncommand = ['touch', 'mail-done']"
        ),
    );
    jobq.enqueue(&["--kind", "thumb"]);
    jobq.enqueue(&["--", "false"]);
    jobq.enqueue(&["--queue", "other", "--", "true"]);
    jobq.drain(&[]).exits(4);
    assert_eq!(told(&jobq), ["failed 1 thumb default failed 1 exit code 1"]);
    assert!(!jobq.path("mail-done").exists());
    let hook_job = jobq.job(4);
    assert_eq!(hook_job["queue"], json!("hooks"));
    jobq.enqueue(&["--queue", "mail", "--", "true", "mail"]);
    jobq.drain(&[]).exits(0);
    assert!(jobq.path("mail-done").exists());

    let id = jobq.enqueue(&["--kind", "thumb", "--payload", "1"]);
    jobq.run(&["cancel", &id.to_string()]).exits(0);
    assert_eq!(jobq.job(id)["hook_jobs"], Value::Null);
}

#[test]
fn batch_done_comes_once_with_the_numbers_of_the_children() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        "[defaults]\nretries = 0\n[hooks.batch_done]\nretries = 3\n\
         shell = 'echo $JOBQ_HOOK_JOB $JOBQ_HOOK_STATE $JOBQ_HOOK_DONE $JOBQ_HOOK_FAILED of $JOBQ_HOOK_TOTAL >> told'",
    );
    let mut lines = vec![r#"{"kind":"group","label":"all"}"#.to_owned()];
    for at in 0..5 {
        let command = if at < 3 { "true" } else { "false" };
        lines.push(json!({ "command": [command], "parent": "all" }).to_string());
    }
    jobq.enqueue_batch(&lines.join("\n")).exits(0);
    jobq.drain(&[]).exits(4);
    assert_eq!(told(&jobq), ["1 failed 3 2 of 5"]);
}

#[test]
fn the_payload_of_a_hooks_kind_is_filled_in() {
    let jobq = Jobq::new();
    jobq.script("tell.sh", "cat >> told");
    jobq.write(
        "jobq.toml",
        "[defaults]\nretries = 0\n[kinds.tell]\ncommand = ['./tell.sh']\n\
         [hooks.failed]\nkind = 'tell'\npayload = { text = '{hook.kind} {hook.job}: {hook.error}', number = 1 }\n\
         [hooks.ended]\nkind = 'tell'",
    );
    let id = jobq.enqueue(&["--", "false"]);
    jobq.drain(&[]).exits(4);
    let ids = jobq.job(id)["hook_jobs"].clone();
    let payloads: Vec<Value> = ids
        .as_array()
        .unwrap()
        .iter()
        .map(|id| jobq.job(id.as_i64().unwrap())["payload"].clone())
        .collect();
    assert_eq!(
        payloads[0],
        json!({ "text": "exec 1: exit code 1", "number": 1 })
    );
    assert_eq!(payloads[1], jobq.job(3)["hook_of"]);
    assert_eq!(payloads[1]["hook"], json!("ended"));
}

#[test]
fn a_runner_takes_on_hooks_that_its_config_file_gets() {
    let jobq = Jobq::new();
    jobq.write("jobq.toml", "[defaults]\nretries = 0");
    let runner = jobq.runner(&[]);
    jobq.write(
        "jobq.toml",
        "[defaults]\nretries = 0\n[hooks.failed]\nshell = 'echo failed >> told'",
    );
    runner.wait_until_said("is in use");
    jobq.enqueue(&["--", "false"]);
    wait_until("the hook has run", PATIENCE, || jobq.path("told").exists());
    jobq.write("jobq.toml", "[hooks.faild]\nshell = 'true'");
    runner.wait_until_said("unknown key 'faild'");
    runner.stop().exits(0);
}

#[test]
fn a_mistake_in_a_hook_is_named_with_its_place() {
    let jobq = Jobq::new();
    for (config, words) in [
        (
            "[hooks.faild]\nshell = 'x'",
            ["unknown key 'faild'", "'failed'"],
        ),
        (
            "[hooks.failed]\nkinds = ['a']",
            ["[hooks.failed] kind", "missing"],
        ),
        (
            "[hooks.failed]\nshell = 'x'\nunique = 'u'",
            ["hook 'failed'", "a unique key"],
        ),
        (
            "[hooks.failed]\nshell = 'x'\non_end = 'y'",
            ["hook 'failed'", "hooks"],
        ),
        (
            "[hooks.failed]\nshell = 'x'\npayload = 1",
            ["[hooks.failed] payload", "kind"],
        ),
    ] {
        jobq.write("jobq.toml", config);
        jobq.run(&["run", "--drain"]).fails(2, &words);
    }
    jobq.write("jobq.toml", "");
    jobq.run(&["enqueue", "--on-end", "", "--", "true"])
        .fails(2, &["--on-end"]);
    jobq.call(&["enqueue", "--batch", "-"])
        .stdin(r#"{"shell":"true","on_end":5}"#)
        .run()
        .fails(2, &["line 1", "a command line, or a command"]);
}

/// However often the runner is killed around the end of a job: it has ended once, and has one job of each hook.
#[test]
fn each_end_has_its_hooks_jobs_after_any_number_of_kills() {
    const JOBS: usize = 200;
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        "[hooks.ended]\nkind = 'sleep'\npayload = { delay_ms = 0 }",
    );
    let line = r#"{"kind":"sleep","payload":{"delay_ms":3},"retries":9}"#;
    jobq.enqueue_batch(&vec![line; JOBS].join("\n"));
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..6 {
        let more = jobq.count("completed") + random.u64(10..50);
        let wanted = more.min(2 * JOBS as u64);
        let runner = jobq.runner(&[]);
        wait_until("some have ended", PATIENCE, || {
            jobq.count("completed") >= wanted
        });
        runner.kill();
    }
    jobq.drain(&[]).exits(0);
    let jobs = jobq.json_lines(&["list", "--limit", "1000"]);
    let (hook_jobs, jobs): (Vec<_>, Vec<_>) =
        jobs.iter().partition(|job| job["hook_of"].is_object());
    assert_eq!((jobs.len(), hook_jobs.len()), (JOBS, JOBS));
    for job in jobs {
        let of_job = job["hook_jobs"].as_array().map(Vec::len);
        assert_eq!(
            (&job["state"], of_job),
            (&json!("completed"), Some(1)),
            "{job}"
        );
    }
    jobq.run(&["doctor"]).exits(0);
}
