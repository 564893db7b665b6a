//! Changes to jobs by hand: edit, cancel, retry, remove.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::built_in::check_payload;
use crate::api::options::{self, with_job_options};
use crate::handlers::exec::EXEC;
use crate::web::access::{ReadAccess, WriteAccess};
use crate::web::problem::Problem;
use crate::web::response::Response;
use crate::web::routes::{Answered, Request};
use crate::web::state::Commands;
use crate::{
    Cancelled, ClearOption, Event, EventData, EventFilter, EventId, EventKind, JobId, JobOptions,
    JobUpdate, State, When, json,
};

/// The event that a change has written.
#[derive(Serialize)]
pub(crate) struct EventAnswer {
    pub(crate) event: Option<EventId>,
}

/// What a change was about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    Job(JobId),
    AllQueues,
    Queue(&'a str),
    Schedule(&'a str),
}

impl Subject<'_> {
    /// Whether an event of a change is about it.
    fn is_of(self, event: &Event) -> bool {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct SubjectNames {
            queue: Option<String>,
            schedule: Option<String>,
        }
        let names = || match &event.data {
            Some(EventData::Text(json)) => serde_json::from_str(json).unwrap_or_default(),
            _ => SubjectNames::default(),
        };
        match self {
            Subject::Job(id) => event.job == Some(id),
            Subject::AllQueues => event.job.is_none() && names().queue.is_none(),
            Subject::Queue(name) => names().queue.as_deref() == Some(name),
            Subject::Schedule(name) => names().schedule.as_deref() == Some(name),
        }
    }
}

/// The newest event of this kind since another. Others may have changed other things meanwhile.
pub(crate) fn event_after(
    reader: &ReadAccess,
    since: EventId,
    (kind, subject): (EventKind, Subject<'_>),
) -> Result<Option<EventId>, Problem> {
    let page = reader.events(EventFilter {
        since,
        job: match subject {
            Subject::Job(id) => Some(id),
            _ => None,
        },
        kinds: vec![kind],
        ..EventFilter::default()
    })?;
    let mut newest_first = page.events.iter().rev();
    let event = newest_first.find(|event| subject.is_of(event));
    Ok(event.map(|event| event.id))
}

#[derive(Serialize)]
struct CancelAnswer {
    id: JobId,
    result: &'static str,
    event: Option<EventId>,
}

/// `POST /jobs/{id}/cancel`.
pub(crate) fn cancel(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let id = request.job_id()?;
    let since = request.reader.last_event()?;
    let (result, kind) = match writer.cancel(id)? {
        Cancelled::Now => ("cancelled", EventKind::Cancelled),
        Cancelled::Requested => ("requested", EventKind::CancelRequested),
    };
    let event = event_after(&request.reader, since, (kind, Subject::Job(id)))?;
    Ok(Response::json(&CancelAnswer { id, result, event }))
}

#[derive(Serialize)]
struct RetryAnswer {
    id: JobId,
    state: State,
}

/// `POST /jobs/{id}/retry`.
pub(crate) fn retry(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let id = request.job_id()?;
    let state = writer.retry(id)?;
    Ok(Response::json(&RetryAnswer { id, state }))
}

/// `DELETE /jobs/{id}`.
pub(crate) fn remove(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    writer.remove(request.job_id()?)?;
    Ok(Response::empty(204))
}

with_job_options! {
    /// The options that an edit sets.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct EditBody {
        #[serde(default, rename = "in", deserialize_with = "options::duration")]
        delay: Option<Duration>,
        #[serde(default, deserialize_with = "options::time")]
        at: Option<Timestamp>,
        payload: Option<Box<RawValue>>,
    }
}

#[derive(Serialize)]
struct EditAnswer {
    id: JobId,
    event: Option<EventId>,
}

/// `PATCH /jobs/{id}`.
pub(crate) fn edit(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let id = request.job_id()?;
    let job = request.reader.job(id)?;
    check_unchanged(request, id)?;
    let update = update_of(request.text()?)?;
    if update.set.has_hooks() || (job.kind == EXEC && update.payload.is_some()) {
        check_commands(request)?;
    }
    if let Some(payload) = &update.payload {
        check_payload(&job.kind, payload).map_err(Problem::of_input)?;
    }
    let since = request.reader.last_event()?;
    writer.edit(id, update)?;
    let event = event_after(
        &request.reader,
        since,
        (EventKind::Edited, Subject::Job(id)),
    )?;
    Ok(Response::json(&EditAnswer { id, event }))
}

/// Refuses to change a command, unless the server was told to take them.
pub(crate) fn check_commands(request: &Request<'_>) -> Result<(), Problem> {
    match request.state.commands {
        Commands::Allowed => Ok(()),
        Commands::Refused => Err(Problem::new(
            "exec",
            "this server changes no commands: they are code that is run",
        )
        .with_hint("start it with `jobq serve --allow-exec`")),
    }
}

/// Refuses an edit of what has changed since the client read it: since the event of its `If-Match`.
fn check_unchanged(request: &Request<'_>, id: JobId) -> Result<(), Problem> {
    if !request.head.has("if-match") {
        return Ok(());
    }
    let mark = request.head.header("if-match").unwrap_or_default();
    if mark == "*" {
        return Ok(());
    }
    let number = mark.trim_matches('"').split('.').next().unwrap_or_default();
    let seen = number.parse().map_err(|_| {
        Problem::new(
            "bad-request",
            "If-Match is the ETag of the job, or the id of an event in quotes",
        )
    })?;
    let later = request.reader.events(EventFilter {
        job: Some(id),
        since: EventId(seen),
        limit: Some(1),
        ..EventFilter::default()
    })?;
    match later.events.first() {
        None => Ok(()),
        Some(event) => Err(Problem::new(
            "changed",
            format!("job {id} has changed since event {seen}"),
        )
        .with("event", event.id.0)
        .with_hint("read it again, and edit what it is now")),
    }
}

/// The change that an object describes: its options are set, and those that are `null` taken away.
fn update_of(text: &str) -> Result<JobUpdate, Problem> {
    let not_object = || Problem::new("invalid", "an edit is a JSON object of options");
    let fields = json::fields(text).ok_or_else(not_object)?;
    let mut clear = Vec::new();
    let mut set = Vec::new();
    for (name, value) in fields {
        match (&*name, value.trim()) {
            ("tags", tags) => {
                let kept = split_tags(tags, &mut clear)?;
                set.push(format!("\"tags\":{kept}"));
            }
            (name, "null") => clear.push(clearable(name)?),
            (name, value) => {
                let name = serde_json::to_string(name).unwrap_or_default();
                set.push(format!("{name}:{value}"));
            }
        }
    }
    let text = format!("{{{}}}", set.join(","));
    let body: EditBody = crate::web::api::enqueue::parse_object(&text)?;
    let when = match (body.delay, body.at) {
        (Some(_), Some(_)) => {
            return Err(Problem::new(
                "invalid",
                "it has both 'in' and 'at'; one is wanted",
            ));
        }
        (Some(delay), None) if delay.is_zero() => Some(When::Now),
        (Some(delay), None) => Some(When::In(delay)),
        (None, at) => at.map(When::At),
    };
    let options = body.options().map_err(Problem::of_input)?;
    Ok(JobUpdate {
        set: JobOptions { when, ..options },
        clear,
        payload: body.payload.map(|payload| payload.get().to_owned()),
        payload_fields: Vec::new(),
    })
}

/// Tags that are `null` are taken away; the others are left as JSON.
fn split_tags(tags: &str, clear: &mut Vec<ClearOption>) -> Result<String, Problem> {
    let wrong = |_| {
        Problem::new(
            "invalid",
            "tags: an object of texts is wanted, null for one to remove",
        )
    };
    let tags: BTreeMap<String, Option<String>> = serde_json::from_str(tags).map_err(wrong)?;
    let mut kept = BTreeMap::new();
    for (name, value) in tags {
        match value {
            Some(value) => drop(kept.insert(name, value)),
            None => clear.push(ClearOption::Tag(name)),
        }
    }
    Ok(serde_json::to_string(&kept).unwrap_or_default())
}

fn clearable(name: &str) -> Result<ClearOption, Problem> {
    Ok(match name {
        "timeout" => ClearOption::Timeout,
        "deadline" => ClearOption::Deadline,
        "tenant" => ClearOption::Tenant,
        "key" => ClearOption::Key,
        "unique" => ClearOption::Unique,
        "unique_for" => ClearOption::UniqueFor,
        other => {
            return Err(
                Problem::new("invalid", format!("'{other}' cannot be taken away")).with_hint(
                    "null goes with timeout, deadline, tenant, key, unique, unique_for and tags",
                ),
            );
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_sets_what_has_a_value_and_clears_what_is_null() {
        let text = r#"{"priority":"high","timeout":null,"tags":{"a":"1","b":null},"in":"0s","payload":{"n":1.00}}"#;
        let update = update_of(text).unwrap();
        assert_eq!(update.set.priority, Some(crate::Priority::High));
        assert_eq!(update.set.when, Some(When::Now));
        assert_eq!(update.set.tags["a"], "1");
        assert_eq!(
            update.clear,
            [ClearOption::Timeout, ClearOption::Tag("b".into())]
        );
        assert_eq!(update.payload.as_deref(), Some(r#"{"n":1.00}"#));
    }

    #[test]
    fn a_wrong_edit_is_refused_by_name() {
        for (text, status) in [
            ("[]", 422),
            (r#"{"priorty":"high"}"#, 422),
            (r#"{"priority":null}"#, 422),
            (r#"{"tags":[1]}"#, 422),
            (r#"{"in":"1s","at":"10:00"}"#, 422),
        ] {
            assert_eq!(update_of(text).unwrap_err().status(), status, "{text}");
        }
    }
}
