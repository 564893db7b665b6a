//! Enqueuing over HTTP: one job, or many of which all are added or none.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::api::job_object::parse_line;
use crate::api::unknown_key::UnknownKey;
use crate::web::access::WriteAccess;
use crate::web::problem::Problem;
use crate::web::response::Response;
use crate::web::routes::{Answered, MAX_BODY_BYTES, Request};
use crate::web::state::Commands;
use crate::{Enqueued, NewJob, json};

/// How long an `Idempotency-Key` stays taken.
const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

impl Request<'_> {
    /// The body as text that is JSON.
    pub(crate) fn text(&self) -> Result<&str, Problem> {
        let bad = |why: String| Problem::new("bad-request", why);
        let text = str::from_utf8(self.body).map_err(|error| {
            bad(format!(
                "the body is not UTF-8 from byte {}",
                error.valid_up_to() + 1
            ))
        })?;
        json::check(text).map_err(|error| bad(format!("the body is not JSON: {error}")))?;
        Ok(text)
    }

    /// The body as an object whose fields are known.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        parse_object(self.text()?)
    }

    /// The job that an object describes, as a line of a batch does.
    pub(crate) fn new_job(&self, object: &str) -> Result<NewJob, Problem> {
        let request = parse_line(object.as_bytes())
            .map_err(Problem::of_input)?
            .ok_or_else(|| Problem::new("invalid", "a job is a JSON object"))?;
        if request.has_command() && self.state.commands == Commands::Refused {
            return Err(Problem::new(
                "exec",
                "this server takes no commands: they are code that is run",
            )
            .with_hint(
                "start it with `jobq serve --allow-exec`, or enqueue a kind that has a handler",
            ));
        }
        (self.state.make_job)(request).map_err(Problem::of_input)
    }
}

/// `POST /jobs`.
pub(crate) fn enqueue(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let text = request.text()?;
    match text.trim_start().starts_with('[') {
        true => many(request, writer, text),
        false => one(request, writer, text),
    }
}

fn one(request: &Request<'_>, writer: &WriteAccess, text: &str) -> Answered {
    if request.body.len() as u64 > MAX_BODY_BYTES {
        let why = format!("one job has at most {MAX_BODY_BYTES} bytes");
        return Err(Problem::new("too-large", why));
    }
    let job = idempotent(request, traced(request, request.new_job(text)?))?;
    let added = writer.enqueue(vec![writer.own_job(job)?])?;
    Ok(answer_of(&added[0]))
}

fn answer_of(added: &Enqueued) -> Response {
    let status = if added.is_new() { 201 } else { 200 };
    Response::json_with(status, added).header("Location", format!("/api/v1/jobs/{}", added.id))
}

/// The job belongs to the trace of the request, unless it names one itself. A header that is wrong, or there twice, is
/// ignored, as W3C Trace Context asks for.
fn traced(request: &Request<'_>, job: NewJob) -> NewJob {
    let header = request.head.header("traceparent");
    match header.and_then(|header| header.parse().ok()) {
        Some(traceparent) if job.options().traceparent.is_none() => job.traceparent(traceparent),
        _ => job,
    }
}

/// The key of the request is the unique key of its job.
fn idempotent(request: &Request<'_>, job: NewJob) -> Result<NewJob, Problem> {
    if !request.head.has("idempotency-key") {
        return Ok(job);
    }
    let key = request.head.header("idempotency-key").unwrap_or_default();
    // A structured field may be in quotes.
    let key = key
        .strip_prefix('"')
        .and_then(|key| key.strip_suffix('"'))
        .unwrap_or(key);
    if key.is_empty() {
        return Err(Problem::new(
            "invalid",
            "Idempotency-Key is one text that is not empty",
        ));
    }
    if job.options().unique.is_some() {
        let why = "Idempotency-Key makes the job unique, and the job has a unique key of its own";
        return Err(Problem::new("invalid", why).with_hint("leave one of them out"));
    }
    Ok(job
        .unique(format!("http:{key}"))
        .unique_for(IDEMPOTENCY_WINDOW))
}

fn many(request: &Request<'_>, writer: &WriteAccess, text: &str) -> Answered {
    if request.head.has("idempotency-key") {
        return Err(Problem::new("invalid", "Idempotency-Key goes with one job")
            .with_hint("give each job of the array a unique key: {\"unique\":…}"));
    }
    let objects: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|error| Problem::new("bad-request", error.to_string()))?;
    let mut jobs = Vec::with_capacity(objects.len());
    for (index, object) in objects.iter().enumerate() {
        let job = request.new_job(object.get());
        let job = job.and_then(|job| {
            let job = writer.own_job(traced(request, job))?;
            request.reader.check_job(job.clone())?;
            Ok(job)
        });
        jobs.push(job.map_err(|problem| problem.at_index(index))?);
    }
    if jobs.is_empty() {
        return Err(Problem::new(
            "invalid",
            "the array is empty: there is nothing to enqueue",
        ));
    }
    Ok(Response::json_with(201, &writer.enqueue(jobs)?))
}

/// An object whose fields are known. An unknown one is named with the nearest.
pub(crate) fn parse_object<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    // serde takes an array for the fields in their order.
    if !text.trim_start().starts_with('{') {
        return Err(Problem::new("invalid", "a JSON object is wanted"));
    }
    serde_json::from_str(text).map_err(|error| {
        let message = json::explain(text, &error, |text| {
            serde_json::from_str::<T>(text).map(drop)
        });
        match UnknownKey::of(&message) {
            Some(unknown) => {
                Problem::new("unknown-field", format!("unknown key '{}'", unknown.key))
                    .with_hint(unknown.hint())
            }
            None => Problem::new("invalid", message),
        }
    })
}
