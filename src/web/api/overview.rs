//! The whole file at a glance: counts, queues, runners, and what keeps pending jobs from running.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::api::clock::now;
use crate::api::json::Time;
use crate::api::queue::{CountsJson, QueueJson};
use crate::api::runner::RunnerJson;
use crate::api::why::queue::VerdictText;
use crate::web::access::ReadAccess;
use crate::web::api::jobs::SlimJobJson;
use crate::web::api::remedy::{ActionJson, of_queue};
use crate::web::problem::Problem;
use crate::web::response::Response;
use crate::web::routes::{Answered, Request};
use crate::{
    EventId, EventKind, Filter, JobSummary, MetricSpan, QueueRecord, RunnerFilter, Sort, State,
};

/// Maximum number of failed jobs shown.
const FAILURES: usize = 5;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct CountsAnswer {
    counts: CountsJson,
    at: EventId,
}

/// `GET /counts`.
pub(crate) fn counts(request: &Request<'_>) -> Answered {
    let at = request.reader.last_event()?;
    let counts = CountsJson(request.reader.counts()?);
    Ok(Response::json(&CountsAnswer { counts, at }))
}

/// `GET /overview`.
pub(crate) fn overview(request: &Request<'_>) -> Answered {
    Ok(Response::of(
        200,
        "application/json",
        overview_json(&request.reader)?,
    ))
}

#[derive(Serialize)]
struct OverviewAnswer<'a> {
    at: EventId,
    counts: CountsJson,
    queues: Vec<QueueJson<'a>>,
    all_paused_at: Option<Time>,
    runners: Vec<RunnerJson<'a>>,
    next_due_at: Option<Time>,
    verdicts: Vec<VerdictAnswer>,
    failures: Vec<SlimJobJson<'a>>,
    rate: RateAnswer,
}

#[derive(Serialize)]
struct VerdictAnswer {
    queue: String,
    pending: u64,
    items: Vec<VerdictItem>,
}

/// A rule that keeps pending jobs of a queue from running.
#[derive(Serialize)]
pub(crate) struct VerdictItem {
    rule: &'static str,
    jobs: u64,
    at_least: bool,
    message: String,
    hint: Option<String>,
    action: Option<ActionJson>,
}

#[derive(Serialize)]
struct RateAnswer {
    completed_per_s: f64,
    failed_per_s: f64,
}

/// The overview as JSON.
pub(crate) fn overview_json(reader: &ReadAccess) -> Result<Vec<u8>, Problem> {
    let at = reader.last_event()?;
    let now = now();
    let all_paused = reader.all_paused_since()?;
    let queues = reader.queues()?;
    let runners = reader.runners(RunnerFilter::Now)?;
    let failures = last_failures(reader)?;
    let mut verdicts = Vec::new();
    for queue in queues.iter().filter(|queue| is_held_up(queue, all_paused)) {
        verdicts.push(VerdictAnswer {
            queue: queue.name.clone(),
            pending: queue.counts.get(State::Pending),
            items: items_of(reader, &queue.name, now)?,
        });
    }
    let answer = OverviewAnswer {
        at,
        counts: CountsJson(reader.counts()?),
        queues: queues
            .iter()
            .map(|queue| QueueJson(queue, all_paused))
            .collect(),
        all_paused_at: all_paused.map(Time),
        runners: runners.iter().map(RunnerJson::new).collect(),
        next_due_at: reader.next_due()?.map(Time),
        verdicts,
        failures: failures.iter().map(SlimJobJson).collect(),
        rate: last_minute(reader, now)?,
    };
    Ok(serde_json::to_vec(&answer).unwrap_or_default())
}

fn is_held_up(queue: &QueueRecord, all_paused: Option<Timestamp>) -> bool {
    queue.counts.get(State::Pending) > 0 || queue.paused_at.or(all_paused).is_some()
}

/// The rules that a queue's pending jobs are under.
pub(crate) fn items_of(
    reader: &ReadAccess,
    queue: &str,
    now: Timestamp,
) -> Result<Vec<VerdictItem>, Problem> {
    let verdict = reader.why_queue(queue)?;
    let text = VerdictText::new(&verdict, now);
    let items = text.rules.into_iter().map(|(rule, told)| VerdictItem {
        rule: told.rule,
        jobs: rule.jobs,
        at_least: rule.is_at_least,
        action: of_queue(&rule.why),
        message: told.reason,
        hint: told.hint,
    });
    Ok(items.collect())
}

fn last_failures(reader: &ReadAccess) -> Result<Vec<JobSummary>, Problem> {
    let failed = Filter {
        states: vec![State::Failed],
        sort: Sort::Newest,
        limit: Some(FAILURES),
        ..Filter::default()
    };
    Ok(reader.page(failed)?.jobs)
}

/// How many attempts a second ended in the last whole minute.
fn last_minute(reader: &ReadAccess, now: Timestamp) -> Result<RateAnswer, Problem> {
    let second = now.as_second();
    let at = |second: i64| Timestamp::from_second(second).unwrap_or(now);
    let end = second - second.rem_euclid(60);
    let metrics = reader.metrics(MetricSpan::Minute, at(end - 60)..at(end))?;
    let per_s = |outcome: EventKind| {
        let of_it = metrics.iter().filter(|metric| metric.outcome == outcome);
        let attempts: u64 = of_it.map(|metric| metric.totals.attempts).sum();
        attempts as f64 / MINUTE.as_secs_f64()
    };
    Ok(RateAnswer {
        completed_per_s: per_s(EventKind::Completed),
        failed_per_s: per_s(EventKind::Failed),
    })
}
