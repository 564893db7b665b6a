//! How soon a change in another process is seen on a socket, and what open sockets cost.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use jobq::bench::{Spread, drain, fill, per_s};
use jobq::{Durability, NewJob, Queue};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line, Pair};
use crate::serve::ServedFile;
use crate::serve::client::{Found, Served, read_head};

/// A socket that has said who it is.
pub(super) struct Live {
    socket: WebSocket<TcpStream>,
}

impl Live {
    pub(super) fn open(served: &Served) -> Found<Live> {
        let mut client = served.client()?;
        let upgrade = format!(
            "GET /api/v1/live HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            served.address
        );
        client.stream.get_mut().write_all(upgrade.as_bytes())?;
        let (status, _) = read_head(&mut client.stream)?;
        if status != 101 {
            return Err(format!("the upgrade was answered by {status}").into());
        }
        let rest = client.stream.buffer().to_vec();
        let stream = client.stream.into_inner();
        let socket = WebSocket::from_partially_read(stream, rest, Role::Client, None);
        let mut live = Live { socket };
        live.say(&format!("{{\"token\":\"{}\"}}", served.token))?;
        live.until("\"hello\"")?;
        Ok(live)
    }

    pub(super) fn say(&mut self, text: &str) -> Done {
        Ok(self.socket.send(Message::text(text))?)
    }

    /// Reads until a frame has these words in it.
    pub(super) fn until(&mut self, words: &str) -> Done {
        loop {
            if let Message::Text(text) = self.socket.read()?
                && text.contains(words)
            {
                return Ok(());
            }
        }
    }

    /// What a page has open that shows the overview and a list.
    pub(super) fn open_page(served: &Served) -> Found<Live> {
        let mut live = Live::open(served)?;
        live.say(r#"{"sub":1,"topic":"overview"}"#)?;
        live.until("\"snapshot\"")?;
        live.say(r#"{"sub":2,"topic":"jobs","limit":50}"#)?;
        live.until("\"snapshot\"")?;
        Ok(live)
    }

    /// Reads what comes until the server is gone, on a thread of its own.
    pub(super) fn read_on(mut self) {
        thread::spawn(move || while self.socket.read().is_ok() {});
    }
}

pub(super) fn frames(plan: &Plan, file: &ServedFile) -> Done {
    let setup = plan.setup(Durability::Normal);
    let queue = setup.open(&file.path)?;
    latency(plan, file, &queue)?;
    idle(plan, file)?;
    beside_a_drain(plan)
}

/// The server is another process than this, which commits.
fn latency(plan: &Plan, file: &ServedFile, queue: &Queue) -> Done {
    let served = Served::start(&file.path)?;
    let mut live = Live::open(&served)?;
    live.say(r#"{"sub":1,"topic":"events"}"#)?;
    let mut times = Vec::new();
    for _ in 0..plan.pick(300, 3) {
        thread::sleep(Duration::from_millis(10));
        let began = Instant::now();
        let id = queue.enqueue(NewJob::new("seen").queue("seen"))?.id;
        live.until(&format!("\"job\":{id},"))?;
        times.push(began.elapsed());
    }
    let times = Spread::new(times);
    let ms = |percent| times.percentile(percent).as_secs_f64() * 1e3;
    Line::new("enqueued to frame, p50", ms(50.0), "ms")
        .goal(plan.goal(Goal::AtMost(5.0)))
        .print();
    Line::new("enqueued to frame, p99", ms(99.0), "ms")
        .goal(plan.goal(Goal::AtMost(50.0)))
        .print();
    Ok(())
}

/// One page is open, and nothing happens.
fn idle(plan: &Plan, file: &ServedFile) -> Done {
    let served = Served::start(&file.path)?;
    Live::open_page(&served)?.read_on();
    thread::sleep(Duration::from_secs(1));
    let (cpu, written, began) = (
        served.cpu()?,
        served.number("io", "wchar:")?,
        Instant::now(),
    );
    thread::sleep(Duration::from_secs(plan.pick(30, 1)));
    let seconds = began.elapsed().as_secs_f64();
    let cpu_ms = (served.cpu()? - cpu).as_secs_f64() * 1e3 / seconds;
    // Pings go through the socket, and so are no writes.
    let written = (served.number("io", "wchar:")? - written) as f64 / seconds;
    Line::new("processor time with an open page", cpu_ms, "ms/s")
        .goal(plan.goal(Goal::AtMost(1.0)))
        .print();
    Line::new("written with an open page", written, "bytes/s").print();
    Ok(())
}

/// A drain with five open pages, and without any.
fn beside_a_drain(plan: &Plan) -> Done {
    let jobs = plan.pick(100_000, 500);
    let mut pair = Pair::new("without");
    for _ in 0..plan.pick(5, 1) {
        let with = drain_rate(plan, (jobs, 5))?;
        pair.push(with, drain_rate(plan, (jobs, 0))?);
    }
    Line::pair("drain with 5 open pages", "jobs/s", &pair)
        .goal_of_ratio(pair.ratio(), plan.goal(Goal::AtLeast(0.95)))
        .print();
    Ok(())
}

fn drain_rate(plan: &Plan, (jobs, pages): (usize, usize)) -> Found<f64> {
    let setup = plan.setup(Durability::Full);
    let scratch = setup.scratch()?;
    let path = scratch.path().join("jobs.db");
    let queue = setup.open(&path)?;
    fill(&queue, jobs, |job| job)?;
    let served = Served::start(&path)?;
    for _ in 0..pages {
        Live::open_page(&served)?.read_on();
    }
    let began = Instant::now();
    drain(&queue, jobs)?;
    Ok(per_s(jobs, began.elapsed()))
}
