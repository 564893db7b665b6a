//! A client for HTTP that says exactly what it is told to, and a server in this process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use jobq::web::{ListenAddress, Server, ServerHandle};
use jobq::{NewJob, Queue};
use serde_json::Value;

use crate::support::PATIENCE;

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The answer, if it has this status.
    pub(crate) fn is(self, status: u16) -> Answer {
        assert_eq!(
            self.status,
            status,
            "{}\n{}",
            self.head,
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    /// The last part of the type of a problem.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let json = self.json();
        assert_eq!(json["status"], self.status, "{json}");
        json["type"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned()
    }
}

/// A connection to a server.
pub(crate) struct Client {
    pub(crate) reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client {
            reader: BufReader::new(stream),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn read_head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let count = self.reader.read_line(&mut head).unwrap();
            assert!(count > 0, "the connection has ended: {head:?}");
        }
        head
    }

    /// The next answer; that to HEAD has no body.
    pub(crate) fn answer(&mut self, method: &str) -> Answer {
        let head = self.read_head();
        let status = head[9..12].parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if method == "HEAD" || matches!(status, 204 | 304) {
            return answer;
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
        } else if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut answer.body).unwrap();
        } else {
            self.reader.read_to_end(&mut answer.body).unwrap();
        }
        answer
    }

    /// The next part of a body; none at its end.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut size = String::new();
        self.reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.reader.read(&mut [0]).map_or(true, |count| count == 0)
    }
}

/// A file with a server.
pub(crate) struct Site {
    _folder: tempfile::TempDir,
    pub(crate) queue: Queue,
    pub(crate) server: ServerHandle,
}

impl Site {
    pub(crate) fn new() -> Site {
        Site::with(|server| server)
    }

    /// With a server of these settings.
    pub(crate) fn with(settings: impl FnOnce(Server) -> Server) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
        let server = Server::new(queue.clone()).listen("127.0.0.1:0".parse().unwrap());
        let server = settings(server).start().unwrap();
        Site {
            _folder: folder,
            queue,
            server,
        }
    }

    pub(crate) fn address(&self) -> String {
        match self.server.address() {
            ListenAddress::Tcp(address) => address.to_string(),
            other => panic!("{other}"),
        }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.address())
    }

    fn authorization(&self) -> String {
        let token = self.server.token();
        token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        })
    }

    /// A request with these headers, each with its end of line, and no token of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut client = self.connect();
        client.send(request(method, path, headers, body));
        client.answer(method)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &self.authorization(), "")
    }

    /// A change with a JSON body.
    pub(crate) fn change(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = format!("{}Content-Type: application/json\r\n", self.authorization());
        self.ask(method, path, &headers, body)
    }

    pub(crate) fn change_with(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Answer {
        let headers = format!(
            "{}Content-Type: application/json\r\n{headers}",
            self.authorization()
        );
        self.ask(method, path, &headers, body)
    }

    pub(crate) fn add(&self, kind: &str) -> i64 {
        self.queue.enqueue(NewJob::new(kind)).unwrap().id.0
    }
}

pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = match body.is_empty() {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n{body}")
}
