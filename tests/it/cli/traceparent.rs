//! The trace that a job belongs to.

use serde_json::{Value, json};

use super::support::Jobq;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn trace(jobq: &Jobq, id: i64) -> Value {
    jobq.job(id)["traceparent"].clone()
}

#[test]
fn a_trace_is_taken_from_the_option_or_the_environment() {
    let jobq = Jobq::new();
    let by_option = jobq.enqueue(&["--traceparent", TRACE, "--", "true"]);
    assert_eq!(trace(&jobq, by_option), TRACE);
    let shown = jobq.stdout(&["status", "1"]);
    assert!(shown.contains(TRACE), "{shown}");
    for (here, args, expected) in [
        (TRACE, &[][..], json!(TRACE)),
        (TRACE, &["--traceparent", OTHER], json!(OTHER)),
        ("00-nonsense", &[], Value::Null),
        ("", &[], Value::Null),
    ] {
        let args = [&["enqueue"], args, &["--kind", "k", "--json"]].concat();
        let ran = jobq.call(&args).env("TRACEPARENT", here).run().exits(0);
        let added: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(trace(&jobq, added["id"].as_i64().unwrap()), expected);
    }
    let refused = jobq.run(&["enqueue", "--traceparent", "00-nonsense", "--", "true"]);
    let said = refused.exits(2).stderr;
    assert!(said.contains("it looks like 00-"), "{said}");
}

#[test]
fn a_command_passes_its_trace_on_to_what_it_enqueues() {
    let jobq = Jobq::new();
    let script = r#"echo "$TRACEPARENT"; jobq enqueue --kind sleep --payload '{"delay_ms":0}'"#;
    jobq.enqueue(&[
        "--traceparent",
        TRACE,
        "--on-end",
        "true",
        "--shell",
        script,
    ]);
    jobq.drain(&[]).exits(0);
    assert!(jobq.stdout(&["logs", "1"]).contains(TRACE));
    assert_eq!([2, 3].map(|id| trace(&jobq, id)), [TRACE, TRACE]);
}

#[test]
fn each_line_of_a_batch_may_have_a_trace() {
    let jobq = Jobq::new();
    jobq.write(
        "jobs.jsonl",
        format!("{{\"kind\":\"k\",\"traceparent\":\"{OTHER}\"}}\n{{\"kind\":\"k\"}}\n"),
    );
    let args = ["enqueue", "--traceparent", TRACE, "--batch", "jobs.jsonl"];
    jobq.run(&args).exits(0);
    assert_eq!([1, 2].map(|id| trace(&jobq, id)), [OTHER, TRACE]);
    jobq.write("bad.jsonl", "{\"kind\":\"k\",\"traceparent\":\"00\"}\n");
    let refused = jobq.run(&["enqueue", "--batch", "bad.jsonl"]);
    let said = refused.exits(2).stderr;
    assert!(said.contains("'00' is no traceparent"), "{said}");
}
