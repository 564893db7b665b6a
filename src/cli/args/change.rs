//! The verbs that change jobs, queues and the file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use jobq::{Rate, State, Update};

use super::choices;
use super::filter::{FILTERS, FILTERS_AND_STATE, JobFilter, StateFilter};
use crate::cli::{limits, parse};

/// Jobs by their numbers, or all live ones that the options describe
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).arg("ids").args(FILTERS_AND_STATE)))]
pub(crate) struct Cancel {
    /// The jobs: 42, 3,5, 8-12, @last
    #[arg(value_name = "ID", conflicts_with_all = FILTERS_AND_STATE)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: JobFilter,
    #[command(flatten)]
    pub(crate) state: StateFilter,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("filter").multiple(true).args(FILTERS).requires("failed")))]
pub(crate) struct Retry {
    /// The jobs: 42, 3,5, 8-12, @last
    #[arg(value_name = "ID", required_unless_present_any = ["failed", "filter"], conflicts_with_all = FILTERS)]
    pub(crate) ids: Vec<String>,
    /// All that have failed, or those of them that the other options describe
    #[arg(long, conflicts_with = "ids")]
    pub(crate) failed: bool,
    #[command(flatten)]
    pub(crate) filter: JobFilter,
}

/// Jobs by their numbers, or all final ones that the options describe
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).arg("ids").args(FILTERS_AND_STATE)))]
pub(crate) struct Remove {
    /// The jobs: 42, 3,5, 8-12, @last
    #[arg(value_name = "ID", conflicts_with_all = FILTERS_AND_STATE)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: JobFilter,
    #[command(flatten)]
    pub(crate) state: StateFilter,
}

#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// The queue [default: all queues]
    #[arg(value_name = "QUEUE")]
    pub(crate) queue: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The queue [default: all queues]
    #[arg(value_name = "QUEUE")]
    pub(crate) queue: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Queue {
    #[command(subcommand)]
    pub(crate) verb: QueueVerb,
}

/// What is to be done with queues.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueVerb {
    /// List the queues
    List,
    /// Limit a queue, over all runners; what is not named stays as it is
    Set(SetQueue),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("limit").required(true).multiple(true).args([
    "concurrency", "rate", "max_size", "weight",
])))]
pub(crate) struct SetQueue {
    /// The queue; it need not exist yet
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// How many of its jobs may run at once, or none for no limit
    #[arg(long, value_name = "N|none", value_parser = limits::number::<u32>)]
    pub(crate) concurrency: Option<Update<u32>>,
    /// How many of its jobs may start in any span of time, like 10/1m, retries included; or none for no
    /// limit
    #[arg(long, value_name = "N/DURATION|none", value_parser = limits::rate_or_none)]
    pub(crate) rate: Option<Update<Rate>>,
    /// How many unfinished jobs it may hold, more are refused (exit code 75); or none for no limit of its
    /// own
    #[arg(long, value_name = "N|none", value_parser = limits::number::<u64>)]
    pub(crate) max_size: Option<Update<u64>>,
    /// Its share of a runner among the queues with work, 1 if never set
    #[arg(long, value_name = "N")]
    pub(crate) weight: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Only jobs that ended longer ago than this [default: [retention] in the config file, else 24h
    /// for completed jobs, 7 days for others]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) older_than: Option<Duration>,
    /// Only jobs in this state; may be given more than once [default: all final states]
    #[arg(long = "state", value_name = "STATE", value_parser = choices::final_state(), value_delimiter = ',')]
    pub(crate) states: Vec<State>,
    /// Only say how many would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The new file
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The file that was there is kept beside it as FILE.before-restore, with its jobs.

Examples:
  jobq backup monday.db
  jobq restore monday.db")]
pub(crate) struct Restore {
    /// The backup; it stays as it is
    pub(crate) file: PathBuf,
    /// Replace the database although processes work with it; their runners end when they notice
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Repair what can be repaired: recount the jobs, rebuild what follows from them
    #[arg(long)]
    pub(crate) fix: bool,
}
