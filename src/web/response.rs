//! An answer, and how it is written.

use std::io::{self, Write};

use serde::Serialize;

use crate::web::stream::{ClientStream, TimedWriter};
use std::time::Duration;

/// How long a client may take to read an answer, or the next part of one without an end.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer.
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

/// What an answer holds.
enum Body {
    Whole(Vec<u8>),
    /// Written as it is made. An error in it cuts the connection, so the client sees that the end is missing.
    Streamed(StreamedBody),
}

/// Writes the parts of a body.
pub(crate) type StreamedBody = Box<dyn FnOnce(&mut PartWriter<'_>) -> io::Result<()> + Send>;

impl Response {
    pub(crate) fn of(status: u16, media_type: &str, body: Vec<u8>) -> Response {
        Response {
            status,
            headers: vec![("Content-Type", media_type.to_owned())],
            body: Body::Whole(body),
        }
    }

    /// 200 with JSON.
    pub(crate) fn json(value: &impl Serialize) -> Response {
        Response::json_with(200, value)
    }

    pub(crate) fn json_with(status: u16, value: &impl Serialize) -> Response {
        // A value that serializes into memory does not fail.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Response::of(status, "application/json", body)
    }

    pub(crate) fn empty(status: u16) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body: Body::Whole(Vec::new()),
        }
    }

    pub(crate) fn streamed(media_type: &str, body: StreamedBody) -> Response {
        Response {
            status: 200,
            headers: vec![("Content-Type", media_type.to_owned())],
            body: Body::Streamed(body),
        }
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// Writes it; returns whether the connection can take another request.
    pub(crate) fn write(self, to: &ClientStream, how: WriteHow) -> io::Result<bool> {
        let mut out = TimedWriter::new(to, WRITE_TIMEOUT);
        let is_chunked = matches!(self.body, Body::Streamed(_)) && how.is_1_1;
        let is_kept = how.keeps_alive && (is_chunked || matches!(self.body, Body::Whole(_)));
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let has_policy = self.headers.iter().any(|(name, _)| *name == POLICY.0);
        let usual = USUAL_HEADERS
            .iter()
            .filter(|(name, _)| !has_policy || *name != POLICY.0);
        for (name, value) in usual {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        for (name, value) in &self.headers {
            // What comes from outside cannot begin a header of its own.
            let value: String = value.chars().filter(|char| !char.is_control()).collect();
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match &self.body {
            Body::Whole(_) if matches!(self.status, 204 | 304) => {}
            Body::Whole(body) => head.push_str(&format!("Content-Length: {}\r\n", body.len())),
            Body::Streamed(_) if is_chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Body::Streamed(_) => {}
        }
        if !is_kept {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        match self.body {
            Body::Whole(body) => {
                if !how.is_head && !matches!(self.status, 204 | 304) {
                    bytes.extend(body);
                }
                out.write_all(&bytes)?;
            }
            Body::Streamed(_) if how.is_head => out.write_all(&bytes)?,
            Body::Streamed(body) => {
                out.write_all(&bytes)?;
                let mut parts = PartWriter { out, is_chunked };
                body(&mut parts)?;
                parts.end()?;
            }
        }
        Ok(is_kept)
    }
}

/// What decides how an answer is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteHow {
    pub(crate) is_1_1: bool,
    pub(crate) is_head: bool,
    pub(crate) keeps_alive: bool,
}

const POLICY: (&str, &str) = (
    "Content-Security-Policy",
    "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
);

/// What every answer has: nothing of it is run, framed, guessed or kept.
const USUAL_HEADERS: [(&str, &str); 5] = [
    POLICY,
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-cache, private"),
];

/// Takes the parts of a body that is written as it is made.
pub(crate) struct PartWriter<'a> {
    out: TimedWriter<'a>,
    is_chunked: bool,
}

impl PartWriter<'_> {
    /// Sends a part at once.
    pub(crate) fn send(&mut self, part: &[u8]) -> io::Result<()> {
        if part.is_empty() {
            // An empty chunk would be the end.
            return Ok(());
        }
        self.out.renew();
        if !self.is_chunked {
            return self.out.write_all(part);
        }
        let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
        chunk.extend_from_slice(part);
        chunk.extend_from_slice(b"\r\n");
        self.out.write_all(&chunk)
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.renew();
        match self.is_chunked {
            true => self.out.write_all(b"0\r\n\r\n"),
            false => Ok(()),
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        _ => "Internal Server Error",
    }
}
