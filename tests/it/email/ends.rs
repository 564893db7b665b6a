//! How a dialogue ends that does not go well, at each of its points.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jobq::handlers::email::Email;
use jobq::{Job, JobRecord, NewJob, State};
use serde_json::json;

use super::Office;
use super::server::{Act, ScriptedServer, say};
use crate::support::process::HelperProgram;
use crate::support::{PATIENCE, wait_for, wait_until};

/// The points of a dialogue, by how the client's line begins.
const POINTS: [&str; 7] = ["greeting", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "."];

fn office(port: u16) -> Office {
    Office::new(port)
        .set("username", "me")
        .set("password", "open sesame")
}

#[test]
fn a_refusal_is_tried_again_or_not_at_each_point() {
    for point in POINTS {
        for (reply, expected) in [
            ("421 closing", true),
            ("451 4.3.0 later", true),
            ("500 what?", false),
            ("535 who?", false),
            ("550 5.7.1 no", false),
            ("554-never\r\n554 ever", false),
        ] {
            let server = ScriptedServer::that(point, say(reply));
            let (is_retried, error) = office(server.port).failed(json!({}));
            assert_eq!(is_retried, expected, "{point} {reply}: {error}");
            let (code, _) = reply.split_at(3);
            assert!(error.contains(code), "{point} {reply}: {error}");
        }
    }
}

#[test]
fn a_server_that_ends_or_hangs_loses_no_mail() {
    let endless = "250 ".to_owned() + &"x".repeat(100_000);
    let many = "250-x\r\n".repeat(20_000);
    for point in POINTS {
        for (act, why) in [
            (Act::Close, "closed"),
            (Act::Hang, "no answer in time"),
            (Act::Drip, "no answer in time"),
            (Act::SayAndClose("250-half".to_owned()), "closed"),
            (say("HTTP/1.1 200 OK"), "not one of SMTP"),
            (say("250-one\r\n251 other"), "two codes"),
            (Act::Say(endless.clone()), "longer than 64 KiB"),
            (Act::Say(many.clone()), "longer than 64 KiB"),
        ] {
            let server = ScriptedServer::that(point, act.clone());
            let office = office(server.port)
                .set("command_timeout", "400ms")
                .set("accept_timeout", "400ms");
            let began = Instant::now();
            let (is_retried, error) = office.failed(json!({}));
            let act = format!("{act:.20?}");
            assert!(is_retried, "{point} {act}: {error}");
            assert!(error.contains(why), "{point} {act}: {error}");
            assert_eq!(
                error.contains("may have been sent"),
                point == ".",
                "{point} {act}: {error}"
            );
            assert!(began.elapsed() < PATIENCE);
        }
    }
}

#[test]
fn an_end_that_nobody_knows_is_tried_again_or_not() {
    for act in [Act::Close, Act::Hang, say("nonsense")] {
        let server = ScriptedServer::that(".", act);
        let office = Office::new(server.port).set("accept_timeout", "300ms");
        let (is_retried, error) = office.failed(json!({ "on_unknown": "fail" }));
        assert!(
            !is_retried && error.contains("may have been sent"),
            "{error}"
        );
        assert!(office.failed(json!({ "onUnknown": "retry" })).0);
    }
}

#[test]
fn a_connection_lost_within_the_message_is_no_doubt() {
    let server = ScriptedServer::start(|line| match line {
        "DATA" => Some(Act::CloseWithinMessage),
        line if line.starts_with("EHLO") => Some(say("250 test")),
        _ => None,
    });
    // More than the sockets hold.
    let text = "All work and no play. ".repeat(400_000);
    let fields = json!({ "text": text, "on_unknown": "fail" });
    let (is_retried, error) = Office::new(server.port).failed(fields);
    assert!(is_retried, "{error}");
    assert!(
        error.starts_with("DATA: ") && !error.contains("may have been"),
        "{error}"
    );
}

#[test]
fn a_server_that_is_not_there_is_tried_again() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (is_retried, error) = Office::new(port).failed(json!({}));
    assert!(is_retried && error.contains("refused"), "{error}");
    let office = Office::new(25)
        .set("host", "no-such-host.invalid")
        .set("tls", "none");
    let (is_retried, error) = office.failed(json!({}));
    assert!(
        is_retried && error.contains("no connection to no-such-host.invalid:25"),
        "{error}"
    );
}

/// The job of a server that hangs, when the attempt was ended and its end is seen; and how long that took.
fn ended(
    office: &Office,
    timeout: Option<Duration>,
    is_there: impl Fn() -> bool,
) -> (JobRecord, Duration) {
    let queue = office.scene.open();
    let runner = queue
        .runner()
        .kind(Email::KIND, office.handler())
        .start()
        .unwrap();
    let mut job = NewJob::new(Email::KIND)
        .payload(&json!({ "to": "ann@x.org", "subject": "s", "text": "t" }))
        .max_retries(0);
    if let Some(timeout) = timeout {
        job = job.timeout(timeout);
    }
    let id = queue.enqueue(job).unwrap().id;
    wait_until("the server hangs", PATIENCE, is_there);
    let began = Instant::now();
    if timeout.is_none() {
        queue.cancel(id).unwrap();
    }
    let job = wait_for("the end", PATIENCE, || {
        queue.get(id).unwrap().filter(|job| job.state.is_final())
    });
    let took = began.elapsed();
    runner.stop().unwrap();
    (job, took)
}

#[test]
fn a_cancel_or_timeout_ends_a_mail_at_each_point() {
    for point in POINTS {
        let server = ScriptedServer::that(point, Act::Hang);
        let is_there = || match point {
            "greeting" => server.said().len() == 1,
            "." => server.messages().len() == 1,
            point => server.count(point) == 1,
        };
        is_cancelled_and_times_out(&office(server.port), is_there, point);
    }
}

fn is_cancelled_and_times_out(office: &Office, is_there: impl Fn() -> bool, point: &str) {
    let (job, took) = ended(office, None, is_there);
    assert_eq!(job.state, State::Cancelled, "{point}: {:?}", job.error);
    assert!(took < Duration::from_secs(1), "{point}: {took:?}");
    let (job, took) = ended(office, Some(Duration::from_millis(300)), || true);
    assert_eq!(job.state, State::Failed);
    let doubt = match point {
        "." => ": the message: the connection was closed; the mail may have been sent",
        _ => "",
    };
    let expected = format!("timed out after 300ms{doubt}");
    assert_eq!(job.error, Some(expected), "{point}");
    assert!(took < Duration::from_millis(1300), "{point}: {took:?}");
}

#[test]
fn a_cancel_or_timeout_ends_the_wait_for_a_connection() {
    let script = "import socket, time; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); s.listen(0)
print(s.getsockname()[1], flush=True); time.sleep(600)";
    let python = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .stdout(Stdio::piped())
        .spawn();
    let Ok(python) = python else {
        return eprintln!("skipped: python3 is not installed");
    };
    let mut python = HelperProgram(python);
    let mut port = String::new();
    BufReader::new(python.0.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    let port = port.trim().parse().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    // It accepts nothing, and what waits for that is full.
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let waiting: Vec<_> = (0..8).map_while(connect).collect();
    assert!(waiting.len() < 8, "the server takes all connections");
    is_cancelled_and_times_out(&office(port), || true, "connect");
}

#[test]
fn a_cancel_of_a_doubtful_mail_fails_it_where_that_is_asked() {
    let server = ScriptedServer::that(".", Act::Hang);
    let office = Office::new(server.port);
    let queue = office.scene.open();
    let runner = queue
        .runner()
        .kind(Email::KIND, office.handler())
        .start()
        .unwrap();
    let fields = json!({ "on_unknown": "fail" });
    let id = office.enqueue(&queue, &fields);
    wait_until("the server hangs", PATIENCE, || {
        server.messages().len() == 1
    });
    runner.stopper().stop_now();
    runner.wait().unwrap();
    let job = queue.get(id).unwrap().unwrap();
    assert_eq!(job.state, State::Failed, "{job:?}");
    assert!(job.error.unwrap().contains("may have been sent"));
}
