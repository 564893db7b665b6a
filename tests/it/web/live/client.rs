//! A client of the live socket, and the server that it speaks with.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::{Error, Message, WebSocket};

use crate::cli::support::{Jobq, Output, Running, parse_json};
use crate::support::{PATIENCE, wait_for};

/// Tokens of the server: for everything, for a tenant, and for a tenant to read.
pub(super) const TOKEN: &str = "everything-0123456789abcdef";
pub(super) const ACME: &str = "acme-0123456789abcdef";
const TOKENS: &str = "everything-0123456789abcdef\nacme-0123456789abcdef tenant=acme\n";

/// `jobq serve` in a folder of its own.
pub(super) struct Served {
    pub(super) jobq: Jobq,
    server: Option<Running>,
    listen: String,
}

/// A stream of either kind.
pub(super) trait Connection: Read + Write {}
impl<S: Read + Write> Connection for S {}

impl Served {
    pub(super) fn new() -> Served {
        Served::on(Jobq::new(), "127.0.0.1:0".to_owned())
    }

    /// On a socket of the file system, which holds less on the way than TCP does.
    pub(super) fn on_unix_socket() -> Served {
        let jobq = Jobq::new();
        let listen = format!("unix:{}", jobq.path("web.sock").display());
        Served::on(jobq, listen)
    }

    fn on(jobq: Jobq, listen: String) -> Served {
        jobq.make_database();
        jobq.write("tokens", TOKENS);
        let mut served = Served {
            jobq,
            server: None,
            listen,
        };
        served.start();
        served
    }

    /// Starts it, again on the same port where it had one.
    pub(super) fn start(&mut self) {
        let args = [
            "serve",
            "--json",
            "--token-file",
            "tokens",
            "--listen",
            &self.listen,
        ];
        let server = self.jobq.spawn(&args);
        let printed = wait_for("the server prints its address", PATIENCE, || {
            server.stdout().strip_suffix('\n').map(str::to_owned)
        });
        if self.listen.starts_with("127.0.0.1") {
            let url = parse_json(&printed)["url"].as_str().unwrap().to_owned();
            let rest = url.strip_prefix("http://").unwrap();
            self.listen = rest.split('/').next().unwrap().to_owned();
        }
        self.server = Some(server);
    }

    pub(super) fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().pid()
    }

    pub(super) fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    /// Asks it to stop, as a service manager does.
    pub(super) fn terminate(&self) {
        self.server.as_ref().unwrap().signal(Signal::TERM);
    }

    pub(super) fn wait(&mut self) -> Output {
        self.server.take().unwrap().wait()
    }

    pub(super) fn queue(&self) -> jobq::Queue {
        jobq::Queue::open(self.jobq.db()).unwrap()
    }

    pub(super) fn address(&self) -> &str {
        &self.listen
    }

    pub(super) fn connect(&self) -> Box<dyn Connection> {
        match self.listen.strip_prefix("unix:") {
            Some(path) => {
                let stream = UnixStream::connect(PathBuf::from(path)).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
            None => {
                let stream = TcpStream::connect(&self.listen).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_nodelay(true).unwrap();
                Box::new(stream)
            }
        }
    }

    /// The body of the answer, which is a success.
    pub(super) fn get(&self, path: &str) -> Value {
        self.ask(&format!("GET /api/v1{path} HTTP/1.1\r\n"), "")
    }

    /// The same of a change.
    pub(super) fn post(&self, path: &str, body: &Value) -> Value {
        let head = format!("POST /api/v1{path} HTTP/1.1\r\nContent-Type: application/json\r\n");
        self.ask(&head, &body.to_string())
    }

    fn ask(&self, head: &str, body: &str) -> Value {
        let mut stream = self.connect();
        let request = format!(
            "{head}Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 20"), "{answer}");
        parse_json(body)
    }

    /// The head of the answer to a request for a socket, and the stream behind it.
    pub(super) fn ask_for_socket(&self, headers: &str) -> (String, Box<dyn Connection>) {
        let mut stream = self.connect();
        let request = format!(
            "GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        (String::from_utf8(head).unwrap(), stream)
    }

    /// A socket that has not said anything.
    pub(super) fn silent_socket(&self) -> LiveClient {
        let (head, stream) = self.ask_for_socket("");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        LiveClient(WebSocket::from_raw_socket(stream, Role::Client, None))
    }

    /// A socket that was greeted.
    pub(super) fn socket(&self) -> LiveClient {
        self.socket_with(&json!({ "token": TOKEN }))
    }

    pub(super) fn socket_with(&self, first: &Value) -> LiveClient {
        let mut client = self.silent_socket();
        client.say(first);
        let hello = client.hear();
        assert!(hello["hello"]["at"].is_i64(), "{hello}");
        client
    }
}

/// A client of the live socket.
pub(super) struct LiveClient(pub(super) WebSocket<Box<dyn Connection>>);

impl LiveClient {
    pub(super) fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).unwrap();
    }

    /// The next message; none where the connection was cut.
    pub(super) fn try_hear(&mut self) -> Option<Value> {
        let mut pings = 0;
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => return Some(parse_json(&text)),
                // One every 20 s.
                Ok(Message::Ping(_)) => pings += 1,
                Ok(other) => panic!("{other:?}"),
                Err(Error::Io(_) | Error::Protocol(_) | Error::ConnectionClosed) => return None,
                Err(error) => panic!("{error}"),
            }
            assert!(pings < 4, "no message comes");
        }
    }

    /// Returns false once the connection has ended.
    pub(super) fn try_read(&mut self) -> bool {
        self.0.read().is_ok()
    }

    pub(super) fn hear(&mut self) -> Value {
        self.try_hear().expect("a message")
    }

    /// The next message of a subscription; others are dropped.
    pub(super) fn hear_of(&mut self, sub: u64) -> Value {
        loop {
            let frame = self.hear();
            if frame["sub"] == sub {
                return frame;
            }
        }
    }

    /// Reads on until a message of a subscription makes it so.
    pub(super) fn hear_until(&mut self, sub: u64, mut is_so: impl FnMut(&Value) -> bool) {
        while !is_so(&self.hear_of(sub)) {}
    }

    /// The code that the server closes the connection with.
    pub(super) fn close_code(mut self) -> u16 {
        loop {
            match self.0.read() {
                Ok(Message::Close(Some(CloseFrame { code, .. }))) => return code.into(),
                Ok(Message::Text(_) | Message::Ping(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A page of jobs that follows patches, as a browser has it.
pub(super) fn apply(page: &mut Value, frame: &Value) {
    if let Some(snapshot) = frame.get("snapshot") {
        *page = snapshot.clone();
        return;
    }
    let patch = frame["patch"].as_object().unwrap();
    if !patch.contains_key("upsert") {
        page.as_object_mut().unwrap().extend(patch.clone());
        return;
    }
    let id = |row: &Value| row["id"].as_i64().unwrap();
    let ids = |list: &Value| -> Vec<i64> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_i64().unwrap())
            .collect()
    };
    let mut rows = page["jobs"].as_array().unwrap().clone();
    let removed = ids(&patch["remove"]);
    rows.retain(|row| !removed.contains(&id(row)));
    for row in patch["upsert"].as_array().unwrap() {
        match rows.iter_mut().find(|known| id(known) == id(row)) {
            Some(known) => *known = row.clone(),
            None => rows.push(row.clone()),
        }
    }
    if let Some(order) = patch.get("order") {
        let order = ids(order);
        rows.sort_by_key(|row| order.iter().position(|at| *at == id(row)).unwrap());
    }
    page["jobs"] = rows.into();
    for (name, value) in patch {
        if !["upsert", "remove", "order"].contains(&name.as_str()) {
            page[name] = value.clone();
        }
    }
}
