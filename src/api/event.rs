//! The words of events.

use std::borrow::Cow;
use std::time::Duration;

use crate::{
    AttemptEnd, Event, EventData, EventKind, LogEntry, Progress, QueueLimits, Rate, State,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::job::percent;
use crate::api::json::{Time, json_fields};
use crate::api::queue::limits_text;
use crate::api::text::count;
use crate::api::time::{coarse, duration, millis, relative};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    queue: Option<String>,
    why: Option<String>,
    jobs: Option<u64>,
    schedule: Option<String>,
    slot: Option<String>,
    until: Option<String>,
    reason: Option<String>,
}

/// One sentence without its subject, the job.
pub fn sentence(event: &Event) -> String {
    let said = match event.by() {
        Some(by) if event.kind == EventKind::QueueLimited => format!("{} (by {by})", said(event)),
        Some(by) => format!("{} by {by}", said(event)),
        None => said(event),
    };
    match event.undo() {
        Some(undone) => format!("{said} (undoes event {})", undone.0),
        None => said,
    }
}

fn said(event: &Event) -> String {
    let end: AttemptEnd = details(event);
    let attempt = event.attempt.unwrap_or_default();
    let failed = || end.error.as_deref().unwrap_or("no error was given");
    match event.kind {
        EventKind::Enqueued => "enqueued".to_owned(),
        EventKind::Started => format!("attempt {attempt} was claimed{}", by_runner(event)),
        EventKind::Progress => percent(&details::<Progress>(event)),
        EventKind::Completed => format!("completed{}", after(event)),
        EventKind::Failed => format!("failed{}: {}", after(event), failed()),
        EventKind::Retry => format!(
            "attempt {attempt} failed{}: {}; retrying {}",
            after(event),
            failed(),
            again(&end, event.at)
        ),
        EventKind::Cancelled => {
            let why = end.error.map(|why| format!(": {why}")).unwrap_or_default();
            format!("cancelled{}{why}", after(event))
        }
        EventKind::Snoozed => format!(
            "attempt {attempt} was snoozed; running again {}",
            again(&end, event.at)
        ),
        EventKind::Returned => {
            let why = end.error.map(|why| format!(": {why}")).unwrap_or_default();
            format!("attempt {attempt} was given back{why}; it costs nothing")
        }
        EventKind::Recovered => format!("attempt {attempt} was lost: {}", failed()),
        EventKind::CancelRequested => "asked to stop".to_owned(),
        EventKind::Requeued if event.undo().is_some() => "cancel undone".to_owned(),
        EventKind::Requeued if event.by().is_some() => "retried".to_owned(),
        EventKind::Requeued => "retried by hand".to_owned(),
        EventKind::Edited => "edited".to_owned(),
        EventKind::ReportDropped => {
            format!("attempt {attempt} reported, but no longer held the job")
        }
        EventKind::Released => "released: what it waited for is over".to_owned(),
        EventKind::Waiting => format!(
            "its run phase is done{}; it waits for its children",
            after(event)
        ),
        EventKind::Log => details_of_log(event),
        EventKind::Stdout | EventKind::Stderr => text(event),
        _ => without_job(event),
    }
}

/// Events of queues, runners and schedules.
fn without_job(event: &Event) -> String {
    match event.kind {
        EventKind::QueuePaused | EventKind::QueueResumed => {
            let is = if event.kind == EventKind::QueuePaused {
                "paused"
            } else {
                "resumed"
            };
            match details::<Details>(event).queue {
                Some(name) => format!("queue '{name}' {is}"),
                None => format!("all queues {is}"),
            }
        }
        EventKind::QueueLimited => limited(event),
        EventKind::ScheduleFired
        | EventKind::ScheduleSkipped
        | EventKind::ScheduleAdded
        | EventKind::ScheduleRemoved
        | EventKind::SchedulePaused
        | EventKind::ScheduleResumed => of_schedule(event),
        EventKind::RunnerStarted => format!("runner {} started", event.runner.unwrap_or_default()),
        EventKind::RunnerStopped => format!("runner {} stopped", event.runner.unwrap_or_default()),
        EventKind::RunnerLost => {
            let details: Details = details(event);
            format!(
                "runner {} was {}; {} taken over",
                event.runner.unwrap_or_default(),
                details.why.as_deref().unwrap_or("lost"),
                count(details.jobs.unwrap_or_default(), "job")
            )
        }
        _ => text(event),
    }
}

/// `schedule 'nightly' let its slot of 2026-03-01T02:00:00Z pass: its last job is live`.
fn of_schedule(event: &Event) -> String {
    let details: Details = details(event);
    let name = details.schedule.as_deref().unwrap_or_default();
    let did = match event.kind {
        EventKind::ScheduleFired => match details.slot {
            Some(slot) => format!("enqueued its job of {slot}"),
            None if event.by().is_some() => "enqueued its job, as asked".to_owned(),
            None => "enqueued its job, as somebody asked".to_owned(),
        },
        EventKind::ScheduleSkipped => {
            let slot = details.slot.unwrap_or_default();
            let slots = match details.until.filter(|until| *until != slot) {
                Some(until) => format!("its slots from {slot} to {until}"),
                None => format!("its slot of {slot}"),
            };
            let reason = details.reason.as_deref().unwrap_or("no reason was given");
            format!("let {slots} pass: {reason}")
        }
        EventKind::ScheduleAdded => "was added or changed".to_owned(),
        EventKind::ScheduleRemoved => "was removed".to_owned(),
        EventKind::SchedulePaused => "was paused".to_owned(),
        _ => "was resumed".to_owned(),
    };
    format!("schedule '{name}' {did}")
}

/// What the data says; the default where it says nothing that is understood.
fn details<T: serde::de::DeserializeOwned + Default>(event: &Event) -> T {
    let data = event.data.as_ref();
    data.and_then(|data| serde_json::from_slice(data.as_bytes()).ok())
        .unwrap_or_default()
}

fn text(event: &Event) -> String {
    let bytes = event.data.as_ref().map_or(&b""[..], |data| data.as_bytes());
    String::from_utf8_lossy(bytes).into_owned()
}

fn details_of_log(event: &Event) -> String {
    let text = text(event);
    match serde_json::from_str::<LogEntry>(&text) {
        Ok(entry) => format!("{}: {}", entry.level, entry.message),
        Err(_) => text,
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LimitDetails {
    queue: String,
    concurrency: Option<u32>,
    rate_jobs: Option<u32>,
    rate_ms: Option<u64>,
    max_size: Option<u64>,
    weight: u32,
}

fn limited(event: &Event) -> String {
    let details: LimitDetails = details(event);
    let rate = details.rate_jobs.zip(details.rate_ms);
    let limits = QueueLimits {
        concurrency: details.concurrency,
        rate: rate.map(|(jobs, ms)| Rate {
            jobs,
            per: Duration::from_millis(ms),
        }),
        max_size: details.max_size,
        weight: details.weight,
    };
    match limits_text(&limits) {
        Some(said) => format!("queue '{}' limited: {said}", details.queue),
        None => format!("queue '{}' has no limits any more", details.queue),
    }
}

fn by_runner(event: &Event) -> String {
    event
        .runner
        .map(|runner| format!(" by runner {runner}"))
        .unwrap_or_default()
}

fn after(event: &Event) -> String {
    event
        .took
        .map(|took| format!(" after {}", duration(took)))
        .unwrap_or_default()
}

/// When a job runs again, seen from the event that says so: `in 5s`.
fn again(end: &AttemptEnd, event: Timestamp) -> String {
    let Some(at) = end
        .run_at_ms
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
    else {
        return "later".to_owned();
    };
    match Duration::try_from(at.duration_since(event)) {
        Ok(wait) if wait >= Duration::from_millis(50) => format!("in {}", duration(wait)),
        _ => "now".to_owned(),
    }
}

json_fields! {
    /// One line of the history.
    pub EventJson(event: &'a Event) {
        id: event.id,
        at: Time(event.at),
        kind: event.kind,
        job: event.job,
        attempt: event.attempt,
        runner: event.runner,
        worker: event.worker,
        took_ms: event.took.map(millis),
        data: event.data.as_ref().map(|data| data_json(event.kind, data)),
    }
}

/// An event with its sentence.
#[derive(Serialize)]
pub struct WordedEventJson<'a> {
    #[serde(flatten)]
    event: EventJson<'a>,
    text: String,
}

impl<'a> WordedEventJson<'a> {
    pub fn new(event: &'a Event) -> WordedEventJson<'a> {
        WordedEventJson {
            event: EventJson(event),
            text: sentence(event),
        }
    }
}

/// JSON as it stands; output of commands is a string.
#[derive(Serialize)]
#[serde(untagged)]
pub enum DataJson<'a> {
    Json(&'a RawValue),
    Text(Cow<'a, str>),
}

pub fn data_json(kind: EventKind, data: &EventData) -> DataJson<'_> {
    let text = String::from_utf8_lossy(data.as_bytes());
    if matches!(kind, EventKind::Stdout | EventKind::Stderr) {
        return DataJson::Text(text);
    }
    match data {
        EventData::Text(json) if crate::json::check(json).is_ok() => {
            serde_json::from_str(json).map_or(DataJson::Text(text), DataJson::Json)
        }
        _ => DataJson::Text(text),
    }
}

/// How a job ended, as the verb of a sentence.
pub fn ended(state: State) -> String {
    match state {
        State::Cancelled => "was cancelled".to_owned(),
        state => state.to_string(),
    }
}

/// `is due in 5m`, `is due now`, `has been due for 14s`.
pub fn due(at: Timestamp, now: Timestamp) -> String {
    match Duration::try_from(now.duration_since(at)) {
        Ok(late) if late >= Duration::from_secs(1) => format!("has been due for {}", coarse(late)),
        _ => format!("is due {}", relative(at, now)),
    }
}

#[cfg(test)]
mod tests {
    use crate::{EventFilter, EventId, NewJob, Queue, QueueLimitsUpdate, Update, rusqlite};

    use super::*;

    /// What an event of this kind with this data says, as the file has it.
    fn said_of(kind: &str, data: Option<&str>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let queue = Queue::open(&path).unwrap();
        let job = queue.enqueue(NewJob::new("k")).unwrap().id;
        let code = EventKind::ALL.iter().find(|known| known.as_str() == kind);
        let code = *code.unwrap() as u8;
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute(
            "INSERT INTO jobq_log (job_id, id, at, kind, data) VALUES (?1, 1000, 0, ?2, ?3)",
            rusqlite::params![job.0, code, data],
        )
        .unwrap();
        let filter = EventFilter {
            job: Some(job),
            since: EventId(999),
            kinds: EventKind::ALL.to_vec(),
            ..EventFilter::default()
        };
        let page = queue.events(&filter).unwrap();
        sentence(&page.events[0])
    }

    #[test]
    fn what_is_overdue_has_been_due_for_some_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(due(at(0), at(14)), "has been due for 14s");
        assert_eq!(due(at(0), at(0)), "is due now");
        assert_eq!(due(at(300), at(0)), "is due in 5m");
    }

    #[test]
    fn a_retry_is_told_as_it_was_when_it_was_decided() {
        let wait = |ms: i64| AttemptEnd {
            run_at_ms: Some(ms),
            ..AttemptEnd::default()
        };
        let event = Timestamp::UNIX_EPOCH;
        assert_eq!(again(&wait(500), event), "in 500ms");
        assert_eq!(again(&wait(5000), event), "in 5s");
        assert_eq!(again(&wait(0), event), "now");
        assert_eq!(again(&AttemptEnd::default(), event), "later");
    }

    #[test]
    fn rules_between_jobs_are_told_in_words() {
        let slot = r#"{"schedule":"nightly","slot":"2026-03-01T02:00:00Z"}"#;
        let skipped =
            r#"{"schedule":"nightly","slot":"2026-03-01T02:00:00Z","reason":"job 7 is live"}"#;
        for (kind, data, words) in [
            ("job_cancelled", None, "cancelled"),
            (
                "job_cancelled",
                Some(r#"{"error":"job 41, which it waits for, failed"}"#),
                "cancelled: job 41, which it waits for, failed",
            ),
            ("job_released", None, "released: what it waited for is over"),
            (
                "job_waiting",
                None,
                "its run phase is done; it waits for its children",
            ),
            (
                "schedule_fired",
                Some(slot),
                "schedule 'nightly' enqueued its job of 2026-03-01T02:00:00Z",
            ),
            (
                "schedule_skipped",
                Some(skipped),
                "schedule 'nightly' let its slot of 2026-03-01T02:00:00Z pass: job 7 is live",
            ),
            (
                "schedule_paused",
                Some(r#"{"schedule":"nightly"}"#),
                "schedule 'nightly' was paused",
            ),
            (
                "job_cancelled",
                Some(r#"{"by":"web:ann"}"#),
                "cancelled by web:ann",
            ),
            (
                "job_requeued",
                Some(r#"{"by":"web:ann"}"#),
                "retried by web:ann",
            ),
            (
                "job_requeued",
                Some(r#"{"by":"web:ann","undo":7}"#),
                "cancel undone by web:ann (undoes event 7)",
            ),
            (
                "queue_resumed",
                Some(r#"{"queue":"q","undo":7}"#),
                "queue 'q' resumed (undoes event 7)",
            ),
            (
                "queue_limited",
                Some(r#"{"queue":"q","concurrency":2,"weight":1,"by":"web:ann"}"#),
                "queue 'q' limited: 2 at once (by web:ann)",
            ),
            (
                "schedule_fired",
                Some(r#"{"schedule":"nightly","slot":null,"by":"web:ann"}"#),
                "schedule 'nightly' enqueued its job, as asked by web:ann",
            ),
            (
                "job_log",
                Some(r#"{"level":"info","message":"x","by":"me"}"#),
                "info: x",
            ),
        ] {
            assert_eq!(said_of(kind, data), words, "{kind}");
        }
    }

    #[test]
    fn a_queues_limits_are_told_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
        let limits = QueueLimitsUpdate {
            concurrency: Update::Set(2),
            rate: Update::Set(Rate {
                jobs: 10,
                per: Duration::from_secs(60),
            }),
            ..QueueLimitsUpdate::default()
        };
        assert!(queue.set_limits("images", limits).unwrap());
        let cleared = QueueLimitsUpdate {
            concurrency: Update::Clear,
            rate: Update::Clear,
            ..QueueLimitsUpdate::default()
        };
        assert!(queue.set_limits("images", cleared).unwrap());
        let page = queue.events(&EventFilter::default()).unwrap();
        let told: Vec<_> = page.events.iter().map(sentence).collect();
        assert_eq!(
            told,
            [
                "queue 'images' limited: 2 at once, 10/1m",
                "queue 'images' has no limits any more"
            ]
        );
    }
}
