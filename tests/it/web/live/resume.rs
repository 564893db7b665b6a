//! What a client hears across cuts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use jobq::{EventFilter, EventId, EventKind, NewJob, Queue};
use serde_json::json;

use super::client::{Served, TOKEN};
use crate::support::{PATIENCE, wait_until};

const WRITERS: usize = 16;

/// The events of the file, as the library reads them.
fn history(queue: &Queue) -> BTreeMap<i64, EventKind> {
    let mut filter = EventFilter::default();
    let mut found = BTreeMap::new();
    loop {
        let page = queue.events(&filter).unwrap();
        found.extend(page.events.iter().map(|event| (event.id.0, event.kind)));
        filter.since = page.next;
        if page.at_end {
            return found;
        }
    }
}

/// Each writer adds and cancels jobs, in its own way to the file, until it is told to stop.
fn write(queue: &Queue, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let id = queue.enqueue(NewJob::new("a")).unwrap().id;
        queue.cancel(id).unwrap();
    }
}

#[test]
fn no_event_is_lost_or_doubled_when_the_server_is_killed() {
    let mut served = Served::new();
    let queues: Vec<Queue> = (0..WRITERS).map(|_| served.queue()).collect();
    let is_over = AtomicBool::new(false);
    let mut heard: Vec<i64> = Vec::new();
    thread::scope(|scope| {
        let writers: Vec<_> = queues
            .iter()
            .map(|queue| scope.spawn(|| write(queue, &is_over)))
            .collect();
        for round in 0..5 {
            let since = heard.last().copied().unwrap_or_default();
            let mut client = served.socket_with(&json!({ "token": TOKEN, "since": since }));
            client.say(&json!({"sub": 1, "topic": "events"}));
            let most = heard.len() + 300;
            while let Some(frame) = client.try_hear() {
                let events = frame["patch"]["events"].as_array();
                heard.extend(
                    events
                        .into_iter()
                        .flatten()
                        .map(|event| event["id"].as_i64().unwrap()),
                );
                // The rest of what the server has sent is lost on the way.
                if heard.len() >= most {
                    break;
                }
            }
            assert!(heard.len() >= most, "round {round}: the connection was cut");
            served.kill();
            served.start();
        }
        is_over.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
    });
    let queue = &queues[0];
    let last = queue.last_event().unwrap();
    let mut client = served.socket_with(&json!({ "token": TOKEN, "since": heard.last() }));
    client.say(&json!({"sub": 1, "topic": "events"}));
    while heard.last().is_none_or(|heard| EventId(*heard) < last) {
        let frame = client.hear();
        let events = frame["patch"]["events"].as_array();
        heard.extend(
            events
                .into_iter()
                .flatten()
                .map(|event| event["id"].as_i64().unwrap()),
        );
    }
    let all: Vec<i64> = history(queue).into_keys().collect();
    assert!(all.len() > 1500, "{}", all.len());
    assert_eq!(heard, all);
}

#[test]
fn a_position_that_is_not_there_yet_is_taken_for_now() {
    let served = Served::new();
    let queue = served.queue();
    queue.enqueue(NewJob::new("a")).unwrap();
    let mut client = served.socket();
    client.say(&json!({"sub": 1, "topic": "events", "since": 1_000_000}));
    assert_eq!(client.hear_of(1)["at"], 1);
    queue.enqueue(NewJob::new("a")).unwrap();
    assert_eq!(client.hear_of(1)["patch"]["events"][0]["id"], 2);
}

#[test]
fn a_websocket_library_of_python_hears_the_same() {
    let python = "/usr/bin/python3";
    let has_library = Command::new(python)
        .args(["-c", "import websockets"])
        .output();
    if !has_library.is_ok_and(|output| output.status.success()) {
        println!("skipped: there are no python3-websockets");
        return;
    }
    let served = Served::new();
    let queue = served.queue();
    for _ in 0..10 {
        queue.enqueue(NewJob::new("a")).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/web/live/client.py");
    let uri = format!("ws://{}/api/v1/live", served.address());
    let mut client = Command::new(python)
        .arg(script)
        .args([&uri, TOKEN, "40"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..30 {
        queue.enqueue(NewJob::new("a")).unwrap();
    }
    wait_until("the client has heard everything", PATIENCE * 2, || {
        client.try_wait().unwrap().is_some()
    });
    let output = client.wait_with_output().unwrap();
    let expected: String = (1..=40).map(|id| format!("{id} job_enqueued\n")).collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}
