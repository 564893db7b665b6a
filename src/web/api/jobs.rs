//! Lists of jobs.

use serde::Serialize;

use crate::api::clock::{local_now, now};
use crate::api::job::task_of_preview;
use crate::api::json::{Time, json_fields};
use crate::api::values;
use crate::web::access::ReadAccess;
use crate::web::problem::Problem;
use crate::web::query::{Query, invalid};
use crate::web::response::Response;
use crate::web::routes::{Answered, Request};
use crate::{EventId, Filter, JobId, JobSummary, Sort, State};

/// The parameters that choose jobs, with more of a route's own.
macro_rules! filters_and {
    ($($more:literal),*) => {
        &[
            "search", "state", "queue", "kind", "tenant", "tag", "parent", "schedule", "ids", "since", "until", "error",
            "text", "group", "sort", $($more),*
        ]
    };
}

/// The parameters of a page of a list.
pub(crate) const PAGE: &[&str] = filters_and!["limit", "after", "before"];

/// Those of the groups of errors.
pub(crate) const ERRORS: &[&str] = filters_and!["after"];

/// Those of an export.
pub(crate) const EXPORT: &[&str] = filters_and!["format"];

/// Maximum number of jobs in a page.
const MAX_PAGE: usize = 200;

json_fields! {
    /// A job as a list shows it.
    pub(crate) SlimJobJson(job: &'a JobSummary) {
        id: job.id,
        kind: job.kind,
        queue: job.queue,
        tenant: job.tenant.as_deref(),
        tags: Some(&job.tags).filter(|tags| !tags.is_empty()),
        state: job.state,
        priority: job.priority,
        attempt: job.attempt,
        max_retries: job.max_retries,
        error: job.error.as_ref().map(|error| &error.start),
        progress: job.progress.as_ref(),
        children: job.children,
        parent_id: job.parent,
        schedule: job.schedule.as_deref(),
        run_at: job.run_at.map(Time),
        created_at: Time(job.created_at),
        started_at: job.started_at.map(Time),
        finished_at: job.finished_at.map(Time),
        cancel_requested: job.cancel_requested,
        runner: job.runner,
        worker: job.worker,
        task: task_of_preview(job),
        payload_bytes: job.payload.bytes,
    }
}

#[derive(Serialize)]
struct PageAnswer<'a> {
    jobs: Vec<SlimJobJson<'a>>,
    next: Option<JobId>,
    complete: bool,
    searched_to: Option<JobId>,
    searched_at: Option<Time>,
    at: EventId,
}

/// `GET /jobs`.
pub(crate) fn list(request: &Request<'_>) -> Answered {
    let body = page_json(&request.reader, &request.query)?;
    Ok(Response::of(200, "application/json", body))
}

/// A page of jobs as JSON.
pub(crate) fn page_json(reader: &ReadAccess, query: &Query) -> Result<Vec<u8>, Problem> {
    let at = reader.last_event()?;
    let mut filter = filter(query)?;
    filter.limit = Some(query.limit(50, MAX_PAGE)?);
    let page = match query.number("before")? {
        Some(before) => reader.page_before(filter, JobId(before))?,
        None => {
            filter.after = query.number("after")?.map(JobId);
            reader.page(filter)?
        }
    };
    // How far back that is: a job that is there, at or after the place where the search has ended.
    let searched_at = match page.searched_to {
        Some(id) => created_near(reader, id)?,
        None => None,
    };
    let answer = PageAnswer {
        jobs: page.jobs.iter().map(SlimJobJson).collect(),
        next: page.next,
        complete: page.is_complete(),
        searched_to: page.searched_to,
        searched_at: searched_at.map(Time),
        at,
    };
    Ok(serde_json::to_vec(&answer).unwrap_or_default())
}

fn created_near(reader: &ReadAccess, id: JobId) -> Result<Option<jiff::Timestamp>, Problem> {
    let next = Filter {
        after: Some(JobId(id.0.saturating_add(1))),
        limit: Some(1),
        ..Filter::default()
    };
    Ok(reader.page(next)?.jobs.first().map(|job| job.created_at))
}

/// The filter that a query describes.
pub(crate) fn filter(query: &Query) -> Result<Filter, Problem> {
    let named = Filter {
        states: words(query, "state")?,
        queues: query.list("queue").map(str::to_owned).collect(),
        kinds: query.list("kind").map(str::to_owned).collect(),
        tenant: query.get("tenant").map(str::to_owned),
        tags: tags(query)?,
        parent: query.number("parent")?.map(JobId),
        schedule: query.get("schedule").map(str::to_owned),
        ids: query.parsed("ids", ids)?,
        since: query.parsed("since", moment)?,
        until: query.parsed("until", moment)?,
        error: query.get("error").map(str::to_owned),
        error_group: query.get("group").map(str::to_owned),
        text: query.get("text").map(str::to_owned),
        sort: query
            .parsed("sort", str::parse::<Sort>)?
            .unwrap_or_default(),
        ..Filter::default()
    };
    match query.get("search") {
        Some(text) => search(text)?.and(named).map_err(Problem::of_input),
        None => Ok(named),
    }
}

/// The filter that a search describes.
pub(crate) fn search(text: &str) -> Result<Filter, Problem> {
    let now = local_now();
    Filter::parse_search(text, now.timestamp(), now.time_zone()).map_err(Problem::of_input)
}

/// `42`, or `5-9` with both included.
fn ids(text: &str) -> Result<(JobId, JobId), &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let id = |text: &str| {
        text.trim()
            .parse()
            .map(JobId)
            .map_err(|_| "ids look like 42 or 5-9")
    };
    Ok((id(first)?, id(last)?))
}

fn words(query: &Query, name: &str) -> Result<Vec<State>, Problem> {
    let words = query.list(name);
    words
        .map(|word| {
            word.parse()
                .map_err(|error: crate::Error| Problem::of_input(error))
        })
        .collect()
}

fn tags(query: &Query) -> Result<Vec<(String, String)>, Problem> {
    let tags = query.all("tag");
    tags.map(|text| values::tag(text).map_err(|why| invalid("tag", text, &why)))
        .collect()
}

/// A time, or a duration before now: `2h`.
pub(crate) fn moment(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(ago) = values::duration(text) {
        return now().checked_sub(ago).map_err(|error| error.to_string());
    }
    values::time(text)
}
