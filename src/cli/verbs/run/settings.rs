//! The settings of a runner, from its options and the config file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args};
use jobq::api::built_in::how_to_build;
use jobq::api::environ::{Environ, Unset};
use jobq::handlers::BUILT_IN;
use jobq::handlers::built_in::BuiltInKind;
use jobq::handlers::exec::{CommandHandler, EXEC, ExecHandler};
use jobq::web::ListenAddress;
use jobq::{KindOptions, KindRetention, Queue, Retention, RunnerBuilder, UnknownKinds, Until};

use crate::cli::args::JobOptionArgs;
use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::config::Config;
use crate::cli::input::config::tables::{KindTable, WORKERS};
use crate::cli::input::declared;
use crate::cli::input::each::EachArgs;
use crate::cli::input::values;
use crate::cli::verbs::run::output::Sink;
use crate::cli::verbs::serve::{self, ServerAccessArgs};

#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("batch").args(["file", "each"])), after_help = "\
The first Ctrl-C or SIGTERM stops it once the running jobs have ended, the second stops them now.

--each with the same lines, command and options goes on with its jobs, as -f does with the same batch.

Examples:
  jobq run
  jobq run --drain -f jobs.jsonl     a durable xargs -P5
  ls *.jpg | jobq run --drain --each -- convert {} small/{/}    the same, for a list of items
  jobq run --drain --output          and its output, as xargs shows it")]
pub(crate) struct RunArgs {
    /// How many jobs run at once [default: workers in the config file, else 5]
    #[arg(short = 'j', long, value_name = "N", value_parser = workers)]
    pub(crate) workers: Option<usize>,
    /// Only jobs of this queue; may be given more than once [default: all queues]
    #[arg(long = "queue", value_name = "NAME")]
    pub(crate) queues: Vec<String>,
    /// How long a stop may take. Running jobs may go on until the last 12 s, or for the first half if that
    /// is longer; then they get SIGTERM, and SIGKILL before the end [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) stop_timeout: Option<Duration>,
    /// Stop when no job is left that could run, now or after a retry; schedules do not fire
    #[arg(long)]
    pub(crate) drain: bool,
    /// Add the jobs of this batch first: JSON Lines in a file, or - for stdin. Unless all jobs
    /// of the same batch have completed, go on with that batch: failed and cancelled jobs run again
    #[arg(
        short = 'f',
        long = "file",
        value_name = "FILE|-",
        conflicts_with = "each"
    )]
    pub(crate) file: Option<PathBuf>,
    /// Print the output of the jobs' commands as it comes, also to the file: whole lines, each after its
    /// job's id, stdout to stdout and stderr to stderr
    #[arg(long)]
    pub(crate) output: bool,
    /// The command of --each and its arguments
    #[arg(last = true, value_name = "CMD ARG", requires = "each")]
    pub(crate) command: Vec<OsString>,
    #[command(flatten)]
    pub(crate) each: EachArgs,
    /// Serve the browser page and the HTTP API as well, as `jobq serve` does
    #[arg(long, value_name = "ADDR:PORT|unix:PATH", value_parser = serve::address)]
    pub(crate) serve: Option<ListenAddress>,
    #[command(flatten, next_help_heading = "Options of --serve")]
    pub(crate) server: ServerAccessArgs,
    /// Add the jobs of -f or --each again even if they are known
    #[arg(long, requires = "batch")]
    pub(crate) again: bool,
    /// What happens to jobs of a kind that has no handler here [default: unknown_kinds in the config
    /// file, else keep]
    #[arg(long, value_name = "WHAT", value_parser = values::unknown_kinds())]
    pub(crate) unknown_kinds: Option<UnknownKinds>,
    #[command(flatten, next_help_heading = "Options of the jobs of --each")]
    pub(crate) job: JobOptionArgs,
}

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(workers) if WORKERS.contains(&workers) => Ok(workers),
        _ => Err(format!(
            "workers must be {} to {}",
            WORKERS.start(),
            WORKERS.end()
        )),
    }
}

/// A runner as the options and the config file want it.
pub(super) fn builder(
    args: &RunArgs,
    config: &Arc<Config>,
    queue: &Queue,
    sink: Option<Arc<Sink>>,
) -> CliResult<RunnerBuilder> {
    let usual = Retention::default();
    let mut exec = ExecHandler::default();
    if let Some(bytes) = config.defaults.output_limit {
        exec = exec.output_limit(bytes)?;
    }
    if let Some(sink) = &sink {
        exec = exec.output_sink(Arc::clone(sink) as _);
    }
    let mut builder = queue
        .runner()
        .kind(EXEC, exec)
        .data(config.secrets.clone())
        .until(match args.drain {
            true => Until::Drained,
            false => Until::Stopped,
        })
        .retention(Retention {
            completed: config.retention.completed.or(usual.completed),
            failed: config.retention.failed.or(usual.failed),
            every: config.retention.every.unwrap_or(usual.every),
        });
    if let Some(workers) = args.workers.or(config.workers) {
        builder = builder.workers(workers);
    }
    if let Some(timeout) = args.stop_timeout.or(config.stop_timeout) {
        builder = builder.stop_timeout(timeout);
    }
    if !args.queues.is_empty() {
        builder = builder.queues(&args.queues);
    }
    if let Some(timeout) = config.defaults.timeout {
        builder = builder.default_timeout(timeout);
    }
    if let Some(unknown) = args.unknown_kinds.or(config.unknown_kinds) {
        builder = builder.unknown_kinds(unknown);
    }
    for hook in declared::hooks(config)? {
        builder = builder.hook(hook);
    }
    kinds(built_in(builder, config)?, config, sink.as_ref())
}

/// The handlers that come with jobq.
fn built_in(mut builder: RunnerBuilder, config: &Config) -> CliResult<RunnerBuilder> {
    for kind in BUILT_IN {
        let (settings, folder) = config.built_in_settings(kind.settings_of);
        let added = kind.add_to(builder, &settings, folder);
        builder = added.map_err(|error| config.refused(error.into()))?;
    }
    let with_settings = config
        .kinds
        .iter()
        .filter(|(_, kind)| kind.settings.is_some());
    for (name, _) in with_settings {
        let refused = |why: &str| CliError::usage(format!("[kinds.{name}] settings: {why}"));
        let error = match BuiltInKind::named(name) {
            Some(kind) if kind.settings_of == name => continue,
            Some(kind) => refused(&format!(
                "{name} is another name of the kind {0}, and has those of [kinds.{0}.settings]",
                kind.settings_of
            )),
            None => {
                let names = || {
                    let names: Vec<&str> = BUILT_IN.iter().map(|kind| kind.name).collect();
                    format!("built in are {}", names.join(", "))
                };
                refused(&format!("the kind {name} is not built in"))
                    .with_hint(how_to_build(name).unwrap_or_else(names))
            }
        };
        return Err(config.refused(error));
    }
    Ok(builder)
}

/// What the config file says of each kind.
fn kinds(
    mut builder: RunnerBuilder,
    config: &Config,
    sink: Option<&Arc<Sink>>,
) -> CliResult<RunnerBuilder> {
    let usual = Retention::default();
    for (name, kind) in &config.kinds {
        let mut options = KindOptions::new();
        if let Some(timeout) = kind.timeout {
            options = options.timeout(timeout);
        }
        if let Some(jobs) = kind.concurrency {
            options = options.limit(jobs);
        }
        if kind.retention.is_some() {
            let own = config.retention_of(Some(name));
            options = options.retention(KindRetention {
                completed: own.completed.or(usual.completed),
                failed: own.failed.or(usual.failed),
            });
        }
        builder = builder.kind_options(name, options);
        if let Some(argv) = &kind.command {
            let mut handler = command_handler(argv, kind, config)?;
            if let Some(sink) = sink {
                handler = handler.output_sink(Arc::clone(sink) as _);
            }
            builder = match kind.persistent {
                Some(table) => builder.kind(name, handler.persistent(table.options())),
                None => builder.kind(name, handler),
            };
        }
    }
    Ok(builder)
}

/// The handler of a kind that has a command.
fn command_handler(
    argv: &[String],
    kind: &KindTable,
    config: &Config,
) -> CliResult<CommandHandler> {
    let env = [&config.defaults.env[..], &kind.env[..]].concat();
    let env = Environ::here().pick(&env, Unset::LeaveOut)?;
    let mut handler = CommandHandler::new(argv.to_vec())?
        .env(env)?
        .secrets(kind.secrets.clone())?;
    if let Some(bytes) = kind.output_limit.or(config.defaults.output_limit) {
        handler = handler.output_limit(bytes)?;
    }
    if let Some(folder) = &config.folder {
        handler = handler.cwd(folder);
    }
    Ok(handler)
}
