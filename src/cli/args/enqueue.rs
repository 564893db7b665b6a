//! `jobq enqueue`.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use jobq::When;

use super::options::{JobOptions, RULES};
use crate::cli::{limits, parse};

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("what").required(true).args(["command", "shell", "kind", "batch"])),
    override_usage = "\
jobq enqueue [OPTIONS] -- CMD ARG...
       jobq enqueue [OPTIONS] --shell TEXT
       jobq enqueue [OPTIONS] --kind KIND [--payload JSON|@FILE|-]
       jobq enqueue [OPTIONS] --batch FILE|- [--chunk N]   (OPTIONS for lines that do not say otherwise)",
    after_help = "\
Examples:
  jobq enqueue -- ffmpeg -i in.mkv out.mp4
  jobq enqueue --shell 'pg_dump shop | gzip > shop.gz' --timeout 1h
  jobq enqueue --kind thumbnail --payload '{\"photo\":\"cat.jpg\"}' --in '2 days'
  jobq enqueue --input @shop.sql -- psql shop
  jobq enqueue --after @last --key backup -- ./upload shop.gz
  jobq enqueue --batch jobs.jsonl"
)]
pub(crate) struct Enqueue {
    /// The command and its arguments, run as given, without a shell
    #[arg(last = true, value_name = "CMD ARG")]
    pub(crate) command: Vec<OsString>,
    /// A command line, run by /bin/sh
    #[arg(long, value_name = "TEXT")]
    pub(crate) shell: Option<OsString>,
    /// A job of this kind, for the handler of that kind
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// The payload of a --kind job: JSON, @FILE with JSON in it, or - for stdin [default: null]
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true,
        conflicts_with_all = ["command", "shell", "batch"])]
    pub(crate) payload: Option<OsString>,
    /// Many jobs: JSON Lines in a file, or - for stdin. All or none are added
    #[arg(long, value_name = "FILE|-", conflicts_with_all = OF_ONE_JOB)]
    pub(crate) batch: Option<PathBuf>,
    /// Commit every N lines of a very large batch [default: all lines in one transaction]
    #[arg(long, value_name = "N", conflicts_with_all = ["command", "shell", "kind"])]
    pub(crate) chunk: Option<NonZeroU64>,
    /// A variable for the command, kept with the job: with this value, with the one it has here, or
    /// all whose names fit a pattern ('AWS_*'); may be given more than once. Commands get PATH, HOME, LANG, LC_*, TZ, TMPDIR, USER,
    /// LOGNAME and SHELL without being asked
    #[arg(long, value_name = "NAME[=VALUE]", conflicts_with = "kind")]
    pub(crate) env: Vec<OsString>,
    /// All variables that are set here, for the command; they are kept with the job, in the file
    #[arg(long, conflicts_with = "kind")]
    pub(crate) env_all: bool,
    #[command(flatten)]
    pub(crate) job: JobOptions,
    #[command(flatten)]
    pub(crate) start: Start,
    #[command(flatten)]
    pub(crate) one: OneJob,
}

/// These are nothing for all lines of a batch; a key that is unique would leave one of them.
const OF_ONE_JOB: [&str; 7] = [
    "unique",
    "fail_on",
    "input",
    "output_limit",
    "wait",
    "follow",
    "wait_timeout",
];

/// When it may start, and after what.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Not before this time has passed: 90s, 1h30m, '2 days'
    #[arg(long = "in", value_name = "DURATION", value_parser = parse::duration, conflicts_with = "at")]
    pub(crate) delay: Option<Duration>,
    /// Not before this time: RFC 3339, HH:MM, or 'YYYY-MM-DD HH:MM'
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    pub(crate) at: Option<Timestamp>,
    /// Cancel it if it has not begun by then: a time as for --at, or a duration from now
    #[arg(long, value_name = "TIME", value_parser = parse::deadline)]
    pub(crate) deadline: Option<When>,
    /// Run after all these jobs have completed; cancelled when one fails or is cancelled: 42, 3 5
    /// 8-12, 3,5, @last
    #[arg(long, value_name = "ID", num_args = 1.., value_delimiter = ',', help_heading = RULES)]
    pub(crate) after: Vec<String>,
    /// Run after all these jobs have ended, however they ended: ids as for --after
    #[arg(long, value_name = "ID", num_args = 1.., value_delimiter = ',', help_heading = RULES)]
    pub(crate) after_any: Vec<String>,
    /// Make it a child of this job, which completes once its children have. From inside a running job
    /// it begins once the attempt has completed
    #[arg(long, value_name = "ID", help_heading = RULES)]
    pub(crate) parent: Option<String>,
}

impl Start {
    pub(crate) fn when(&self) -> Option<When> {
        self.delay.map(When::In).or(self.at.map(When::At))
    }
}

/// What goes for one job.
#[derive(Debug, Args)]
pub(crate) struct OneJob {
    /// Exit codes of the command that fail it for good, like 2,64-78 [default: 126,127]
    #[arg(long, value_name = "CODES", conflicts_with = "kind")]
    pub(crate) fail_on: Option<String>,
    /// How much of the command's output is kept, up to 64MiB: 100KiB, 0 for nothing; of what is more
    /// the beginning and the end [default: 1MiB, or as the config file says]
    #[arg(long, value_name = "SIZE", conflicts_with = "kind", value_parser = limits::bytes_given)]
    pub(crate) output_limit: Option<u64>,
    /// What the command reads from stdin: this text, what is in @FILE now, or - for this command's
    /// own stdin; at most 8 MiB [default: nothing, /dev/null]
    #[arg(
        long,
        value_name = "TEXT|@FILE|-",
        conflicts_with = "kind",
        allow_hyphen_values = true
    )]
    pub(crate) input: Option<OsString>,
    /// Wait until it has ended: exit code 0 or 4
    #[arg(long)]
    pub(crate) wait: bool,
    /// Print its output as it comes, until it has ended: exit code 0 or 4
    #[arg(long, conflicts_with = "wait")]
    pub(crate) follow: bool,
    /// How long to wait at most [default: forever]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, requires = "wait")]
    pub(crate) wait_timeout: Option<Duration>,
}
