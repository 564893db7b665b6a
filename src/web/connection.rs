//! One request on its own thread: its body is read, and it is answered.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::web::dispatch::{Accepted, admit};
use crate::web::head::Head;
use crate::web::incoming::IncomingRequest;
use crate::web::problem::Problem;
use crate::web::request_slots::RequestSlot;
use crate::web::response::{Response, WriteHow};
use crate::web::state::ServerState;
use crate::web::stream::ClientStream;

/// How long a body may take in all.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What becomes of the connection.
pub(crate) enum ConnectionEnd {
    /// It waits for its next request, of which these bytes have come.
    Kept(ClientStream, Vec<u8>),
    /// It is answered, and may still send what nobody reads.
    Refused(ClientStream),
    Closed,
}

/// Answers a request.
pub(crate) fn serve(
    state: &Arc<ServerState>,
    work: IncomingRequest,
    slot: RequestSlot,
) -> ConnectionEnd {
    if work.stream.set_nonblocking(false).is_err() {
        return ConnectionEnd::Closed;
    }
    let admitted = admit(state, &work.head);
    if let Ok(Accepted::Connect(connect)) = admitted {
        // It may last for days.
        drop(slot);
        connect(state, work);
        return ConnectionEnd::Closed;
    }
    let IncomingRequest { stream, head, rest } = work;
    let (response, rest) = match admitted {
        // Of a body that nobody reads, the connection could not be told from its next request.
        Err(problem) => (
            Response::from(problem),
            (head.body_bytes == 0).then_some(rest),
        ),
        Ok(Accepted::Answered(response)) => (response, (head.body_bytes == 0).then_some(rest)),
        Ok(Accepted::Connect(_)) => return ConnectionEnd::Closed,
        Ok(Accepted::Route(route)) => match read_body(&stream, &head, rest) {
            Ok((body, rest)) => (route.answer(state, &head, &body), Some(rest)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let late = Problem::new("timeout", "the body did not come within 30 s");
                (Response::from(late), None)
            }
            Err(_) => return ConnectionEnd::Closed,
        },
    };
    log::debug!("{} {} {}", head.method, head.path, response.status);
    let how = WriteHow {
        is_1_1: head.is_1_1,
        is_head: head.method == "HEAD",
        keeps_alive: head.keeps_alive() && rest.is_some() && !state.is_stopped(),
    };
    match (response.write(&stream, how), rest) {
        (Ok(true), Some(rest)) => ConnectionEnd::Kept(stream, rest),
        (Ok(_), _) => ConnectionEnd::Refused(stream),
        (Err(_), _) => ConnectionEnd::Closed,
    }
}

/// The body, and what has come after it.
fn read_body(
    mut stream: &ClientStream,
    head: &Head,
    mut rest: Vec<u8>,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    // Its largest size is checked before.
    let size = usize::try_from(head.body_bytes).unwrap_or(usize::MAX);
    if rest.len() >= size {
        let after = rest.split_off(size);
        return Ok((rest, after));
    }
    if head
        .header("expect")
        .is_some_and(|wish| wish.eq_ignore_ascii_case("100-continue"))
    {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let until = clock::after(clock::instant(), BODY_TIMEOUT);
    let mut buffer = [0; 16 * 1024];
    while rest.len() < size {
        stream.set_read_timeout(left(until)?)?;
        let wanted = buffer.len().min(size - rest.len());
        match stream.read(&mut buffer[..wanted]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => rest.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A read that was given all of the time.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
    Ok((rest, Vec::new()))
}

fn left(until: Instant) -> io::Result<Duration> {
    match until.saturating_duration_since(clock::instant()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}
