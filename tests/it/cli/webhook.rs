//! The kind `webhook`, as `jobq enqueue` and `jobq run` have it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::secrets::{SECRET, leaks};
use super::support::{Jobq, set_mode, text};
use crate::support::http_server::{Server, response};
use crate::support::{number_from_environment, wait_until};

const SIGNING_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// With a config file that has two secrets.
fn with_secrets(more: &str) -> Jobq {
    let jobq = Jobq::new();
    for (name, value) in [("key", SECRET), ("sign", SIGNING_KEY)] {
        set_mode(&jobq.write(name, value), 0o600);
    }
    jobq.write(
        "jobq.toml",
        format!("[secrets]\nkey = {{ file = \"key\" }}\nsign = {{ file = \"sign\" }}\n{more}"),
    );
    jobq
}

fn enqueue(jobq: &Jobq, kind: &str, payload: &Value) -> i64 {
    jobq.enqueue(&["--kind", kind, "--payload", &payload.to_string()])
}

#[test]
fn a_secret_reaches_the_server_and_no_file() {
    let jobq = with_secrets("");
    let echo = |status: &'static str| {
        Server::start(move |mut exchange| {
            exchange.read_body();
            let body = String::from_utf8(exchange.asked.body.clone()).unwrap();
            let all = format!("{}{body}", exchange.asked.head);
            let location =
                format!("location: http://127.0.0.1:1/?key={SECRET}\r\nx-request-id: {SECRET}\r\n");
            exchange.send(response(status, &location, &all));
            Some(exchange.asked)
        })
    };
    let named = json!({ "secret": "key" });
    let payload = |url: String| {
        json!({
            "url": url, "query": { "key": named }, "headers": { "x-key": named }, "form": { "password": named },
            "auth": { "basic": { "username": "me", "password": named } }, "sign": { "secrets": ["sign"] },
        })
    };
    let (served, broken, refused) = (echo("200 OK"), echo("500 Broken"), echo("404 Gone"));
    let ids = [&served, &broken, &refused]
        .map(|server| enqueue(&jobq, "webhook", &payload(server.url("/"))));
    let nobody = enqueue(&jobq, "webhook", &payload("http://127.0.0.1:1/".to_owned()));
    let call = jobq
        .call(&["run", "--drain", "--output", "-vv"])
        .env("RUST_LOG", "trace");
    let running = call.spawn();
    wait_until("all were tried", Duration::from_secs(30), || {
        ids.iter()
            .chain([&nobody])
            .all(|id| jobq.job(*id)["attempt"] == 1 && jobq.state(*id) != "running")
    });
    let ran = running.stop();
    let asked = served.asked();
    assert_eq!(asked[0].header("x-key"), Some(SECRET), "the server has it");
    let result = &jobq.job(ids[0])["result"];
    assert!(text(&result["body"]).contains("x-key: ***"), "{result}");
    assert_eq!(result["headers"]["x-request-id"], "***");
    for id in &ids[1..] {
        assert!(text(&jobq.job(*id)["error"]).contains("x-key: ***"));
    }
    let mut printed = vec![ran.stdout, ran.stderr];
    for id in ids {
        let id = id.to_string();
        printed.push(jobq.stdout(&["logs", &id]));
        printed.push(jobq.stdout(&["status", &id]));
    }
    printed.push(jobq.stdout(&["events", "--json"]));
    jobq.run(&["backup", "copy.db"]).exits(0);
    assert_eq!(leaks(jobq.folder(), &printed), Vec::<String>::new());
}

#[test]
fn both_names_of_the_kind_have_the_same_settings() {
    let server = Server::responding("200 OK", "", "");
    let jobq =
        with_secrets("[kinds.webhook.settings]\naddresses = 'public'\n[kinds.http]\nretries = 0\n");
    let payload = json!({ "url": server.url("/") });
    let ids = ["webhook", "http"].map(|kind| enqueue(&jobq, kind, &payload));
    assert_eq!(jobq.job(ids[0])["max_retries"], 9);
    assert_eq!(jobq.job(ids[1])["max_retries"], 0);
    jobq.drain(&[]).exits(4);
    for id in ids {
        let error = text(&jobq.job(id)["error"]);
        assert!(error.contains("addresses = \"public\""), "{error}");
    }
    jobq.write("jobq.toml", "[kinds.http.settings]\naddresses = 'public'\n");
    jobq.drain(&[]).fails(
        2,
        &[
            "http is another name of the kind webhook",
            "[kinds.webhook.settings]",
        ],
    );
    let (one, other) = (
        jobq.stdout(&["help", "http"]),
        jobq.stdout(&["help", "webhook"]),
    );
    assert!(one == other && one.contains("allow_addresses"));
}

#[test]
fn a_literal_secret_is_warned_of() {
    let jobq = Jobq::new();
    let payload = r#"{"url":"http://a.example/","headers":{"authorization":"Bearer x"}}"#;
    let call = ["enqueue", "--kind", "http", "--payload", payload];
    let warned = jobq.run(&call).exits(0).stderr;
    assert!(
        warned.contains("'headers.authorization' in clear"),
        "{warned}"
    );
    assert!(warned.contains("--allow-literal-secrets"), "{warned}");
    assert!(!warned.contains("Bearer"), "{warned}");
    let silent = jobq
        .run(&[&call[..], &["--allow-literal-secrets"]].concat())
        .exits(0)
        .stderr;
    assert!(!silent.contains("in clear"), "{silent}");
    let lines = format!("{{\"kind\":\"http\",\"payload\":{payload}}}\n").repeat(3);
    let warned = jobq.enqueue_batch(&lines).exits(0).stderr;
    assert_eq!(warned.matches("in clear").count(), 1, "{warned}");
    let named = payload.replace("\"Bearer x\"", r#"{"secret":"crm"}"#);
    let silent = jobq
        .run(&["enqueue", "--kind", "http", "--payload", &named])
        .exits(0)
        .stderr;
    assert!(!silent.contains("in clear"), "{silent}");
    let other = r#"{"password":"x"}"#;
    let silent = jobq
        .run(&["enqueue", "--kind", "other", "--payload", other])
        .exits(0)
        .stderr;
    assert!(!silent.contains("in clear"), "{silent}");
}

#[test]
fn a_killed_runner_loses_no_request_and_changes_no_id() {
    const JOBS: usize = 60;

    let jobq = with_secrets("");
    let server = Server::start(|mut exchange| {
        exchange.read_body();
        std::thread::sleep(Duration::from_millis(20));
        exchange.send("HTTP/1.1 204 No Content\r\n\r\n");
        Some(exchange.asked)
    });
    let lines: String = (0..JOBS)
        .map(|number| {
            let payload = json!({
                "url": server.url("/"), "json": number, "sign": { "secrets": ["sign"] }, "idempotency_key": true,
            });
            format!("{}\n", json!({ "kind": "webhook", "payload": payload }))
        })
        .collect();
    jobq.enqueue_batch(&lines).exits(0);
    for round in 1..=number_from_environment("JOBQ_ROUNDS").unwrap_or(4) {
        let runner = jobq.runner(&["--workers", "3"]);
        let before = server.asked().len();
        let wanted = before + 3 + usize::try_from(round % 4).unwrap();
        wait_until("some are sent, or all", Duration::from_secs(30), || {
            server.asked().len() >= wanted || jobq.count("completed") == JOBS as u64
        });
        runner.kill();
    }
    jobq.drain(&[]).exits(0);
    assert_eq!(jobq.count("completed"), JOBS as u64);
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // Of a request that was cut off, the body may be missing.
    for asked in server.asked().iter().filter(|asked| !asked.body.is_empty()) {
        let id = asked.header("webhook-id").unwrap();
        assert_eq!(asked.header("idempotency-key"), Some(id));
        let body = String::from_utf8(asked.body.clone()).unwrap();
        ids.entry(body).or_default().insert(id.to_owned());
    }
    assert_eq!(ids.len(), JOBS, "each has arrived");
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    let all: BTreeSet<_> = ids.values().flatten().collect();
    assert_eq!(all.len(), JOBS, "no two have the same");
    let completed = jobq.json_lines(&["events", "--kind", "job_completed"]);
    assert_eq!(completed.len(), JOBS, "each has completed once");
}
