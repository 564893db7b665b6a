//! A client of the HTTP API for examples: one request a connection, and the events of the live socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::worker::Anything;

pub(crate) struct ApiClient {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    pub(crate) token: String,
}

impl ApiClient {
    pub(crate) fn get(&self, path: &str) -> Anything<(u16, Value)> {
        self.ask("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Anything<(u16, Value)> {
        self.ask("POST", path, &body.to_string())
    }

    /// The status and the JSON of the answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> Anything<(u16, Value)> {
        let headers = format!(
            "Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.token,
            body.len()
        );
        let (status, mut stream) = self.send(method, path, &headers)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok((status, serde_json::from_str(&answer)?))
    }

    /// Sends a request and reads the head of the answer.
    fn send(&self, method: &str, path: &str, rest: &str) -> Anything<(u16, BufReader<TcpStream>)> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        let request = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: {}\r\n{rest}",
            self.address
        );
        stream.write_all(request.as_bytes())?;
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Err("the server has closed the connection".into());
            }
        }
        let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
        Ok((status, stream))
    }

    /// The events of these kinds, from the first on, that the token may see.
    pub(crate) fn events(&self, kinds: &[&str]) -> Anything<LiveEvents> {
        let (status, stream) = self.send(
            "GET",
            "/live",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        )?;
        if status != 101 {
            return Err(format!("the server has answered {status} in place of an upgrade").into());
        }
        let first_frames = stream.buffer().to_vec();
        let stream = stream.into_inner();
        let mut socket = WebSocket::from_partially_read(stream, first_frames, Role::Client, None);
        let hello = json!({"token": self.token});
        socket.send(Message::text(hello.to_string()))?;
        let wanted = json!({"sub": 1, "topic": "events", "since": 0, "kinds": kinds});
        socket.send(Message::text(wanted.to_string()))?;
        Ok(LiveEvents(socket))
    }
}

/// What the live socket sends of a subscription to events.
pub(crate) struct LiveEvents(WebSocket<TcpStream>);

impl LiveEvents {
    /// Waits for the next frame that has events.
    pub(crate) fn wait(&mut self) -> Anything<Vec<Value>> {
        loop {
            let Message::Text(text) = self.0.read()? else {
                continue;
            };
            let mut frame: Value = serde_json::from_str(&text)?;
            if let Value::Array(events) = frame["patch"]["events"].take() {
                return Ok(events);
            }
            if frame["error"].is_object() || frame["closing"].is_string() {
                return Err(frame.to_string().into());
            }
        }
    }
}
