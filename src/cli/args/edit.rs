//! `jobq edit`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use jobq::{Backoff, Priority, Update, When};

use super::choices;
use super::options::{JitterOptions, RULES};
use crate::cli::{limits, parse};

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("change").required(true).multiple(true).args(CHANGES)),
    override_usage = "\
jobq edit [OPTIONS] <ID>...
       jobq edit [OPTIONS] <ID>... -- CMD ARG...",
    after_help = "\
Of a command what is not named stays: its folder, its environment, its input.

Examples:
  jobq edit 7 --priority urgent --timeout none
  jobq edit 3-5 --env DRY_RUN=1 -- make all
  jobq edit 7 --input @new.sql --output-limit 100KiB"
)]
pub(crate) struct Edit {
    /// The jobs: 42, 3,5, 8-12, @last
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// Another queue
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// Another priority
    #[arg(long, value_parser = choices::priority())]
    pub(crate) priority: Option<Priority>,
    /// When it is due, from now: 90s, 1h30m, '2 days'
    #[arg(long = "in", value_name = "DURATION", value_parser = parse::duration, conflicts_with = "at")]
    pub(crate) delay: Option<Duration>,
    /// When it is due: RFC 3339, HH:MM, or 'YYYY-MM-DD HH:MM'
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    pub(crate) at: Option<Timestamp>,
    /// Maximum retries
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u32>,
    /// How the wait between retries grows
    #[arg(long, value_name = "HOW", value_parser = choices::backoff())]
    pub(crate) backoff: Option<Backoff>,
    /// The first wait between retries
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) retry_delay: Option<Duration>,
    #[command(flatten)]
    pub(crate) jitter: JitterOptions,
    /// Time limit of each attempt
    #[arg(long, value_name = "DURATION|none", value_parser = duration_or_none)]
    pub(crate) timeout: Option<Update<Duration>>,
    /// Cancelled unless it has begun by then: a time, or a duration from now
    #[arg(long, value_name = "TIME|none", value_parser = deadline_or_none)]
    pub(crate) deadline: Option<Update<When>>,
    /// Another tenant
    #[arg(long, value_name = "NAME", conflicts_with = "no_tenant")]
    pub(crate) tenant: Option<String>,
    /// No tenant
    #[arg(long)]
    pub(crate) no_tenant: bool,
    /// A tag to add or to change; may be given more than once
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse::tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// A tag to take away; may be given more than once
    #[arg(long = "remove-tag", value_name = "NAME")]
    pub(crate) remove_tags: Vec<String>,
    /// Another concurrency key
    #[arg(long, value_name = "KEY", conflicts_with = "no_key", help_heading = RULES)]
    pub(crate) key: Option<String>,
    /// No concurrency key
    #[arg(long, conflicts_with = "key_limit", help_heading = RULES)]
    pub(crate) no_key: bool,
    /// How many jobs of its concurrency key run at a time from now on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = RULES)]
    pub(crate) key_limit: Option<u32>,
    /// Another unique key, which must be free
    #[arg(long, value_name = "KEY", conflicts_with = "no_unique", help_heading = RULES)]
    pub(crate) unique: Option<String>,
    /// No unique key
    #[arg(long, help_heading = RULES)]
    pub(crate) no_unique: bool,
    /// How long the unique key stays taken after the job has ended
    #[arg(long, value_name = "DURATION|none", value_parser = duration_or_none, help_heading = RULES)]
    pub(crate) unique_for: Option<Update<Duration>>,
    /// Another payload: JSON, @FILE with JSON in it, or - for stdin. Of a command's only the fields that
    /// it names change
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true,
        conflicts_with_all = ["command", "shell", "env", "cwd", "fail_on", "output_limit", "input", "no_input"])]
    pub(crate) payload: Option<OsString>,
    /// Another command and its arguments
    #[arg(last = true, value_name = "CMD ARG", conflicts_with = "shell")]
    pub(crate) command: Vec<OsString>,
    /// Another command line for /bin/sh
    #[arg(long, value_name = "TEXT")]
    pub(crate) shell: Option<OsString>,
    /// A variable for the command to add or to change: with this value, or with the one it has here
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,
    /// Another folder for the command
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cwd: Option<OsString>,
    /// Other exit codes of the command that fail it for good, like 2,64-78; '' for none
    #[arg(long, value_name = "CODES")]
    pub(crate) fail_on: Option<String>,
    /// How much of the command's output is kept, up to 64MiB: 100KiB, 0 for nothing; or none, for what
    /// the runner keeps of every command
    #[arg(long, value_name = "SIZE|none", value_parser = size_or_none)]
    pub(crate) output_limit: Option<Update<u64>>,
    /// What the command reads from stdin: this text, what is in @FILE now, or - for this command's own
    /// stdin
    #[arg(
        long,
        value_name = "TEXT|@FILE|-",
        conflicts_with = "no_input",
        allow_hyphen_values = true
    )]
    pub(crate) input: Option<OsString>,
    /// No input: the command's stdin is /dev/null
    #[arg(long)]
    pub(crate) no_input: bool,
    #[command(flatten)]
    pub(crate) fixed: Fixed,
}

/// What a job keeps for its life: told with the reason, rather than as unknown.
#[derive(Debug, Args)]
pub(crate) struct Fixed {
    #[arg(long, hide = true)]
    pub(crate) kind: Option<String>,
    #[arg(long, hide = true, num_args = 0..)]
    pub(crate) after: Option<Vec<String>>,
    #[arg(long, hide = true, num_args = 0..)]
    pub(crate) after_any: Option<Vec<String>>,
    #[arg(long, hide = true)]
    pub(crate) parent: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) child_policy: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) finalize: bool,
    #[arg(long, hide = true)]
    pub(crate) unique_by_payload: bool,
    #[arg(long, hide = true)]
    pub(crate) on_duplicate: Option<String>,
}

const CHANGES: [&str; 37] = [
    "queue",
    "priority",
    "delay",
    "at",
    "retries",
    "backoff",
    "retry_delay",
    "jitter",
    "no_jitter",
    "timeout",
    "deadline",
    "tenant",
    "no_tenant",
    "tags",
    "remove_tags",
    "key",
    "no_key",
    "key_limit",
    "unique",
    "no_unique",
    "unique_for",
    "payload",
    "command",
    "shell",
    "env",
    "cwd",
    "fail_on",
    "output_limit",
    "input",
    "no_input",
    "kind",
    "after",
    "after_any",
    "parent",
    "child_policy",
    "finalize",
    "unique_by_payload",
];

fn duration_or_none(text: &str) -> Result<Update<Duration>, String> {
    match text {
        "none" => Ok(Update::Clear),
        text => parse::duration(text).map(Update::Set),
    }
}

fn size_or_none(text: &str) -> Result<Update<u64>, String> {
    match text {
        "none" => Ok(Update::Clear),
        text => limits::bytes_given(text).map(Update::Set),
    }
}

fn deadline_or_none(text: &str) -> Result<Update<When>, String> {
    match text {
        "none" => Ok(Update::Clear),
        text => parse::deadline(text).map(Update::Set),
    }
}
