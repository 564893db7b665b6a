//! What a job has printed and logged, as JSON.

use std::borrow::Cow;

use serde::Serialize;

use crate::api::json::Time;
use crate::{Event, EventId, EventKind, Level, LogEntry};

/// A piece of output, which may hold several lines, or an entry of the log.
#[derive(Serialize)]
pub struct PieceJson<'a> {
    event: EventId,
    at: Time,
    attempt: Option<u32>,
    pub stream: &'static str,
    level: Option<Level>,
    pub text: Cow<'a, str>,
    fields: Option<serde_json::Value>,
}

impl<'a> PieceJson<'a> {
    /// None for events that are no output.
    pub fn of(event: &'a Event) -> Option<PieceJson<'a>> {
        let bytes = event.data.as_ref().map_or(&b""[..], |data| data.as_bytes());
        let entry = match event.kind {
            EventKind::Log => serde_json::from_slice::<LogEntry>(bytes).ok(),
            _ => None,
        };
        let stream = match event.kind {
            EventKind::Stdout => "stdout",
            EventKind::Stderr => "stderr",
            EventKind::Log => "log",
            _ => return None,
        };
        let level = entry.as_ref().map(|entry| entry.level);
        let (text, fields) = match entry {
            Some(entry) => (Cow::Owned(entry.message), entry.fields),
            None => (String::from_utf8_lossy(bytes), None),
        };
        Some(PieceJson {
            event: event.id,
            at: Time(event.at),
            attempt: event.attempt,
            stream,
            level: level.or((stream == "log").then_some(Level::Info)),
            text,
            fields,
        })
    }
}
