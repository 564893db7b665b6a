//! The kind `exec`, and kinds that are one command (with the payload on stdin): the output in the
//! history, the exit code as the outcome, the whole process group ended when it is told to stop.

mod base64;
mod capture;
mod child;
mod environment;
mod exit;
mod fail_on;
mod group;
mod leftover;
mod payload;
mod spawn;
mod wake;

use std::path::PathBuf;

pub use fail_on::FailOn;
pub use payload::{ExecPayload, MAX_INPUT_BYTES, Program};

use capture::{Stream, Watcher};
use child::{DEFAULT_GRACE, DEFAULT_OUTPUT_LIMIT_BYTES, Run};
use environment::Environment;
use leftover::{Leftover, ProcessMark};
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

/// What names the attempt in its command's environment.
fn attempt_variables(ctx: &Context) -> [(&'static str, String); 2] {
    [
        ("JOBQ_JOB_ID", ctx.job_id().to_string()),
        ("JOBQ_ATTEMPT", ctx.attempt().to_string()),
    ]
}

fn run(ctx: &Context, mut spec: CommandSpec, stdin: Option<&[u8]>, fail_on: &FailOn) -> Outcome {
    spec.env.set("JOBQ_DB", ctx.queue().path());
    for (name, value) in attempt_variables(ctx) {
        spec.env.set(name, value);
    }
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
    ended.outcome(fail_on, ctx.cancellation().reason())
}

/// Takes a command's output into the history and its process into the runner's lock file.
struct Reporter<'a> {
    ctx: &'a Context,
}

impl Watcher for Reporter<'_> {
    fn spawned(&mut self, pid: i32) {
        if let Some(mark) = ProcessMark::of(pid) {
            let [job, attempt] = attempt_variables(self.ctx).map(|(_, value)| value);
            self.ctx
                .mark_process(Some(&format!("{job} {attempt} {mark}")));
        }
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        let kind = match stream {
            Stream::Stdout => EventKind::Stdout,
            Stream::Stderr => EventKind::Stderr,
        };
        self.ctx.output(kind, bytes.to_vec());
    }

    fn exited(&mut self) {
        self.ctx.mark_process(None);
    }
}

/// Ends what a lost runner's worker had noted as its process, if that still runs.
pub(crate) fn end_leftover(line: &str) {
    let mut words = line.splitn(3, ' ');
    let (Some(job), Some(attempt), Some(mark)) = (words.next(), words.next(), words.next()) else {
        return;
    };
    let Ok(mark) = mark.parse::<ProcessMark>() else {
        return log::warn!("a lost runner's note of its process cannot be read: {line}");
    };
    let environment = [
        format!("JOBQ_JOB_ID={job}"),
        format!("JOBQ_ATTEMPT={attempt}"),
    ];
    match mark.end(&environment) {
        Leftover::Nothing => {}
        Leftover::Ended => {
            log::warn!("killed leftover processes of attempt {attempt} of job {job}")
        }
        Leftover::Survives => {
            log::error!("leftover processes of attempt {attempt} of job {job} cannot be killed")
        }
    }
}
