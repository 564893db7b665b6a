//! Requests to a server on this machine, beside a loop that does nothing else.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use jobq::bench::per_s;
use jobq::handlers::built_in::BuiltIn;
use jobq::handlers::webhook::{Webhook, WebhookSettings};
use jobq::{Context, Durability, Handler, Job, NewJob, Outcome, Until};
use ureq::Agent;

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line, Pair};

const THREADS: usize = 5;

pub(crate) fn webhook(plan: &Plan) -> Done {
    let requests = plan.jobs_or(plan.pick(10_000, 100));
    let url = serve()?;
    let (mut by_kept, mut by_new) = (Pair::new("loop"), Pair::new("loop"));
    let mut by_empty = Pair::new("empty");
    for _ in 0..plan.pick(5, 1) {
        let job = NewJob::new(Webhook::KIND).payload(&serde_json::json!({ "url": url }));
        let jobs = vec![job; requests];
        let handler = BuiltIn::<Webhook>::new(WebhookSettings::default());
        let empty = per_s(requests, by_jobs(plan, jobs.clone(), EmptyHandler)?);
        let jobs = per_s(requests, by_jobs(plan, jobs, handler)?);
        by_empty.push(jobs, empty);
        by_kept.push(jobs, per_s(requests, by_loop(&url, requests, 10)?));
        by_new.push(jobs, per_s(requests, by_loop(&url, requests, 0)?));
    }
    for (name, pair) in [
        ("requests, connections kept by the loop", by_kept),
        ("requests, a connection each", by_new),
    ] {
        Line::pair(name, "1/s", &pair)
            .goal_of_ratio(pair.ratio(), plan.goal(Goal::AtLeast(1.0 / 1.5)))
            .print();
    }
    Line::pair("requests, beside jobs without one", "1/s", &by_empty).print();
    Ok(())
}

/// What the queue costs.
struct EmptyHandler;

impl Handler for EmptyHandler {
    fn run(&self, _: &Context) -> Outcome {
        Outcome::Done(None)
    }
}

/// The jobs are in the file already.
fn by_jobs(
    plan: &Plan,
    jobs: Vec<NewJob>,
    handler: impl Handler,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let setup = plan.setup(Durability::Normal);
    let scratch = setup.scratch()?;
    let queue = setup.open(&scratch.path().join("webhook.db"))?;
    let requests = jobs.len();
    queue.enqueue_many(jobs)?;
    let began = Instant::now();
    let runner = queue.runner().workers(THREADS).until(Until::Drained);
    let report = runner.kind(Webhook::KIND, handler).start()?.wait()?;
    let took = began.elapsed();
    match report.stats.completed {
        completed if completed == requests as u64 => Ok(took),
        completed => Err(format!("{completed} of {requests} jobs completed").into()),
    }
}

fn by_loop(
    url: &str,
    requests: usize,
    kept: usize,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let config = Agent::config_builder().proxy(None);
    let agent: Agent = config.max_idle_connections_per_host(kept).build().into();
    let began = Instant::now();
    thread::scope(|scope| {
        let loops: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| -> Result<(), ureq::Error> {
                    for _ in 0..requests / THREADS {
                        agent.get(url).call()?.body_mut().read_to_string()?;
                    }
                    Ok(())
                })
            })
            .collect();
        loops
            .into_iter()
            .try_for_each(|each| each.join().unwrap_or(Ok(())))
    })?;
    Ok(began.elapsed())
}

/// Starts the server, which ends with the process.
fn serve() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    Ok(url)
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        if line == "\r\n" {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            reader.get_mut().write_all(answer)?;
        }
        line.clear();
    }
    Ok(())
}
