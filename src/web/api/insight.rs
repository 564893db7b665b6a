//! What the file says in sum: errors in groups, statistics over time, graphs, names to complete, metrics.

use std::time::Duration;

use serde::Serialize;

use crate::api::clock::now;
use crate::api::error_group::ErrorGroupJson;
use crate::api::json::Time;
use crate::api::values;
use crate::web::api::jobs::{filter, moment};
use crate::web::query::invalid;
use crate::web::response::Response;
use crate::web::routes::{Answered, Request};
use crate::{JobId, NameField, Stats, StatsBy, StatsPoint, StatsQuery};

/// How long errors are searched for; the answer says how far that was.
const ERRORS_BUDGET: Duration = Duration::from_millis(150);

/// Maximum number of names suggested.
const SUGGESTIONS: usize = 20;

#[derive(Serialize)]
struct ErrorsAnswer<'a> {
    groups: Vec<ErrorGroupJson<'a>>,
    complete: bool,
    searched_to: Option<JobId>,
}

/// `GET /errors`.
pub(crate) fn errors(request: &Request<'_>) -> Answered {
    let mut filter = filter(&request.query)?;
    filter.after = request.query.number("after")?.map(JobId);
    let found = request.reader.error_groups(filter, ERRORS_BUDGET)?;
    Ok(Response::json(&ErrorsAnswer {
        groups: found.groups.iter().map(ErrorGroupJson).collect(),
        complete: found.is_complete(),
        searched_to: found.searched_to,
    }))
}

#[derive(Serialize)]
struct StatsAnswer<'a> {
    from: Time,
    to: Time,
    step_ms: u64,
    complete: bool,
    series: Vec<SeriesAnswer<'a>>,
}

#[derive(Serialize)]
struct SeriesAnswer<'a> {
    name: Option<&'a str>,
    points: Vec<PointAnswer>,
}

/// Durations in milliseconds.
#[derive(Serialize)]
struct PointAnswer {
    at: Time,
    completed: u64,
    failed: u64,
    retried: u64,
    cancelled: u64,
    run_p50_ms: Option<f64>,
    run_p95_ms: Option<f64>,
    run_p99_ms: Option<f64>,
    wait_p50_ms: Option<f64>,
    wait_p95_ms: Option<f64>,
    wait_p99_ms: Option<f64>,
}

impl PointAnswer {
    fn new(point: &StatsPoint) -> PointAnswer {
        let ms = |span: Option<Duration>| span.map(|span| span.as_secs_f64() * 1000.0);
        PointAnswer {
            at: Time(point.at),
            completed: point.completed,
            failed: point.failed,
            retried: point.retried,
            cancelled: point.cancelled,
            run_p50_ms: ms(point.run.p50),
            run_p95_ms: ms(point.run.p95),
            run_p99_ms: ms(point.run.p99),
            wait_p50_ms: ms(point.wait.p50),
            wait_p95_ms: ms(point.wait.p95),
            wait_p99_ms: ms(point.wait.p99),
        }
    }
}

/// `GET /stats`.
pub(crate) fn stats(request: &Request<'_>) -> Answered {
    let query = &request.query;
    let to = query.parsed("to", moment)?.unwrap_or_else(now);
    let from = match query.parsed("from", moment)? {
        Some(from) => from,
        None => to.checked_sub(Duration::from_secs(3600)).unwrap_or(to),
    };
    let stats: Stats = request.reader.stats(&StatsQuery {
        from,
        to,
        step: query
            .parsed("step", values::duration)?
            .unwrap_or(Duration::from_secs(60)),
        by: query
            .parsed("by", str::parse::<StatsBy>)?
            .unwrap_or_default(),
    })?;
    let series = stats.series.iter().map(|series| SeriesAnswer {
        name: series.name.as_deref(),
        points: series.points.iter().map(PointAnswer::new).collect(),
    });
    Ok(Response::json(&StatsAnswer {
        from: Time(stats.from),
        to: Time(stats.to),
        step_ms: crate::api::time::millis(stats.step),
        complete: stats.complete,
        series: series.collect(),
    }))
}

/// `GET /jobs/{id}/graph`.
pub(crate) fn graph(request: &Request<'_>) -> Answered {
    let id = request.job_id()?;
    Ok(Response::json(&request.reader.graph(id)?))
}

#[derive(Serialize)]
struct SuggestAnswer {
    values: Vec<String>,
}

/// `GET /suggest`.
pub(crate) fn suggest(request: &Request<'_>) -> Answered {
    let prefix = request.query.get("prefix").unwrap_or_default();
    let field = request.query.get("field").unwrap_or_default();
    let names =
        |field: &NameField, prefix: &str| request.reader.suggest(field, prefix, SUGGESTIONS);
    let values = match field {
        "kind" => names(&NameField::Kind, prefix)?,
        "queue" => names(&NameField::Queue, prefix)?,
        "tenant" => names(&NameField::Tenant, prefix)?,
        "schedule" => names(&NameField::Schedule, prefix)?,
        "tag" => match prefix.split_once('=') {
            // A tag's value, as the search has it: `env=prod`.
            Some((name, prefix)) => {
                let values = names(&NameField::TagValue(name.to_owned()), prefix)?;
                values
                    .iter()
                    .map(|value| format!("{name}={value}"))
                    .collect()
            }
            None => names(&NameField::TagName, prefix)?,
        },
        "word" => words(prefix),
        other => {
            return Err(invalid(
                "field",
                other,
                "kind, queue, tenant, tag, schedule or word is wanted",
            ));
        }
    };
    Ok(Response::json(&SuggestAnswer { values }))
}

/// The words of the search language that begin so.
fn words(prefix: &str) -> Vec<String> {
    const WORDS: [&str; 15] = [
        "attempt>",
        "error:",
        "group:",
        "id:",
        "kind:",
        "parent:",
        "queue:",
        "schedule:",
        "since:",
        "sort:",
        "state:",
        "tag:",
        "tenant:",
        "took>",
        "waited>",
    ];
    let fitting = WORDS.into_iter().filter(|word| word.starts_with(prefix));
    fitting.map(str::to_owned).collect()
}

/// `GET /metrics`.
pub(crate) fn metrics(request: &Request<'_>) -> Answered {
    let text = request.reader.metrics_text()?;
    Ok(Response::of(
        200,
        "text/plain; version=0.0.4; charset=utf-8",
        text.into_bytes(),
    ))
}
