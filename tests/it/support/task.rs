//! The jobs that the tests run in other processes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jobq::{Context, Handler, NewJob, Outcome, RunnerBuilder};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

use super::booking::book;
use super::effects::EffectLog;

pub(crate) const TASK: &str = "task";
/// A job that kills its runner.
pub(crate) const KILLER: &str = "killer";

/// The payload of a task: it says that it begins, takes its time, and says that it ends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Task {
    takes: Duration,
    /// It goes on until this file is there, or the one with the attempt's number as its extension.
    gate: Option<PathBuf>,
    stubborn: bool,
    /// Which one it is, for whoever enqueued it.
    pub(crate) label: String,
}

impl Task {
    pub(crate) fn taking(takes: Duration) -> Task {
        Task {
            takes,
            ..Task::default()
        }
    }

    /// One that goes on until the file is there.
    pub(crate) fn until(gate: PathBuf) -> Task {
        Task {
            gate: Some(gate),
            ..Task::default()
        }
    }

    /// It does not stop when it is told to.
    pub(crate) fn stubborn(self) -> Task {
        Task {
            stubborn: true,
            ..self
        }
    }

    pub(crate) fn labelled(self, label: &str) -> Task {
        Task {
            label: label.to_owned(),
            ..self
        }
    }

    pub(crate) fn job(&self) -> NewJob {
        NewJob::new(TASK).payload(self)
    }
}

/// The handlers of the tests' runners.
pub(crate) fn register(builder: RunnerBuilder, log: &EffectLog, process: &str) -> RunnerBuilder {
    let own = Own {
        log: log.clone(),
        process: process.to_owned(),
    };
    let builder = builder
        .kind(TASK, RunTask(own.clone()))
        .kind(KILLER, KillRunner(own))
        .job(book(log.clone(), process.to_owned()));
    #[cfg(feature = "exec")]
    let builder = builder.kind("exec", jobq::handlers::exec::ExecHandler::default());
    builder
}

#[derive(Clone)]
struct Own {
    log: EffectLog,
    process: String,
}

struct RunTask(Own);

impl Handler for RunTask {
    fn run(&self, ctx: &Context) -> Outcome {
        let RunTask(own) = self;
        let task: Task = ctx.payload_as().unwrap();
        own.log.append(ctx, &own.process, "begin");
        let began = Instant::now();
        let is_done = || match &task.gate {
            Some(gate) => gate.exists() || gate.with_extension(ctx.attempt().to_string()).exists(),
            None => began.elapsed() >= task.takes,
        };
        while !is_done() {
            if ctx.is_cancelled() && !task.stubborn {
                own.log.append(ctx, &own.process, "cancelled");
                return Outcome::Cancelled;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        own.log.append(ctx, &own.process, "end");
        Outcome::Done(Some(format!(r#""{}-{}""#, own.process, ctx.attempt())))
    }
}

struct KillRunner(Own);

impl Handler for KillRunner {
    fn run(&self, ctx: &Context) -> Outcome {
        let KillRunner(own) = self;
        own.log.append(ctx, &own.process, "begin");
        kill_process(getpid(), Signal::KILL).unwrap();
        unreachable!("SIGKILL is not survived")
    }
}
