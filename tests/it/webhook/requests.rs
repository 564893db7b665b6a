//! What is sent.

use std::fs;

use jobq::NewJob;
use serde_json::{Value, json};

use super::{Hooks, with};
use crate::support::http_server::{Asked, Server};

/// What a server gets of a payload.
fn asked(hooks: &Hooks, path: &str, fields: Value) -> Asked {
    let server = Server::responding("200 OK", "", "");
    hooks.result(&with(&server.url(path), fields));
    let mut asked = server.asked();
    assert_eq!(asked.len(), 1);
    asked.remove(0)
}

#[test]
fn a_body_makes_a_post_with_its_type() {
    let hooks = Hooks::new();
    let file = hooks.scene.file("body");
    fs::write(&file, "from a file").unwrap();
    for (fields, content_type, body) in [
        (
            json!({ "json": { "b": 1.0 } }),
            "application/json",
            r#"{"b":1.0}"#,
        ),
        (
            json!({ "body": "text ü" }),
            "text/plain; charset=utf-8",
            "text ü",
        ),
        (json!({ "body": [1] }), "application/json", "[1]"),
        (
            json!({ "body_base64": "AQL/" }),
            "application/octet-stream",
            "\u{1}\u{2}?",
        ),
        (
            json!({ "bodyFile": file }),
            "application/octet-stream",
            "from a file",
        ),
        (
            json!({ "form": { "a b": "c&d=ü", "e": "" } }),
            "application/x-www-form-urlencoded",
            "a%20b=c%26d%3D%C3%BC&e=",
        ),
    ] {
        let asked = asked(&hooks, "/hook", fields);
        assert_eq!(asked.line(), "POST /hook HTTP/1.1");
        assert_eq!(asked.header("content-type"), Some(content_type));
        assert_eq!(
            asked.header("user-agent"),
            Some(concat!("jobq/", env!("CARGO_PKG_VERSION")))
        );
        match body.contains('?') {
            true => assert_eq!(asked.body, [1, 2, 255]),
            false => assert_eq!(asked.body, body.as_bytes()),
        }
    }
}

#[test]
fn the_payload_of_another_system_is_taken_as_it_is() {
    let asked = asked(
        &Hooks::new(),
        "/hook",
        json!({
            "method": "PUT", "headers": { "X-Event": "paid", "content-type": "text/csv" }, "body": "a,b\n",
            "timeoutMs": 1000,
        }),
    );
    assert_eq!(asked.line(), "PUT /hook HTTP/1.1");
    assert_eq!(asked.header("x-event"), Some("paid"));
    assert_eq!(asked.header("content-type"), Some("text/csv"));
    assert_eq!(asked.body, b"a,b\n");
}

#[test]
fn methods_go_with_and_without_a_body() {
    let hooks = Hooks::new();
    for (fields, line, length) in [
        (json!({}), "GET /?a=1&b=%C3%BC%20%26&c=2 HTTP/1.1", None),
        (
            json!({ "method": "head" }),
            "HEAD /?a=1&b=%C3%BC%20%26&c=2 HTTP/1.1",
            None,
        ),
        (
            json!({ "method": "POST" }),
            "POST /?a=1&b=%C3%BC%20%26&c=2 HTTP/1.1",
            Some("0"),
        ),
        (
            json!({ "method": "DELETE" }),
            "DELETE /?a=1&b=%C3%BC%20%26&c=2 HTTP/1.1",
            None,
        ),
        (
            json!({ "method": "GET", "body": "x" }),
            "GET /?a=1&b=%C3%BC%20%26&c=2 HTTP/1.1",
            Some("1"),
        ),
    ] {
        let mut fields = fields;
        fields["query"] = json!({ "b": "ü &", "c": "2" });
        let asked = asked(&hooks, "/?a=1#there", fields);
        assert_eq!(asked.line(), line);
        assert_eq!(asked.header("content-length"), length, "{line}");
    }
}

#[test]
fn secrets_are_sent_where_they_may_go() {
    let mut hooks = Hooks::new();
    hooks.secret("crm", "open sesame", Some("127.0.0.1"));
    hooks.secret("elsewhere", "open barley", Some("*.crm.example"));
    let asked = asked(
        &hooks,
        "/",
        json!({
            "headers": { "x-key": { "secret": "crm", "prefix": "Key " } },
            "query": { "key": { "secret": "crm" } },
            "form": { "password": { "secret": "crm" } },
            "auth": { "bearer": { "secret": "crm" } },
        }),
    );
    assert_eq!(asked.header("x-key"), Some("Key open sesame"));
    assert_eq!(asked.header("authorization"), Some("Bearer open sesame"));
    assert_eq!(asked.line(), "POST /?key=open%20sesame HTTP/1.1");
    assert_eq!(asked.body, b"password=open%20sesame");
    let url = Server::responding("200 OK", "", "").url("/");
    for (name, why) in [
        ("elsewhere", "is not for 127.0.0.1"),
        ("none", "no secret 'none'"),
    ] {
        let auth = json!({ "auth": { "bearer": { "secret": name } } });
        let error = hooks.fails(&with(&url, auth));
        assert!(error.contains(why) && !error.contains("barley"), "{error}");
    }
}

#[test]
fn a_user_and_a_password_are_basic_authentication() {
    let mut hooks = Hooks::new();
    hooks.secret("password", "open sesame", None);
    let basic = json!({ "username": "Aladdin", "password": { "secret": "password" } });
    let asked = asked(&hooks, "/", json!({ "auth": { "basic": basic } }));
    // The example of RFC 7617, section 2.
    assert_eq!(
        asked.header("authorization"),
        Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
    );
}

#[test]
fn a_secret_that_no_header_can_have_is_not_sent() {
    let mut hooks = Hooks::new();
    hooks.secret("key", "open\r\nx-sesame: 1", None);
    let server = Server::responding("200 OK", "", "");
    let error = hooks.fails(&with(
        &server.url("/"),
        json!({ "headers": { "x-key": { "secret": "key" } } }),
    ));
    assert!(
        error.contains("the header x-key has a character"),
        "{error}"
    );
    assert!(!error.contains("sesame"), "{error}");
    assert!(server.asked().is_empty());
}

#[test]
fn an_idempotency_key_stays_over_the_attempts() {
    let server = Server::responding("503 Busy", "", "");
    let hooks = Hooks::new();
    let payload = with(&server.url("/"), json!({ "idempotency_key": true }));
    let queue = hooks.scene.open();
    let job = jobq::NewJob::new("webhook").payload(&payload);
    let job = job.max_retries(2).retry_delay(std::time::Duration::ZERO);
    queue.enqueue(job).unwrap();
    for _ in 0..3 {
        hooks.runner().run_due().unwrap();
    }
    hooks.attempt(&payload);
    let keys: Vec<String> = server
        .asked()
        .iter()
        .map(|asked| asked.header("idempotency-key").unwrap().to_owned())
        .collect();
    let [first, second, third, other] = &keys[..] else {
        panic!("{keys:?}")
    };
    assert!(
        first == second && second == third && third != other,
        "{keys:?}"
    );
    let own = asked(&hooks, "/", json!({ "idempotencyKey": "order 1" }));
    assert_eq!(own.header("idempotency-key"), Some("order 1"));
    let none = asked(&hooks, "/", json!({ "idempotency_key": false }));
    assert_eq!(none.header("idempotency-key"), None);
}

#[test]
fn a_long_body_waits_for_the_server_to_want_it() {
    let hooks = Hooks::new();
    let long = "x".repeat(1024 * 1024 + 1);
    let wanted = asked(&hooks, "/", json!({ "body": long }));
    assert_eq!(wanted.header("expect"), Some("100-continue"));
    assert_eq!(wanted.body.len(), long.len());
    // One that says nothing gets it after a second.
    let server = Server::start(|mut exchange| {
        exchange.asked.head = exchange.asked.head.replace("expect", "expected");
        exchange.read_body();
        exchange.send("HTTP/1.1 204 No Content\r\n\r\n");
        Some(exchange.asked)
    });
    hooks.result(&with(&server.url("/"), json!({ "body": long })));
    assert_eq!(server.asked()[0].body.len(), long.len());
    // One that does not want it has its answer heard.
    let server = Server::start(|mut exchange| {
        exchange.send("HTTP/1.1 413 Too Long\r\ncontent-length: 8\r\n\r\ntoo long");
        None
    });
    let error = hooks.fails(&with(&server.url("/"), json!({ "body": long })));
    assert!(
        error.ends_with("413 Payload Too Large: too long"),
        "{error}"
    );
}

const LONG: usize = 1024 * 1024 + 1;

#[test]
fn a_server_that_cannot_be_asked_gets_the_body_at_once() {
    let server = Server::start(|mut exchange| {
        if exchange.asked.header("expect").is_some() {
            exchange.send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n");
            return None;
        }
        exchange.read_body();
        exchange.send("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
        Some(exchange.asked)
    });
    let hooks = Hooks::new();
    let file = hooks.scene.file("body");
    fs::write(&file, "y".repeat(LONG)).unwrap();
    for fields in [
        json!({ "body": "x".repeat(LONG) }),
        json!({ "body_file": file }),
    ] {
        hooks.result(&with(&server.url("/"), fields));
        let asked = server.asked();
        let last = asked.last().unwrap();
        assert_eq!((last.body.len(), last.header("expect")), (LONG, None));
    }
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn each_second_attempt_does_not_ask() {
    let server = Server::start(|mut exchange| {
        exchange.asked.head = exchange.asked.head.replace("expect", "expected");
        exchange.read_body();
        exchange.send("HTTP/1.1 500 Broken\r\nconnection: close\r\n\r\n");
        None
    });
    let hooks = Hooks::new();
    let payload = with(&server.url("/"), json!({ "body": "x".repeat(LONG) }));
    let job = jobq::NewJob::new("webhook").payload(&payload);
    let job = job.max_retries(2).retry_delay(std::time::Duration::ZERO);
    hooks.scene.open().enqueue(job).unwrap();
    for _ in 0..3 {
        hooks.runner().run_due().unwrap();
    }
    let asked = server.asked();
    let asks: Vec<bool> = asked
        .iter()
        .map(|asked| asked.header("expect").is_some())
        .collect();
    assert_eq!(asks, [true, false, true]);
}

#[test]
fn a_file_that_changes_while_it_is_sent_harms_nothing() {
    let hooks = Hooks::new();
    let file = hooks.scene.file("body");
    let changing = |length: u64| {
        let file = file.clone();
        Server::start(move |mut exchange| {
            let changed = fs::File::options().write(true).open(&file).unwrap();
            changed.set_len(length).unwrap();
            exchange.read_body();
            exchange.send("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
            Some(exchange.asked)
        })
    };
    let payload = |server: &Server| with(&server.url("/"), json!({ "body_file": file }));
    fs::write(&file, "x".repeat(LONG)).unwrap();
    let error = hooks.retries(&payload(&changing(1000)));
    assert!(error.contains("the file became shorter"), "{error}");
    fs::write(&file, "x".repeat(LONG)).unwrap();
    let server = changing(2 * LONG as u64);
    hooks.result(&payload(&server));
    assert_eq!(server.asked()[0].body, vec![b'x'; LONG]);
}

#[test]
fn a_colon_in_a_username_is_refused() {
    let mut hooks = Hooks::new();
    hooks.secret("name", "open:sesame", None);
    let server = Server::responding("200 OK", "", "");
    let basic = json!({ "username": { "secret": "name" }, "password": "x" });
    let auth = json!({ "auth": { "basic": basic } });
    let error = hooks.fails(&with(&server.url("/"), auth));
    assert!(
        error.contains("the username of 'auth' has a colon"),
        "{error}"
    );
    assert!(!error.contains("sesame") && server.asked().is_empty());
}

#[test]
fn a_secret_may_be_bound_to_an_address_of_ipv6() {
    let mut hooks = Hooks::new();
    hooks.secret("key", "open-sesame", Some("::1"));
    let auth = json!({ "auth": { "bearer": { "secret": "key" } } });
    // Nobody listens there, but the secret is read.
    let error = hooks.retries(&with("http://[::1]:1/", auth.clone()));
    assert!(!error.contains("'hosts'"), "{error}");
    let error = hooks.fails(&with("http://[::2]:1/", auth));
    assert!(error.contains("'key' is not for ::2"), "{error}");
}

#[test]
fn the_trace_of_the_job_goes_along_unless_the_payload_has_one() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let hooks = Hooks::new();
    let server = Server::responding("200 OK", "", "");
    for (fields, expected) in [
        (json!({}), trace),
        (json!({ "headers": { "Traceparent": "own" } }), "own"),
    ] {
        let payload = with(&server.url("/hook"), fields);
        let job = NewJob::new("webhook").payload(&payload);
        let job = job.traceparent(trace.parse().unwrap());
        hooks.scene.open().enqueue(job).unwrap();
        hooks.runner().run_due().unwrap();
        let asked = server.asked().pop().unwrap();
        assert_eq!(asked.header("traceparent"), Some(expected));
    }
}
