//! `jobq serve` as its clients see it, in a file with many jobs.

mod client;
mod crowd;
mod pages;
mod socket;

use std::path::{Path, PathBuf};

use jobq::bench::{Scratch, many_jobs, thousands};
use jobq::{Context, Durability, GROUP_KIND, Handler, NewJob, Outcome, Queue};

use crate::Done;
use crate::plan::Plan;

/// The queue and the kinds of the jobs that a page shows in full.
const QUEUE: &str = "shown";
const FLAKY: &str = "flaky";
const TALKER: &str = "talker";

/// A file with many jobs, and the ids of some that are large in one way.
struct ServedFile {
    path: PathBuf,
    jobs: usize,
    /// It had 100 attempts.
    tried: i64,
    /// It printed a mebibyte.
    talker: i64,
    /// It has 100,000 children.
    parent: i64,
    _scratch: Scratch,
}

/// It fails until its retries are used up.
struct Fails;

impl Handler for Fails {
    fn run(&self, ctx: &Context) -> Outcome {
        Outcome::Retry {
            error: format!("attempt {} did not work out", ctx.attempt()),
            after: None,
        }
    }
}

/// It logs a mebibyte, a line at a time.
struct Talks;

impl Handler for Talks {
    fn run(&self, ctx: &Context) -> Outcome {
        for line in 0..8192 {
            let text = format!("line {line:>5}: {}", "x".repeat(110));
            ctx.log(jobq::Level::Info, text);
        }
        Outcome::Done(None)
    }
}

pub(crate) fn serve(plan: &Plan) -> Done {
    let file = ServedFile::make(plan)?;
    println!("a file of {} jobs", thousands(file.jobs as f64));
    pages::answers(plan, &file)?;
    socket::frames(plan, &file)?;
    crowd::crowds(plan, &file)
}

impl ServedFile {
    fn make(plan: &Plan) -> Result<ServedFile, Box<dyn std::error::Error>> {
        let setup = plan.setup(Durability::Normal);
        let scratch = setup.scratch()?;
        let path = scratch.path().join("many.db");
        let jobs = plan.jobs_or(plan.pick(1_000_000, 20_000));
        many_jobs(&path, jobs as i64)?;
        let queue = setup.open(&path)?;
        let tried = NewJob::new(FLAKY).queue(QUEUE).max_retries(99);
        let tried = queue.enqueue(tried.backoff(jobq::Backoff::None))?.id.0;
        let talker = queue.enqueue(NewJob::new(TALKER).queue(QUEUE))?.id.0;
        let runner = queue.runner().queues([QUEUE]);
        runner.kind(FLAKY, Fails).kind(TALKER, Talks).run_due()?;
        let parent = family(&queue, plan.pick(100_000, 1000))?;
        Ok(ServedFile {
            path,
            jobs,
            tried,
            talker,
            parent,
            _scratch: scratch,
        })
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }
}

/// A group with children of three kinds.
fn family(queue: &Queue, children: usize) -> jobq::Result<i64> {
    const CHUNK: usize = 5000;
    let parent = queue.enqueue(NewJob::new(GROUP_KIND).queue(QUEUE))?.id;
    for first in (0..children).step_by(CHUNK) {
        let numbers = first..children.min(first + CHUNK);
        queue.enqueue_many(numbers.map(|number| {
            let kind = format!("part {}", number % 3);
            NewJob::new(kind).queue(QUEUE).parent(parent)
        }))?;
    }
    Ok(parent.0)
}
