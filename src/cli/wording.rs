//! What an event says to a person.

use std::time::Duration;

use jiff::Timestamp;
use jobq::{AttemptEnd, Event, EventKind, LimitsOfQueue, LogEntry, Progress, Rate};
use serde::Deserialize;

use super::limits;
use super::output::text::count;
use super::output::time::{duration, relative};
use super::what::percent;

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
pub(super) fn sentence(event: &Event, now: Timestamp) -> String {
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
            "attempt {attempt} failed{}: {}; the next one is due {}",
            after(event),
            failed(),
            due(&end, now)
        ),
        EventKind::Cancelled => {
            let why = end.error.map(|why| format!(": {why}")).unwrap_or_default();
            format!("cancelled{}{why}", after(event))
        }
        EventKind::Snoozed => format!(
            "attempt {attempt} asked to be called again {}",
            due(&end, now)
        ),
        EventKind::Returned => {
            let why = end.error.map(|why| format!(": {why}")).unwrap_or_default();
            format!("attempt {attempt} was given back{why}; it costs nothing")
        }
        EventKind::Recovered => format!("attempt {attempt} was lost: {}", failed()),
        EventKind::CancelRequested => "asked to stop".to_owned(),
        EventKind::Requeued => "put back by hand".to_owned(),
        EventKind::Edited => "edited".to_owned(),
        EventKind::ReportDropped => {
            format!("attempt {attempt} reported, but no longer held the job")
        }
        EventKind::Released => "released: what it waited for is over".to_owned(),
        EventKind::Waiting => format!(
            "its own part is done{}; it waits for its children",
            after(event)
        ),
        EventKind::Log => details_of_log(event),
        EventKind::Stdout | EventKind::Stderr => text(event),
        _ => without_job(event),
    }
}

/// What happens to queues, runners and schedules.
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
    let limits = LimitsOfQueue {
        concurrency: details.concurrency,
        rate: rate.map(|(jobs, ms)| Rate {
            jobs,
            per: Duration::from_millis(ms),
        }),
        max_size: details.max_size,
        weight: details.weight,
    };
    match limits::said(&limits) {
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

fn due(end: &AttemptEnd, now: Timestamp) -> String {
    end.run_at_ms
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "later".to_owned(), |at| relative(at, now))
}

#[cfg(test)]
mod tests {
    use jobq::{Change, EventFilter, NewJob, Queue, QueueLimits, rusqlite};

    use super::*;

    /// What an event of this kind with this data says, as the file has it.
    fn said(kind: &str, data: Option<&str>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let queue = Queue::open(&path).unwrap();
        queue.enqueue(NewJob::new("k")).unwrap();
        let code = EventKind::ALL.iter().find(|known| known.as_str() == kind);
        let code = *code.unwrap() as u8;
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute(
            "UPDATE jobq_event SET kind = ?1, data = ?2",
            rusqlite::params![code, data],
        )
        .unwrap();
        let page = queue.events(&EventFilter::default()).unwrap();
        sentence(&page.events[0], Timestamp::UNIX_EPOCH)
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
                "its own part is done; it waits for its children",
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
        ] {
            assert_eq!(said(kind, data), words, "{kind}");
        }
    }

    #[test]
    fn a_queues_limits_are_told_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path().join("jobs.db")).unwrap();
        let limits = QueueLimits {
            concurrency: Change::Set(2),
            rate: Change::Set(Rate {
                jobs: 10,
                per: Duration::from_secs(60),
            }),
            ..QueueLimits::default()
        };
        assert!(queue.set_limits("images", limits).unwrap());
        let cleared = QueueLimits {
            concurrency: Change::Clear,
            rate: Change::Clear,
            ..QueueLimits::default()
        };
        assert!(queue.set_limits("images", cleared).unwrap());
        let page = queue.events(&EventFilter::default()).unwrap();
        let told: Vec<_> = page
            .events
            .iter()
            .map(|event| sentence(event, event.at))
            .collect();
        assert_eq!(
            told,
            [
                "queue 'images' limited: 2 at once, 10/1m",
                "queue 'images' has no limits any more"
            ]
        );
    }
}
