//! Persistent commands: started once, and given one job after the other, a line each.

mod conversation;
mod keeper;
mod lines;
mod process;
mod protocol;
mod starts;
mod usage;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;
use crate::handlers::exec::CommandHandler;
use crate::handlers::exec::exit::FailOn;
use crate::handlers::exec::output::Reporter;
use crate::handlers::exec::persistent::conversation::{Assignment, Exchange, converse};
use crate::handlers::exec::persistent::process::PersistentProcess;
use crate::handlers::exec::persistent::protocol::job_line;
use crate::handlers::exec::persistent::starts::Starts;
use crate::handlers::exec::spawn::CommandSpec;
use crate::model::outcome::Outcome;
use crate::runner::cancellation::lock;
use crate::runner::context::Context;
use crate::runner::handler::{Failure, Handler};
use crate::runner::leftovers::DATABASE_VARIABLE;

/// By this variable a command knows that it is to go on after its first job.
const PERSISTENT_VARIABLE: &str = "JOBQ_PERSISTENT";

/// How long a persistent command is kept.
///
/// ```
/// use jobq::handlers::exec::{CommandHandler, PersistentOptions};
///
/// let argv = ["python3", "thumbnail.py"].map(str::to_owned);
/// let handler = CommandHandler::new(argv.to_vec())?
///     .persistent(PersistentOptions::new().max_jobs(1000));
/// # Ok::<(), jobq::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersistentOptions {
    max_jobs: Option<u64>,
    max_rss_bytes: Option<u64>,
    idle: Duration,
    start_timeout: Duration,
}

impl Default for PersistentOptions {
    fn default() -> PersistentOptions {
        PersistentOptions {
            max_jobs: None,
            max_rss_bytes: None,
            idle: Duration::from_secs(5 * 60),
            start_timeout: Duration::from_secs(30),
        }
    }
}

impl PersistentOptions {
    /// The defaults: see each of the setters.
    pub fn new() -> PersistentOptions {
        PersistentOptions::default()
    }

    /// After this many jobs a process is replaced; never unless set.
    #[must_use]
    pub fn max_jobs(mut self, jobs: u64) -> PersistentOptions {
        self.max_jobs = Some(jobs);
        self
    }

    /// A process that holds more memory after a job, with what it has started, is replaced; never unless set,
    /// and only where there is `/proc`.
    #[must_use]
    pub fn max_rss(mut self, bytes: u64) -> PersistentOptions {
        self.max_rss_bytes = Some(bytes);
        self
    }

    /// A process without a job for this long is ended; five minutes unless set.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> PersistentOptions {
        self.idle = idle;
        self
    }

    /// A process that has neither said that it is ready nor begun to read its first job after this long is
    /// ended; 30 s unless set.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> PersistentOptions {
        self.start_timeout = timeout;
        self
    }
}

/// Runs every job of a kind with processes of one command that stay: as many as jobs run at once, each started
/// when it is needed. Made by [`CommandHandler::persistent`].
///
/// `jobq help persistent` describes what the runner and the command say to each other.
#[derive(Debug)]
pub struct PersistentHandler {
    command: CommandHandler,
    options: PersistentOptions,
    /// By it the keeper knows whose a process is.
    id: u64,
    starts: Mutex<Starts>,
    is_closed: AtomicBool,
}

impl CommandHandler {
    /// Keeps the command's processes for further jobs, which they read from stdin and answer on stdout.
    pub fn persistent(self, options: PersistentOptions) -> PersistentHandler {
        static HANDLERS: AtomicU64 = AtomicU64::new(0);
        PersistentHandler {
            command: self,
            options,
            id: HANDLERS.fetch_add(1, Ordering::Relaxed),
            starts: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }
    }
}

/// Lets all persistent commands of this process finish their jobs and leave; others are started for the next
/// jobs. For files that have changed unseen, as a library that a command uses.
pub fn recycle() {
    process::outdate_all();
    keeper::let_go_idle(None);
}

impl Handler for PersistentHandler {
    fn run(&self, ctx: &Context) -> Outcome {
        if let Some(unavailable) = lock(&self.starts).unavailable(clock::instant()) {
            return unavailable;
        }
        let sink = self.command.output.sink.as_deref();
        let mut reporter = Reporter::new(ctx, sink);
        let outcome = self.work(ctx, &mut reporter);
        reporter.finish();
        if let Some(sink) = sink {
            sink.ended(ctx.job_id(), ctx.attempt());
        }
        outcome
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        keeper::let_go_idle(Some(self.id));
        keeper::wait_until_gone(self.id);
    }

    fn replaced(&self) -> bool {
        self.is_closed.store(true, Ordering::SeqCst);
        keeper::let_go_idle(Some(self.id));
        true
    }
}

impl Drop for PersistentHandler {
    fn drop(&mut self) {
        keeper::let_go_idle(Some(self.id));
    }
}

impl PersistentHandler {
    /// Gives the job to a process, and to another one if that has ended without reading it.
    fn work(&self, ctx: &Context, reporter: &mut Reporter<'_>) -> Outcome {
        // Without it an outside effect could happen twice.
        let line = match ctx.idempotency_key() {
            Ok(key) => job_line(ctx, &key),
            Err(error) => return Outcome::from(error),
        };
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                let error = format!("the payload cannot be passed on: {error}");
                return Outcome::Fail { error };
            }
        };
        loop {
            if ctx.is_cancelled() {
                return Outcome::Cancelled;
            }
            let began = clock::instant();
            let (exchange, is_first) = match self.process(ctx) {
                Ok(process) => self.give(process, &line, (ctx, &mut *reporter)),
                Err(exchange) => (exchange, true),
            };
            match exchange {
                Exchange::Over(outcome) => return outcome,
                // It ended between two jobs.
                Exchange::Unread(_) if !is_first => {}
                Exchange::Unread(error) => {
                    if let Some(outcome) = self.not_up(ctx, error, began) {
                        return outcome;
                    }
                }
            }
        }
    }

    /// Gives the job to a process, and says whether it was its first.
    fn give(
        &self,
        mut process: PersistentProcess,
        line: &[u8],
        (ctx, reporter): (&Context, &mut Reporter<'_>),
    ) -> (Exchange, bool) {
        let assignment = Assignment {
            ctx,
            line: line.to_vec(),
            start_timeout: self.options.start_timeout,
            output_limit_bytes: self.command.output.limit_bytes(),
        };
        let exchange = converse(&mut process, assignment, reporter);
        if process.is_ready && matches!(exchange, Exchange::Over(_)) {
            lock(&self.starts).succeeded();
        }
        let is_first = process.jobs == 1;
        self.put_back(process);
        (exchange, is_first)
    }

    /// Notes a start that has failed. Returns the outcome, unless there is to be another start.
    fn not_up(&self, ctx: &Context, error: String, began: Instant) -> Option<Outcome> {
        let now = clock::instant();
        let mut starts = lock(&self.starts);
        starts.failed(error, (began, now));
        let not_in_time = || ctx.is_cancelled().then(|| starts.not_in_time());
        starts.unavailable(now).or_else(not_in_time)
    }

    /// One that waits for a job, or a new one.
    fn process(&self, ctx: &Context) -> Result<PersistentProcess, Exchange> {
        let spec = self.spec(ctx);
        let spec = spec.map_err(|failure| Exchange::Over(failure.into()))?;
        let runner = ctx.runner();
        while let Some(mut process) = keeper::take(self.id) {
            process.skim();
            if process.is_usable(&spec, runner) {
                return Ok(process);
            }
            keeper::let_go(self.id, process);
        }
        // Another worker may have found out meanwhile.
        if let Some(unavailable) = lock(&self.starts).unavailable(clock::instant()) {
            return Err(Exchange::Over(unavailable));
        }
        PersistentProcess::start(&spec, runner).map_err(|end| {
            match end.outcome(&FailOn::default()) {
                shortage @ Outcome::OutOfResources { .. } => Exchange::Over(shortage),
                // Also a program that is missing: it may just be replaced.
                _ => Exchange::Unread(end.described()),
            }
        })
    }

    fn spec(&self, ctx: &Context) -> Result<CommandSpec, Failure> {
        let mut spec = self.command.spec(ctx)?;
        spec.env.set(DATABASE_VARIABLE, ctx.queue().path());
        spec.env.set(PERSISTENT_VARIABLE, "1");
        Ok(spec)
    }

    /// Keeps a process after its job, unless it has ended or is to end.
    fn put_back(&self, process: PersistentProcess) {
        if process.leader.has_ended {
            return;
        }
        let is_over =
            |limit: Option<u64>, now: Option<u64>| limit.is_some_and(|limit| now >= Some(limit));
        let is_spent = process.is_spent
            || is_over(self.options.max_jobs, Some(process.jobs))
            || self.options.max_rss_bytes.is_some()
                && is_over(self.options.max_rss_bytes, process.meter.held_bytes())
            || self.is_closed.load(Ordering::SeqCst);
        match is_spent {
            true => keeper::let_go(self.id, process),
            false => keeper::keep(self.id, process, self.options.idle),
        }
    }
}
