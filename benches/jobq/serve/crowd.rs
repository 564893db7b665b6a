//! Many clients at once: slow ones, dead ones, and a change to very many jobs.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jobq::bench::{Spread, thousands};
use jobq::{Durability, NewJob, Queue};
use serde::Deserialize;

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line};
use crate::serve::ServedFile;
use crate::serve::client::{Found, HttpClient, Served};
use crate::serve::socket::Live;

pub(super) fn crowds(plan: &Plan, file: &ServedFile) -> Done {
    sockets(plan, file)?;
    slow_heads(plan, file)?;
    let queue = plan.setup(Durability::Normal).open(&file.path)?;
    cancel_many(plan, file, &queue)?;
    first_screen(plan, file)
}

/// 50 sockets that follow all events; one of them reads nothing.
fn sockets(plan: &Plan, file: &ServedFile) -> Done {
    const MIB: f64 = 1048576.0;
    let queue = plan.setup(Durability::Normal).open(&file.path)?;
    let served = Served::start(&file.path)?;
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut live = Live::open_page(&served)?;
        live.say(r#"{"sub":3,"topic":"events"}"#)?;
        open.push(live);
    }
    let deaf = open.pop();
    for live in open {
        live.read_on();
    }
    for _ in 0..plan.pick(100, 2) {
        queue.enqueue_many((0..200).map(|_| NewJob::new("seen").queue("seen")))?;
        thread::sleep(Duration::from_millis(20));
    }
    let peak = served.number("status", "VmHWM:")? as f64 * 1024.0 / MIB;
    drop(deaf);
    Line::new("peak with 50 sockets, one deaf", peak, "MiB")
        .goal(plan.goal(Goal::AtMost(48.0)))
        .print();
    Ok(())
}

/// 1,000 connections that send a head a byte at a time.
fn slow_heads(plan: &Plan, file: &ServedFile) -> Done {
    let served = Served::start(&file.path)?;
    let stop = AtomicBool::new(false);
    let connections = plan.pick(1000, 20);
    let times = thread::scope(|scope| {
        scope.spawn(|| keep_slow(&served.address, connections, &stop));
        thread::sleep(Duration::from_millis(500));
        let mut times = Vec::new();
        for _ in 0..plan.pick(300, 5) {
            let began = Instant::now();
            let answer = patient(&served);
            times.push(began.elapsed());
            if let Err(error) = answer {
                stop.store(true, Ordering::Relaxed);
                return Err(error.to_string());
            }
        }
        stop.store(true, Ordering::Relaxed);
        Ok(times)
    })?;
    let times = Spread::new(times);
    let ms = |percent| times.percentile(percent).as_secs_f64() * 1e3;
    let name = format!("beside {} slow heads, p99", thousands(connections as f64));
    Line::new(name, ms(99.0), "ms")
        .beside("p50", ms(50.0))
        .goal(plan.goal(Goal::AtMost(100.0)))
        .print();
    Ok(())
}

/// A request on a new connection, until it is answered.
fn patient(served: &Served) -> Found<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = served
            .client()
            .and_then(|mut client| client.get("/api/v1/counts"));
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
        }
    }
}

/// Opens again what the server closes.
fn keep_slow(address: &str, connections: usize, stop: &AtomicBool) {
    let mut open: Vec<TcpStream> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        open.retain_mut(|stream| stream.write_all(b"G").is_ok());
        while open.len() < connections {
            match TcpStream::connect(address) {
                Ok(stream) => open.push(stream),
                Err(_) => break,
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Where a change to many jobs is.
#[derive(Deserialize)]
struct BulkState {
    jobs: u64,
    finished: bool,
}

/// The number of a change to many jobs.
#[derive(Deserialize)]
struct BulkStarted {
    bulk: u64,
}

/// Cancels many jobs by a filter, while another process enqueues.
fn cancel_many(plan: &Plan, file: &ServedFile, queue: &Queue) -> Done {
    let jobs = plan.pick(100_000, 1000);
    jobq::bench::fill(queue, jobs, |job| job.queue("doomed"))?;
    let served = Served::start(&file.path)?;
    let mut client = served.client()?;
    let body = r#"{"action":"cancel","filter":{"search":"queue:doomed"}}"#;
    let began = Instant::now();
    let (status, answer) = client.send("POST", "/api/v1/jobs/bulk", body)?;
    if status != 202 {
        return Err(format!("the change was answered by {status}: {answer}").into());
    }
    let bulk: BulkStarted = serde_json::from_str(&answer)?;
    let mut waits = Vec::new();
    let done = loop {
        let enqueued = Instant::now();
        queue.enqueue(NewJob::new("other").queue("other"))?;
        waits.push(enqueued.elapsed());
        let state = state_of(&mut client, bulk.bulk)?;
        if state.finished {
            break state.jobs;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let name = format!("cancelling {} jobs by a filter", thousands(done as f64));
    Line::new(name, began.elapsed().as_secs_f64(), "s")
        .goal(plan.goal(Goal::AtMost(10.0)))
        .print();
    let waits = Spread::new(waits);
    Line::new(
        "another's enqueue meanwhile, p99",
        waits.percentile(99.0).as_secs_f64() * 1e3,
        "ms",
    )
    .goal(plan.goal(Goal::AtMost(50.0)))
    .print();
    Ok(())
}

fn state_of(client: &mut HttpClient, bulk: u64) -> Found<BulkState> {
    Ok(serde_json::from_str(
        &client.get(&format!("/api/v1/bulk/{bulk}"))?,
    )?)
}

/// The whole process `jobq top --once`.
fn first_screen(plan: &Plan, file: &ServedFile) -> Done {
    let mut times = Vec::new();
    for _ in 0..plan.pick(20, 1) {
        let began = Instant::now();
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_jobq"))
            .current_dir(file.folder())
            .arg("--db")
            .arg(&file.path)
            .args(["top", "--once"])
            .output()?;
        times.push(began.elapsed());
        if !ended.status.success() {
            return Err(String::from_utf8_lossy(&ended.stderr).into());
        }
    }
    let median = Spread::new(times).percentile(50.0);
    Line::new("jobq top --once", median.as_secs_f64() * 1e3, "ms")
        .goal(plan.goal(Goal::AtMost(100.0)))
        .print();
    Ok(())
}
