//! The other side: what this binary does when a test starts it in a role.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

use jobq::{Queue, Stopper};
use serde::{Deserialize, Serialize};

use super::notes::Notes;
use super::place::Place;
use super::task::{self, Task};

/// The test that a child process runs.
pub(crate) const CHILD_TEST: &str = "support::child::child_role";

/// What a child process is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    Runner(RunnerRole),
    Enqueuer(EnqueuerRole),
    /// It works off what is due in its main thread, and ends.
    DueRun,
}

/// It runs jobs until its stdin is closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunnerRole {
    pub(crate) workers: usize,
    pub(crate) beat_every: Duration,
    pub(crate) hung_after: Duration,
    /// How long a stop waits for the running, and then for the told.
    pub(crate) patience: Duration,
}

impl Default for RunnerRole {
    /// One that takes nobody for hung.
    fn default() -> RunnerRole {
        RunnerRole {
            workers: 2,
            beat_every: Duration::from_secs(10),
            hung_after: Duration::from_secs(600),
            patience: Duration::from_secs(20),
        }
    }
}

/// It enqueues tasks until its stdin is closed and notes what became of each in the file `acks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EnqueuerRole {
    pub(crate) longest: Duration,
    /// Between two jobs, at most.
    pub(crate) pause: Duration,
    pub(crate) seed: u64,
}

impl From<RunnerRole> for Role {
    fn from(role: RunnerRole) -> Role {
        Role::Runner(role)
    }
}

impl From<EnqueuerRole> for Role {
    fn from(role: EnqueuerRole) -> Role {
        Role::Enqueuer(role)
    }
}

/// What a test asks of a runner through its stdin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Stop,
    /// A thread of its own enqueues this task.
    Enqueue(Task),
    /// Writes to the file until the disk is full.
    Fill(PathBuf),
    Remove(PathBuf),
}

#[test]
#[ignore = "a role that other tests start processes in"]
fn child_role() {
    let Ok(role) = std::env::var("JOBQ_TEST_ROLE") else {
        return;
    };
    let place = Place::at(std::env::var("JOBQ_TEST_PLACE").unwrap())
        .on_disk(std::env::var("JOBQ_TEST_DISK").unwrap());
    let name = std::env::var("JOBQ_TEST_NAME").unwrap();
    log::set_logger(&StderrLog).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    match serde_json::from_str(&role).unwrap() {
        Role::Runner(role) => run(&role, &place, &name),
        Role::Enqueuer(role) => enqueue(&role, &place, &name),
        Role::DueRun => run_due(&place, &name),
    }
}

fn run(role: &RunnerRole, place: &Place, name: &str) {
    let queue = place.open();
    let builder = queue
        .runner()
        .workers(role.workers)
        .heartbeat(role.beat_every, role.hung_after)
        .stop_timeout(role.patience * 2)
        .grace(role.patience);
    let runner = task::register(builder, &place.effect_log(), name)
        .start()
        .unwrap();
    obey(&queue, &runner.stopper());
    runner.wait().unwrap();
}

fn run_due(place: &Place, name: &str) {
    let queue = place.open();
    let builder = task::register(queue.runner(), &place.effect_log(), name);
    builder.run_due().unwrap();
}

/// Does what comes in on stdin; returns when it is closed.
fn obey(queue: &Queue, stopper: &Stopper) {
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str(&line.unwrap()).unwrap() {
            Request::Stop => stopper.stop(),
            Request::Enqueue(task) => {
                let queue = queue.clone();
                std::thread::spawn(move || queue.enqueue(task.job()).unwrap());
            }
            Request::Fill(path) => fill(&path),
            Request::Remove(path) => std::fs::remove_file(path).unwrap(),
        }
    }
    stopper.stop();
}

/// In pieces down to a byte, so that not even that is left.
fn fill(path: &PathBuf) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    for size in [65_536, 512, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

fn enqueue(role: &EnqueuerRole, place: &Place, name: &str) {
    let queue = place.open();
    let mut notes = Notes::open(place);
    let mut random = fastrand::Rng::with_seed(role.seed);
    let (closed, is_closed) = crossbeam_channel::bounded::<()>(0);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(closed);
    });
    for number in 0_u64.. {
        let label = format!("{name}-{number}");
        let task = Task::taking(role.longest.mul_f64(random.f64())).labelled(&label);
        let answer = queue.enqueue(task.job().queue(format!("q{}", random.u8(0..3))));
        notes.write(&label, answer.map(|job| *job));
        let pause = role.pause.mul_f64(random.f64());
        if is_closed.recv_timeout(pause) == Err(crossbeam_channel::RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// The log of a child process, kept where its test fails.
struct StderrLog;

impl log::Log for StderrLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!(
            "{:?} {} {}",
            super::monotonic(),
            record.level(),
            record.args()
        );
    }

    fn flush(&self) {}
}
