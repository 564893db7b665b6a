//! A mail server for examples, which keeps the mail that it takes.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

pub(crate) struct SmtpSink {
    pub(crate) port: u16,
    /// What was taken, with its headers.
    pub(crate) mails: Receiver<String>,
}

impl SmtpSink {
    /// Takes mail on a port of its own. `reply_to` gives the reply to a line that names a recipient.
    pub(crate) fn start(
        reply_to: impl Fn(&str) -> &'static str + Send + Sync + 'static,
    ) -> Result<SmtpSink> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (taken, mails) = channel();
        let reply_to = Arc::new(reply_to);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (reply_to, taken) = (Arc::clone(&reply_to), taken.clone());
                // A client may go away in the middle.
                thread::spawn(move || talk(&stream, &*reply_to, &taken).unwrap_or_default());
            }
        });
        Ok(SmtpSink { port, mails })
    }
}

fn talk(
    mut stream: &TcpStream,
    reply_to: &impl Fn(&str) -> &'static str,
    taken: &Sender<String>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream).lines();
    write!(stream, "220 sink\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let reply = match line.split(' ').next().unwrap_or_default() {
            "RCPT" => reply_to(&line),
            "DATA" => {
                write!(stream, "354 go on\r\n")?;
                let mut mail = String::new();
                loop {
                    match lines.next().transpose()? {
                        Some(line) if line == "." => break,
                        Some(line) => mail.push_str(&(line + "\n")),
                        None => return Ok(()),
                    }
                }
                let _ = taken.send(mail);
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        write!(stream, "{reply}\r\n")?;
    }
    Ok(())
}
