//! Requests that schemathesis makes of the document of the API, right ones and wrong ones, against a file with jobs in
//! every state.

use std::process::Command;

use jobq::{Context, GROUP_KIND, NewJob, Outcome, State};
use serde_json::Value;

use super::client::Site;
use crate::support::{PATIENCE, by, wait_until};

/// Answers that may have no end: the socket, and the events with `follow`.
const ENDLESS: [&str; 2] = ["/api/v1/live", "/api/v1/events"];

/// Not whether a right request is taken: the schemas name types, and not how times, durations and searches are written.
const NOT_CHECKED: &str = "positive_data_acceptance";

fn is_there() -> bool {
    let found = Command::new("python3")
        .args(["-c", "import schemathesis"])
        .output();
    found.is_ok_and(|found| found.status.success())
}

/// Jobs in all states but that of the running one, which needs a runner.
fn add_jobs(site: &Site) {
    site.add("done");
    site.add("broken");
    let done = by(|_: &Context| Outcome::Done(Some("[1]".into())));
    let broken = by(|ctx: &Context| {
        ctx.log(jobq::Level::Info, "working");
        Outcome::Fail {
            error: "7 of 9 rows".into(),
        }
    });
    let runner = site.queue.runner().kind("done", done);
    runner.kind("broken", broken).run_due().unwrap();
    let pending = site.add("some");
    for job in [
        r#"{"kind":"some","in":"1h","tags":{"a":"b"},"tenant":"acme"}"#.to_owned(),
        format!(r#"{{"kind":"some","after":[{pending}],"queue":"mail"}}"#),
    ] {
        site.change("POST", "/api/v1/jobs", &job).is(201);
    }
    site.queue.enqueue(NewJob::new(GROUP_KIND)).unwrap();
    let cancelled = site.queue.enqueue(NewJob::new("some")).unwrap().id;
    site.queue.cancel(cancelled).unwrap();
    let schedule = r#"{"name":"nightly","cron":"0 2 * * *","job":{"kind":"some"}}"#;
    site.change("POST", "/api/v1/schedules", schedule).is(201);
}

#[test]
fn requests_made_of_the_document_are_answered_as_it_says() {
    if !is_there() {
        eprintln!("skipped: python3 has no module schemathesis");
        return;
    }
    let site = Site::new();
    add_jobs(&site);
    let running = jobq::JobId(site.add("long"));
    let long = by(|ctx: &Context| {
        ctx.cancellation().wait(PATIENCE);
        Outcome::Done(None)
    });
    let runner = site.queue.runner().kind("long", long).start().unwrap();
    wait_until("a running job", PATIENCE, || {
        site.queue.counts().unwrap().get(State::Running) == 1
    });
    let counts = site.queue.counts().unwrap();
    assert!(State::ALL.iter().all(|state| counts.get(*state) > 0));
    let folder = tempfile::tempdir().unwrap();
    let document = site.get("/api/v1/openapi.json").is(200).json();
    std::fs::write(folder.path().join("openapi.json"), document.to_string()).unwrap();
    let mut command = Command::new("python3");
    command
        .current_dir(&folder)
        .args(["-m", "schemathesis.cli", "run", "openapi.json"])
        .args(["--url", &format!("http://{}", site.address())])
        .arg("--header")
        .arg(format!(
            "Authorization: Bearer {}",
            site.server.token().unwrap()
        ))
        .args(["--mode", "all", "--checks", "all"])
        .args(["--exclude-checks", NOT_CHECKED])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--seed", "1", "--max-examples", "10", "--no-shrink"])
        .args(["--request-timeout", "20", "--continue-on-failure"]);
    for path in ENDLESS {
        command.args(["--exclude-path", path]);
    }
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}");
    // It has not looked at a part only.
    let paths = document["paths"].as_object().unwrap();
    let operations = paths
        .values()
        .map(|path| path.as_object().map_or(0, serde_json::Map::len));
    let tested = format!("Tested: {}", operations.sum::<usize>() - ENDLESS.len());
    assert!(said.contains(&tested), "{tested}: {said}");
    let findings: Value = site.get("/api/v1/doctor").is(200).json();
    let findings = findings["findings"].as_array().unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding["severity"] != "error"),
        "{findings:?}"
    );
    // A request may have cancelled it already.
    let _ = site.queue.cancel(running);
    runner.stop().unwrap();
}
