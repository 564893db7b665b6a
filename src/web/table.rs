//! The table of routes: the one list of what the server answers. The document of the API is made of it.

use crate::web::api::{
    bulk, enqueue, events, export, insight, job, jobs, logs, openapi, overview, queues, runners,
    schedules, server, undo, update,
};
use crate::web::live::connect::connect;
use crate::web::routes::Does::{Change, Connect, Open, Read};
use crate::web::routes::Freshness::{File as AsFile, Now};
use crate::web::routes::Scope::{File, Jobs};
use crate::web::routes::{Does, Freshness, Route, Scope};

const NONE: &[&str] = &[];

const fn read(
    path: &'static str,
    does: Does,
    (scope, freshness): (Scope, Freshness),
    query: &'static [&'static str],
    (gives, summary): (&'static str, &'static str),
) -> Route {
    Route {
        method: "GET",
        path,
        does,
        scope,
        freshness,
        query,
        summary,
        takes: None,
        gives: (200, gives),
    }
}

const fn change(
    (method, path): (&'static str, &'static str),
    does: Does,
    scope: Scope,
    takes: Option<&'static str>,
    (status, gives, summary): (u16, &'static str, &'static str),
) -> Route {
    Route {
        method,
        path,
        does,
        scope,
        freshness: Now,
        query: NONE,
        summary,
        takes,
        gives: (status, gives),
    }
}

/// Every address of the server but those of the page's files.
#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &[
    read("/healthz", Open(server::healthz), (Jobs, Now), NONE, ("Health", "Whether the server answers")),
    read("/api/v1/features", Read(server::features), (Jobs, Now), NONE, ("Features", "What this server is and can do")),
    read("/api/v1/openapi.json", Read(openapi::document), (Jobs, Now), NONE, ("Anything", "This document")),
    read("/api/v1/counts", Read(overview::counts), (File, AsFile), NONE, ("CountsAt", "The number of jobs in each state")),
    read("/api/v1/overview", Read(overview::overview), (File, Now), NONE, ("Overview", "The whole file at a glance")),
    read("/api/v1/jobs", Read(jobs::list), (Jobs, AsFile), jobs::PAGE, ("JobsPage", "A page of the jobs that match")),
    read("/api/v1/jobs/{id}", Read(job::job), (Jobs, Now), &["wait"], ("Job", "One job in full; with wait, once it is final or the time is up")),
    read("/api/v1/jobs/{id}/attempts", Read(job::attempts), (Jobs, AsFile), NONE, ("Attempts", "The attempts of a job")),
    read("/api/v1/jobs/{id}/events", Read(job::events), (Jobs, AsFile), &["after", "limit"], ("EventsPage", "The history of a job")),
    read("/api/v1/jobs/{id}/why", Read(job::why), (Jobs, Now), NONE, ("Why", "The rule that keeps a job from running")),
    read("/api/v1/jobs/{id}/logs", Read(logs::logs), (Jobs, AsFile), logs::LOGS, ("Logs", "A window of what a job has printed and logged")),
    read("/api/v1/jobs/{id}/payload", Read(job::payload), (Jobs, AsFile), NONE, ("Anything", "The payload of a job")),
    read("/api/v1/jobs/{id}/result", Read(job::result), (Jobs, AsFile), NONE, ("Anything", "The result of a job")),
    read("/api/v1/jobs/{id}/error", Read(job::error), (Jobs, AsFile), NONE, ("Text", "The error of a job's last failed attempt")),
    read("/api/v1/jobs/{id}/graph", Read(insight::graph), (File, AsFile), NONE, ("Anything", "The jobs around a job, with places for a drawing")),
    read("/api/v1/errors", Read(insight::errors), (Jobs, AsFile), jobs::ERRORS, ("Errors", "Failed jobs grouped by their error")),
    read("/api/v1/stats", Read(insight::stats), (File, Now), &["from", "to", "step", "by"], ("Stats", "Attempts and durations over time")),
    read("/api/v1/suggest", Read(insight::suggest), (File, AsFile), &["field", "prefix"], ("Suggestions", "Names that begin so")),
    read("/api/v1/bulk/{id}", Read(bulk::progress), (Jobs, Now), NONE, ("Bulk", "How far a change of many jobs has come")),
    read("/metrics", Read(insight::metrics), (File, Now), NONE, ("Text", "Metrics in Prometheus' text format")),
    read("/api/v1/queues", Read(queues::list), (File, AsFile), NONE, ("Queues", "The queues with their limits")),
    read("/api/v1/queues/{name}", Read(queues::queue), (File, Now), NONE, ("QueueWhy", "A queue, and what keeps its pending jobs from running")),
    read("/api/v1/runners", Read(runners::list), (File, Now), &["all"], ("Runners", "The runners and what their workers do")),
    read("/api/v1/schedules", Read(schedules::list), (File, Now), NONE, ("Schedules", "The schedules with their slots")),
    read("/api/v1/events", Read(events::events), (Jobs, Now), events::EVENTS, ("Event", "The history as server-sent events or JSON Lines")),
    read("/api/v1/export", Read(export::export), (Jobs, Now), jobs::EXPORT, ("JobRecord", "All jobs that match, as JSON Lines or CSV")),
    Route {
        method: "GET",
        path: "/api/v1/live",
        does: Connect(connect),
        scope: Jobs,
        freshness: Now,
        query: NONE,
        summary: "Follow views, events and output over a WebSocket",
        takes: None,
        gives: (101, "Nothing"),
    },
    read("/api/v1/doctor", Read(server::doctor), (File, Now), NONE, ("Doctor", "What a check of the file has found")),
    change(("POST", "/api/v1/jobs"), Change(enqueue::enqueue), Jobs, Some("NewJobs"), (201, "Enqueued", "Enqueue a job, or an array of them: all or none")),
    change(("PATCH", "/api/v1/jobs/{id}"), Change(update::edit), Jobs, Some("JobEdit"), (200, "Edited", "Change options of a job that is not running")),
    change(("POST", "/api/v1/jobs/{id}/cancel"), Change(update::cancel), Jobs, None, (200, "CancelResult", "Cancel a job, or ask a running one to stop")),
    change(("POST", "/api/v1/jobs/{id}/retry"), Change(update::retry), Jobs, None, (200, "RetryResult", "Run a final job again")),
    change(("DELETE", "/api/v1/jobs/{id}"), Change(update::remove), Jobs, None, (204, "Nothing", "Remove a final job and its history")),
    change(("POST", "/api/v1/jobs/bulk"), Change(bulk::change), Jobs, Some("BulkBody"), (202, "BulkResult", "Change many jobs, or count them first")),
    change(("DELETE", "/api/v1/bulk/{id}"), Change(bulk::stop), Jobs, None, (204, "Nothing", "Stop a change of many jobs")),
    change(("POST", "/api/v1/undo/{event}"), Change(undo::undo), Jobs, None, (200, "UndoResult", "Undo the change that an event records, whole or not at all")),
    change(("PATCH", "/api/v1/queues/{name}"), Change(queues::set_limits), File, Some("QueueLimits"), (200, "LimitsResult", "Set limits of a queue; null takes one away")),
    change(("POST", "/api/v1/queues/{name}/pause"), Change(queues::pause), File, None, (200, "EventRef", "Start no more jobs of a queue")),
    change(("POST", "/api/v1/queues/{name}/resume"), Change(queues::resume), File, None, (200, "EventRef", "Start jobs of a queue again")),
    change(("POST", "/api/v1/pause"), Change(queues::pause_all), File, None, (200, "EventRef", "Start no more jobs of any queue")),
    change(("POST", "/api/v1/resume"), Change(queues::resume_all), File, None, (200, "EventRef", "End the pause of all queues")),
    change(("POST", "/api/v1/schedules"), Change(schedules::add), File, Some("NewSchedule"), (201, "ScheduleResult", "Add a schedule, or change the one of this name")),
    change(("DELETE", "/api/v1/schedules/{name}"), Change(schedules::remove), File, None, (204, "Nothing", "Remove a schedule")),
    change(("POST", "/api/v1/schedules/{name}/pause"), Change(schedules::pause), File, None, (200, "Changed", "Pause a schedule")),
    change(("POST", "/api/v1/schedules/{name}/resume"), Change(schedules::resume), File, None, (200, "Changed", "Resume a schedule with its next slot")),
    change(("POST", "/api/v1/schedules/{name}/run"), Change(schedules::run), File, None, (201, "Enqueued", "Enqueue the job of a schedule now")),
];
