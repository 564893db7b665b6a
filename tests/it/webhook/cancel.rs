//! A cancel and a timeout end a request at once.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use jobq::{NewJob, Queue, State};
use serde_json::{Value, json};

use super::{Hooks, with};
use crate::support::http_server::{Exchange, Server};
use crate::support::{PATIENCE, wait_until};

/// A second, and what a busy machine needs. Without a cancel it would be 30.
const SOON: Duration = Duration::from_secs(3);

fn server(handle: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Server {
    Server::start(move |mut exchange| {
        handle(&mut exchange);
        None
    })
}

/// Servers that keep a request for ever.
fn keeping() -> [Server; 5] {
    [
        server(Exchange::hang),
        server(|exchange| {
            exchange.send("HTTP/1.1 200 OK\r\nx-a: ");
            exchange.drip();
        }),
        server(|exchange| {
            exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
            exchange.drip();
        }),
        // A response that its end cannot be told from.
        server(|exchange| {
            exchange.send("HTTP/1.0 200 OK\r\n\r\n");
            exchange.drip();
        }),
        server(|exchange| {
            exchange.send("HTTP/1.1 500 Broken\r\n\r\n");
            exchange.drip();
        }),
    ]
}

fn enqueue(queue: &Queue, payload: &Value) -> jobq::JobId {
    queue
        .enqueue(NewJob::new("webhook").payload(payload))
        .unwrap()
        .id
}

fn state(queue: &Queue, id: jobq::JobId) -> State {
    queue.get(id).unwrap().unwrap().state
}

#[test]
fn a_cancel_ends_a_request_wherever_it_is() {
    for server in keeping() {
        let hooks = Hooks::new();
        let queue = hooks.scene.open();
        let runner = hooks.runner().start().unwrap();
        let id = enqueue(&queue, &with(&server.url("/"), json!({})));
        wait_until("it is asked", PATIENCE, || !server.asked().is_empty());
        std::thread::sleep(Duration::from_millis(100));
        queue.cancel(id).unwrap();
        wait_until("it is cancelled", SOON, || {
            state(&queue, id) == State::Cancelled
        });
        runner.stop().unwrap();
    }
}

#[test]
fn a_cancel_ends_a_body_that_is_being_sent() {
    let hooks = Hooks::new();
    let path = hooks.scene.file("long");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let server = server(|exchange| {
        exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        std::thread::sleep(PATIENCE);
    });
    let queue = hooks.scene.open();
    let runner = hooks.runner().start().unwrap();
    let id = enqueue(
        &queue,
        &with(&server.url("/"), json!({ "body_file": path })),
    );
    wait_until("it is asked", PATIENCE, || !server.asked().is_empty());
    std::thread::sleep(Duration::from_millis(300));
    queue.cancel(id).unwrap();
    wait_until("it is cancelled", SOON, || {
        state(&queue, id) == State::Cancelled
    });
    runner.stop().unwrap();
}

#[test]
fn a_cancel_ends_a_tls_handshake() {
    // It takes the connection and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let hooks = Hooks::new();
    let queue = hooks.scene.open();
    let runner = hooks.runner().start().unwrap();
    let fields = json!({ "connect_timeout_ms": 60_000, "timeout_ms": 60_000 });
    let id = enqueue(&queue, &with(&url, fields));
    let (mut stream, _) = listener.accept().unwrap();
    std::io::Read::read_exact(&mut stream, &mut [0; 5]).unwrap();
    queue.cancel(id).unwrap();
    wait_until("it is cancelled", SOON, || {
        state(&queue, id) == State::Cancelled
    });
    runner.stop().unwrap();
}

#[test]
fn a_timeout_of_the_job_ends_a_request_and_is_a_failed_try() {
    let server = server(Exchange::hang);
    let hooks = Hooks::new();
    let queue = hooks.scene.open();
    let runner = hooks.runner().start().unwrap();
    let payload = with(&server.url("/"), json!({}));
    let job = NewJob::new("webhook").payload(&payload);
    let id = queue
        .enqueue(job.timeout(Duration::from_millis(200)))
        .unwrap()
        .id;
    wait_until("it has failed", Duration::from_secs(3), || {
        state(&queue, id) == State::Scheduled
    });
    let job = queue.get(id).unwrap().unwrap();
    assert_eq!(job.error.as_deref(), Some("timed out after 200ms"));
    runner.stop().unwrap();
}

#[test]
fn a_stop_of_the_runner_gives_a_request_back() {
    let server = server(Exchange::hang);
    let hooks = Hooks::new();
    let queue = hooks.scene.open();
    let runner = hooks
        .runner()
        .stop_timeout(Duration::from_millis(100))
        .start()
        .unwrap();
    let id = enqueue(&queue, &with(&server.url("/"), json!({})));
    wait_until("it is asked", PATIENCE, || !server.asked().is_empty());
    let began = Instant::now();
    runner.stop().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(state(&queue, id), State::Pending);
}

#[test]
fn a_cancel_ends_the_wait_for_a_connection() {
    // Nobody accepts: once its backlog is full, a connection is neither made nor refused.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut backlog = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        backlog.push(stream);
        assert!(backlog.len() < 10_000, "the backlog has an end");
    }
    let hooks = Hooks::new();
    let queue = hooks.scene.open();
    let runner = hooks.runner().start().unwrap();
    let fields = json!({ "connect_timeout_ms": 60_000, "timeout_ms": 60_000 });
    let id = enqueue(&queue, &with(&format!("http://{address}/"), fields));
    wait_until("it runs", PATIENCE, || state(&queue, id) == State::Running);
    std::thread::sleep(Duration::from_millis(100));
    queue.cancel(id).unwrap();
    wait_until("it is cancelled", SOON, || {
        state(&queue, id) == State::Cancelled
    });
    runner.stop().unwrap();
}
