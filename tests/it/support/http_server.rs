//! A server that can misbehave exactly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// The request line and the headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        headers
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// A connection on which a request has begun.
pub(crate) struct Exchange {
    pub(crate) asked: Asked,
    reader: BufReader<TcpStream>,
}

impl Exchange {
    /// Reads the rest of the request; a client that waits for a word to send its body gets it.
    pub(crate) fn read_body(&mut self) {
        if self.asked.header("expect").is_some() {
            self.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        let length = self.asked.header("content-length").unwrap_or("0");
        let mut body = vec![0; length.parse().unwrap()];
        if self.reader.read_exact(&mut body).is_ok() {
            self.asked.body = body;
        }
    }

    /// The client may be gone.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Waits until the client closes the connection.
    pub(crate) fn hang(&mut self) {
        let _ = std::io::copy(&mut self.reader, &mut std::io::sink());
    }

    /// One byte after the other, for ever.
    pub(crate) fn drip(&mut self) {
        while self.send("x") {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A server on a port of its own. Its threads end with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// It handles each request, one to a connection, in a thread of its own.
    pub(crate) fn start(
        handle: impl Fn(Exchange) -> Option<Asked> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
        };
        let (asked, handle) = (Arc::clone(&server.asked), Arc::new(handle));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, handle) = (Arc::clone(&asked), Arc::clone(&handle));
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.unwrap());
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if !matches!(reader.read_line(&mut head), Ok(1..)) {
                            return;
                        }
                    }
                    let index = {
                        let mut asked = asked.lock().unwrap();
                        asked.push(Asked {
                            head: head.clone(),
                            body: Vec::new(),
                        });
                        asked.len() - 1
                    };
                    let known = Asked {
                        head,
                        body: Vec::new(),
                    };
                    if let Some(whole) = handle(Exchange {
                        asked: known,
                        reader,
                    }) {
                        asked.lock().unwrap()[index] = whole;
                    }
                });
            }
        });
        server
    }

    /// It reads each request whole, and says this.
    pub(crate) fn saying(answer: impl Into<Vec<u8>>) -> Server {
        let answer = answer.into();
        Server::start(move |mut exchange| {
            exchange.read_body();
            exchange.send(&answer);
            Some(exchange.asked)
        })
    }

    /// A response with this status line, these headers and this body.
    pub(crate) fn responding(status: &str, headers: &str, body: &str) -> Server {
        Server::saying(response(status, headers, body))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

pub(crate) fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
