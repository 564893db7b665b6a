//! The history as a stream: server-sent events, or JSON Lines.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::event::EventJson;
use crate::api::event::WordedEventJson;
use crate::api::json::write_line;
use crate::web::access::ReadAccess;
use crate::web::api::logs::failed;
use crate::web::problem::Problem;
use crate::web::response::{PartWriter, Response};
use crate::web::routes::{Answered, Request};
use crate::web::state::ServerState;
use crate::{Changes, Event, EventFilter, EventId, EventKind, clock};

/// The parameters of the stream.
pub(crate) const EVENTS: &[&str] = &["after", "kind", "job", "limit", "follow"];

/// How long one wait for a change lasts, so that a stop of the server is noticed.
const SLICE: Duration = Duration::from_millis(500);

/// After so long without an event a comment is sent: a client that has gone is noticed by it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How the events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamFormat {
    ServerSent,
    Lines,
}

/// `GET /events`.
pub(crate) fn events(request: &Request<'_>) -> Answered {
    let query = &request.query;
    let accepts = request.head.header("accept").unwrap_or_default();
    let format = match accepts.contains("text/event-stream") {
        true => StreamFormat::ServerSent,
        false => StreamFormat::Lines,
    };
    let follows = format == StreamFormat::ServerSent || query.flag("follow")?;
    // A browser that connects again says which event it has seen last.
    let seen = request
        .head
        .header("last-event-id")
        .and_then(|id| id.parse().ok());
    let since = match seen.map_or_else(|| query.number("after"), |id| Ok(Some(id)))? {
        Some(after) => EventId(after),
        None if follows => request.reader.last_event()?,
        None => EventId(0),
    };
    let kinds = query.list("kind").map(|kind| kind.parse::<EventKind>());
    let filter = EventFilter {
        since,
        job: query.number("job")?.map(crate::JobId),
        kinds: kinds
            .collect::<crate::Result<_>>()
            .map_err(Problem::of_input)?,
        ..EventFilter::default()
    };
    let left = match query.get("limit") {
        None => usize::MAX,
        Some(_) => query.limit(1, usize::MAX)?,
    };
    // A job that is not there is told before the stream begins.
    if let Some(id) = filter.job {
        request.reader.state(id)?;
    }
    let changes = match follows {
        true => Some(request.reader.changes()?),
        false => None,
    };
    let mut stream = EventStream {
        state: Arc::clone(request.state),
        reader: request.reader.clone(),
        filter,
        format,
        left,
        spoke_at: clock::instant(),
    };
    let media_type = match format {
        StreamFormat::ServerSent => "text/event-stream",
        StreamFormat::Lines => "application/jsonl",
    };
    Ok(Response::streamed(
        media_type,
        Box::new(move |parts| stream.run(parts, changes)),
    ))
}

struct EventStream {
    state: Arc<ServerState>,
    reader: ReadAccess,
    filter: EventFilter,
    format: StreamFormat,
    /// How many are still wanted.
    left: usize,
    spoke_at: Instant,
}

impl EventStream {
    fn run(&mut self, parts: &mut PartWriter<'_>, changes: Option<Changes>) -> io::Result<()> {
        let Some(mut changes) = changes else {
            return self.write_new(parts);
        };
        if self.format == StreamFormat::ServerSent {
            // The head of the answer reaches the client with it.
            parts.send(b": jobq\n\n")?;
        }
        while self.left > 0 && !self.state.is_stopped() {
            self.write_new(parts)?;
            let changed = changes.wait(SLICE).map_err(|error| failed(error.into()))?;
            if !changed && self.spoke_at.elapsed() >= KEEP_ALIVE {
                let nothing: &[u8] = match self.format {
                    StreamFormat::ServerSent => b":\n\n",
                    StreamFormat::Lines => b"\n",
                };
                parts.send(nothing)?;
                self.spoke_at = clock::instant();
            }
        }
        Ok(())
    }

    /// Writes what has happened since the last time.
    fn write_new(&mut self, parts: &mut PartWriter<'_>) -> io::Result<()> {
        loop {
            let page = self.reader.events(self.filter.clone()).map_err(failed)?;
            let mut text = Vec::new();
            for event in page.events.iter().take(self.left) {
                self.write_event(&mut text, event)?;
            }
            self.left = self.left.saturating_sub(page.events.len());
            if !text.is_empty() {
                parts.send(&text)?;
                self.spoke_at = clock::instant();
            }
            self.filter.since = page.next;
            if page.at_end || self.left == 0 || self.state.is_stopped() {
                return Ok(());
            }
        }
    }

    fn write_event(&self, text: &mut Vec<u8>, event: &Event) -> io::Result<()> {
        match self.format {
            StreamFormat::Lines => write_line(text, &EventJson(event)),
            StreamFormat::ServerSent => {
                text.extend(format!("id: {}\nevent: {}\ndata: ", event.id.0, event.kind).bytes());
                write_line(text, &WordedEventJson::new(event))?;
                text.push(b'\n');
                Ok(())
            }
        }
    }
}
