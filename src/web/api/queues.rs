//! Queues: what is in them, their limits and pauses.

use serde::{Deserialize, Deserializer, Serialize};

use crate::api::clock::now;
use crate::api::json::Time;
use crate::api::queue::QueueJson;
use crate::api::values;
use crate::web::access::WriteAccess;
use crate::web::api::overview::{VerdictItem, items_of};
use crate::web::api::update::{EventAnswer, Subject, event_after};
use crate::web::problem::Problem;
use crate::web::response::Response;
use crate::web::routes::{Answered, Request};
use crate::{EventId, EventKind, QueueLimitsUpdate, QueueRecord, QueueSelector, Rate, Update};

#[derive(Serialize)]
struct QueuesAnswer<'a> {
    queues: Vec<QueueJson<'a>>,
    all_paused_at: Option<Time>,
}

/// `GET /queues`.
pub(crate) fn list(request: &Request<'_>) -> Answered {
    let all_paused = request.reader.all_paused_since()?;
    let queues = request.reader.queues()?;
    Ok(Response::json(&QueuesAnswer {
        queues: queues
            .iter()
            .map(|queue| QueueJson(queue, all_paused))
            .collect(),
        all_paused_at: all_paused.map(Time),
    }))
}

#[derive(Serialize)]
struct QueueAnswer<'a> {
    #[serde(flatten)]
    queue: QueueJson<'a>,
    why: Vec<VerdictItem>,
}

/// `GET /queues/{name}`.
pub(crate) fn queue(request: &Request<'_>) -> Answered {
    let name = request.params.get("name");
    let queue = named(request, name)?;
    Ok(Response::json(&QueueAnswer {
        queue: QueueJson(&queue, request.reader.all_paused_since()?),
        why: items_of(&request.reader, name, now())?,
    }))
}

fn named(request: &Request<'_>, name: &str) -> Result<QueueRecord, Problem> {
    let queues = request.reader.queues()?;
    let found = queues.into_iter().find(|queue| queue.name == name);
    found.ok_or_else(|| Problem::new("not-found", format!("no queue '{name}'")))
}

/// The limits that a client sets; `null` takes one away, and what is not named stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsBody {
    #[serde(default, deserialize_with = "limit")]
    concurrency: Update<u32>,
    #[serde(default, deserialize_with = "rate")]
    rate: Update<Rate>,
    #[serde(default, deserialize_with = "limit")]
    max_size: Update<u64>,
    #[serde(default)]
    weight: Option<u32>,
}

fn limit<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Update<T>, D::Error> {
    Ok(Option::deserialize(value)?.map_or(Update::Clear, Update::Set))
}

fn rate<'de, D: Deserializer<'de>>(value: D) -> Result<Update<Rate>, D::Error> {
    let Some(text) = Option::<String>::deserialize(value)? else {
        return Ok(Update::Clear);
    };
    values::rate(&text)
        .map(Update::Set)
        .map_err(serde::de::Error::custom)
}

#[derive(Serialize)]
struct LimitsAnswer<'a> {
    #[serde(flatten)]
    queue: QueueJson<'a>,
    event: Option<EventId>,
}

/// `PATCH /queues/{name}`.
pub(crate) fn set_limits(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let name = request.params.get("name");
    let body: LimitsBody = request.json()?;
    let limits = QueueLimitsUpdate {
        concurrency: body.concurrency,
        rate: body.rate,
        max_size: body.max_size,
        weight: body.weight.map_or(Update::Keep, Update::Set),
    };
    let since = request.reader.last_event()?;
    let of = (EventKind::QueueLimited, Subject::Queue(name));
    let event = match writer.set_limits(name, limits)? {
        true => event_after(&request.reader, since, of)?,
        false => None,
    };
    let queue = named(request, name)?;
    Ok(Response::json(&LimitsAnswer {
        queue: QueueJson(&queue, request.reader.all_paused_since()?),
        event,
    }))
}

/// `POST /queues/{name}/pause`.
pub(crate) fn pause(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let name = request.params.get("name");
    let of = (EventKind::QueuePaused, Subject::Queue(name));
    switch(request, of, || {
        writer.pause(QueueSelector::Named(name.to_owned()))
    })
}

/// `POST /queues/{name}/resume`.
pub(crate) fn resume(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let name = request.params.get("name");
    let of = (EventKind::QueueResumed, Subject::Queue(name));
    switch(request, of, || {
        writer.resume(QueueSelector::Named(name.to_owned()))
    })
}

/// `POST /pause`.
pub(crate) fn pause_all(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let of = (EventKind::QueuePaused, Subject::AllQueues);
    switch(request, of, || writer.pause(QueueSelector::All))
}

/// `POST /resume`.
pub(crate) fn resume_all(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let of = (EventKind::QueueResumed, Subject::AllQueues);
    switch(request, of, || writer.resume(QueueSelector::All))
}

fn switch(
    request: &Request<'_>,
    of: (EventKind, Subject<'_>),
    change: impl FnOnce() -> Result<bool, Problem>,
) -> Answered {
    let since = request.reader.last_event()?;
    let event = match change()? {
        true => event_after(&request.reader, since, of)?,
        false => None,
    };
    Ok(Response::json(&EventAnswer { event }))
}
