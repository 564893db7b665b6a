//! Connections are kept from one attempt to the next, and no job fails for that.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use jobq::{NewJob, State};
use serde_json::{Value, json};

use super::{Hooks, with};
use crate::support::{PATIENCE, wait_until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What is done with a request.
#[derive(Clone, Copy)]
enum Reaction {
    Say(&'static str),
    Close,
    Hang,
}
use Reaction::{Close, Hang, Say};

/// A server that keeps its connections.
struct KeepingServer {
    address: SocketAddr,
    /// The connection of each request, as a number.
    asked: Arc<Mutex<Vec<usize>>>,
}

impl KeepingServer {
    /// What it does depends on the number of the connection and that of the request on it.
    fn start(react: impl Fn(usize, usize) -> Reaction + Send + Sync + 'static) -> KeepingServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = KeepingServer {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
        };
        let (asked, react) = (Arc::clone(&server.asked), Arc::new(react));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (asked, react) = (Arc::clone(&asked), Arc::clone(&react));
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.unwrap());
                    let mut number = 0;
                    while read_request(&mut reader) {
                        asked.lock().unwrap().push(connection);
                        match react(connection, number) {
                            Say(answer) => reader.get_mut().write_all(answer.as_bytes()).unwrap(),
                            Close => return,
                            Hang => drop(reader.read_to_end(&mut Vec::new())),
                        }
                        number += 1;
                    }
                });
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn asked(&self) -> Vec<usize> {
        self.asked.lock().unwrap().clone()
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> bool {
    let mut length = 0;
    let mut line = String::new();
    while matches!(reader.read_line(&mut line), Ok(1..)) {
        if line == "\r\n" {
            return reader.read_exact(&mut vec![0; length]).is_ok();
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    false
}

/// Runs these jobs one after the other with the same handler, and returns their states.
fn run(hooks: &Hooks, payloads: &[Value], max_retries: u32) -> Vec<State> {
    let queue = hooks.scene.open();
    let ids: Vec<_> = payloads
        .iter()
        .map(|payload| {
            let job = NewJob::new("webhook").payload(payload);
            queue.enqueue(job.max_retries(max_retries)).unwrap().id
        })
        .collect();
    hooks.runner().run_due().unwrap();
    ids.iter()
        .map(|id| queue.get(*id).unwrap().unwrap().state)
        .collect()
}

#[test]
fn attempts_of_one_handler_share_a_connection() {
    let server = KeepingServer::start(|_, _| Say(OK));
    let hooks = Hooks::new();
    let payload = with(&server.url(), json!({ "body": "x" }));
    let payloads = vec![payload; 4];
    assert_eq!(run(&hooks, &payloads, 3), [State::Completed; 4]);
    assert_eq!(server.asked(), [0; 4]);
    // The next runner has a copy of the settings, which may have other rules.
    assert_eq!(run(&hooks, &payloads[..1], 3), [State::Completed]);
    assert_eq!(server.asked(), [0, 0, 0, 0, 1]);
}

#[test]
fn a_connection_is_for_one_server_and_its_timeouts() {
    let server = KeepingServer::start(|_, _| Say(OK));
    let other = KeepingServer::start(|_, _| Say(OK));
    let payload = |server: &KeepingServer, timeout_ms: u64| {
        with(&server.url(), json!({ "timeout_ms": timeout_ms }))
    };
    let payloads = [
        payload(&server, 20_000),
        payload(&other, 20_000),
        payload(&server, 20_000),
        payload(&server, 30_000),
        payload(&other, 20_000),
    ];
    assert_eq!(run(&Hooks::new(), &payloads, 3), [State::Completed; 5]);
    assert_eq!(server.asked(), [0, 0, 1]);
    assert_eq!(other.asked(), [0, 0]);
}

#[test]
fn a_connection_that_closes_under_a_request_fails_no_job() {
    let key = json!({ "body": "x", "idempotency_key": "k" });
    for (fields, max_retries) in [
        (json!({}), 0),
        (json!({ "method": "PUT", "body": "x" }), 0),
        (key, 0),
        // The next attempt would send it again, too.
        (json!({ "body": "x" }), 1),
    ] {
        let server = KeepingServer::start(|_, number| match number {
            0 => Say(OK),
            _ => Close,
        });
        let payloads = vec![with(&server.url(), fields.clone()); 3];
        let states = run(&Hooks::new(), &payloads, max_retries);
        assert_eq!(states, [State::Completed; 3], "{fields}");
        assert_eq!(server.asked(), [0, 0, 1, 1, 2], "{fields}");
    }
}

#[test]
fn what_must_not_be_sent_twice_has_its_own_connection() {
    let server = KeepingServer::start(|_, number| match number {
        0 => Say(OK),
        _ => Close,
    });
    let payloads = vec![with(&server.url(), json!({ "body": "x" })); 3];
    assert_eq!(run(&Hooks::new(), &payloads, 0), [State::Completed; 3]);
    assert_eq!(server.asked(), [0, 1, 2]);
    // It is not sent again either.
    let closing = KeepingServer::start(|_, _| Close);
    let payloads = vec![with(&closing.url(), json!({ "body": "x" })); 2];
    assert_eq!(run(&Hooks::new(), &payloads, 0), [State::Failed; 2]);
    assert_eq!(closing.asked(), [0, 1]);
}

#[test]
fn a_new_connection_that_closes_is_not_tried_again_at_once() {
    let server = KeepingServer::start(|_, _| Close);
    let payloads = [with(&server.url(), json!({}))];
    assert_eq!(run(&Hooks::new(), &payloads, 3), [State::Scheduled]);
    assert_eq!(server.asked(), [0]);
}

#[test]
fn a_response_that_is_not_read_to_its_end_ends_its_connection() {
    let server = KeepingServer::start(|_, _| Say(OK));
    let payloads = vec![with(&server.url(), json!({ "max_response_bytes": 1 })); 2];
    assert_eq!(run(&Hooks::new(), &payloads, 3), [State::Completed; 2]);
    assert_eq!(server.asked(), [0, 1]);
}

#[test]
fn a_cancelled_attempt_leaves_no_connection_behind() {
    let server = KeepingServer::start(|connection, number| match (connection, number) {
        (0, 1) => Hang,
        _ => Say(OK),
    });
    let hooks = Hooks::new();
    let queue = hooks.scene.open();
    let runner = hooks.runner().workers(1).start().unwrap();
    let enqueue = || {
        let job = NewJob::new("webhook").payload(&with(&server.url(), json!({})));
        queue.enqueue(job).unwrap().id
    };
    let state = |id| queue.get(id).unwrap().unwrap().state;
    let ends = |id, end| wait_until("it has ended", PATIENCE, || state(id) == end);
    ends(enqueue(), State::Completed);
    let hanging = enqueue();
    wait_until("it is asked", PATIENCE, || server.asked().len() == 2);
    queue.cancel(hanging).unwrap();
    ends(hanging, State::Cancelled);
    ends(enqueue(), State::Completed);
    assert_eq!(server.asked(), [0, 0, 1]);
    runner.stop().unwrap();
}

#[test]
fn a_redirect_to_another_server_leaves_a_usable_agent() {
    let end = KeepingServer::start(|_, _| Say(OK));
    let location = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        end.url()
    );
    let location: &'static str = location.leak();
    let start = KeepingServer::start(move |_, _| Say(location));
    let payloads = vec![with(&start.url(), json!({ "redirects": 1 })); 3];
    assert_eq!(run(&Hooks::new(), &payloads, 3), [State::Completed; 3]);
    assert_eq!((start.asked().len(), end.asked().len()), (3, 3));
}
