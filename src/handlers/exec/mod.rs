//! The kind `exec`, and kinds that are one command (with the payload on stdin): the output in the
//! history, the exit code as the outcome, and nothing of it left running when it was told to stop.

mod base64;
mod capture;
mod child;
mod children;
mod environment;
mod exit;
mod fail_on;
mod launch;
mod leftover;
mod payload;
mod processes;
mod spawn;
mod wake;

use std::path::PathBuf;

pub use children::{adopt_orphans, reap_orphans, suspend};
pub use fail_on::FailOn;
pub(crate) use leftover::Attempts;
pub use payload::{ExecPayload, MAX_INPUT_BYTES, Program};
pub(crate) use processes::own_start_time;

use capture::{Stream, Watcher};
use child::{DEFAULT_GRACE, DEFAULT_OUTPUT_LIMIT_BYTES, Run};
use environment::Environment;
use leftover::{ATTEMPT_VARIABLE, DATABASE_VARIABLE, JOB_VARIABLE};
use spawn::CommandSpec;

use crate::Result;
use crate::event::EventKind;
use crate::family::Step;
use crate::outcome::Outcome;
use crate::runner::attempt::Usage;
use crate::runner::context::Context;
use crate::runner::handler::Handler;

/// The kind under which commands are enqueued.
pub const EXEC: &str = "exec";

/// Runs the kind `exec`: each job says its command. See [`ExecPayload`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecHandler;

impl Handler for ExecHandler {
    fn run(&self, ctx: &Context) -> Outcome {
        match ExecPayload::parse(ctx.payload()) {
            Ok(payload) => run(ctx, payload.spec(), payload.input(), payload.fail_on()),
            // Another try would read the same payload.
            Err(error) => Outcome::Fail {
                error: error.to_string(),
            },
        }
    }
}

/// Runs every job of a kind by one command, with the payload on its stdin: a handler in any language.
#[derive(Clone, Debug)]
pub struct CommandHandler {
    argv: Vec<String>,
    cwd: Option<PathBuf>,
}

impl CommandHandler {
    /// The program and its arguments; no shell looks at them.
    ///
    /// # Errors
    /// There is no program, or a NUL byte in an argument.
    pub fn new(argv: Vec<String>) -> Result<CommandHandler> {
        payload::check_argv(&argv)?;
        Ok(CommandHandler { argv, cwd: None })
    }

    /// Runs it in this directory rather than in the runner's.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> CommandHandler {
        self.cwd = Some(cwd.into());
        self
    }
}

impl Handler for CommandHandler {
    fn run(&self, ctx: &Context) -> Outcome {
        let argv = self.argv.iter().map(Into::into).collect();
        let spec = CommandSpec {
            argv,
            cwd: self.cwd.clone(),
            env: Environment::inherited(),
        };
        let payload = Some(ctx.payload().as_bytes());
        run(ctx, spec, payload, &FailOn::default())
    }
}

fn run(ctx: &Context, mut spec: CommandSpec, stdin: Option<&[u8]>, fail_on: &FailOn) -> Outcome {
    // By these, whatever belongs to the attempt is found when it is to be gone.
    spec.env.set(DATABASE_VARIABLE, ctx.queue().path());
    spec.env.set(JOB_VARIABLE, ctx.job_id().to_string());
    spec.env.set(ATTEMPT_VARIABLE, ctx.attempt().to_string());
    if ctx.step() == Step::Final {
        spec.env.set("JOBQ_STEP", "final");
    }
    let command = Run {
        spec: &spec,
        stdin,
        cancellation: ctx.cancellation(),
        grace: DEFAULT_GRACE,
        output_limit_bytes: DEFAULT_OUTPUT_LIMIT_BYTES,
    };
    let ended = child::run(&command, &mut Reporter { ctx });
    ctx.record_usage(Usage {
        exit_code: ended.exit_code(),
        cpu_ms: ended.usage.map(|usage| usage.cpu_ms),
        max_rss_bytes: ended.usage.map(|usage| usage.max_rss_bytes),
    });
    ended.outcome(fail_on)
}

/// Takes a command's output into the history.
struct Reporter<'a> {
    ctx: &'a Context,
}

impl Watcher for Reporter<'_> {
    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        let kind = match stream {
            Stream::Stdout => EventKind::Stdout,
            Stream::Stderr => EventKind::Stderr,
        };
        self.ctx.output(kind, bytes.to_vec());
    }
}
