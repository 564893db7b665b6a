//! Options that every verb takes, and those of every verb that makes jobs.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, ColorChoice};
use jobq::api::hooks;
use jobq::{
    Backoff, ChildPolicy, Durability, Jitter, JobOptions, NewJob, OnDuplicate, Priority, UniqueKey,
};

use crate::cli::input::values;

// Options that every verb takes, before or after it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalOptions {
    /// The database [default: db in the config file, else $XDG_STATE_HOME/jobq/jobq.db, else
    /// ~/.local/state/jobq/jobq.db]
    #[arg(long, global = true, value_name = "PATH", env = "JOBQ_DB", hide_env_values = true, value_parser = os_path())]
    pub(crate) db: Option<PathBuf>,
    /// The config file [default: ./jobq.toml, else $XDG_CONFIG_HOME/jobq/jobq.toml, else
    /// ~/.config/jobq/jobq.toml]
    #[arg(long, global = true, value_name = "PATH", value_parser = os_path())]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON Lines: one object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Print more on stderr; give it twice for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print only errors on stderr
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// What survives a power cut: all acknowledged writes, or all but the last moments (faster)
    /// [default: full]
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        env = "JOBQ_DURABILITY",
        hide_env_values = true,
        value_parser = values::durability(),
        hide_short_help = true
    )]
    pub(crate) durability: Option<Durability>,
    /// Accept a network file system: only if no other machine uses the file
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) allow_network_fs: bool,
}

/// A path as the system has it. An empty one, as from `JOBQ_DB=`, counts as not given.
fn os_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// The heading of the help text for options that tie jobs to each other.
pub(crate) const RULES: &str = "Rules between jobs";

// Options of a job that apply each time it is enqueued.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct JobArgs {
    /// The queue [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    #[command(flatten)]
    pub(crate) more: JobOptionArgs,
}

// The same, apart from the queue.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct JobOptionArgs {
    /// Which jobs of the queue go first [default: normal]
    #[arg(long, value_parser = values::priority())]
    pub(crate) priority: Option<Priority>,
    /// Maximum retries [default: 3]
    #[arg(long, value_name = "N", value_parser = values::retries)]
    pub(crate) retries: Option<u32>,
    /// How the delay between retries grows [default: exponential]
    #[arg(long, value_name = "HOW", value_parser = values::backoff())]
    pub(crate) backoff: Option<Backoff>,
    /// The first delay between retries [default: 5s; 1s with --backoff quadratic]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) retry_delay: Option<Duration>,
    /// A delay for each retry, without jitter: 5s,5m,2h. Without --retries there are as many retries; of
    /// more, the last delay repeats [default: by the backoff]
    #[arg(long, value_name = "DURATION", value_delimiter = ',', value_parser = values::duration,
        conflicts_with_all = ["backoff", "retry_delay"])]
    pub(crate) retry_delays: Option<Vec<Duration>>,
    #[command(flatten)]
    pub(crate) jitter: JitterArgs,
    /// Time limit of each attempt [default: none]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Tenant that owns the job
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// A tag to select it by; may be given more than once
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = values::tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// At most one unfinished job has this key: a second one is not added
    #[arg(long, value_name = "KEY", conflicts_with = "unique_by_payload", help_heading = RULES)]
    pub(crate) unique: Option<String>,
    /// At most one unfinished job of this kind has this payload; for a command: the command, its
    /// folder and its environment
    #[arg(long, help_heading = RULES)]
    pub(crate) unique_by_payload: bool,
    /// How long the unique key stays taken after the job has ended [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = RULES)]
    pub(crate) unique_for: Option<Duration>,
    /// When the unique key is taken: keep the job that has it, replace its payload and options if it
    /// is not running yet, run this one after it, or reject this one [default: keep]
    #[arg(long, value_name = "HOW", value_parser = values::on_duplicate(), help_heading = RULES)]
    pub(crate) on_duplicate: Option<OnDuplicate>,
    /// Concurrency key: one job with this key runs at a time, or up to --key-limit
    #[arg(long, value_name = "KEY", help_heading = RULES)]
    pub(crate) key: Option<String>,
    /// How many jobs with the concurrency key run at once from now on, 1 to 1000 [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = RULES)]
    pub(crate) key_limit: Option<u32>,
    /// What a child's failure means for this job: it fails when all children are final, fails at once,
    /// fails at once and cancels the others, or goes on [default: fail-at-end]
    #[arg(long, value_name = "HOW", value_parser = values::child_policy(), help_heading = RULES)]
    pub(crate) child_policy: Option<ChildPolicy>,
    /// Run it once more when all its children are final, with JOBQ_PHASE=finalize
    #[arg(long, help_heading = RULES)]
    pub(crate) finalize: bool,
    #[command(flatten)]
    pub(crate) hooks: HookArgs,
}

// What is enqueued when the job ends.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Hooks")]
pub(crate) struct HookArgs {
    /// When it has completed, enqueue this command line, run by /bin/sh. It is a job of its own, and finds in
    /// JOBQ_HOOK_JOB, JOBQ_HOOK_STATE, JOBQ_HOOK_ERROR and so on what it is for: `jobq help hooks`
    #[arg(long, value_name = "CMD", value_parser = hooks::parse)]
    on_success: Option<Box<NewJob>>,
    /// The same when it has failed for good
    #[arg(long, value_name = "CMD", value_parser = hooks::parse)]
    on_failure: Option<Box<NewJob>>,
    /// The same when it has ended, however it did: completed, failed or cancelled
    #[arg(long, value_name = "CMD", value_parser = hooks::parse)]
    on_end: Option<Box<NewJob>>,
}

// Whether delays between retries are lengthened at random.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct JitterArgs {
    /// Lengthen delays between retries at random, by up to a tenth [default]
    #[arg(long, conflicts_with = "no_jitter")]
    jitter: bool,
    /// Keep delays between retries exactly as given
    #[arg(long)]
    no_jitter: bool,
}

impl JitterArgs {
    pub(crate) fn given(self) -> Option<Jitter> {
        match (self.jitter, self.no_jitter) {
            (true, _) => Some(Jitter::Tenth),
            (false, true) => Some(Jitter::Off),
            (false, false) => None,
        }
    }
}

impl JobArgs {
    /// The same, apart from the command line.
    pub(crate) fn options(&self) -> JobOptions {
        JobOptions {
            queue: self.queue.clone(),
            ..self.more.options()
        }
    }
}

impl JobOptionArgs {
    pub(crate) fn options(&self) -> JobOptions {
        let by_payload = self.unique_by_payload.then_some(UniqueKey::KindAndPayload);
        JobOptions {
            priority: self.priority,
            max_retries: self.retries,
            backoff: self.backoff,
            retry_delay: self.retry_delay,
            retry_delays: self.retry_delays.clone(),
            jitter: self.jitter.given(),
            timeout: self.timeout,
            unique: self.unique.clone().map(UniqueKey::Named).or(by_payload),
            unique_for: self.unique_for,
            on_duplicate: self.on_duplicate,
            key: self.key.clone(),
            key_limit: self.key_limit,
            child_policy: self.child_policy,
            finalize: self.finalize.then_some(true),
            on_success: self.hooks.on_success.clone(),
            on_failure: self.hooks.on_failure.clone(),
            on_end: self.hooks.on_end.clone(),
            tenant: self.tenant.clone(),
            tags: self.tags.iter().cloned().collect(),
            ..JobOptions::default()
        }
    }
}
