//! What goes wrong, and whether it is tried again.

use std::net::TcpListener;
use std::time::Duration;

use jobq::{JobRecord, State};
use serde_json::json;

use super::{Hooks, with};
use crate::support::http_server::Server;

#[test]
fn a_status_decides_whether_there_is_another_attempt() {
    let hooks = Hooks::new();
    for status in ["408 A", "425 B", "429 C", "500 D", "503 E", "522 F"] {
        let server = Server::responding(status, "", "the reason");
        let error = hooks.retries(&with(&server.url("/a?key=secret"), json!({})));
        let begin = format!("GET {}: {} ", server.url("/a"), &status[..3]);
        assert!(error.starts_with(&begin), "{error}");
        assert!(error.ends_with(": the reason"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    for status in [
        "302 A", "400 B", "401 C", "404 D", "409 E", "410 F", "422 G", "501 H",
    ] {
        let server = Server::responding(status, "location: /\r\n", "the reason");
        let error = hooks.fails(&with(&server.url("/"), json!({})));
        assert!(error.ends_with(": the reason"), "{error}");
    }
    let server = Server::responding("409 Conflict", "", "");
    hooks.retries(&with(&server.url("/"), json!({ "idempotency_key": true })));
    let own = json!({ "headers": { "Idempotency-Key": "k" } });
    hooks.retries(&with(&server.url("/"), own));
    let server = Server::responding("503 Busy", "webhook-delivery: abort-message\r\n", "");
    hooks.fails(&with(&server.url("/"), json!({})));
    hooks.retries(&with(&server.url("/"), json!({ "retry_on": [503] })));
}

#[test]
fn an_error_has_the_first_kilobyte_of_the_body() {
    let server = Server::responding("500 Broken", "", &"x".repeat(5000));
    let error = Hooks::new().retries(&with(&server.url("/"), json!({})));
    assert_eq!(error.matches('x').count(), 1024);
}

/// How long a job waits for its next attempt.
fn wait_s(job: &JobRecord) -> i64 {
    assert_eq!(job.state, State::Scheduled, "{job:?}");
    let run_at = job.run_at.unwrap().as_millisecond();
    (run_at - job.updated_at.as_millisecond() + 500) / 1000
}

#[test]
fn a_server_that_asks_to_wait_is_asked_later() {
    let date = |in_s: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(in_s);
        at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    };
    for (status, retry_after, wait) in [
        ("429", "120".to_owned(), 120..=120),
        ("503", date(600), 597..=601),
        ("413", "90".to_owned(), 90..=90),
        ("429", "999999999".to_owned(), 86_400..=86_400),
        // Never sooner than the job would be tried anyway.
        ("429", "0".to_owned(), 5..=6),
        ("503", date(-50), 5..=6),
        ("503", "soon".to_owned(), 5..=6),
        // Only these may ask.
        ("500", "120".to_owned(), 5..=6),
    ] {
        let server = Server::responding(
            &format!("{status} Later"),
            &format!("retry-after: {retry_after}\r\n"),
            "",
        );
        let job = Hooks::new().attempt(&with(&server.url("/"), json!({})));
        assert!(
            wait.contains(&wait_s(&job)),
            "{retry_after}: {}",
            wait_s(&job)
        );
    }
}

#[test]
fn a_server_that_breaks_off_is_asked_again() {
    let hooks = Hooks::new();
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnothex\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nplain",
        "HTTP/9.9 200 OK\r\n\r\n",
        "220 mail.example ESMTP\r\n",
        "\x00\x01\x02\x03",
    ] {
        let server = Server::saying(answer);
        let error = hooks.retries(&with(&server.url("/"), json!({})));
        assert!(
            error.starts_with("GET http://127.0.0.1"),
            "{answer:?}: {error}"
        );
    }
    // It does not read the request to its end.
    let server = Server::start(|_| None);
    let payload = with(&server.url("/"), json!({ "body": "x".repeat(300_000) }));
    hooks.retries(&payload);
}

#[test]
fn headers_without_end_are_not_read_to_their_end() {
    let hooks = Hooks::new();
    let endless = Server::start(|mut exchange| {
        exchange.send("HTTP/1.1 200 OK\r\n");
        while exchange.send("x-more: and more and more and more and more\r\n") {}
        None
    });
    let error = hooks.retries(&with(&endless.url("/"), json!({})));
    assert!(error.contains("header"), "{error}");
    let many: String = (0..500)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect();
    let server = Server::responding("200 OK", &many, "");
    hooks.retries(&with(&server.url("/"), json!({})));
}

#[test]
fn a_server_out_of_reach_is_tried_again() {
    let hooks = Hooks::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = hooks.retries(&with(&format!("http://127.0.0.1:{port}/"), json!({})));
    assert!(error.contains("refused"), "{error}");
    let error = hooks.retries(&with("http://nobody.invalid/", json!({})));
    assert!(error.starts_with("GET http://nobody.invalid/: "), "{error}");
}

#[test]
fn a_server_without_an_answer_in_time_is_asked_again() {
    let hooks = Hooks::new();
    let silent = Server::start(|mut exchange| {
        exchange.hang();
        None
    });
    let dripping = Server::start(|mut exchange| {
        exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        exchange.drip();
        None
    });
    let slow_head = Server::start(|mut exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nx-a: ");
        exchange.drip();
        None
    });
    for server in [silent, dripping, slow_head] {
        let began = std::time::Instant::now();
        let error = hooks.retries(&with(&server.url("/"), json!({ "timeout_ms": 300 })));
        assert!(error.contains("no whole response in time"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(3));
    }
}

#[test]
fn the_schedule_is_that_of_standard_webhooks() {
    use jobq::handlers::built_in::BuiltInKind;

    for name in ["webhook", "http"] {
        let options = BuiltInKind::named(name).unwrap().defaults();
        let delays: Vec<u64> = options
            .retry_delays
            .unwrap()
            .iter()
            .map(Duration::as_secs)
            .collect();
        assert_eq!(delays[..3], [5, 300, 1800]);
        assert_eq!((delays.len(), delays[8]), (9, 86_400));
    }
    let hooks = Hooks::new();
    let webhook = jobq::handlers::webhook::Webhook::new("http://127.0.0.1:1/");
    let id = hooks.scene.open().enqueue(webhook).unwrap().id;
    let job = hooks.scene.open().get(id).unwrap().unwrap();
    assert_eq!(job.retry.max_retries, 9);
    hooks.runner().run_due().unwrap();
    let job = hooks.scene.open().get(id).unwrap().unwrap();
    assert!((5..=6).contains(&wait_s(&job)), "{job:?}");
}
