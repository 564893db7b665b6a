//! `jobq run`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::parse;

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The first Ctrl-C or SIGTERM ends it gracefully, the second hurries it.

Examples:
  jobq run
  jobq run --drain -f jobs.jsonl     a durable xargs -P5
  jobq run --drain --output          and its output, as xargs shows it")]
pub(crate) struct Run {
    /// How many jobs run at a time [default: workers in the config file, else 5]
    #[arg(short = 'j', long, value_name = "N", value_parser = workers)]
    pub(crate) workers: Option<usize>,
    /// Only jobs of this queue; may be given more than once [default: all queues]
    #[arg(long = "queue", value_name = "NAME")]
    pub(crate) queues: Vec<String>,
    /// After a stop, this long until everything is over. Until the last 12 s of it, or its second half
    /// where that is less, jobs may go on; then they get SIGTERM, and SIGKILL in time [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) stop_timeout: Option<Duration>,
    /// Stop when nothing is left that could run, now or after a retry; schedules do not fire
    #[arg(long)]
    pub(crate) drain: bool,
    /// Add the jobs of this batch first: JSON Lines in a file, or - for stdin. While a job of the
    /// same batch is unfinished, go on with it instead
    #[arg(short = 'f', long = "file", value_name = "FILE|-")]
    pub(crate) file: Option<PathBuf>,
    /// Print what the jobs' commands print, as it comes: whole lines, each with its job's id in front,
    /// stdout to stdout and stderr to stderr. It is kept in the file all the same
    #[arg(long)]
    pub(crate) output: bool,
    /// Add the batch once more all the same
    #[arg(long, requires = "file")]
    pub(crate) again: bool,
    /// What happens to jobs of a kind that has no handler here [default: unknown_kinds in the config
    /// file, else keep]
    #[arg(long, value_name = "WHAT")]
    pub(crate) unknown_kinds: Option<Unknown>,
}

/// What becomes of jobs that this runner has no handler for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unknown {
    /// They wait for a runner that has one
    Keep,
    /// They fail
    Fail,
}

/// How many jobs a runner may run at a time.
pub(crate) const WORKERS: RangeInclusive<usize> = 1..=1024;

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
