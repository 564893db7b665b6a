//! An HTTP server for examples.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Serves on a port of its own and returns the beginning of its URLs. `answer` has the path, and gives a status and a
/// body. Each request has a thread, so an answer may take its time.
pub(crate) fn serve(
    answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // Nobody waits for the response of a client that has gone away.
            thread::spawn(move || respond(&stream, &*answer).unwrap_or_default());
        }
    });
    Ok(url)
}

fn respond(mut stream: &TcpStream, answer: &impl Fn(&str) -> (u16, String)) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok())?
    });
    reader.read_exact(&mut vec![0; length.unwrap_or(0)])?;
    let (status, body) = answer(head.split(' ').nth(1).unwrap_or("/"));
    write!(
        stream,
        "HTTP/1.1 {status} \r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
