//! What becomes of a response.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Hooks, with};
use crate::support::http_server::{Server, response};

const JSON: &str = "content-type: application/json; charset=utf-8\r\n";

fn result_of(answer: impl Into<Vec<u8>>, fields: Value) -> Value {
    let server = Server::saying(answer);
    Hooks::new().result(&with(&server.url("/path?key=secret"), fields))
}

#[test]
fn a_result_tells_what_came() {
    let body = r#"{"data":{"id":12345678901234567890123},"list":["a"]}"#;
    let headers = format!("{JSON}etag: \"1\"\r\nset-cookie: a=b\r\nlocation: /next?token=1\r\n");
    let fields = json!({ "extract": { "id": "/data/id", "first": "/list/0", "none": "/x" } });
    let server = Server::responding("201 Made", &headers, body);
    let job = Hooks::new().attempt(&with(&server.url("/path?key=secret"), fields));
    let text = job.result.unwrap().get().to_owned();
    assert!(
        text.contains(r#""id":12345678901234567890123,"#),
        "digits stay: {text}"
    );
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(result["status"], 201);
    assert_eq!(result["url"], server.url("/path"));
    assert_eq!(result["bytes"], body.len());
    assert_eq!(result["truncated"], false);
    assert!(result["ms"].as_u64().unwrap() < 30_000);
    assert_eq!(
        result["headers"],
        json!({
            "content-type": "application/json; charset=utf-8", "etag": "\"1\"", "location": server.url("/next"),
        })
    );
    assert_eq!(result["json"]["list"], json!(["a"]));
    assert_eq!(result["extract"]["first"], "a");
    assert_eq!(result["extract"]["none"], Value::Null);
    assert_eq!(result["body"], Value::Null);
}

#[test]
fn bodies_of_all_sorts_are_shown_or_left_out() {
    let deep = format!("{}{}", "[".repeat(99), "]".repeat(99));
    for (headers, body, shown) in [
        ("", "text", json!("text")),
        ("", "", Value::Null),
        (JSON, "{broken", json!("{broken")),
        (JSON, deep.as_str(), json!(deep)),
        (JSON, "1e999", json!("1e999")),
    ] {
        let result = result_of(response("200 OK", headers, body), json!({}));
        assert_eq!(result["body"], shown);
        assert_eq!(result["json"], Value::Null);
    }
    let bytes = [response("200 OK", "", "1234").as_bytes(), b""].concat();
    let bytes = [&bytes[..bytes.len() - 4], &[0xff, 0xfe, 0, 1]].concat();
    let result = result_of(bytes, json!({}));
    assert_eq!(
        (&result["body"], &result["bytes"]),
        (&Value::Null, &json!(4))
    );
    let long = "ü".repeat(40_000);
    let result = result_of(response("200 OK", "", &long), json!({}));
    assert_eq!(result["truncated"], true);
    assert_eq!(result["bytes"], 80_000);
    assert_eq!(result["body"].as_str().unwrap().len(), 64 * 1024);
}

#[test]
fn responses_end_in_each_way_that_http_knows() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n3;x=y\r\nody\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nbody",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody and more",
    ] {
        assert_eq!(result_of(answer, json!({}))["body"], "body", "{answer}");
    }
    for answer in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ] {
        let result = result_of(answer, json!({}));
        assert_eq!(
            (&result["bytes"], &result["body"]),
            (&json!(0), &Value::Null),
            "{answer}"
        );
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
    assert_eq!(result_of(head, json!({ "method": "HEAD" }))["bytes"], 0);
}

#[test]
fn a_response_without_a_body_may_say_that_it_is_compressed() {
    let head = json!({ "method": "HEAD" });
    for (answer, fields) in [
        ("200 OK\r\ncontent-length: 42\r\n", &head),
        ("200 OK\r\ntransfer-encoding: chunked\r\n", &head),
        ("204 No Content\r\n", &json!({})),
        (
            "304 Not Modified\r\ncontent-length: 42\r\n",
            &json!({ "expect": { "status": [304] } }),
        ),
        ("200 OK\r\ncontent-length: 0\r\n", &json!({})),
    ] {
        let answer = format!("HTTP/1.1 {answer}content-encoding: gzip\r\n\r\n");
        let result = result_of(answer, fields.clone());
        assert_eq!(
            (&result["bytes"], &result["body"]),
            (&json!(0), &Value::Null)
        );
    }
    for answer in ["1.1 200 OK\r\ntransfer-encoding: chunked", "1.0 200 OK"] {
        let end = if answer.contains("chunked") {
            "0\r\n\r\n"
        } else {
            ""
        };
        let answer = format!("HTTP/{answer}\r\ncontent-encoding: gzip\r\n\r\n{end}");
        assert_eq!(result_of(answer, json!({}))["bytes"], 0);
    }
    // The beginning of something compressed is not nothing.
    let cut = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x8b\x08";
    let server = Server::saying(*cut);
    Hooks::new().retries(&with(&server.url("/"), json!({})));
}

#[test]
fn numbers_are_expected_by_all_their_digits() {
    let big = "12345678901234567890123";
    let server = Server::responding("200 OK", JSON, &format!(r#"{{"id":{big},"n":1.0}}"#));
    let attempt = |expected: &str| {
        let url = server.url("/");
        let text = format!(r#"{{"url":"{url}","expect":{{"json":{{"/id":{expected},"/n":1}}}}}}"#);
        let payload: Box<serde_json::value::RawValue> = serde_json::from_str(&text).unwrap();
        let hooks = Hooks::new();
        let queue = hooks.scene.open();
        let id = queue
            .enqueue(jobq::NewJob::new("webhook").payload(&payload))
            .unwrap()
            .id;
        hooks.runner().run_due().unwrap();
        queue.get(id).unwrap().unwrap()
    };
    assert_eq!(attempt(big).state, jobq::State::Completed);
    let other = attempt("12345678901234567890124");
    assert_eq!(other.state, jobq::State::Scheduled);
    let error = other.error.unwrap();
    assert!(error.contains("is not 12345678901234567890124"), "{error}");
}

#[test]
fn what_is_expected_decides_over_success() {
    let ready = response("200 OK", JSON, r#"{"state":"ready","n":1}"#);
    for fields in [
        json!({ "expect": { "body": "\"ready\"" } }),
        json!({ "expect": { "json": { "/state": "ready", "/n": 1 } } }),
        json!({ "expect": { "status": ["2xx", 404] } }),
    ] {
        assert_eq!(result_of(ready.clone(), fields)["status"], 200);
    }
    let gone = response("404 Gone", "", "none");
    let fields = json!({ "expect": { "status": ["2xx", 404] } });
    assert_eq!(result_of(gone, fields)["status"], 404);
    let server = Server::saying(ready);
    let hooks = Hooks::new();
    for (expect, why) in [
        (
            json!({ "body": "done" }),
            "200 OK, but the body has no \"done\": {\"state\"",
        ),
        (
            json!({ "json": { "/state": "done" } }),
            "\"/state\" of the body is not \"done\"",
        ),
        (
            json!({ "json": { "/none": 1 } }),
            "the body has no \"/none\"",
        ),
    ] {
        let payload = with(&server.url("/"), json!({ "expect": expect }));
        let error = hooks.retries(&payload);
        assert!(error.contains(why), "{error}");
        let mut payload = payload;
        payload["on_mismatch"] = json!("fail");
        assert_eq!(hooks.fails(&payload), error);
    }
    let error = hooks.fails(&with(
        &server.url("/"),
        json!({ "expect": { "status": [201] } }),
    ));
    assert!(error.contains("200 OK"), "{error}");
}

#[test]
fn a_saved_response_is_whole_or_not_there() {
    let hooks = Hooks::new();
    let path = hooks.scene.file("saved");
    let long = "x".repeat(3 * 1024 * 1024);
    let server = Server::responding("200 OK", "", &long);
    let result = hooks.result(&with(&server.url("/"), json!({ "save_to": path })));
    assert_eq!(result["saved"], json!(path));
    assert_eq!(
        (&result["bytes"], &result["body"]),
        (&json!(long.len()), &Value::Null)
    );
    assert_eq!(result["truncated"], false);
    assert_eq!(fs::read_to_string(&path).unwrap(), long);
    let before = fs::read_dir(hooks.scene.folder()).unwrap().count();
    for (answer, fields, state) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
            json!({}),
            "retried",
        ),
        (
            "HTTP/1.1 500 Broken\r\ncontent-length: 1\r\n\r\nx",
            json!({}),
            "retried",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
            json!({ "expect": { "body": "y" } }),
            "retried",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nnine long",
            json!({ "max_response_bytes": 8 }),
            "failed",
        ),
    ] {
        let server = Server::saying(answer);
        let mut payload = with(&server.url("/"), fields);
        payload["saveTo"] = json!(path);
        match state {
            "failed" => hooks.fails(&payload),
            _ => hooks.retries(&payload),
        };
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            long,
            "the old one stays: {answer}"
        );
    }
    assert_eq!(fs::read_dir(hooks.scene.folder()).unwrap().count(), before);
}

#[test]
fn a_response_is_saved_only_where_it_may_be() {
    let mut hooks = Hooks::new();
    let server = Server::responding("200 OK", "", "x");
    fs::write(hooks.scene.file("saved"), "").unwrap();
    for folder in ["none/saved", "saved/saved"] {
        let payload = with(
            &server.url("/"),
            json!({ "save_to": hooks.scene.file(folder) }),
        );
        let error = hooks.fails(&payload);
        assert!(error.contains("save_to"), "{error}");
    }
    hooks.settings.roots = Some(vec![hooks.scene.file("below")]);
    fs::create_dir(hooks.scene.file("below")).unwrap();
    std::os::unix::fs::symlink(hooks.scene.folder(), hooks.scene.file("below/link")).unwrap();
    std::os::unix::fs::symlink(hooks.scene.file("saved"), hooks.scene.file("below/file")).unwrap();
    for name in ["saved", "below/link/saved", "below/file"] {
        let payload = with(
            &server.url("/"),
            json!({ "save_to": hooks.scene.file(name) }),
        );
        assert!(hooks.fails(&payload).contains("not below the 'roots'"));
        let payload = with(
            &server.url("/"),
            json!({ "body_file": hooks.scene.file(name) }),
        );
        assert!(hooks.fails(&payload).contains("not below the 'roots'"));
    }
    hooks.result(&with(
        &server.url("/"),
        json!({ "save_to": hooks.scene.file("below/saved") }),
    ));
}

#[test]
fn a_response_has_a_limit_and_nothing_beyond_it_is_looked_at() {
    let body = "0123456789";
    let server = Server::responding("200 OK", "", body);
    let hooks = Hooks::new();
    let read = |fields| hooks.result(&with(&server.url("/"), fields));
    let result = read(json!({ "max_response_bytes": 10, "expect": { "body": "9" } }));
    assert_eq!(
        (&result["truncated"], &result["body"]),
        (&json!(false), &json!(body))
    );
    let result = read(json!({ "max_response_bytes": 4 }));
    assert_eq!(
        (&result["truncated"], &result["body"]),
        (&json!(true), &json!("0123"))
    );
    let accents = Server::responding("200 OK", "", "üü");
    let payload = with(&accents.url("/"), json!({ "max_response_bytes": 3 }));
    assert_eq!(hooks.result(&payload)["body"], "ü");
    let limited = json!({ "max_response_bytes": 9, "expect": { "body": "9" } });
    let error = hooks.fails(&with(&server.url("/"), limited));
    assert!(
        error.contains("longer than 9 bytes; 'max_response_bytes'"),
        "{error}"
    );
}

/// What gzip makes of so many zeros.
fn zeros(bytes: usize) -> Option<Vec<u8>> {
    let gzip = Command::new("gzip")
        .arg("-9")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut gzip = gzip.ok()?;
    let mut input = gzip.stdin.take().unwrap();
    std::thread::spawn(move || {
        let piece = vec![b'0'; 1 << 20];
        (0..bytes >> 20).for_each(|_| input.write_all(&piece).unwrap());
    });
    Some(gzip.wait_with_output().unwrap().stdout)
}

#[test]
fn a_gzip_bomb_ends_at_the_limit() {
    let Some(bomb) = zeros(200 << 20) else {
        eprintln!("skipped: there is no gzip");
        return;
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    );
    let answer = [head.as_bytes(), &bomb].concat();
    let result = result_of(answer.clone(), json!({}));
    assert_eq!(
        (&result["bytes"], &result["truncated"]),
        (&json!(1 << 20), &json!(true))
    );
    assert!(result["ms"].as_u64().unwrap() < 5_000, "{result}");
    let hooks = Hooks::new();
    let path = hooks.scene.file("saved");
    let server = Server::saying(answer);
    let limited = json!({ "save_to": path, "max_response_bytes": 1 << 21 });
    let error = hooks.fails(&with(&server.url("/"), limited));
    assert!(error.contains("longer than 2097152 bytes"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_secret_that_the_server_repeats_is_not_told() {
    let mut hooks = Hooks::new();
    hooks.secret("key", "open-sesame-42", None);
    let echo = Server::start(|mut exchange| {
        exchange.read_body();
        let key = exchange.asked.header("x-key").unwrap().to_owned();
        let before = exchange.asked.header("x-before").unwrap().parse().unwrap();
        let status = exchange.asked.header("x-status").unwrap().to_owned();
        let body = format!("{}{key}{}", "-".repeat(before), "-".repeat(5));
        exchange.send(response(&status, "", &body));
        Some(exchange.asked)
    });
    let payload = |status: &str, before: usize| {
        let headers = json!({
            "x-key": { "secret": "key" }, "x-before": before.to_string(), "x-status": status,
        });
        with(
            &echo.url("/"),
            json!({ "headers": headers, "retry_on": [500] }),
        )
    };
    assert_eq!(hooks.result(&payload("200 OK", 2))["body"], "--***-----");
    let error = hooks.retries(&payload("500 Broken", 2));
    assert!(error.ends_with(": --***-----"), "{error}");
    // Cut in the middle of it.
    for before in 1011..1025 {
        let error = hooks.retries(&payload("500 Broken", before));
        assert!(!error.contains("ope"), "{before}: {error}");
    }
    for before in [65_525, 65_530, 65_535] {
        let result = hooks.result(&payload("200 OK", before));
        assert!(!result["body"].as_str().unwrap().contains('o'), "{before}");
    }
}
