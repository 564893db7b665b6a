//! The verbs that only look: status, list, logs, wait, why, events.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use jobq::{EventKind, Level, Sort};

use super::choices;
use super::filter::{FILTERS, FILTERS_AND_STATE, JobFilter, StateFilter};
use crate::cli::parse;

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Jobs to show in full: 42, 3,5, 8-12, @last
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Show it again whenever something changes
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) state: StateFilter,
    #[command(flatten)]
    pub(crate) filter: JobFilter,
    /// Only jobs enqueued in this time: 1h, '2 days'
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) since: Option<Duration>,
    /// The order of the jobs
    #[arg(long, value_name = "ORDER", default_value = "newest")]
    pub(crate) sort: SortBy,
    /// Show at most N (0: all) [default: 50 on a terminal, else all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    /// The newest job first
    Newest,
    /// The oldest job first
    Oldest,
    /// What changed last first
    Updated,
    /// What started last first
    Started,
    /// What became final last first
    Finished,
    /// What is due next first
    Due,
    /// The most urgent first
    Priority,
}

impl From<SortBy> for Sort {
    fn from(by: SortBy) -> Sort {
        match by {
            SortBy::Newest => Sort::Newest,
            SortBy::Oldest => Sort::Oldest,
            SortBy::Updated => Sort::Updated,
            SortBy::Started => Sort::Started,
            SortBy::Finished => Sort::Finished,
            SortBy::Due => Sort::Due,
            SortBy::Priority => Sort::Priority,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The jobs: 42, 3,5, 8-12, @last [default: all]. Of more than one, each line has its job's id in
    /// front
    #[arg(value_name = "ID", conflicts_with_all = FILTERS)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: JobFilter,
    /// Only jobs of this batch, as `run -f` has added it from this folder: its file, or its digest
    #[arg(long, value_name = "FILE|DIGEST", conflicts_with = "ids", conflicts_with_all = FILTERS)]
    pub(crate) batch: Option<PathBuf>,
    /// Go on as more comes: until the jobs that are named have ended, for others until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only this attempt
    #[arg(long, value_name = "N")]
    pub(crate) attempt: Option<u32>,
    /// Only this stream
    #[arg(long)]
    pub(crate) stream: Option<Stream>,
    /// Only log entries of this level or above
    #[arg(long, value_parser = choices::level())]
    pub(crate) level: Option<Level>,
    /// Only the last N lines
    #[arg(short = 'n', long = "lines", value_name = "N")]
    pub(crate) lines: Option<usize>,
}

/// Where a line of a job's output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stream {
    /// The command's standard output
    Stdout,
    /// The command's standard error
    Stderr,
    /// Log entries
    Log,
}

/// Jobs by their numbers, or all that the options describe at the start
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).arg("ids").args(FILTERS_AND_STATE)))]
pub(crate) struct Wait {
    /// The jobs: 42, 3,5, 8-12, @last
    #[arg(value_name = "ID", conflicts_with_all = FILTERS_AND_STATE)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: JobFilter,
    #[command(flatten)]
    pub(crate) state: StateFilter,
    /// How long to wait at most, exit code 124 after that [default: forever]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) timeout: Option<Duration>,
    /// With one command: exit with its exit code
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The job: 42, @last
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Go on as more comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only events after the one of this number
    #[arg(long, value_name = "EVENT")]
    pub(crate) since: Option<i64>,
    /// Only events of this kind; may be given more than once
    #[arg(long = "kind", value_name = "KIND", value_parser = choices::event_kind(), value_delimiter = ',', hide_possible_values = true)]
    pub(crate) kinds: Vec<EventKind>,
    /// Only events of this job
    #[arg(long, value_name = "ID")]
    pub(crate) job: Option<String>,
    /// Only events of this tenant's jobs
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only events of jobs with this tag; of several, with all
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse::tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// Only the last N events
    #[arg(short = 'n', long = "lines", value_name = "N")]
    pub(crate) lines: Option<NonZeroUsize>,
}
