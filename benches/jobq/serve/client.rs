//! The server as a process, and a client that keeps its connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jobq::bench::Spread;
use serde::Deserialize;

pub(super) type Found<T> = Result<T, Box<dyn std::error::Error>>;

/// A `jobq serve` of its own.
pub(super) struct Served {
    process: Child,
    pub(super) address: String,
    pub(super) token: String,
}

/// What it prints once it listens.
#[derive(Deserialize)]
struct Printed {
    url: String,
    token: String,
}

impl Served {
    pub(super) fn start(db: &Path) -> Found<Served> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_jobq"))
            .current_dir(db.parent().unwrap_or(db))
            .env("XDG_CONFIG_HOME", db.parent().unwrap_or(db))
            .args(["--quiet", "--json", "--db"])
            .arg(db)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().ok_or("there is no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let printed: Printed = serde_json::from_str(&line)?;
        let address = printed.url.trim_start_matches("http://");
        let address = address.split('/').next().unwrap_or_default().to_owned();
        Ok(Served {
            process,
            address,
            token: printed.token,
        })
    }

    pub(super) fn client(&self) -> Found<HttpClient> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(HttpClient {
            stream: BufReader::new(stream),
            head: format!(
                "Host: {}\r\nAuthorization: Bearer {}\r\n",
                self.address, self.token
            ),
        })
    }

    /// Its processor time so far: user and system of all threads, from the scheduler.
    pub(super) fn cpu(&self) -> Found<Duration> {
        let mut ns = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            let on_cpu = stat.split_whitespace().next().unwrap_or("0");
            ns += on_cpu.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(ns))
    }

    /// A number of `/proc/PID/FILE`, as it is written there.
    pub(super) fn number(&self, file: &str, name: &str) -> Found<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id()))?;
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        let value = value.and_then(|value| value.split_whitespace().next());
        Ok(value
            .ok_or_else(|| format!("{file} has no {name}"))?
            .parse()?)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // An error only means that it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection to the server.
pub(super) struct HttpClient {
    pub(super) stream: BufReader<TcpStream>,
    head: String,
}

impl HttpClient {
    /// Sends a request and returns the status and the body.
    pub(super) fn send(&mut self, method: &str, path: &str, body: &str) -> Found<(u16, String)> {
        let length = match body.len() {
            0 => String::new(),
            bytes => format!("Content-Type: application/json\r\nContent-Length: {bytes}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{}{length}\r\n{body}",
            self.head
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (status, length) = read_head(&mut self.stream)?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body)?))
    }

    pub(super) fn get(&mut self, path: &str) -> Found<String> {
        match self.send("GET", path, "")? {
            (200, body) => Ok(body),
            (status, body) => Err(format!("GET {path}: {status} {body}").into()),
        }
    }

    /// How long each of some requests takes.
    pub(super) fn times(&mut self, paths: impl Iterator<Item = String>) -> Found<Spread> {
        let mut times = Vec::new();
        for path in paths {
            let began = Instant::now();
            self.get(&path)?;
            times.push(began.elapsed());
        }
        Ok(Spread::new(times))
    }
}

/// The status of an answer and the length of its body.
pub(super) fn read_head(stream: &mut impl BufRead) -> Found<(u16, usize)> {
    let mut status = None;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err("the server has closed the connection".into());
        }
        let line = line.trim_end();
        match (status, line.split_once(": ")) {
            (None, _) => status = line.split(' ').nth(1).and_then(|code| code.parse().ok()),
            (Some(status), None) => return Ok((status, length)),
            (_, Some((name, value))) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse()?;
            }
            _ => {}
        }
    }
}
