//! `jobq serve` and `jobq run --serve`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;

use super::support::{Jobq, Running};
use crate::support::{PATIENCE, wait_for, wait_until};

/// The line that a server prints once it listens.
fn line(running: &Running) -> String {
    wait_for("the address", PATIENCE, || {
        let text = running.stdout();
        text.ends_with('\n').then(|| text.trim_end().to_owned())
    })
}

/// The address and the token of `http://127.0.0.1:1/#token=…`.
fn parts(url: &str) -> (String, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (address, token) = rest.split_once("/#token=").unwrap();
    (address.to_owned(), token.to_owned())
}

fn ask(address: &str, token: &str, request: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_prints_its_address_and_ends_with_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let jobq = Jobq::new();
        let server = jobq.spawn(&["serve", "--listen", "127.0.0.1:0"]);
        let (address, token) = parts(&line(&server));
        let answer = ask(&address, &token, "GET /api/v1/counts", "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        server.signal(signal);
        let ended = server.wait().exits(0);
        assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
        assert!(TcpStream::connect(&address).is_err());
    }
}

#[test]
fn a_program_gets_the_address_and_the_token_as_json() {
    let jobq = Jobq::new();
    jobq.make_database();
    let args = ["serve", "--listen", "127.0.0.1:0", "--read-only", "--json"];
    let server = jobq.spawn(&args);
    let json: Value = serde_json::from_str(&line(&server)).unwrap();
    let (address, token) = parts(json["url"].as_str().unwrap());
    assert_eq!(json["token"], token.as_str());
    let answer = ask(&address, &token, "POST /api/v1/pause", "");
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("read-only"),
        "{answer}"
    );
    // The port is taken now.
    let other = jobq.run(&["serve", "--listen", &address]).exits(1);
    assert!(
        other
            .stderr
            .contains(&format!("cannot listen on {address}")),
        "{}",
        other.stderr
    );
    assert!(
        other.stderr.contains("--listen 127.0.0.1:0"),
        "{}",
        other.stderr
    );
    server.signal(Signal::TERM);
    server.wait().exits(0);
}

#[test]
fn jobs_over_http_get_the_defaults_of_the_config_file() {
    let jobq = Jobq::new();
    jobq.write(
        "jobq.toml",
        "[defaults]\nretries = 7\n[kinds.resize]\ncommand = [\"true\"]\npriority = \"high\"\n",
    );
    let server = jobq.spawn(&["serve", "--listen", "127.0.0.1:0"]);
    let (address, token) = parts(&line(&server));
    let answer = ask(
        &address,
        &token,
        "POST /api/v1/jobs",
        r#"{"kind":"resize"}"#,
    );
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let job = jobq.job(1);
    assert_eq!(
        (&job["max_retries"], &job["priority"]),
        (&7.into(), &"high".into())
    );
    let refused = ask(
        &address,
        &token,
        "POST /api/v1/jobs",
        r#"{"command":["true"]}"#,
    );
    assert!(
        refused.starts_with("HTTP/1.1 403") && refused.contains("--allow-exec"),
        "{refused}"
    );
    server.signal(Signal::TERM);
    server.wait().exits(0);
}

#[test]
fn a_runner_serves_the_page_as_well() {
    let jobq = Jobq::new();
    let runner = jobq.spawn(&["run", "--serve", "127.0.0.1:0", "--allow-exec"]);
    let url = wait_for("the address", PATIENCE, || {
        let said = runner.stderr();
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("serving "))?;
        Some(line.to_owned())
    });
    let (address, token) = parts(&url);
    let answer = ask(
        &address,
        &token,
        "POST /api/v1/jobs",
        r#"{"command":["sh","-c","exit 0"]}"#,
    );
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let done = ask(&address, &token, "GET /api/v1/jobs/1?wait=30s", "");
    assert!(done.contains("\"state\":\"completed\""), "{done}");
    runner.signal(Signal::TERM);
    runner.wait().exits(0);
}

#[test]
fn a_socket_of_the_file_system_is_removed_at_the_end() {
    let jobq = Jobq::new();
    let socket = jobq.path("jobq.sock");
    let address = format!("unix:{}", socket.display());
    let server = jobq.spawn(&["serve", "--listen", &address]);
    assert!(line(&server).starts_with(&address));
    assert_eq!(
        socket.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    jobq.run(&["serve", "--listen", &address]).exits(1);
    server.signal(Signal::TERM);
    server.wait().exits(0);
    assert!(!socket.exists());
}

#[test]
fn tokens_and_payloads_are_in_no_log() {
    let jobq = Jobq::new();
    let call = jobq.call(&["serve", "--listen", "127.0.0.1:0", "-vvv"]);
    let server = call.env("RUST_LOG", "trace").spawn();
    let (address, token) = parts(&line(&server));
    ask(
        &address,
        &token,
        "POST /api/v1/jobs",
        r#"{"kind":"k","payload":"hush-hush"}"#,
    );
    ask(
        &address,
        &token,
        "POST /api/v1/jobs",
        r#"{"kind":"k","payload":"hush-hush"#,
    );
    ask(&address, &token, "GET /api/v1/jobs?text=hush-hush", "");
    ask(&address, "wrong-token-of-somebody", "GET /api/v1/jobs", "");
    server.signal(Signal::TERM);
    let ended = server.wait().exits(0);
    assert!(
        ended.stderr.contains("POST /api/v1/jobs 201"),
        "{}",
        ended.stderr
    );
    for secret in [&*token, "hush-hush", "wrong-token-of-somebody"] {
        assert!(!ended.stderr.contains(secret), "{secret}: {}", ended.stderr);
    }
}

#[test]
fn other_machines_are_let_in_with_a_token_file_only() {
    let jobq = Jobq::new();
    for args in [
        &["serve", "--listen", "0.0.0.0:0"][..],
        &["serve", "--listen", "0.0.0.0:0", "--allow-remote"],
    ] {
        let refused = jobq.run(args).exits(2);
        assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    }
    let tokens = jobq.write("tokens", "short\n");
    let tokens = tokens.to_str().unwrap();
    let refused = jobq.run(&["serve", "--token-file", tokens]).exits(2);
    assert!(refused.stderr.contains("line 1"), "{}", refused.stderr);
    jobq.run(&["serve", "--token-file", tokens, "--no-token"])
        .exits(2);
}

/// Each job is cancelled with its history and the counters, or not at all.
#[test]
fn a_server_killed_in_a_bulk_change_leaves_nothing_half() {
    const JOBS: u64 = 20_000;
    let jobq = Jobq::new();
    let lines = "{\"kind\":\"k\"}\n".repeat(usize::try_from(JOBS).unwrap());
    jobq.enqueue_batch(&lines).exits(0);
    let server = jobq.spawn(&["serve", "--listen", "127.0.0.1:0"]);
    let (address, token) = parts(&line(&server));
    let body = r#"{"action":"cancel","filter":{"search":"kind:k"}}"#;
    let answer = ask(&address, &token, "POST /api/v1/jobs/bulk", body);
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    wait_until("the first are cancelled", PATIENCE, || {
        jobq.count("cancelled") > 0
    });
    server.kill();
    let cancelled = jobq.count("cancelled");
    assert_eq!(jobq.count("pending") + cancelled, JOBS);
    jobq.run(&["doctor"]).exits(0);
    let events = ["events", "--kind", "job_cancelled"];
    assert_eq!(jobq.json_lines(&events).len() as u64, cancelled);
}

#[test]
fn a_full_file_is_told_apart_and_reads_go_on() {
    let jobq = Jobq::new();
    let server = jobq.spawn(&["serve", "--listen", "127.0.0.1:0"]);
    let (address, token) = parts(&line(&server));
    let job = format!(r#"{{"kind":"k","payload":"{}"}}"#, "x".repeat(100_000));
    server.limit_files(Some(1_000_000));
    let mut taken = 0;
    let refused = loop {
        let answer = ask(&address, &token, "POST /api/v1/jobs", &job);
        if !answer.starts_with("HTTP/1.1 201") {
            break answer;
        }
        taken += 1;
    };
    assert!(
        refused.starts_with("HTTP/1.1 507") && refused.contains("/problems/file-full"),
        "{refused}"
    );
    let counts = ask(&address, &token, "GET /api/v1/counts", "");
    assert!(
        counts.contains(&format!("\"pending\":{taken},")),
        "{counts}"
    );
    server.limit_files(None);
    let answer = ask(&address, &token, "POST /api/v1/jobs", &job);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    server.signal(Signal::TERM);
    server.wait().exits(0);
}
