//! What a job has printed and logged.

use serde::Serialize;

use crate::api::output::PieceJson;
use crate::web::access::ReadAccess;
use crate::web::problem::Problem;
use crate::web::query::{Query, invalid};
use crate::web::response::Response;
use crate::web::routes::{Answered, Request};
use crate::{Event, EventFilter, EventId, EventKind, JobId};

/// The parameters of a window of output.
pub(crate) const LOGS: &[&str] = &["after", "before", "stream", "attempt", "limit", "format"];

/// Maximum number of pieces in a window.
const MAX_LINES: usize = 1000;

#[derive(Serialize)]
struct LogsAnswer<'a> {
    lines: Vec<PieceJson<'a>>,
    next: EventId,
    prev: Option<EventId>,
    at_end: bool,
}

/// `GET /jobs/{id}/logs`.
pub(crate) fn logs(request: &Request<'_>) -> Answered {
    let id = request.job_id()?;
    match request.query.get("format") {
        None | Some("json") => {
            let body = logs_json(&request.reader, id, &request.query)?;
            Ok(Response::of(200, "application/json", body))
        }
        Some("text") => text(request, id),
        Some(other) => Err(invalid("format", other, "json or text is wanted")),
    }
}

/// Which output is asked for.
pub(crate) fn kinds(query: &Query) -> Result<Vec<EventKind>, Problem> {
    match query.get("stream") {
        None => Ok(vec![EventKind::Stdout, EventKind::Stderr, EventKind::Log]),
        Some("stdout") => Ok(vec![EventKind::Stdout]),
        Some("stderr") => Ok(vec![EventKind::Stderr]),
        Some("log") => Ok(vec![EventKind::Log]),
        Some(other) => Err(invalid("stream", other, "stdout, stderr or log is wanted")),
    }
}

/// A window of a job's output as JSON: what comes after an event, or before one.
pub(crate) fn logs_json(reader: &ReadAccess, id: JobId, query: &Query) -> Result<Vec<u8>, Problem> {
    let limit = query.limit(MAX_LINES, MAX_LINES)?;
    let attempt = query.number("attempt")?;
    let is_wanted = |event: &Event| attempt.is_none() || event.attempt.map(i64::from) == attempt;
    let before = query.number("before")?;
    let mut filter = EventFilter {
        job: Some(id),
        since: EventId(query.number("after")?.unwrap_or(0)),
        kinds: kinds(query)?,
        limit: Some(limit),
        ..EventFilter::default()
    };
    let mut events: Vec<Event> = Vec::new();
    let (mut next, mut at_end);
    loop {
        let page = reader.events(filter.clone())?;
        (next, at_end) = (page.next, page.at_end);
        let is_over = |event: &Event| before.is_some_and(|before| event.id.0 >= before);
        let reached = page.events.iter().any(is_over);
        events.extend(
            page.events
                .into_iter()
                .filter(|event| !is_over(event) && is_wanted(event)),
        );
        filter.since = next;
        match before {
            // The last before an event are found from the beginning: a job's output is capped.
            Some(_) => events
                .drain(..events.len().saturating_sub(limit))
                .for_each(drop),
            None if events.len() >= limit => break,
            None => {}
        }
        if at_end || reached {
            break;
        }
    }
    if before.is_none() && events.len() > limit {
        events.truncate(limit);
        next = events[limit - 1].id;
        at_end = false;
    }
    let prev = events.first().map(|event| event.id);
    let answer = LogsAnswer {
        lines: events.iter().filter_map(PieceJson::of).collect(),
        next,
        prev,
        at_end,
    };
    Ok(serde_json::to_vec(&answer).unwrap_or_default())
}

/// All of it as it was printed, streamed.
fn text(request: &Request<'_>, id: JobId) -> Answered {
    let attempt = request.query.number("attempt")?;
    let mut filter = EventFilter {
        job: Some(id),
        since: EventId(request.query.number("after")?.unwrap_or(0)),
        kinds: kinds(&request.query)?,
        ..EventFilter::default()
    };
    let reader = request.reader.clone();
    reader.state(id)?;
    let body = move |parts: &mut crate::web::response::PartWriter<'_>| loop {
        let page = reader.events(filter.clone()).map_err(failed)?;
        let wanted = page
            .events
            .iter()
            .filter(|event| attempt.is_none() || event.attempt.map(i64::from) == attempt);
        for piece in wanted.filter_map(PieceJson::of) {
            let end = if piece.stream == "log" { "\n" } else { "" };
            parts.send(format!("{}{end}", piece.text).as_bytes())?;
        }
        filter.since = page.next;
        if page.at_end {
            return Ok(());
        }
    };
    Ok(Response::streamed(
        "text/plain; charset=utf-8",
        Box::new(body),
    ))
}

/// The answer has begun: its end is missing, and the log of the server says why.
pub(crate) fn failed(problem: Problem) -> std::io::Error {
    log::warn!("an answer is cut off: {problem}");
    std::io::Error::other(problem.to_string())
}
