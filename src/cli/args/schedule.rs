//! `jobq schedule`.

use clap::{Arg, Args, Subcommand};
use jobq::{Missed, Overlap};

use super::{Enqueue, choices};

#[derive(Debug, Args)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    pub(crate) verb: ScheduleVerb,
}

/// What is to be done with schedules.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleVerb {
    /// Add a schedule, or change the one of this name
    Add(Box<ScheduleAdd>),
    /// List the schedules
    List,
    /// Remove schedules; their jobs stay
    Remove(ScheduleNames),
    /// Pause schedules: their slots pass without a job
    Pause(ScheduleNames),
    /// Resume schedules with their next slot
    Resume(ScheduleNames),
    /// Enqueue the job of a schedule now; its slots stay as they are
    Run(ScheduleNames),
    /// Show the next times of a rule or a schedule
    Next(ScheduleNext),
}

#[derive(Debug, Args)]
#[command(
    mut_args(hide_what_comes_once),
    mut_group("what", |what| what.required(false)),
    override_usage = "\
jobq schedule add [OPTIONS] NAME CRON -- CMD ARG...
       jobq schedule add [OPTIONS] NAME CRON --shell TEXT
       jobq schedule add [OPTIONS] NAME CRON --kind KIND [--payload JSON|@FILE|-]",
    after_help = "\
CRON has five fields (minute, hour, day of the month, month, weekday) or six (a second in front),
with names, lists, ranges, steps, L, 15W and MON#2; or it is @yearly, @monthly, @weekly, @daily,
@midnight, @hourly, or '@every 10m'. A time of day that a change of the clock leaves out comes right
after it, and one that comes twice comes once; other rules follow the clock on the wall.

Examples:
  jobq schedule add nightly '0 2 * * *' --tz Europe/Berlin -- ./backup.sh
  jobq schedule add report '30 7 * * MON-FRI' --kind report --payload '\"sales\"' --missed skip
  jobq schedule add poll '@every 10m' --overlap skip --shell 'curl -fsS localhost/poll'"
)]
pub(crate) struct ScheduleAdd {
    /// Its name
    pub(crate) name: String,
    /// When its jobs are enqueued
    pub(crate) cron: String,
    /// The time zone, like Europe/Berlin [default: the system's]
    #[arg(long = "tz", value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// What happens to slots that passed while no runner was active: skip them, one job for all, or a
    /// job for each of the last 100
    #[arg(long, value_name = "POLICY", default_value = "once", value_parser = choices::missed())]
    pub(crate) missed: Missed,
    /// What happens at a slot while the last job has not ended: allow another one, or skip it
    #[arg(long, value_name = "POLICY", default_value = "allow", value_parser = choices::overlap())]
    pub(crate) overlap: Overlap,
    #[command(flatten)]
    pub(crate) job: Enqueue,
}

/// A schedule's job comes again and again: what makes sense only once is no option of it, and refused
/// where somebody gives it all the same.
fn hide_what_comes_once(arg: Arg) -> Arg {
    const ONCE: [&str; 10] = [
        "batch",
        "chunk",
        "delay",
        "at",
        "after",
        "after_any",
        "parent",
        "wait",
        "follow",
        "wait_timeout",
    ];
    let hidden = ONCE.contains(&arg.get_id().as_str());
    if hidden { arg.hide(true) } else { arg }
}

#[derive(Debug, Args)]
pub(crate) struct ScheduleNames {
    /// The schedules
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ScheduleNext {
    /// The rule, or a schedule's name
    #[arg(value_name = "CRON|NAME")]
    pub(crate) rule: String,
    /// The time zone, like Europe/Berlin [default: the system's]
    #[arg(long = "tz", value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// How many slots
    #[arg(short, long = "number", value_name = "N", default_value_t = 5)]
    pub(crate) number: usize,
}
