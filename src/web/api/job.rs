//! One job: its record, attempts, history, and what it holds.

use std::time::Duration;

use serde::Serialize;

use crate::api::clock::now;
use crate::api::event::WordedEventJson;
use crate::api::job::JobJson;
use crate::api::job_in_full::{AttemptJson, JobInFullJson};
use crate::api::values;
use crate::api::why::others::names_others;
use crate::api::why::{Explanation, WhyJson, explain};
use crate::web::access::ReadAccess;
use crate::web::api::remedy::{ActionJson, of_job};
use crate::web::problem::Problem;
use crate::web::response::Response;
use crate::web::routes::{Answered, Request};
use crate::{AttemptRecord, EventFilter, EventId, JobId, Why, clock};

/// Maximum time to wait for a job's end.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long one wait for a change lasts, so that a stop of the server is noticed.
const WAIT_SLICE: Duration = Duration::from_millis(500);

impl Request<'_> {
    /// The job of the address.
    pub(crate) fn job_id(&self) -> Result<JobId, Problem> {
        self.params.number("id", "job").map(JobId)
    }
}

#[derive(Serialize)]
struct JobAnswer<'a> {
    #[serde(flatten)]
    job: JobInFullJson<'a>,
    at: EventId,
}

/// `GET /jobs/{id}`, and with `wait` once the job is final or the time is up.
pub(crate) fn job(request: &Request<'_>) -> Answered {
    let id = request.job_id()?;
    if let Some(patience) = request.query.parsed("wait", values::duration)? {
        wait(request, id, patience.min(MAX_WAIT))?;
    }
    Ok(Response::of(
        200,
        "application/json",
        job_json(&request.reader, id)?,
    ))
}

/// A job in full as JSON.
pub(crate) fn job_json(reader: &ReadAccess, id: JobId) -> Result<Vec<u8>, Problem> {
    let at = reader.last_event()?;
    let job = reader.job(id)?;
    let attempts = reader.attempts(id)?;
    let told = told(reader, id, &reader.why(id)?);
    let answer = JobAnswer {
        job: JobInFullJson {
            job: JobJson(&job),
            attempts: attempts.iter().map(AttemptJson).collect(),
            why: told.json(),
        },
        at,
    };
    Ok(serde_json::to_vec(&answer).unwrap_or_default())
}

fn wait(request: &Request<'_>, id: JobId, patience: Duration) -> Result<(), Problem> {
    let until = clock::after(clock::instant(), patience);
    let mut changes = request.reader.changes()?;
    while !request.reader.state(id)?.is_final() && !request.state.is_stopped() {
        let left = until.saturating_duration_since(clock::instant());
        if left.is_zero() {
            break;
        }
        changes.wait(left.min(WAIT_SLICE))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct AttemptsAnswer<'a> {
    attempts: Vec<AttemptJson<'a>>,
}

/// `GET /jobs/{id}/attempts`.
pub(crate) fn attempts(request: &Request<'_>) -> Answered {
    let attempts: Vec<AttemptRecord> = request.reader.attempts(request.job_id()?)?;
    let attempts = attempts.iter().map(AttemptJson).collect();
    Ok(Response::json(&AttemptsAnswer { attempts }))
}

#[derive(Serialize)]
struct HistoryAnswer<'a> {
    events: Vec<WordedEventJson<'a>>,
    next: EventId,
    at_end: bool,
}

/// `GET /jobs/{id}/events`.
pub(crate) fn events(request: &Request<'_>) -> Answered {
    let page = request.reader.events(EventFilter {
        job: Some(request.job_id()?),
        since: EventId(request.query.number("after")?.unwrap_or(0)),
        limit: Some(request.query.limit(200, 1000)?),
        ..EventFilter::default()
    })?;
    Ok(Response::json(&HistoryAnswer {
        events: page.events.iter().map(WordedEventJson::new).collect(),
        next: page.next,
        at_end: page.at_end,
    }))
}

#[derive(Serialize)]
struct WhyAnswer<'a> {
    #[serde(flatten)]
    why: WhyJson<'a>,
    action: Option<ActionJson>,
}

/// `GET /jobs/{id}/why`.
pub(crate) fn why(request: &Request<'_>) -> Answered {
    let id = request.job_id()?;
    let why = request.reader.why(id)?;
    let told = told(&request.reader, id, &why);
    let speaks_of_others = request.reader.tenant().is_some() && names_others(&why);
    let action = of_job(id, &why).filter(|_| !speaks_of_others);
    Ok(Response::json(&WhyAnswer {
        why: told.json(),
        action,
    }))
}

/// The words of a rule. A tenant is told nothing of the jobs of others.
fn told(reader: &ReadAccess, id: JobId, why: &Why) -> Explanation {
    let told = explain(id, why, now());
    match reader.tenant().is_some() && names_others(why) {
        true => told.without_reason(id),
        false => told,
    }
}

/// `GET /jobs/{id}/payload`.
pub(crate) fn payload(request: &Request<'_>) -> Answered {
    let id = request.job_id()?;
    let job = request.reader.job(id)?;
    Ok(download(
        job.payload.get(),
        &format!("job-{id}-payload.json"),
    ))
}

/// `GET /jobs/{id}/result`.
pub(crate) fn result(request: &Request<'_>) -> Answered {
    let id = request.job_id()?;
    let job = request.reader.job(id)?;
    match &job.result {
        Some(result) => Ok(download(result.get(), &format!("job-{id}-result.json"))),
        None => Err(Problem::new("not-found", format!("job {id} has no result"))),
    }
}

/// `GET /jobs/{id}/error`.
pub(crate) fn error(request: &Request<'_>) -> Answered {
    let id = request.job_id()?;
    match request.reader.job(id)?.error {
        Some(error) => Ok(Response::of(
            200,
            "text/plain; charset=utf-8",
            error.into_bytes(),
        )),
        None => Err(Problem::new("not-found", format!("job {id} has no error"))),
    }
}

/// JSON that a browser saves, and never shows as a page.
fn download(json: &str, name: &str) -> Response {
    Response::of(200, "application/json", json.as_bytes().to_vec()).header(
        "Content-Disposition",
        format!("attachment; filename=\"{name}\""),
    )
}
