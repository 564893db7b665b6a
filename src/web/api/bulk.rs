//! Changes to many jobs: those of a list, or all that match a search, after a dry run.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::text::shell_word;
use crate::web::access::WriteAccess;
use crate::web::api::enqueue::parse_object;
use crate::web::api::jobs::{SlimJobJson, search};
use crate::web::bulk::{BulkChange, BulkJobs};
use crate::web::problem::Problem;
use crate::web::response::Response;
use crate::web::routes::{Answered, Request};
use crate::{BulkAction, EventId, Filter, JobId};

/// Maximum number of ids in one request.
const MAX_IDS: usize = 1000;

/// How long a dry run searches; it says how far it has come.
const PREVIEW_BUDGET: Duration = Duration::from_millis(150);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BulkBody {
    action: String,
    ids: Option<Vec<JobId>>,
    filter: Option<Box<RawValue>>,
    as_of: Option<EventId>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchBody {
    search: String,
}

#[derive(Serialize)]
struct PreviewAnswer<'a> {
    jobs: u64,
    complete: bool,
    sample: Vec<SlimJobJson<'a>>,
    as_of: EventId,
    command: String,
}

#[derive(Serialize)]
struct BulkStarted {
    bulk: u64,
}

/// `POST /jobs/bulk`.
pub(crate) fn change(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let body: BulkBody = request.json()?;
    let action: BulkAction = body.action.parse().map_err(Problem::of_input)?;
    let jobs = match (body.ids, body.filter) {
        (Some(_), None) if body.dry_run => {
            return Err(Problem::new(
                "invalid",
                "a dry run is of a filter: the ids are there already",
            ));
        }
        (Some(ids), None) if ids.len() <= MAX_IDS => BulkJobs::Ids(ids),
        (Some(ids), None) => {
            let why = format!(
                "{} ids are too many at once, {MAX_IDS} are taken",
                ids.len()
            );
            return Err(Problem::new("invalid", why).with_hint("a filter takes any number"));
        }
        (None, Some(filter)) => {
            let filter: SearchBody = parse_object(filter.get())?;
            let filter = Filter {
                as_of: body.as_of,
                ..search(&filter.search)?
            };
            let filter = request.reader.within(filter)?;
            if body.dry_run {
                return preview(request, &filter, action);
            }
            BulkJobs::Matching(Box::new(filter))
        }
        _ => {
            return Err(Problem::new(
                "invalid",
                "one of 'ids' and 'filter' is wanted",
            ));
        }
    };
    let bulks = &request.state.bulks;
    let change = bulks.start(request.state, writer.clone(), (action, jobs))?;
    let started = Response::json_with(202, &BulkStarted { bulk: change.id });
    Ok(started.header("Location", format!("/api/v1/bulk/{}", change.id)))
}

fn preview(request: &Request<'_>, filter: &Filter, action: BulkAction) -> Answered {
    let found = request.reader.preview(filter, action, PREVIEW_BUDGET)?;
    let as_typed = Filter {
        as_of: None,
        ..filter.clone()
    };
    Ok(Response::json(&PreviewAnswer {
        jobs: found.jobs,
        complete: found.is_complete(),
        sample: found.sample.iter().map(SlimJobJson).collect(),
        as_of: found.as_of,
        command: format!(
            "jobq {} --search {}",
            action.as_str(),
            shell_word(&as_typed.to_search())
        ),
    }))
}

#[derive(Serialize)]
struct BulkAnswer {
    bulk: u64,
    action: BulkAction,
    jobs: u64,
    refused: u64,
    refusals: Vec<RefusalAnswer>,
    finished: bool,
    error: Option<Problem>,
}

#[derive(Serialize)]
struct RefusalAnswer {
    id: JobId,
    detail: String,
}

/// `GET /bulk/{id}`.
pub(crate) fn progress(request: &Request<'_>) -> Answered {
    let change = found(request)?;
    Ok(Response::of(200, "application/json", bulk_json(&change)))
}

/// How far a change has come, as JSON.
pub(crate) fn bulk_json(change: &BulkChange) -> Vec<u8> {
    let state = change.state();
    let refusals = state.refusals.into_iter();
    let answer = BulkAnswer {
        bulk: change.id,
        action: change.action,
        jobs: state.jobs,
        refused: state.refused,
        refusals: refusals
            .map(|(id, detail)| RefusalAnswer { id, detail })
            .collect(),
        finished: state.is_finished,
        error: state.error,
    };
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// `DELETE /bulk/{id}`.
pub(crate) fn stop(request: &Request<'_>, _: &WriteAccess) -> Answered {
    found(request)?.stop();
    Ok(Response::empty(204))
}

fn found(request: &Request<'_>) -> Result<std::sync::Arc<BulkChange>, Problem> {
    let id = request.params.number("id", "bulk change")?.unsigned_abs();
    let change = request.state.bulks.get(id, request.reader.tenant());
    change.ok_or_else(|| Problem::new("not-found", format!("no bulk change {id}")))
}
