//! What handlers do to the world, as a file of lines that survives any process.

use std::path::PathBuf;
use std::time::Duration;

use jobq::{Context, JobId};

use super::lines::{self, Lines};
use super::monotonic;

/// The file to which handlers append.
#[derive(Clone, Debug)]
pub(crate) struct EffectLog {
    path: PathBuf,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) job: JobId,
    pub(crate) attempt: u32,
    /// Which process it was: its name in the test, as numbers are given to others later.
    pub(crate) process: String,
    pub(crate) what: String,
    /// On the machine's monotonic clock.
    pub(crate) at: Duration,
}

impl Effect {
    pub(crate) fn is_begin(&self) -> bool {
        self.what == "begin"
    }

    pub(crate) fn is_end(&self) -> bool {
        self.what == "end"
    }
}

impl EffectLog {
    pub(crate) fn at(path: PathBuf) -> EffectLog {
        EffectLog { path }
    }

    pub(crate) fn append(&self, ctx: &Context, process: &str, what: &str) {
        let at_ns = monotonic().as_nanos();
        Lines::open(&self.path).append(&format!(
            "{} {} {process} {what} {at_ns}",
            ctx.job_id(),
            ctx.attempt()
        ));
    }

    /// How many there are so far.
    pub(crate) fn count(&self) -> usize {
        lines::count(&self.path)
    }

    pub(crate) fn read(&self) -> Vec<Effect> {
        lines::read(&self.path)
            .iter()
            .map(|line| parse(line))
            .collect()
    }
}

fn parse(line: &str) -> Effect {
    let words: Vec<&str> = line.split(' ').collect();
    let [job, attempt, process, what, at_ns] = words[..] else {
        panic!("no line of effects: {line:?}")
    };
    Effect {
        job: JobId(job.parse().unwrap()),
        attempt: attempt.parse().unwrap(),
        process: process.to_owned(),
        what: what.to_owned(),
        at: Duration::from_nanos(at_ns.parse().unwrap()),
    }
}
