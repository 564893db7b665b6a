//! What a client may ask for, and what becomes of one that does not keep to it.

use std::fs;

use jobq::NewJob;
use serde_json::{Value, json};
use tungstenite::Message;

use super::client::{ACME, LiveClient, Served};
use crate::support::{PATIENCE, wait_for};

const UNAUTHORIZED: u16 = 4401;
const AWAY: u16 = 1001;
const UNSUPPORTED: u16 = 1003;
const TOO_BIG: u16 = 1009;

#[test]
fn nothing_is_said_to_a_client_without_its_token() {
    let served = Served::new();
    let mut wrong = served.silent_socket();
    wrong.say(&json!({"token": "everything-0123456789abcdeg"}));
    assert_eq!(wrong.close_code(), UNAUTHORIZED);
    let mut missing = served.silent_socket();
    missing.say(&json!({"sub": 1, "topic": "overview"}));
    assert_eq!(missing.close_code(), UNAUTHORIZED);
    let mut none = served.silent_socket();
    none.0.send(Message::text("no JSON")).unwrap();
    assert_eq!(none.close_code(), UNAUTHORIZED);
    // It waits for two seconds.
    assert_eq!(served.silent_socket().close_code(), UNAUTHORIZED);
}

#[test]
fn the_greeting_says_what_the_token_allows() {
    let served = Served::new();
    served.queue().enqueue(NewJob::new("a")).unwrap();
    let mut client = served.silent_socket();
    client.say(&json!({ "token": ACME }));
    let hello = &client.hear()["hello"];
    assert_eq!(hello["tenant"], "acme");
    assert_eq!(hello["read_only"], false);
    assert_eq!(hello["at"], 1);
    assert_eq!(hello["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_request_that_cannot_be_upgraded_is_answered() {
    let served = Served::new();
    let (head, _) = served.ask_for_socket("Sec-WebSocket-Protocol: jobq.v1\r\n");
    assert!(
        head.to_lowercase()
            .contains("sec-websocket-protocol: jobq.v1"),
        "{head}"
    );
    let (head, _) = served.ask_for_socket("Sec-WebSocket-Version: 8\r\n");
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    let (head, _) = served.ask_for_socket("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    let (head, _) = served.ask_for_socket("Origin: http://evil.example.com\r\n");
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
}

#[test]
fn a_message_that_is_wrong_is_answered_with_a_problem() {
    let served = Served::new();
    let mut client = served.socket();
    client.say(&json!({"sub": 5, "topic": "nothing"}));
    let problem = client.hear();
    assert_eq!(problem["sub"], 5);
    assert_eq!(problem["error"]["status"], 400);
    assert!(
        problem["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("unknown topic 'nothing'")
    );
    client.say(&json!({"sub": 6, "topic": "jobs", "stat": "failed"}));
    assert_eq!(
        client.hear_of(6)["error"]["type"],
        "/problems/unknown-field"
    );
    client.say(&json!({"sub": 7, "topic": "overview"}));
    client.hear_of(7);
    client.say(&json!({"sub": 7, "topic": "jobs"}));
    client.hear_until(7, |frame| frame["error"]["status"] == 400);
}

#[test]
fn a_socket_has_at_most_thirty_two_subscriptions() {
    let served = Served::new();
    let mut client = served.socket();
    for sub in 1..=33 {
        client.say(&json!({"sub": sub, "topic": "events"}));
    }
    assert!(client.hear_of(33)["error"].is_object());
    client.say(&json!({"unsub": 1}));
    client.say(&json!({"sub": 33, "topic": "events"}));
    client.hear_until(33, |frame| frame.get("snapshot").is_some());
}

#[test]
fn large_and_binary_messages_end_the_connection() {
    let served = Served::new();
    let mut client = served.socket();
    client.0.send(Message::text("x".repeat(65 * 1024))).unwrap();
    assert_eq!(client.close_code(), TOO_BIG);
    let mut client = served.socket();
    client.0.send(Message::binary(vec![1, 2, 3])).unwrap();
    assert_eq!(client.close_code(), UNSUPPORTED);
}

#[test]
fn a_server_has_sixty_four_sockets() {
    let served = Served::new();
    let mut clients: Vec<LiveClient> = (0..64).map(|_| served.socket()).collect();
    let (head, _) = served.ask_for_socket("");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    // Requests are answered none the less.
    assert_eq!(served.get("/counts")["counts"]["pending"], 0);
    let mut leaving = clients.pop().unwrap();
    leaving.0.close(None).unwrap();
    while leaving.try_read() {}
    wait_for("there is room again", PATIENCE, || {
        let (head, _) = served.ask_for_socket("");
        head.starts_with("HTTP/1.1 101 ").then_some(())
    });
}

#[test]
fn sockets_are_closed_when_the_server_stops() {
    let mut served = Served::new();
    let mut client = served.socket();
    client.say(&json!({"sub": 1, "topic": "overview"}));
    client.hear_of(1);
    let silent = served.silent_socket();
    served.terminate();
    assert!(client.hear()["closing"].is_string());
    assert_eq!(client.close_code(), AWAY);
    assert_eq!(silent.close_code(), AWAY);
    served.wait().exits(0);
}

/// The resident memory of a process, in KiB.
fn memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// Its frames do not pile up, and it starts anew where it has missed something. Streams wait for it.
#[test]
fn a_slow_reader_is_told_to_resync_and_costs_no_memory() {
    let served = Served::on_unix_socket();
    let queue = served.queue();
    let large = |n: usize| NewJob::new("a").payload(&format!("{n}-{}", "x".repeat(200)));
    queue.enqueue_many((0..200).map(large)).unwrap();
    let mut slow = served.socket();
    slow.say(&json!({"sub": 1, "topic": "jobs", "limit": 200}));
    slow.say(&json!({"sub": 2, "topic": "events", "since": 0}));
    let mut quick = served.socket();
    quick.say(&json!({"sub": 1, "topic": "jobs", "limit": 200}));
    quick.hear_of(1);
    let before = memory_kib(served.pid());
    let mut patches = 0;
    while patches < 20 {
        queue.enqueue_many((0..200).map(large)).unwrap();
        quick.hear_of(1);
        patches += 1;
    }
    let grown = memory_kib(served.pid()).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
    let (mut resync, mut events) = (0, Vec::new());
    let last = queue.last_event().unwrap().0;
    while resync == 0 || events.last() != Some(&last) {
        let frame = slow.hear();
        resync += u32::from(frame["resync"] == true);
        let new = frame["patch"]["events"].as_array().into_iter().flatten();
        events.extend(new.map(|event| event["id"].as_i64().unwrap()));
    }
    assert_eq!(resync, 1);
    assert_eq!(events, (1..=last).collect::<Vec<_>>());
    slow.say(&json!({"sub": 1, "topic": "jobs", "limit": 200}));
    let page: Value = slow.hear_of(1);
    assert_eq!(page["snapshot"]["jobs"].as_array().unwrap().len(), 200);
}
