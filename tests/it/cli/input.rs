//! What a command reads from stdin.

use super::support::Jobq;

/// All that a job printed.
fn printed(jobq: &Jobq, id: i64) -> String {
    jobq.stdout(&["logs", &id.to_string()])
}

#[test]
fn a_commands_stdin_is_dev_null() {
    let jobq = Jobq::new();
    jobq.write("data.txt", "no needle\n");
    let show = jobq.enqueue(&["--shell", "readlink /proc/self/fd/0"]);
    let ids = [
        jobq.enqueue(&["--env", "TOKEN=s3cret", "--", "cat"]),
        jobq.enqueue(&["--env", "TOKEN=touch made", "--", "sh"]),
        jobq.enqueue(&["--env", "TOKEN=s3cret", "--shell", "cat; wc -c"]),
        jobq.enqueue(&["--kind", "exec", "--payload", r#"{"command":["cat"]}"#]),
    ];
    jobq.enqueue_batch(r#"{"command":["cat"],"env":{"TOKEN":"s3cret"}}"#);
    jobq.drain(&[]).exits(0);
    assert_eq!(printed(&jobq, show), "/dev/null\n");
    assert_eq!(
        ids.map(|id| printed(&jobq, id)),
        ["", "", "0\n", ""].map(str::to_owned)
    );
    assert_eq!(printed(&jobq, 6), "");
    assert!(!jobq.path("made").exists());
}

#[test]
fn an_input_arrives_byte_for_byte() {
    let jobq = Jobq::new();
    let any_bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    jobq.write("any", &any_bytes);
    for (given, file) in [
        ("a text", &b"a text"[..]),
        ("", b""),
        ("\u{e9}\n\n", "\u{e9}\n\n".as_bytes()),
        ("--flag", b"--flag"),
        ("@any", &any_bytes),
    ] {
        let id = jobq.enqueue(&["--input", given, "--shell", "cat >got; cat"]);
        // What is read at enqueue is what the command gets.
        let id = id.to_string();
        jobq.drain(&[]).exits(0);
        assert!(std::fs::read(jobq.path("got")).unwrap() == file, "{given}");
        assert_eq!(jobq.stdout(&["logs", &id]), "");
    }
    let call = jobq.call(&["enqueue", "--input", "-", "--shell", "cat >got"]);
    call.stdin(&any_bytes).run().exits(0);
    jobq.drain(&[]).exits(0);
    assert!(std::fs::read(jobq.path("got")).unwrap() == any_bytes);
}

#[test]
fn an_input_is_that_of_the_moment_and_of_every_attempt() {
    let jobq = Jobq::new();
    jobq.write("list", "first\n");
    let again = ["--retries", "1", "--retry-delay", "0s", "--input", "@list"];
    let script = "cat; [ $JOBQ_ATTEMPT = 2 ]";
    let id = jobq.enqueue(&[&again[..], &["--shell", script]].concat());
    jobq.write("list", "second\n");
    jobq.drain(&[]).exits(0);
    assert_eq!(printed(&jobq, id), "first\nfirst\n");
}

#[test]
fn a_line_of_a_batch_has_an_input_of_its_own() {
    let jobq = Jobq::new();
    jobq.enqueue_batch(
        r#"{"command":["cat"],"input":"one"}
           {"shell":"cat","input_base64":"b25lAP8="}
           {"kind":"exec","payload":{"shell":"cat","input":"three"}}"#,
    );
    jobq.drain(&[]).exits(0);
    assert_eq!(printed(&jobq, 1), "one");
    let shown = jobq.json_lines(&["logs", "2"]);
    assert_eq!(shown[0]["message"], "one\0\u{fffd}");
    assert_eq!(printed(&jobq, 3), "three");
    for (line, why) in [
        (r#"{"kind":"k","input":"x"}"#, "'input' goes with"),
        (
            r#"{"kind":"k","input_base64":"eA=="}"#,
            "'input_base64' goes with",
        ),
        (r#"{"shell":"x","input_base64":"eA"}"#, "not base64"),
        (
            r#"{"shell":"x","input":"","input_base64":""}"#,
            "both 'input'",
        ),
        (r#"{"shell":"x","input":1}"#, "expected a text"),
    ] {
        let call = jobq.call(&["enqueue", "--batch", "-"]).stdin(line);
        call.run().fails(2, &["line 1", why]);
    }
}

#[test]
fn an_input_that_cannot_be_is_refused_at_once() {
    let jobq = Jobq::new();
    jobq.write("big", vec![b'x'; 8 * 1024 * 1024 + 1]);
    jobq.run(&["enqueue", "--input", "@big", "--", "cat"])
        .fails(
            2,
            &["big: more than 8388608 bytes", "hint: keep it in a file"],
        );
    jobq.run(&["enqueue", "--input", "@/dev/zero", "--", "cat"])
        .fails(2, &["/dev/zero: more than"]);
    jobq.run(&["enqueue", "--input", "@missing", "--", "cat"])
        .fails(1, &["missing"]);
    jobq.run(&["enqueue", "--input", "x", "--kind", "k"])
        .fails(2, &["--input"]);
    jobq.write("most", vec![0; 8 * 1024 * 1024]);
    let most = jobq.enqueue(&["--input", "@most", "--shell", "wc -c"]);
    jobq.drain(&[]).exits(0);
    assert_eq!(printed(&jobq, most), "8388608\n");
}

#[test]
fn a_kind_with_a_command_keeps_its_payload_on_stdin() {
    let jobq = Jobq::new();
    jobq.write("jobq.toml", "[kinds.show]\ncommand = [\"cat\"]\n");
    let id = jobq.enqueue(&["--kind", "show", "--payload", r#"{ "a" : 1.0 }"#]);
    jobq.drain(&[]).exits(0);
    assert_eq!(printed(&jobq, id), r#"{ "a" : 1.0 }"#);
}

#[test]
fn a_schedules_command_reads_dev_null_or_its_input() {
    let jobq = Jobq::new();
    let add = |name: &str, input: &[&str]| {
        let words = [&["schedule", "add", name, "@yearly"], input, &["--", "cat"]].concat();
        jobq.run(&words).exits(0);
        jobq.run(&["schedule", "run", name]).exits(0);
    };
    add("plain", &[]);
    add("fed", &["--input", "text"]);
    jobq.write(
        "jobq.toml",
        "[schedules.declared]\ncron = \"@yearly\"\ncommand = [\"cat\"]\ninput = \"of toml\"\n",
    );
    let runner = jobq.runner(&[]);
    jobq.run(&["schedule", "run", "declared"]).exits(0);
    jobq.run(&["wait", "1-3"]).exits(0);
    runner.stop();
    let shown = [1, 2, 3].map(|id| printed(&jobq, id));
    assert_eq!(shown, ["", "text", "of toml"].map(str::to_owned));
}
