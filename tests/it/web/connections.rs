//! Connections: their bounds, and what goes wrong on them.

use std::time::Duration;

use super::client::{Client, Site, request};
use crate::support::{PATIENCE, wait_until};

#[test]
fn requests_follow_each_other_on_a_connection_in_their_order() {
    let site = Site::new();
    let mut client = site.connect();
    // All at once: the second waits for the answer to the first.
    let ask = |path: &str| request("GET", path, "", "");
    client.send(format!(
        "{}{}{}",
        ask("/healthz"),
        ask("/nothing"),
        ask("/healthz")
    ));
    assert_eq!(client.answer("GET").status, 200);
    assert_eq!(client.answer("GET").status, 404);
    assert_eq!(client.answer("GET").status, 200);
    client.send(request("HEAD", "/healthz", "", ""));
    let head = client.answer("HEAD");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("11"))
    );
    client.send(request("GET", "/healthz", "Connection: close\r\n", ""));
    assert_eq!(client.answer("GET").header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn a_head_that_comes_byte_by_byte_is_read() {
    let site = Site::new();
    let mut client = site.connect();
    for byte in request("GET", "/healthz", "", "").as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.answer("GET").status, 200);
}

#[test]
fn what_is_too_large_or_ambiguous_is_refused_and_closed() {
    let site = Site::new();
    let token = format!("Authorization: Bearer {}\r\n", site.server.token().unwrap());
    let post = |headers: &str| {
        format!(
            "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n{token}Content-Type: application/json\r\n{headers}\r\n"
        )
    };
    let long = "x".repeat(20 * 1024);
    for (text, status, name) in [
        (
            request("GET", "/healthz", &format!("X: {long}\r\n"), ""),
            431,
            "head-too-large",
        ),
        (
            post("Content-Length: 2\r\nContent-Length: 2\r\n"),
            400,
            "bad-request",
        ),
        (
            post("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"),
            400,
            "bad-request",
        ),
        (post("Transfer-Encoding: chunked\r\n"), 400, "bad-request"),
        // A proxy may have read the length as a part of X.
        (post("X: 1\nContent-Length: 2\r\n"), 400, "bad-request"),
        (post("X: 1\r\n folded\r\n"), 400, "bad-request"),
        (post("X: \0\r\n"), 400, "bad-request"),
        ("PRI * HTTP/2.0\r\n\r\n".to_owned(), 400, "bad-request"),
        (
            "GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            400,
            "bad-request",
        ),
        (post("Content-Length: 20000000\r\n"), 413, "too-large"),
        ("GET /healthz\r\n\r\n".to_owned(), 400, "bad-request"),
        (
            "\u{16}\u{3}\u{1} a hello of TLS".to_owned(),
            400,
            "bad-request",
        ),
    ] {
        let mut client = site.connect();
        client.send(&text);
        let answer = client.answer("GET").is(status);
        assert_eq!(answer.problem(), name, "{}", &text[..text.len().min(80)]);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(client.is_closed());
    }
    site.ask("GET", "/healthz", "", "").is(200);
}

#[test]
fn one_job_has_a_smaller_bound_than_many() {
    let site = Site::new();
    let payload = "x".repeat(600 * 1024);
    let job = format!(r#"{{"kind":"k","payload":"{payload}"}}"#);
    site.change("POST", "/api/v1/jobs", &job).is(201);
    site.change("POST", "/api/v1/jobs", &format!("[{job},{job},{job}]"))
        .is(201);
    let large = format!(r#"{{"kind":"k","payload":"{payload}{payload}"}}"#);
    assert_eq!(
        site.change("POST", "/api/v1/jobs", &large)
            .is(413)
            .problem(),
        "too-large"
    );
    let edit = format!(r#"{{"payload":"{payload}{payload}"}}"#);
    assert_eq!(
        site.change("PATCH", "/api/v1/jobs/1", &edit)
            .is(413)
            .problem(),
        "too-large"
    );
    assert_eq!(site.queue.counts().unwrap().total(), 4);
}

#[test]
fn a_client_that_asks_first_is_told_to_send_its_body() {
    let site = Site::new();
    let body = r#"{"kind":"k"}"#;
    let token = site.server.token().unwrap();
    let mut client = site.connect();
    client.send(format!(
        "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    assert!(client.read_head().starts_with("HTTP/1.1 100"));
    client.send(body);
    client.answer("POST").is(201);
}

/// Half of a head, on many connections.
#[test]
fn slow_heads_keep_no_honest_client_waiting() {
    let site = Site::new();
    let slow: Vec<Client> = (0..250)
        .map(|_| {
            let mut client = site.connect();
            client.send("GET /healthz HTTP/1.1\r\nHost: local");
            client
        })
        .collect();
    for _ in 0..20 {
        site.ask("GET", "/healthz", "", "").is(200);
    }
    // Each is closed in the end, without an answer.
    for mut client in slow {
        assert!(client.is_closed());
    }
}

#[test]
fn requests_beyond_the_bound_are_told_to_come_again() {
    let site = Site::new();
    site.add("k");
    let token = format!("Authorization: Bearer {}\r\n", site.server.token().unwrap());
    let wait = request("GET", "/api/v1/jobs/1?wait=60s", &token, "");
    let mut waiting: Vec<Client> = (0..64)
        .map(|_| {
            let mut client = site.connect();
            client.send(&wait);
            client
        })
        .collect();
    // The last of them may still be on its way.
    wait_until("all places are taken", PATIENCE, || {
        let answer = site.ask("GET", "/healthz", "", "");
        answer.status == 503
            && answer.problem() == "too-many"
            && answer.header("retry-after") == Some("1")
    });
    site.queue.cancel(jobq::JobId(1)).unwrap();
    for client in &mut waiting {
        assert_eq!(client.answer("GET").is(200).json()["state"], "cancelled");
    }
    site.ask("GET", "/healthz", "", "").is(200);
}

#[test]
fn a_stop_ends_streams_and_waits_and_closes_the_port() {
    let site = Site::new();
    site.add("k");
    let token = format!("Authorization: Bearer {}\r\n", site.server.token().unwrap());
    let mut waiting = site.connect();
    waiting.send(request("GET", "/api/v1/jobs/1?wait=60s", &token, ""));
    let mut stream = site.connect();
    let headers = format!("{token}Accept: text/event-stream\r\n");
    stream.send(request("GET", "/api/v1/events", &headers, ""));
    assert!(stream.read_head().starts_with("HTTP/1.1 200"));
    assert!(stream.chunk().is_some());
    let address = site.address();
    site.server.stop();
    assert_eq!(waiting.answer("GET").is(200).json()["state"], "pending");
    assert_eq!(stream.chunk(), None);
    let refused =
        std::net::TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(5));
    assert!(refused.is_err());
}
