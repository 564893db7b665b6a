//! The kind `exec`, and kinds that run one command with the payload on stdin. The output goes to the
//! history, the exit code decides the outcome, and a stopped command leaves no process behind.

mod capture;
mod child;
mod children;
#[cfg(feature = "browser")]
mod companion;
mod environment;
mod exit;
mod kept;
mod launch;
mod leader;
mod output;
mod payload;
mod persistent;
mod spawn;
mod umask;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use crate::handlers::exec::children::adopt_orphans;
pub use crate::handlers::exec::children::reap_orphans;
pub use crate::handlers::exec::children::suspend;
pub use crate::handlers::exec::environment::is_remembered;
pub use crate::handlers::exec::exit::FailOn;
pub use crate::handlers::exec::output::DEFAULT_OUTPUT_LIMIT_BYTES;
pub use crate::handlers::exec::output::OutputSink;
pub use crate::handlers::exec::output::Printed;
pub use crate::handlers::exec::output::Stream;
pub use crate::handlers::exec::payload::ExecPayload;
pub use crate::handlers::exec::payload::MAX_INPUT_BYTES;
pub use crate::handlers::exec::payload::MAX_OUTPUT_LIMIT_BYTES;
pub use crate::handlers::exec::payload::Program;
pub use crate::handlers::exec::persistent::PersistentHandler;
pub use crate::handlers::exec::persistent::PersistentOptions;
pub use crate::handlers::exec::persistent::recycle;
pub use crate::handlers::exec::umask::Umask;

#[cfg(feature = "browser")]
pub(crate) use crate::handlers::exec::companion::{Companion, CompanionOwner, CompanionPipes};
pub(crate) use crate::handlers::exec::environment::Environment;
pub(crate) use crate::handlers::exec::spawn::CommandSpec;

use crate::handlers::exec::capture::Watcher;
use crate::handlers::exec::child::Run;
use crate::handlers::exec::leader::DEFAULT_GRACE;
use crate::handlers::exec::output::OutputOptions;
use crate::handlers::exec::output::Reporter;
use crate::runner::leftovers::{ATTEMPT_VARIABLE, DATABASE_VARIABLE, JOB_VARIABLE};

use crate::model::family::Phase;
use crate::model::hook::EXEC_KIND;
use crate::model::mask::{Mask, SECRETS_VARIABLE};
use crate::model::outcome::{CancelReason, Outcome, Usage};
use crate::runner::cancellation::Cancellation;
use crate::runner::context::Context;
use crate::runner::handler::{Failure, Handler};

/// The kind under which commands are enqueued.
pub const EXEC: &str = EXEC_KIND;

/// Runs the kind `exec`: each job has its command. See [`ExecPayload`].
#[derive(Clone, Debug, Default)]
pub struct ExecHandler {
    output: OutputOptions,
}

impl ExecHandler {
    /// Maximum output kept of an attempt, unless the job sets one; default: [`DEFAULT_OUTPUT_LIMIT_BYTES`].
    ///
    /// # Errors
    /// The limit is over [`MAX_OUTPUT_LIMIT_BYTES`].
    pub fn output_limit(mut self, bytes: u64) -> crate::Result<ExecHandler> {
        self.output.limit(bytes)?;
        Ok(self)
    }

    /// Also passes all output of commands to `sink`.
    #[must_use]
    pub fn output_sink(mut self, sink: Arc<dyn OutputSink>) -> ExecHandler {
        self.output.sink = Some(sink);
        self
    }
}

impl Handler for ExecHandler {
    fn run(&self, ctx: &Context) -> Outcome {
        match ExecPayload::parse(ctx.payload()) {
            Ok(payload) => {
                let task = Task {
                    spec: payload.spec(),
                    stdin: payload.input(),
                    output_limit_bytes: payload.output_limit_bytes(),
                    fail_on: payload.fail_on(),
                };
                run(ctx, task, &self.output)
            }
            // Another try would read the same payload.
            Err(error) => Outcome::Fail {
                error: error.to_string(),
            },
        }
    }
}

/// Runs every job of a kind with one command and the payload on its stdin: a handler in any language.
#[derive(Clone, Debug)]
pub struct CommandHandler {
    argv: Vec<String>,
    cwd: Option<PathBuf>,
    env: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    output: OutputOptions,
}

impl CommandHandler {
    /// The program and its arguments, without a shell.
    ///
    /// # Errors
    /// There is no program, or a NUL byte in an argument.
    pub fn new(argv: Vec<String>) -> crate::Result<CommandHandler> {
        payload::check_argv(&argv)?;
        Ok(CommandHandler {
            argv,
            cwd: None,
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            output: OutputOptions::default(),
        })
    }

    /// Runs it in this directory rather than in the runner's.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> CommandHandler {
        self.cwd = Some(cwd.into());
        self
    }

    /// Maximum output kept of an attempt; default: [`DEFAULT_OUTPUT_LIMIT_BYTES`].
    ///
    /// # Errors
    /// The limit is over [`MAX_OUTPUT_LIMIT_BYTES`].
    pub fn output_limit(mut self, bytes: u64) -> crate::Result<CommandHandler> {
        self.output.limit(bytes)?;
        Ok(self)
    }

    /// Also passes all output of the commands to `sink`.
    #[must_use]
    pub fn output_sink(mut self, sink: Arc<dyn OutputSink>) -> CommandHandler {
        self.output.sink = Some(sink);
        self
    }

    /// Adds environment variables to those that every command gets ([`is_remembered`]).
    ///
    /// # Errors
    /// A name is empty or has a `=` in it, or there is a NUL byte.
    pub fn env(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> crate::Result<CommandHandler> {
        for (name, value) in variables {
            payload::check_variable(&name, &value)?;
            self.env.insert(name, value);
        }
        Ok(self)
    }

    /// Gives the command [secrets](crate::handlers::secrets::Secrets) of the runner in environment variables: the
    /// names of the variables, and those of the secrets. Its output is kept without them.
    ///
    /// # Errors
    /// The name of a variable is empty or has a `=` or a space in it, or there is a NUL byte.
    pub fn secrets(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> crate::Result<CommandHandler> {
        for (variable, secret) in variables {
            payload::check_variable(&variable, "")?;
            if variable.contains(char::is_whitespace) {
                let error = format!("secrets: {variable:?} cannot be the name of a variable");
                return Err(crate::Error::invalid(error).with_hint("use a name without spaces"));
            }
            self.secrets.insert(variable, secret);
        }
        Ok(self)
    }

    /// What is started for a job.
    fn spec(&self, ctx: &Context) -> Result<CommandSpec, Failure> {
        Ok(CommandSpec {
            argv: self.argv.iter().map(Into::into).collect(),
            cwd: self.cwd.clone(),
            env: self.environment(ctx)?,
            umask: None,
        })
    }

    /// What the command finds in its environment.
    fn environment(&self, ctx: &Context) -> Result<Environment, Failure> {
        let mut env = Environment::inherited();
        let own = self.env.iter();
        env.remember(own.map(|(name, value)| (&**name, &**value)));
        for (variable, secret) in &self.secrets {
            let secret = ctx.secret(secret, None)?;
            if secret.reveal().contains('\0') {
                let why = "the value of a variable cannot have a NUL byte";
                return Err(Failure::permanent(why));
            }
            env.set(variable, secret.reveal());
        }
        let names: Vec<&str> = self.secrets.keys().map(String::as_str).collect();
        env.set(SECRETS_VARIABLE, names.join(" "));
        Ok(env)
    }
}

impl Handler for CommandHandler {
    fn run(&self, ctx: &Context) -> Outcome {
        let spec = match self.spec(ctx) {
            Ok(spec) => spec,
            Err(failure) => return failure.into(),
        };
        let task = Task {
            spec,
            stdin: Some(ctx.payload().as_bytes()),
            output_limit_bytes: None,
            fail_on: &FailOn::default(),
        };
        run(ctx, task, &self.output)
    }
}

/// A command that is run for what it prints.
pub(crate) struct Printout<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) cwd: Option<&'a Path>,
    pub(crate) max_bytes: usize,
    pub(crate) timeout: Duration,
}

/// What the command prints to its stdout. What it prints to its stderr is dropped.
///
/// # Errors
/// It cannot be run, it fails, it takes longer, or it prints more.
pub(crate) fn printout(ctx: Option<&Context>, command: &Printout<'_>) -> Result<Vec<u8>, Failure> {
    let mut env = Environment::inherited();
    if let Some(ctx) = ctx {
        mark(&mut env, ctx);
    }
    let spec = CommandSpec {
        argv: command.argv.iter().map(Into::into).collect(),
        cwd: command.cwd.map(Path::to_owned),
        env,
        umask: None,
    };
    let nobody = Cancellation::default();
    let cancellation = ctx.map_or(&nobody, Context::cancellation);
    let run = Run {
        spec: &spec,
        stdin: None,
        cancellation,
        timeout: Some(command.timeout),
        grace: DEFAULT_GRACE,
        output_limit_bytes: 2 * command.max_bytes,
        mask: &Mask::default(),
    };
    let mut printed = PrintedText(Vec::new());
    let mut ended = child::run(&run, &mut printed);
    ended.last_words = None;
    if ended.stop_reason == Some(CancelReason::Timeout) && !cancellation.is_cancelled() {
        let timeout = command.timeout;
        return Err(Failure::retry(format_args!(
            "it has not ended within {timeout:?}"
        )));
    }
    match ended.outcome(&FailOn::default()) {
        Outcome::Done(_) if printed.0.len() > command.max_bytes => Err(Failure::permanent(
            format_args!("it prints more than {} bytes", command.max_bytes),
        )),
        Outcome::Done(_) => Ok(printed.0),
        outcome => Err(Failure::of(outcome)),
    }
}

/// Collects what a command prints to its stdout.
struct PrintedText(Vec<u8>);

impl Watcher for PrintedText {
    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Stdout {
            self.0.extend_from_slice(bytes);
        }
    }
}

/// By these, whatever belongs to an attempt is found when it is to be gone.
fn mark(env: &mut Environment, ctx: &Context) {
    env.set(DATABASE_VARIABLE, ctx.queue().path());
    env.set(JOB_VARIABLE, ctx.job_id().to_string());
    env.set(ATTEMPT_VARIABLE, ctx.attempt().to_string());
}

/// The work of an attempt.
struct Task<'a> {
    spec: CommandSpec,
    stdin: Option<&'a [u8]>,
    /// Where the job says it.
    output_limit_bytes: Option<usize>,
    fail_on: &'a FailOn,
}

fn run(ctx: &Context, task: Task<'_>, output: &OutputOptions) -> Outcome {
    let Task { mut spec, .. } = task;
    mark(&mut spec.env, ctx);
    // Without it an outside effect could happen twice.
    let key = match ctx.idempotency_key() {
        Ok(key) => key,
        Err(error) => return Outcome::from(error),
    };
    let slot = ctx.slot().map(|slot| format!("{slot:.3}"));
    for (name, value) in [
        ("JOBQ_IDEMPOTENCY_KEY", Some(key.as_str())),
        ("JOBQ_SCHEDULE", ctx.schedule()),
        ("JOBQ_SLOT", slot.as_deref()),
    ] {
        match value {
            Some(value) => spec.env.set(name, value),
            // It may be remembered from inside of another job.
            None => spec.env.remove(name),
        }
    }
    match ctx.phase() {
        Phase::Finalize => spec.env.set("JOBQ_PHASE", "finalize"),
        // It may be remembered from inside of another job's finalize phase.
        Phase::Run => spec.env.remove("JOBQ_PHASE"),
    }
    if let Some(traceparent) = ctx.traceparent() {
        spec.env.set("TRACEPARENT", traceparent.to_string());
    }
    spec.env.set_hook(ctx.hook());
    let mask = ctx.masked_secrets();
    let command = Run {
        spec: &spec,
        stdin: task.stdin,
        cancellation: ctx.cancellation(),
        timeout: None,
        grace: DEFAULT_GRACE,
        output_limit_bytes: task
            .output_limit_bytes
            .unwrap_or_else(|| output.limit_bytes()),
        mask: &mask,
    };
    let mut reporter = Reporter::new(ctx, output.sink.as_deref());
    let ended = child::run(&command, &mut reporter);
    reporter.finish();
    ctx.record_usage(Usage {
        exit_code: ended.exit_code(),
        cpu_ms: ended.usage.map(|usage| usage.cpu_ms),
        max_rss_bytes: ended.usage.map(|usage| usage.max_rss_bytes),
    });
    if let Some(sink) = &output.sink {
        sink.ended(ctx.job_id(), ctx.attempt());
    }
    ended.outcome(task.fail_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_not_waited_for_without_end() {
        let printed = |script: &str, timeout| {
            let argv = ["sh", "-c", script].map(str::to_owned);
            let asked = Printout {
                argv: &argv,
                cwd: None,
                max_bytes: 10,
                timeout,
            };
            printout(None, &asked)
        };
        for script in [
            "sleep 600",
            "sleep 600 & echo x; wait",
            "exec >&- 2>&-; sleep 600",
        ] {
            let failure = printed(script, Duration::from_millis(100)).unwrap_err();
            assert!(!failure.is_permanent(), "{script}");
            assert_eq!(
                failure.to_string(),
                "it has not ended within 100ms",
                "{script}"
            );
        }
        let failure = printed("exit 3", Duration::from_secs(600)).unwrap_err();
        assert_eq!(failure.to_string(), "exit code 3");
    }
}
