//! An API's jobs, without the API: types by one registration each, tenants, and several workers for one queue.
//!
//! Three worker processes compete for the jobs of two tenants; each tenant hears of its own jobs only. A server fails
//! twice before it takes a webhook, and another one always fails: attempts are counted, and their errors kept. One of
//! the workers is ended by SIGKILL while its job is running. The job is not stuck: it runs again at once. There is
//! nothing else that could disagree about it, since the queue and the database are one file. SIGTERM ends the others.
//!
//! `cargo run --features handlers --example trio`

#[path = "support/http_server.rs"]
mod http_server;
#[path = "support/smtp_sink.rs"]
mod smtp_sink;
#[path = "support/worker.rs"]
mod worker;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use jobq::handlers::built_in::BuiltInKind;
use jobq::{
    Backoff, EventFilter, EventKind, JobId, NewJob, Queue, RunnerFilter, RunnerRecord, State,
};
use serde_json::{Value, json};
use smtp_sink::SmtpSink;
use worker::{Anything, Worker, wait_until};

/// What the worker's process does. Another type of jobs is another line here.
fn work(smtp_port: &str) -> Anything {
    let smtp = json!({"servers": {"default": {
        "host": "127.0.0.1", "port": smtp_port.parse::<u16>()?, "from": "api@example.org",
    }}});
    let mut runner = Queue::open("jobs.db")?.runner().workers(1);
    for (kind, settings) in [
        ("email", smtp),
        ("webhook", json!({})),
        ("sleep", json!({})),
        ("data_processing", json!({})),
    ] {
        let kind = BuiltInKind::named(kind).ok_or("the feature `handlers` is off")?;
        runner = kind.add_to(runner, &settings.to_string(), Path::new(""))?;
    }
    worker::work(runner)
}

/// What `POST /jobs` would do: it checks the payload and adds a job, which has three attempts without a pause.
fn post(queue: &Queue, tenant: &str, kind: &str, payload: &Value) -> Anything<JobId> {
    let known = BuiltInKind::named(kind).ok_or_else(|| format!("there is no type {kind}"))?;
    known.check(&payload.to_string())?;
    let job = NewJob::new(kind).payload(payload).tenant(tenant);
    let job = job.max_retries(2).backoff(Backoff::None);
    Ok(queue.enqueue(job)?.id)
}

fn main() -> Anything {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, smtp_port] = &arguments[..]
        && role == "worker"
    {
        return work(smtp_port);
    }
    let folder = std::env::temp_dir().join(format!("jobq-trio-{}", std::process::id()));
    let queue = Queue::open(folder.join("jobs.db"))?;
    let smtp = SmtpSink::start(|_| "250 ok")?;
    let server = serve_hooks()?;
    std::fs::write(
        folder.join("orders.csv"),
        "item,cents\ntea,300\ncake,450\ntea,150\n",
    )?;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(Worker::start(&folder, &[smtp.port.to_string()])?);
    }
    wait_until(&queue, || Ok(queue.runners(RunnerFilter::Now)?.len() == 3))?;

    for (kind, payload) in [("sleep", json!({"seconds": 3})), ("fax", json!({}))] {
        let Err(refused) = post(&queue, "north", kind, &payload) else {
            return Err("it is no job".into());
        };
        println!("refused: {refused}");
    }
    let long = post(&queue, "north", "sleep", &json!({"delayMs": 3000}))?;
    let mut north = post_many(&queue, "north", &server)?;
    north.insert(long);
    let mut south = post_many(&queue, "south", &server)?;
    let dead = json!({"url": format!("{server}/always"), "body": "hello"});
    let dead = post(&queue, "south", "webhook", &dead)?;
    south.insert(dead);

    std::thread::scope(|scope| -> Anything {
        let queue = &queue;
        let clients = [("north", &north), ("south", &south)]
            .map(|(tenant, jobs)| scope.spawn(move || follow(queue, tenant, jobs)));
        kill_the_worker_of(queue, long, &mut workers)?;
        println!("-- the worker of job {long} was killed");
        for client in clients {
            client.join().map_err(|_| "a client has panicked")??;
        }
        Ok(())
    })?;
    check(&queue, north.iter().chain(&south), (long, dead))?;
    assert_eq!(smtp.mails.try_iter().count(), 2);
    for tenant in ["north", "south"] {
        let totals = std::fs::read_to_string(folder.join(tenant).with_extension("csv"))?;
        assert_eq!(totals, "item,cents\ncake,450\ntea,450\n");
    }

    for worker in workers {
        worker.stop()?;
    }
    assert!(queue.runners(RunnerFilter::Now)?.is_empty());
    println!("-- SIGTERM has ended the other workers");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Some jobs of each type.
fn post_many(queue: &Queue, tenant: &str, server: &str) -> Anything<BTreeSet<JobId>> {
    let email = json!({
        "to": format!("{tenant}@example.org"), "subject": "Welcome", "text": "Your account is ready.",
    });
    let totals = json!({
        "inputs": [{"path": "orders.csv", "types": {"cents": "int"}}],
        "sql": "SELECT item, sum(cents) AS cents FROM orders GROUP BY item ORDER BY item",
        "output": {"path": format!("{tenant}.csv")},
    });
    let hook = json!({"url": format!("{server}/twice/{tenant}"), "json": {"event": "paid"}});
    let mut jobs = BTreeSet::from([
        post(queue, tenant, "email", &email)?,
        post(queue, tenant, "data_processing", &totals)?,
        post(queue, tenant, "webhook", &hook)?,
    ]);
    for _ in 0..5 {
        jobs.insert(post(queue, tenant, "sleep", &json!({"delayMs": 300}))?);
    }
    Ok(jobs)
}

/// Prints what happens to the jobs of a tenant, as its clients would get it, until all are final.
fn follow(queue: &Queue, tenant: &str, jobs: &BTreeSet<JobId>) -> jobq::Result<()> {
    use EventKind::{Completed, Failed, Recovered, Retry, Started};
    let mut filter = EventFilter {
        tenant: Some(tenant.to_owned()),
        kinds: vec![Started, Retry, Recovered, Completed, Failed],
        ..EventFilter::default()
    };
    let mut live = jobs.clone();
    let mut changes = queue.changes()?;
    while !live.is_empty() {
        let page = queue.events(&filter)?;
        filter.since = page.next;
        for event in page.events {
            let (job, attempt) = (event.job.unwrap_or_default(), event.attempt.unwrap_or(0));
            println!("{tenant}: {} {job}, attempt {attempt}", event.kind);
            assert!(jobs.contains(&job), "job {job} is not of {tenant}");
            if matches!(event.kind, Completed | Failed) {
                live.remove(&job);
            }
        }
        if page.at_end && !live.is_empty() {
            changes.wait(Duration::from_secs(1))?;
        }
    }
    Ok(())
}

/// Waits until the job is running, and kills its worker's process.
fn kill_the_worker_of(queue: &Queue, job: JobId, workers: &mut Vec<Worker>) -> Anything {
    let mut pid = None;
    wait_until(queue, || {
        let runners = queue.runners(RunnerFilter::Now)?;
        let has_it = |runner: &&RunnerRecord| runner.jobs.iter().any(|it| it.job == job);
        pid = runners.iter().find(has_it).map(|runner| runner.pid);
        Ok(pid.is_some())
    })?;
    let at = workers.iter().position(|worker| Some(worker.pid()) == pid);
    workers.remove(at.ok_or("it is nobody's worker")?).kill()?;
    Ok(())
}

/// Checks what has become of the jobs.
fn check<'j>(
    queue: &Queue,
    jobs: impl Iterator<Item = &'j JobId>,
    (long, dead): (JobId, JobId),
) -> Anything {
    let mut runners = BTreeSet::new();
    for id in jobs {
        let job = queue.get(*id)?.ok_or("it was removed")?;
        let attempts = queue.attempts(*id)?;
        runners.extend(attempts.iter().filter_map(|attempt| attempt.runner));
        let errors = attempts.into_iter().filter_map(|attempt| attempt.end.error);
        let errors: Vec<String> = errors.collect();
        if !errors.is_empty() {
            println!("job {id}, {}, {}: {errors:#?}", job.kind, job.state);
        }
        let all_say = |text: &str| errors.iter().all(|error| error.contains(text));
        if *id == dead {
            assert_eq!((job.state, errors.len()), (State::Failed, 3));
            assert!(all_say("500") && job.error.is_some_and(|error| error.contains("500")));
            continue;
        }
        assert_eq!(job.state, State::Completed);
        match &*job.kind {
            "webhook" => assert!(errors.len() == 2 && all_say("503")),
            _ if *id == long => assert!(job.crashes == 1 && all_say("its runner was lost")),
            _ => assert_eq!(errors.len(), 0),
        }
    }
    assert!(runners.len() > 1, "one worker has done all");
    Ok(())
}

/// Each path below `/twice` fails two times and succeeds then; all others always fail.
fn serve_hooks() -> std::io::Result<String> {
    let calls: Mutex<HashMap<String, u32>> = Mutex::default();
    http_server::serve(move |path| {
        let call = calls.lock().map_or(0, |mut calls| {
            let call = calls.entry(path.to_owned()).or_default();
            *call += 1;
            *call
        });
        let (status, body) = match path.starts_with("/twice") {
            true if call > 2 => (200, "thanks"),
            true => (503, "busy"),
            false => (500, "broken"),
        };
        (status, body.to_owned())
    })
}
