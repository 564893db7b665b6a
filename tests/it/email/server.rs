//! A server that says what a test wants, at the moment that it wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does where it would reply.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Says this, and the end of a line.
    Say(String),
    /// Says this and nothing after it.
    SayAndClose(String),
    /// Says nothing until the client has gone.
    Hang,
    /// Says a part of a reply that never ends, byte by byte.
    Drip,
    /// Closes the connection.
    Close,
    /// Invites the message and closes when some of it has come.
    CloseWithinMessage,
}

pub(crate) fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

/// What a client has said in one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) commands: Vec<String>,
    /// The message as it came, without the dot that ends it.
    pub(crate) message: Option<String>,
}

/// Changes what a client has said.
type Note = dyn Fn(&dyn Fn(&mut Said));

type Script = dyn Fn(&str) -> Option<Act> + Send + Sync;

pub(crate) struct ScriptedServer {
    pub(crate) port: u16,
    said: Arc<Mutex<Vec<Said>>>,
}

impl ScriptedServer {
    /// The script is asked at `greeting`, at each command by its line, and at `.` when a message is complete. Where it
    /// says nothing, all is well.
    pub(crate) fn start(script: impl Fn(&str) -> Option<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = ScriptedServer {
            port: listener.local_addr().unwrap().port(),
            said: Arc::default(),
        };
        let (said, script) = (Arc::clone(&server.said), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = {
                    let mut said = said.lock().unwrap();
                    said.push(Said::default());
                    said.len() - 1
                };
                let (said, script) = (Arc::clone(&said), Arc::clone(&script));
                let note = move |note: &dyn Fn(&mut Said)| note(&mut said.lock().unwrap()[number]);
                // A client that goes away is what many tests are about.
                std::thread::spawn(move || talk(&stream, &*script, &note).unwrap_or_default());
            }
        });
        server
    }

    /// That takes all mail.
    pub(crate) fn good() -> Self {
        ScriptedServer::start(|_| None)
    }

    /// That does this at one point, given by how the line begins.
    pub(crate) fn that(begin: &'static str, act: Act) -> Self {
        ScriptedServer::start(move |line| line.starts_with(begin).then(|| act.clone()))
    }

    /// All connections so far.
    pub(crate) fn said(&self) -> Vec<Said> {
        self.said.lock().unwrap().clone()
    }

    /// The messages that are complete.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.said()
            .into_iter()
            .filter_map(|said| said.message)
            .collect()
    }

    /// How many commands begin so.
    pub(crate) fn count(&self, begin: &str) -> usize {
        let said = self.said();
        let commands = said.iter().flat_map(|said| &said.commands);
        commands.filter(|line| line.starts_with(begin)).count()
    }
}

const HELLO: &str = "250-test\r\n250-SIZE 1000000\r\n250-AUTH PLAIN LOGIN\r\n250 SMTPUTF8";

fn usual(line: &str) -> &'static str {
    match line.split_whitespace().next().unwrap_or_default() {
        "greeting" => "220 test",
        "EHLO" => HELLO,
        "DATA" => "354 go on",
        "." => "250 taken as 42",
        "QUIT" => "221 bye",
        _ if line.starts_with("AUTH PLAIN") => "235 welcome",
        _ => "250 ok",
    }
}

fn talk(stream: &TcpStream, script: &Script, note: &Note) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream);
    let mut line = "greeting".to_owned();
    loop {
        let act = script(&line).unwrap_or_else(|| say(usual(&line)));
        match &act {
            Act::Say(text) => write!(&mut &*stream, "{text}\r\n")?,
            Act::SayAndClose(text) => return write!(&mut &*stream, "{text}\r\n"),
            Act::Hang => return lines.read_to_end(&mut Vec::new()).map(drop),
            Act::Drip => loop {
                for byte in b"250-slowly\r\n" {
                    (&*stream).write_all(&[*byte])?;
                    std::thread::sleep(Duration::from_millis(20));
                }
            },
            Act::Close => return Ok(()),
            Act::CloseWithinMessage => {
                write!(&mut &*stream, "354 go on\r\n")?;
                return lines.read_exact(&mut [0; 10]);
            }
        }
        if line == "DATA" && matches!(&act, Act::Say(text) if text.starts_with("354")) {
            let message = message(&mut lines)?;
            note(&|said| said.message = Some(message.clone()));
            ".".clone_into(&mut line);
            continue;
        }
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        line.truncate(line.trim_end().len());
        note(&|said| said.commands.push(line.clone()));
    }
}

/// A message, as a server reads it that takes only CRLF for the end of a line.
fn message(lines: &mut impl BufRead) -> std::io::Result<String> {
    let mut message = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if lines.read_until(b'\n', &mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        match line.strip_prefix(b".") {
            Some(b"\r\n") => return Ok(String::from_utf8(message).unwrap()),
            Some(rest) => message.extend_from_slice(rest),
            None => message.extend_from_slice(&line),
        }
    }
}
