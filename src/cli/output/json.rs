//! The JSON that other programs rely on: the names and the order of these fields are a contract.

mod job;

use std::borrow::Cow;
use std::io::{self, Write};

use jiff::Timestamp;
pub(crate) use job::{JobJson, asked_for};
use jobq::{
    AttemptRecord, Counts, Event, EventData, EventId, EventKind, JobId, QueueRecord, RunnerId,
    RunnerRecord, RunnerState, State, WorkerId,
};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::time::{millis, rfc3339};

/// Writes one object on one line. Payloads and results are kept letter for letter; but the line ends
/// that JSON allows between its tokens would end the line, and become blanks.
pub(crate) fn write_line(
    out: &mut (impl Write + ?Sized),
    value: &impl Serialize,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    for byte in &mut line {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    out.write_all(&line)
}

/// RFC 3339, UTC, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

/// A job in full: what `status ID` shows.
#[derive(Serialize)]
pub(crate) struct JobInFullJson<'a> {
    #[serde(flatten)]
    pub(crate) job: JobJson<'a>,
    pub(crate) attempts: Vec<AttemptJson<'a>>,
    pub(crate) why: WhyJson<'a>,
}

/// Which rule keeps a job from running.
#[derive(Serialize)]
pub(crate) struct WhyJson<'a> {
    pub(crate) why: &'a str,
    pub(crate) message: &'a str,
    pub(crate) hint: Option<&'a str>,
}

/// One attempt of a job.
#[derive(Serialize)]
pub(crate) struct AttemptJson<'a> {
    attempt: u32,
    outcome: Option<&'static str>,
    error: Option<&'a str>,
    started_at: Option<Time>,
    finished_at: Option<Time>,
    duration_ms: Option<u64>,
    cpu_ms: Option<u64>,
    max_rss_bytes: Option<u64>,
    exit_code: Option<i32>,
    runner: Option<RunnerId>,
    worker: Option<WorkerId>,
}

impl<'a> AttemptJson<'a> {
    pub(crate) fn new(attempt: &'a AttemptRecord) -> AttemptJson<'a> {
        AttemptJson {
            attempt: attempt.attempt,
            outcome: attempt.outcome.map(outcome),
            error: attempt.end.error.as_deref(),
            started_at: attempt.started_at.map(Time),
            finished_at: attempt.finished_at.map(Time),
            duration_ms: attempt.took.map(millis),
            cpu_ms: attempt.end.cpu_ms,
            max_rss_bytes: attempt.end.max_rss_bytes,
            exit_code: attempt.end.exit_code,
            runner: attempt.runner,
            worker: attempt.worker,
        }
    }
}

/// How an attempt ended, in one word: `completed`, `failed`, `retry`, `cancelled`, `snoozed`,
/// `returned`, `recovered`.
pub(crate) fn outcome(end: EventKind) -> &'static str {
    let name = end.as_str();
    name.strip_prefix("job_").unwrap_or(name)
}

/// Each state with its number of jobs.
pub(crate) struct CountsJson(pub(crate) Counts);

impl Serialize for CountsJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(State::ALL.len()))?;
        for (state, jobs) in self.0.iter() {
            map.serialize_entry(state.as_str(), &jobs)?;
        }
        map.end()
    }
}

/// A queue.
#[derive(Serialize)]
pub(crate) struct QueueJson<'a> {
    name: &'a str,
    paused: bool,
    paused_at: Option<Time>,
    counts: CountsJson,
    concurrency: Option<u32>,
    rate: Option<RateJson>,
    max_size: Option<u64>,
    weight: u32,
}

#[derive(Serialize)]
struct RateJson {
    jobs: u32,
    per_ms: u64,
}

impl<'a> QueueJson<'a> {
    /// A queue is paused by its name, or because all are since `all_paused`.
    pub(crate) fn new(queue: &'a QueueRecord, all_paused: Option<Timestamp>) -> QueueJson<'a> {
        let paused_at = queue.paused_at.or(all_paused);
        QueueJson {
            name: &queue.name,
            paused: paused_at.is_some(),
            paused_at: paused_at.map(Time),
            counts: CountsJson(queue.counts),
            concurrency: queue.limits.concurrency,
            rate: queue.limits.rate.map(|rate| RateJson {
                jobs: rate.jobs,
                per_ms: millis(rate.per),
            }),
            max_size: queue.limits.max_size,
            weight: queue.limits.weight,
        }
    }
}

/// A runner and what its workers do.
#[derive(Serialize)]
pub(crate) struct RunnerJson<'a> {
    id: RunnerId,
    state: RunnerState,
    pid: u32,
    host: &'a str,
    started_at: Time,
    heartbeat_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    short_of: Option<&'a str>,
    workers: Vec<WorkerJson<'a>>,
}

#[derive(Serialize)]
struct WorkerJson<'a> {
    worker: Option<WorkerId>,
    job: Option<JobId>,
    kind: Option<&'a str>,
    since: Option<Time>,
}

impl<'a> RunnerJson<'a> {
    pub(crate) fn new(runner: &'a RunnerRecord) -> RunnerJson<'a> {
        RunnerJson {
            id: runner.id,
            state: runner.state,
            pid: runner.pid,
            host: &runner.host,
            started_at: Time(runner.started_at),
            heartbeat_at: Time(runner.heartbeat_at),
            short_of: runner.short_of.as_deref(),
            workers: workers(runner),
        }
    }
}

/// Each worker, busy or idle; after them the jobs that are on their way to a worker.
fn workers(runner: &RunnerRecord) -> Vec<WorkerJson<'_>> {
    let busy = |worker| runner.jobs.iter().any(|job| job.worker == Some(worker));
    let idle = (1..=runner.worker_count)
        .map(WorkerId)
        .filter(|worker| !busy(*worker));
    let mut workers: Vec<WorkerJson<'_>> = idle
        .map(|worker| WorkerJson {
            worker: Some(worker),
            job: None,
            kind: None,
            since: None,
        })
        .collect();
    workers.extend(runner.jobs.iter().map(|job| WorkerJson {
        worker: job.worker,
        job: Some(job.job),
        kind: Some(&job.kind),
        since: Some(Time(job.since)),
    }));
    workers.sort_by_key(|entry| (entry.worker.is_none(), entry.worker, entry.job));
    workers
}

/// What `status` shows.
#[derive(Serialize)]
pub(crate) struct StatusJson<'a> {
    pub(crate) counts: CountsJson,
    pub(crate) queues: Vec<QueueJson<'a>>,
    pub(crate) runners: Vec<RunnerJson<'a>>,
    pub(crate) next_due_at: Option<Time>,
}

/// One line of the history.
#[derive(Serialize)]
pub(crate) struct EventJson<'a> {
    id: EventId,
    at: Time,
    kind: EventKind,
    job: Option<JobId>,
    attempt: Option<u32>,
    runner: Option<RunnerId>,
    worker: Option<WorkerId>,
    took_ms: Option<u64>,
    data: Option<DataJson<'a>>,
}

/// JSON as it stands; output of commands is a string.
#[derive(Serialize)]
#[serde(untagged)]
enum DataJson<'a> {
    Json(&'a RawValue),
    Text(Cow<'a, str>),
}

impl<'a> EventJson<'a> {
    pub(crate) fn new(event: &'a Event) -> EventJson<'a> {
        EventJson {
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
}

fn data_json(kind: EventKind, data: &EventData) -> DataJson<'_> {
    let text = String::from_utf8_lossy(data.as_bytes());
    if matches!(kind, EventKind::Stdout | EventKind::Stderr) {
        return DataJson::Text(text);
    }
    match data {
        EventData::Text(json) if jobq::json::check(json).is_ok() => {
            serde_json::from_str(json).map_or(DataJson::Text(text), DataJson::Json)
        }
        EventData::Text(_) => DataJson::Text(text),
        EventData::Bytes(_) => DataJson::Text(text),
    }
}

/// A line of a job's output, or an entry of its log.
#[derive(Serialize)]
pub(crate) struct LogJson<'a> {
    pub(crate) at: Time,
    pub(crate) job: Option<JobId>,
    pub(crate) attempt: Option<u32>,
    pub(crate) stream: &'a str,
    pub(crate) level: Option<jobq::Level>,
    pub(crate) message: Cow<'a, str>,
    pub(crate) fields: Option<&'a serde_json::Value>,
}

/// What was done to one job.
#[derive(Serialize)]
pub(crate) struct DoneJson<'a> {
    pub(crate) id: JobId,
    pub(crate) result: &'a str,
}

/// A job that was waited for.
#[derive(Serialize)]
pub(crate) struct EndedJson {
    pub(crate) id: JobId,
    pub(crate) state: State,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jobq::{EventFilter, ManualClock, NewJob, Priority, Queue, RunnerFilter};

    use super::*;

    /// A queue where it is always noon.
    fn queue() -> (tempfile::TempDir, Queue) {
        let folder = tempfile::tempdir().unwrap();
        let noon = "2026-03-01T12:00:00.007Z".parse().unwrap();
        let queue = Queue::options()
            .clock(ManualClock::new(noon))
            .open(folder.path().join("jobs.db"))
            .unwrap();
        (folder, queue)
    }

    fn line(value: &impl Serialize) -> String {
        let mut line = Vec::new();
        write_line(&mut line, value).unwrap();
        String::from_utf8(line).unwrap()
    }

    const JOB: &str = concat!(
        r#"{"id":1,"kind":"resize","queue":"images","tenant":null,"tags":null,"state":"scheduled","#,
        r#""priority":"high","payload":{"w":  1.0,"big":12345678901234567890123},"result":null,"#,
        r#""error":null,"progress":null,"attempt":0,"retries_left":3,"max_retries":3,"#,
        r#""backoff":"exponential","jitter":true,"timeout_ms":90000,"unique_key":null,"key":null,"#,
        r#""parent_id":null,"children":null,"depends_on":null,"#,
        r#""run_at":"2026-03-01T12:05:00.007Z","deadline":null,"created_at":"2026-03-01T12:00:00.007Z","#,
        r#""updated_at":"2026-03-01T12:00:00.007Z","started_at":null,"finished_at":null,"#,
        r#""runner":null,"worker":null"#
    );

    fn resize() -> NewJob {
        NewJob::new("resize")
            .payload_json("{\"w\":\n 1.0,\"big\":12345678901234567890123}")
            .queue("images")
            .priority(Priority::High)
            .delay(Duration::from_secs(300))
            .timeout(Duration::from_secs(90))
    }

    #[test]
    fn a_job_has_the_fields_of_the_contract_and_its_payload_letter_for_letter_on_one_line() {
        let (_folder, queue) = queue();
        let id = queue.enqueue(resize()).unwrap().id;
        let job = queue.get(id).unwrap().unwrap();
        assert_eq!(line(&JobJson::new(&job)), format!("{JOB}}}\n"));
        let in_full = JobInFullJson {
            job: JobJson::new(&job),
            attempts: Vec::new(),
            why: WhyJson {
                why: "delayed",
                message: "later",
                hint: None,
            },
        };
        assert_eq!(
            line(&in_full),
            format!(
                "{JOB},{}\n",
                r#""attempts":[],"why":{"why":"delayed","message":"later","hint":null}}"#
            )
        );
    }

    #[test]
    fn status_has_every_state_and_the_next_due_time() {
        let (_folder, queue) = queue();
        queue.enqueue(resize()).unwrap();
        let queues = queue.queues().unwrap();
        let runners = queue.runners(RunnerFilter::Now).unwrap();
        let status = StatusJson {
            counts: CountsJson(queue.counts().unwrap()),
            queues: queues
                .iter()
                .map(|queue| QueueJson::new(queue, None))
                .collect(),
            runners: runners.iter().map(RunnerJson::new).collect(),
            next_due_at: queue.next_due().unwrap().map(Time),
        };
        let counts = concat!(
            r#"{"scheduled":1,"blocked":0,"pending":0,"running":0,"waiting":0,"completed":0,"#,
            r#""failed":0,"cancelled":0}"#
        );
        let queues = format!(
            "[{},\"counts\":{counts},{}]",
            r#"{"name":"images","paused":false,"paused_at":null"#,
            r#""concurrency":null,"rate":null,"max_size":null,"weight":1}"#
        );
        assert_eq!(
            line(&status),
            format!(
                "{{\"counts\":{counts},\"queues\":{queues},\"runners\":[],{}\n",
                r#""next_due_at":"2026-03-01T12:05:00.007Z"}"#
            )
        );
    }

    #[test]
    fn an_event_has_the_fields_of_the_contract_and_its_data_as_json() {
        let (_folder, queue) = queue();
        queue
            .pause(jobq::QueueSelector::Named("images".into()))
            .unwrap();
        let page = queue.events(&EventFilter::default()).unwrap();
        assert_eq!(
            line(&EventJson::new(&page.events[0])),
            concat!(
                r#"{"id":1,"at":"2026-03-01T12:00:00.007Z","kind":"queue_paused","job":null,"#,
                r#""attempt":null,"runner":null,"worker":null,"took_ms":null,"#,
                r#""data":{"queue":"images"}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn output_is_a_string_even_where_it_looks_like_json() {
        let data = EventData::Text("42\n".into());
        assert_eq!(line(&data_json(EventKind::Stdout, &data)), "\"42\\n\"\n");
        assert_eq!(line(&data_json(EventKind::Progress, &data)), "42\n");
        let bytes = EventData::Bytes(vec![b'a', 0xff]);
        assert_eq!(
            line(&data_json(EventKind::Stderr, &bytes)),
            "\"a\u{fffd}\"\n"
        );
    }
}
