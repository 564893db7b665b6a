//! Every option of a job that does not run can be changed, and what is not named stays.

use serde_json::json;

use super::support::Jobq;

#[test]
fn a_commands_payload_keeps_what_an_edit_does_not_name() {
    let jobq = Jobq::new();
    let add = [
        "--env",
        "A=1",
        "--fail-on",
        "2",
        "--input",
        "text",
        "--",
        "false",
    ];
    jobq.enqueue(&add);
    let before = jobq.job(1)["payload"].clone();
    jobq.run(&["edit", "1", "--payload", r#"{"command":["true"]}"#])
        .exits(0);
    let mut expected = before.clone();
    expected["command"] = json!(["true"]);
    assert_eq!(jobq.job(1)["payload"], expected);
    // A text for the shell takes the place of the argv.
    jobq.run(&["edit", "1", "--payload", r#"{"shell":"exit 0"}"#])
        .exits(0);
    let now = &jobq.job(1)["payload"];
    assert_eq!(
        (&now["shell"], &now["command"]),
        (&json!("exit 0"), &json!(null))
    );
    assert_eq!((&now["env"], &now["cwd"]), (&before["env"], &before["cwd"]));
    assert_eq!(now["input"], "text");
    jobq.run(&["edit", "1", "--payload", r#"{"comand":["x"]}"#])
        .fails(2, &["comand"]);
}

#[test]
fn the_command_and_what_goes_with_it_can_be_edited() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--shell", "exit 1", "--env", "A=1"]);
    std::fs::create_dir(jobq.path("sub")).unwrap();
    let edit = [
        "edit",
        "1",
        "--env",
        "B=2",
        "--cwd",
        "sub",
        "--fail-on",
        "7",
        "--",
    ];
    jobq.run(&[&edit[..], &["sh", "-c", "pwd >out; echo $A$B >>out"]].concat())
        .exits(0);
    jobq.drain(&[]).exits(0);
    assert_eq!(
        jobq.read("sub/out"),
        format!("{}\n12\n", jobq.path("sub").display())
    );
    assert_eq!(jobq.job(1)["payload"]["fail_on"], "7");
    jobq.enqueue(&["--kind", "k"]);
    jobq.run(&["edit", "2", "--", "true"])
        .fails(2, &["job 2 is not a command: its kind is 'k'"]);
}

#[test]
fn the_input_and_the_output_limit_of_a_command_can_be_edited() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--input", "old", "--", "cat"]);
    jobq.write("new", b"\xff\n");
    let edit = [
        "edit",
        "1",
        "--input",
        "@new",
        "--output-limit",
        "1KiB",
        "--env",
        "A=1",
    ];
    jobq.run(&edit).exits(0);
    let payload = &jobq.job(1)["payload"];
    assert_eq!(
        (
            &payload["input"],
            &payload["input_base64"],
            &payload["output_limit"],
            &payload["command"]
        ),
        (&json!(null), &json!("/wo="), &json!(1024), &json!(["cat"]))
    );
    let through_a_pipe = jobq.call(&["edit", "1", "--input", "-"]).stdin("new\n");
    through_a_pipe.run().exits(0);
    let payload = &jobq.job(1)["payload"];
    assert_eq!(
        (&payload["input"], &payload["input_base64"]),
        (&json!("new\n"), &json!(null))
    );
    jobq.enqueue(&["--input", "old", "--output-limit", "0", "--", "cat"]);
    jobq.run(&["edit", "2", "--no-input", "--output-limit", "none"])
        .exits(0);
    let payload = jobq.job(2)["payload"].clone();
    assert_eq!(
        (&payload["input"], &payload["output_limit"]),
        (&json!(null), &json!(null))
    );
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.stdout(&["logs", "1"]), "new\n");
    assert_eq!(jobq.stdout(&["logs", "2"]), "");
    jobq.enqueue(&["--kind", "k"]);
    for (option, value) in [("--input", "x"), ("--output-limit", "1k")] {
        jobq.run(&["edit", "3", option, value])
            .fails(2, &["job 3 is not a command: its kind is 'k'"]);
    }
    jobq.enqueue(&["--", "cat"]);
    jobq.run(&["edit", "4", "--output-limit", "65MiB"])
        .fails(2, &["output_limit", "67108864"]);
}

#[test]
fn every_option_that_a_waiting_job_has_can_be_edited() {
    let jobq = Jobq::new();
    jobq.enqueue(&[
        "--tag",
        "a=1",
        "--tag",
        "b=2",
        "--tenant",
        "x",
        "--timeout",
        "5s",
        "--kind",
        "k",
    ]);
    let edit = [
        "edit",
        "1",
        "--tag",
        "a=3",
        "--remove-tag",
        "b",
        "--tenant",
        "y",
        "--timeout",
        "none",
        "--deadline",
        "2100-01-01T00:00:00Z",
        "--key",
        "disk",
        "--key-limit",
        "2",
        "--unique",
        "u",
        "--unique-for",
        "1h",
        "--no-jitter",
        "--retries",
        "7",
    ];
    jobq.run(&edit).exits(0);
    let job = jobq.job(1);
    for (field, expected) in [
        ("tags", json!({"a": "3"})),
        ("tenant", json!("y")),
        ("timeout_ms", json!(null)),
        ("deadline", json!("2100-01-01T00:00:00.000Z")),
        ("key", json!("disk")),
        ("unique_key", json!("u")),
        ("max_retries", json!(7)),
        ("jitter", json!(false)),
    ] {
        assert_eq!(job[field], expected, "{field}");
    }
    assert_eq!(jobq.json_lines(&["list", "--tag", "a=3"]).len(), 1);
    assert_eq!(jobq.enqueue(&["--unique", "u", "--kind", "k"]), 1);
}

#[test]
fn what_a_waiting_job_has_can_be_taken_from_it() {
    let jobq = Jobq::new();
    let own = ["--unique", "u", "--key", "disk", "--tenant", "x"];
    jobq.enqueue(&[&own[..], &["--deadline", "1h", "--kind", "k"]].concat());
    let clear = [
        "edit",
        "1",
        "--no-key",
        "--no-unique",
        "--no-tenant",
        "--deadline",
        "none",
    ];
    jobq.run(&clear).exits(0);
    let job = jobq.job(1);
    for field in ["key", "unique_key", "tenant", "deadline"] {
        assert_eq!(job[field], json!(null), "{field}");
    }
    assert_eq!(jobq.enqueue(&["--unique", "u", "--kind", "k"]), 2);
    jobq.run(&["edit", "1", "--unique", "u"])
        .fails(1, &["job 2 already has the unique key 'u'"]);
    jobq.run(&["doctor"]).exits(0);
}

#[test]
fn another_concurrency_key_takes_a_place_and_frees_the_old_one() {
    let jobq = Jobq::new();
    for _ in 0..2 {
        jobq.enqueue(&["--key", "disk", "--kind", "k"]);
    }
    jobq.enqueue(&["--kind", "k"]);
    jobq.run(&["edit", "3", "--key", "disk"]).fails(
        1,
        &["job 3 may run already, and the concurrency key 'disk' has no free slot"],
    );
    assert_eq!(jobq.state(2), "blocked");
    jobq.run(&["edit", "1", "--no-key"]).exits(0);
    assert_eq!(jobq.state(2), "pending");
    jobq.enqueue(&["--key", "disk", "--kind", "k"]);
    jobq.run(&["edit", "4", "--key", "other"]).exits(0);
    assert_eq!(jobq.state(4), "pending");
    jobq.run(&["edit", "3", "--key", "third"]).exits(0);
    assert_eq!(jobq.job(3)["key"], "third");
    jobq.run(&["doctor"]).exits(0);
}

#[test]
fn a_derived_unique_key_follows_the_payload() {
    let jobq = Jobq::new();
    let add = |payload: &str| {
        let options = ["--kind", "k", "--unique-by-payload", "--payload", payload];
        jobq.enqueue(&options)
    };
    assert_eq!(add("1"), 1);
    jobq.run(&["edit", "1", "--payload", "2"]).exits(0);
    assert_eq!((add("2"), add("1")), (1, 2));
    jobq.run(&["edit", "2", "--payload", "2"])
        .fails(1, &["job 1 already has the unique key"]);
    assert_eq!(jobq.job(2)["payload"], json!(1));
}

#[test]
fn what_a_job_keeps_for_its_life_is_refused_with_the_reason() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--kind", "k"]);
    for (option, why) in [
        (
            &["--kind", "x"][..],
            "--kind cannot be edited: its kind says who runs it",
        ),
        (&["--after", "1"], "--after cannot be edited"),
        (&["--parent", "1"], "its parent has counted it"),
        (&["--unique-by-payload"], "follows it by itself"),
        (&["--finalize"], "cannot be edited"),
    ] {
        jobq.run(&[&["edit", "1"], option].concat())
            .fails(2, &[why]);
    }
    jobq.run(&["edit", "1", "--unique-for", "1h"])
        .fails(2, &["has no unique key"]);
    jobq.run(&["edit", "1", "--key-limit", "2"])
        .fails(2, &["has no concurrency key"]);
}

#[test]
fn an_edit_that_names_no_change_says_how_to() {
    let jobq = Jobq::new();
    jobq.enqueue(&["--", "true"]);
    jobq.run(&["edit", "1"])
        .fails(2, &["nothing to change", "--priority urgent"]);
    jobq.run(&["edit", "1", "--on-duplicate", "keep"])
        .fails(2, &["it says what is done when a job is enqueued"]);
}
