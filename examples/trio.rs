//! An API, a queue and its workers: tenants post jobs over HTTP and hear of their own jobs over a WebSocket.
//!
//! `jobq::web::Server` is the API, with a token for each tenant. Three worker processes compete for the jobs of two
//! tenants. A server fails twice before it takes a webhook, and another one always fails: attempts are counted, and
//! their errors kept. One of the workers is ended by SIGKILL while its job is running. The job is not stuck: it runs
//! again at once. There is nothing else that could disagree about it, since the queue and the database are one file.
//! SIGTERM ends the others.
//!
//! `cargo run --features handlers --example trio`

#[path = "support/api_client.rs"]
mod api_client;
#[path = "support/http_server.rs"]
mod http_server;
#[path = "support/smtp_sink.rs"]
mod smtp_sink;
#[path = "support/worker.rs"]
mod worker;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;

use api_client::ApiClient;
use jobq::handlers::built_in::BuiltInKind;
use jobq::web::{Server, ServerHandle};
use jobq::{JobId, Queue, RunnerFilter, RunnerRecord};
use serde_json::{Value, json};
use smtp_sink::SmtpSink;
use worker::{Anything, Worker, wait_until};

const TENANTS: [&str; 2] = ["north", "south"];

/// The types of jobs. Another one is another word here.
const KINDS: [&str; 4] = ["email", "webhook", "sleep", "data_processing"];

/// What the worker's process does.
fn work(smtp_port: &str) -> Anything {
    let smtp = json!({"servers": {"default": {
        "host": "127.0.0.1", "port": smtp_port.parse::<u16>()?, "from": "api@example.org",
    }}});
    let mut runner = Queue::open("jobs.db")?.runner().workers(1);
    for name in KINDS {
        let kind = BuiltInKind::named(name).ok_or("the feature `handlers` is off")?;
        let settings = if name == "email" {
            smtp.to_string()
        } else {
            "{}".to_owned()
        };
        runner = kind.add_to(runner, &settings, Path::new(""))?;
    }
    worker::work(runner)
}

/// Starts the API, and gives each tenant a client with its token.
fn serve_api(queue: &Queue, folder: &Path) -> Anything<(ServerHandle, [ApiClient; 2])> {
    let token_of = |tenant| format!("the-token-of-{tenant}");
    let lines = TENANTS.map(|tenant| format!("{} tenant={tenant}\n", token_of(tenant)));
    let tokens = folder.join("tokens");
    std::fs::write(&tokens, lines.concat())?;
    let api = Server::new(queue.clone()).listen("127.0.0.1:0".parse()?);
    let api = api.token_file(tokens).kinds(KINDS).start()?;
    let clients = TENANTS.map(|tenant| ApiClient {
        address: api.address().to_string(),
        token: token_of(tenant),
    });
    Ok((api, clients))
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
    let hooks = serve_hooks()?;
    std::fs::write(
        folder.join("orders.csv"),
        "item,cents\ntea,300\ncake,450\ntea,150\n",
    )?;
    let (api, [north, south]) = serve_api(&queue, &folder)?;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(Worker::start(&folder, &[smtp.port.to_string()])?);
    }
    wait_until(&queue, || Ok(queue.runners(RunnerFilter::Now)?.len() == 3))?;

    show_refusals(&north)?;
    let long = post(&north, "sleep", &json!({"delayMs": 3000}))?;
    let mut of_north = post_many(&north, "north", &hooks)?;
    of_north.insert(long);
    let mut of_south = post_many(&south, "south", &hooks)?;
    let dead = json!({"url": format!("{hooks}/always"), "body": "hello"});
    let dead = post(&south, "webhook", &dead)?;
    of_south.insert(dead);

    std::thread::scope(|scope| -> Anything {
        let clients = [("north", &north, &of_north), ("south", &south, &of_south)];
        let clients = clients.map(|(tenant, client, jobs)| {
            scope.spawn(move || follow(tenant, client, jobs).map_err(|error| error.to_string()))
        });
        kill_the_worker_of(&queue, long, &mut workers)?;
        println!("-- the worker of job {long} was killed");
        for client in clients {
            client.join().map_err(|_| "a client has panicked")??;
        }
        Ok(())
    })?;
    let mut runners = check(&north, &of_north, (long, dead))?;
    runners.extend(check(&south, &of_south, (long, dead))?);
    assert!(runners.len() > 1, "one worker has done all");
    assert_eq!(south.get(&format!("/jobs/{long}"))?.0, 404);
    assert_eq!(smtp.mails.try_iter().count(), 2);
    for tenant in TENANTS {
        let totals = std::fs::read_to_string(folder.join(tenant).with_extension("csv"))?;
        assert_eq!(totals, "item,cents\ncake,450\ntea,450\n");
    }

    for worker in workers {
        worker.stop()?;
    }
    assert!(queue.runners(RunnerFilter::Now)?.is_empty());
    println!("-- SIGTERM has ended the other workers");
    api.stop();
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Adds a job, which has three attempts without a pause.
fn post(client: &ApiClient, kind: &str, payload: &Value) -> Anything<JobId> {
    let job = json!({"kind": kind, "payload": payload, "retries": 2, "backoff": "none"});
    match client.post("/jobs", &job)? {
        (201, added) => Ok(JobId(added["id"].as_i64().ok_or("it has no id")?)),
        (status, problem) => Err(format!(
            "{status}: {}; {}",
            problem["detail"].as_str().unwrap_or_default(),
            problem["hint"].as_str().unwrap_or_default()
        )
        .into()),
    }
}

/// A type that there is not, a payload with a wrong field, and a token that nobody has.
fn show_refusals(client: &ApiClient) -> Anything {
    let stranger = ApiClient {
        address: client.address.clone(),
        token: "the-token-of-nobody".to_owned(),
    };
    for (client, kind, payload, status) in [
        (client, "fax", json!({}), "422"),
        (client, "sleep", json!({"seconds": 3}), "422"),
        (&stranger, "sleep", json!({"delayMs": 3}), "401"),
    ] {
        let Err(refused) = post(client, kind, &payload) else {
            return Err(format!("a job of kind {kind} was taken").into());
        };
        println!("refused, {refused}");
        assert!(refused.to_string().starts_with(status));
    }
    Ok(())
}

/// Some jobs of each type.
fn post_many(client: &ApiClient, tenant: &str, hooks: &str) -> Anything<BTreeSet<JobId>> {
    let email = json!({
        "to": format!("{tenant}@example.org"), "subject": "Welcome", "text": "Your account is ready.",
    });
    let totals = json!({
        "inputs": [{"path": "orders.csv", "types": {"cents": "int"}}],
        "sql": "SELECT item, sum(cents) AS cents FROM orders GROUP BY item ORDER BY item",
        "output": {"path": format!("{tenant}.csv")},
    });
    let hook = json!({"url": format!("{hooks}/twice/{tenant}"), "json": {"event": "paid"}});
    let mut jobs = BTreeSet::from([
        post(client, "email", &email)?,
        post(client, "data_processing", &totals)?,
        post(client, "webhook", &hook)?,
    ]);
    for _ in 0..5 {
        jobs.insert(post(client, "sleep", &json!({"delayMs": 300}))?);
    }
    Ok(jobs)
}

/// Prints what the live socket sends to a tenant, until all its jobs are final.
fn follow(tenant: &str, client: &ApiClient, jobs: &BTreeSet<JobId>) -> Anything {
    let kinds = [
        "job_started",
        "job_retry",
        "job_recovered",
        "job_completed",
        "job_failed",
    ];
    let mut events = client.events(&kinds)?;
    let mut live = jobs.clone();
    while !live.is_empty() {
        for event in events.wait()? {
            let job = JobId(event["job"].as_i64().ok_or("it is of no job")?);
            let (kind, text) = (event["kind"].as_str(), event["text"].as_str());
            println!("{tenant}: job {job} {}", text.unwrap_or_default());
            assert!(jobs.contains(&job), "job {job} is not of {tenant}");
            if matches!(kind, Some("job_completed" | "job_failed")) {
                live.remove(&job);
            }
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

/// Reads what has become of a tenant's jobs, checks it, and returns the runners that have had them.
fn check(
    client: &ApiClient,
    jobs: &BTreeSet<JobId>,
    (long, dead): (JobId, JobId),
) -> Anything<BTreeSet<i64>> {
    let (_, page) = client.get("/jobs")?;
    let listed = page["jobs"].as_array().ok_or("it is no list")?.iter();
    let listed: Option<BTreeSet<JobId>> = listed.map(|job| job["id"].as_i64().map(JobId)).collect();
    assert_eq!(listed.as_ref(), Some(jobs), "the list has others");
    let mut runners = BTreeSet::new();
    for id in jobs {
        let (_, job) = client.get(&format!("/jobs/{id}"))?;
        let attempts = job["attempts"].as_array().ok_or("it has no attempts")?;
        runners.extend(
            attempts
                .iter()
                .filter_map(|attempt| attempt["runner"].as_i64()),
        );
        let errors = attempts
            .iter()
            .filter_map(|attempt| attempt["error"].as_str());
        let errors: Vec<&str> = errors.collect();
        let (kind, state) = (job["kind"].as_str().unwrap_or_default(), &job["state"]);
        if !errors.is_empty() {
            println!("job {id}, {kind}, {state}: {errors:#?}");
        }
        let all_say = |text: &str| errors.iter().all(|error| error.contains(text));
        let expected = match kind {
            _ if *id == dead => errors.len() == 3 && all_say("500"),
            "webhook" => errors.len() == 2 && all_say("503"),
            _ if *id == long => errors.len() == 1 && all_say("its runner was lost"),
            _ => errors.is_empty(),
        };
        assert!(expected, "{job:#}");
        assert_eq!(state, if *id == dead { "failed" } else { "completed" });
    }
    Ok(runners)
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
