//! Undoing a change that an event records.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::undone::said;
use crate::handlers::exec::EXEC;
use crate::web::access::WriteAccess;
use crate::web::api::update::check_commands;
use crate::web::problem::Problem;
use crate::web::response::Response;
use crate::web::routes::{Answered, Request};
use crate::{Event, EventData, EventFilter, EventId, EventKind, Undone};

#[derive(Serialize)]
struct UndoAnswer {
    undone: String,
    event: Option<EventId>,
}

/// `POST /undo/{event}`.
pub(crate) fn undo(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let id = EventId(request.params.number("event", "event")?);
    let event = request.reader.event(id)?;
    if event.kind == EventKind::Edited {
        check_edit(request, &event)?;
    }
    let since = request.reader.last_event()?;
    let undone = writer
        .undo(id)
        .map_err(|problem| problem_of(request, id, problem))?;
    let later = request.reader.events(EventFilter {
        since,
        job: event.job,
        ..EventFilter::default()
    })?;
    let mut later = later.events.iter();
    Ok(Response::json(&UndoAnswer {
        undone: said(&of_own(request, undone)),
        event: later
            .find(|later| later.undo() == Some(id))
            .map(|later| later.id),
    }))
}

/// The options that a job had before an edit, as far as not everybody may bring them back.
#[derive(Default, Deserialize)]
#[serde(default)]
struct KeptOptions<'a> {
    tenant: Option<String>,
    clear: Vec<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EditData<'a> {
    #[serde(borrow)]
    before: KeptOptions<'a>,
}

/// An edit that a client may not make is not undone for it either.
fn check_edit(request: &Request<'_>, event: &Event) -> Result<(), Problem> {
    let (Some(job), Some(EventData::Text(data))) = (event.job, &event.data) else {
        return Ok(());
    };
    let EditData { before } = serde_json::from_str(data).unwrap_or_default();
    if before.payload.is_some() && request.reader.job(job)?.kind == EXEC {
        check_commands(request)?;
    }
    let Some(own) = request.reader.tenant() else {
        return Ok(());
    };
    let is_of_another = before.tenant.is_some_and(|tenant| tenant != own);
    match is_of_another || before.clear.iter().any(|name| name == "tenant") {
        true => Err(Problem::new(
            "tenant",
            "this token is for jobs of its tenant",
        )),
        false => Ok(()),
    }
}

/// A tenant is told nothing of the jobs of others.
fn of_own(request: &Request<'_>, undone: Undone) -> Undone {
    match undone {
        Undone::Cancel { job, state, .. } if request.reader.tenant().is_some() => Undone::Cancel {
            job,
            state,
            others: 0,
        },
        other => other,
    }
}

/// What stands in the way of an undo may be a job of another tenant.
fn problem_of(request: &Request<'_>, id: EventId, problem: Problem) -> Problem {
    match request.reader.tenant().is_some() && problem.status() == 409 {
        true => Problem::new(
            "wrong-state",
            format!(
                "event {} cannot be undone: it is of another kind, its job has changed since, or another job \
                 stands in the way",
                id.0
            ),
        ),
        false => problem,
    }
}
