//! Schedules: their slots, and changes to them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::json::Time;
use crate::api::schedule::ScheduleJson;
use crate::web::access::{ReadAccess, WriteAccess};
use crate::web::api::update::{Subject, event_after};
use crate::web::problem::Problem;
use crate::web::response::Response;
use crate::web::routes::{Answered, Request};
use crate::{EventId, EventKind, Filter, JobId, Missed, Overlap, Schedule, ScheduleRecord, State};

/// Number of slots to come that are shown.
const NEXT: usize = 5;

/// Maximum number of past slots that are shown.
const LAST: usize = 60;

#[derive(Serialize)]
struct SchedulesAnswer<'a> {
    schedules: Vec<ScheduleAnswer<'a>>,
}

#[derive(Serialize)]
struct ScheduleAnswer<'a> {
    #[serde(flatten)]
    schedule: ScheduleJson<'a>,
    next_slots: Vec<Time>,
    last_slots: Vec<SlotAnswer>,
}

#[derive(Serialize)]
struct SlotAnswer {
    slot: Option<Time>,
    job: JobId,
    state: State,
}

/// `GET /schedules`.
pub(crate) fn list(request: &Request<'_>) -> Answered {
    let schedules = request.reader.schedules()?;
    let answers = schedules
        .iter()
        .map(|schedule| answer_of(&request.reader, schedule));
    let schedules: Vec<_> = answers.collect::<Result<_, _>>()?;
    Ok(Response::json(&SchedulesAnswer { schedules }))
}

fn answer_of<'a>(
    reader: &ReadAccess,
    schedule: &'a ScheduleRecord,
) -> Result<ScheduleAnswer<'a>, Problem> {
    let next = match schedule.paused_at {
        Some(_) => Vec::new(),
        // A rule that can no longer be read has no slots.
        None => schedule.next_slots(NEXT).unwrap_or_default(),
    };
    let mut last_slots = Vec::new();
    let of_it = Filter {
        schedule: Some(schedule.name.clone()),
        limit: Some(LAST),
        ..Filter::default()
    };
    reader.for_each(of_it, |job| {
        last_slots.push(SlotAnswer {
            slot: job.slot.map(Time),
            job: job.id,
            state: job.state,
        });
        Ok(())
    })?;
    last_slots.reverse();
    Ok(ScheduleAnswer {
        schedule: ScheduleJson(schedule),
        next_slots: next.iter().map(|slot| Time(slot.timestamp())).collect(),
        last_slots,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleBody {
    name: String,
    cron: String,
    timezone: Option<String>,
    #[serde(default)]
    missed: Option<Missed>,
    #[serde(default)]
    overlap: Option<Overlap>,
    job: Box<RawValue>,
}

#[derive(Serialize)]
struct ScheduleChangeAnswer<'a> {
    name: &'a str,
    result: &'static str,
}

/// `POST /schedules`.
pub(crate) fn add(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let body: ScheduleBody = request.json()?;
    let job = request.new_job(body.job.get())?;
    let mut schedule = Schedule::new(&body.name, &body.cron, job);
    if let Some(zone) = &body.timezone {
        schedule = schedule.timezone(zone);
    }
    if let Some(missed) = body.missed {
        schedule = schedule.missed(missed);
    }
    if let Some(overlap) = body.overlap {
        schedule = schedule.overlap(overlap);
    }
    let (status, result) = match writer.add_schedule(schedule)? {
        crate::ScheduleChange::Added => (201, "added"),
        crate::ScheduleChange::Changed => (200, "changed"),
        crate::ScheduleChange::Unchanged => (200, "unchanged"),
    };
    let name = &*body.name;
    Ok(Response::json_with(
        status,
        &ScheduleChangeAnswer { name, result },
    ))
}

/// `DELETE /schedules/{name}`.
pub(crate) fn remove(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    writer.remove_schedule(request.params.get("name"))?;
    Ok(Response::empty(204))
}

#[derive(Serialize)]
struct PauseAnswer {
    changed: bool,
    event: Option<EventId>,
}

/// `POST /schedules/{name}/pause`.
pub(crate) fn pause(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let name = request.params.get("name");
    switch(request, (EventKind::SchedulePaused, name), || {
        writer.pause_schedule(name)
    })
}

/// `POST /schedules/{name}/resume`.
pub(crate) fn resume(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let name = request.params.get("name");
    switch(request, (EventKind::ScheduleResumed, name), || {
        writer.resume_schedule(name)
    })
}

fn switch(
    request: &Request<'_>,
    (kind, name): (EventKind, &str),
    change: impl FnOnce() -> Result<bool, Problem>,
) -> Answered {
    let since = request.reader.last_event()?;
    let changed = change()?;
    let event = match changed {
        true => event_after(&request.reader, since, (kind, Subject::Schedule(name)))?,
        false => None,
    };
    Ok(Response::json(&PauseAnswer { changed, event }))
}

/// `POST /schedules/{name}/run`.
pub(crate) fn run(request: &Request<'_>, writer: &WriteAccess) -> Answered {
    let added = writer.run_schedule(request.params.get("name"))?;
    Ok(Response::json_with(201, &added).header("Location", format!("/api/v1/jobs/{}", added.id)))
}
