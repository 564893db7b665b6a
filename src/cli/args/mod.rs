//! What can be typed: one struct for each verb, no behaviour.

mod change;
mod choices;
mod edit;
mod enqueue;
mod filter;
mod look;
mod options;
mod packaging;
mod report;
mod run;
mod schedule;

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, ColorChoice, Parser, Subcommand};
use jobq::Durability;

pub(crate) use change::{
    Backup, Cancel, Doctor, Pause, Prune, Queue, QueueVerb, Remove, Restore, Resume, Retry,
    SetQueue,
};
pub(crate) use edit::{Edit, Fixed};
pub(crate) use enqueue::{Enqueue, Start};
pub(crate) use filter::JobFilter;
pub(crate) use look::{Events, List, Logs, Status, Stream, Wait, Why};
#[allow(unused_imports, reason = "for verbs that make jobs in other files")]
pub(crate) use options::JobOptions;
pub(crate) use packaging::{Bench, Completions, Help, Man};
pub(crate) use report::{Log, Progress, ResultOf};
pub(crate) use run::{Run, Unknown, WORKERS};
pub(crate) use schedule::{Schedule, ScheduleAdd, ScheduleNext, ScheduleVerb};

/// A durable job queue in one SQLite file.
#[derive(Debug, Parser)]
#[command(
    name = "jobq",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "More on a command: `jobq help COMMAND`. All keys of jobq.toml: `jobq help config`.\n\
    Also `jobq help exit-codes`, `jobq help environment`, `jobq help files`."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options that every verb takes, before or after it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The database [default: db in the config file, else $XDG_STATE_HOME/jobq/jobq.db, else
    /// ~/.local/state/jobq/jobq.db]
    #[arg(long, global = true, value_name = "PATH", env = "JOBQ_DB", hide_env_values = true, value_parser = os_path())]
    pub(crate) db: Option<PathBuf>,
    /// The config file [default: ./jobq.toml, else $XDG_CONFIG_HOME/jobq/jobq.toml, else
    /// ~/.config/jobq/jobq.toml]
    #[arg(long, global = true, value_name = "PATH", value_parser = os_path())]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON Lines: one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Say more on stderr; twice for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// What survives a power cut: all that was acknowledged, or all but the last moments (faster)
    /// [default: full]
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        env = "JOBQ_DURABILITY",
        hide_env_values = true,
        value_parser = choices::durability(),
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

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Add a job, or many
    Enqueue(Box<Enqueue>),
    /// Run jobs in the foreground
    Run(Run),
    /// Show counts, queues and runners, or jobs in full
    Status(Status),
    /// List jobs
    List(List),
    /// Show what a job printed and logged
    Logs(Logs),
    /// Wait until jobs have ended
    Wait(Wait),
    /// Explain why a job is not running
    Why(Why),
    /// Show what happened, as a stream
    Events(Events),
    /// Cancel jobs, running ones too
    Cancel(Cancel),
    /// Run finished jobs again (history is kept)
    Retry(Retry),
    /// Change jobs that are not running
    Edit(Box<Edit>),
    /// Remove ended jobs and their history
    Remove(Remove),
    /// Start nothing more from a queue, or from all
    Pause(Pause),
    /// Start jobs again after a pause
    Resume(Resume),
    /// List queues and limit them
    Queue(Queue),
    /// Manage recurring jobs
    Schedule(Schedule),
    /// Remove old jobs that have ended
    Prune(Prune),
    /// Copy the live database to a new file
    Backup(Backup),
    /// Put a backup in the place of the database
    Restore(Restore),
    /// Examine the database
    Doctor(Doctor),
    /// Measure this machine
    Bench(Bench),
    /// From inside a job: report its progress
    Progress(Progress),
    /// From inside a job: add to its log
    Log(Log),
    /// From inside a job: set its result
    Result(ResultOf),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page
    Man(Man),
    /// Show help for a command, or on `config`, `environment`, `exit-codes`, `files`
    Help(Help),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    fn refused(line: &str) {
        let Err(error) = parse(line) else {
            panic!("{line} was accepted");
        };
        assert_eq!(error.exit_code(), 2, "{line}");
    }

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    /// What every command and option says of itself.
    fn help_texts(command: &clap::Command, found: &mut Vec<String>) {
        found.extend(command.get_about().map(ToString::to_string));
        let args = command.get_arguments().filter_map(|arg| arg.get_help());
        found.extend(args.map(ToString::to_string));
        for below in command.get_subcommands() {
            help_texts(below, found);
        }
    }

    #[test]
    fn help_is_said_in_plain_words() {
        let mut texts = Vec::new();
        help_texts(&Cli::command(), &mut texts);
        for coined in [
            "unless set",
            "o many",
            "o long",
            "Whose",
            "ut back",
            "; else",
            "nobody",
        ] {
            let said: Vec<_> = texts.iter().filter(|text| text.contains(coined)).collect();
            assert!(said.is_empty(), "{coined}: {said:?}");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_verb() {
        for line in [
            "jobq --db x.db --json status",
            "jobq status --json --db x.db",
        ] {
            let cli = parse(line).unwrap();
            assert!(cli.global.json, "{line}");
            assert_eq!(cli.global.db, Some(PathBuf::from("x.db")), "{line}");
        }
    }

    #[test]
    fn what_follows_the_dashes_is_the_commands_own() {
        let cli = parse("jobq enqueue --queue q -- ls --json -q").unwrap();
        assert!(!cli.global.json && !cli.global.quiet);
        let Verb::Enqueue(enqueue) = cli.verb else {
            panic!("{:?}", cli.verb);
        };
        assert_eq!(enqueue.command, ["ls", "--json", "-q"]);
    }

    #[test]
    fn jobs_to_wait_for_end_where_the_command_or_another_option_begins() {
        let cli =
            parse("jobq enqueue --after 3 5 --after-any 8-9,@last --after 7 -- ls 4").unwrap();
        let Verb::Enqueue(enqueue) = cli.verb else {
            panic!("{:?}", cli.verb);
        };
        assert_eq!(enqueue.start.after, ["3", "5", "7"]);
        assert_eq!(enqueue.start.after_any, ["8-9", "@last"]);
        assert_eq!(enqueue.command, ["ls", "4"]);
    }

    #[test]
    fn a_job_is_one_thing_only() {
        for line in [
            "jobq enqueue",
            "jobq enqueue --kind k -- ls",
            "jobq enqueue --shell x --batch f",
            "jobq enqueue --payload 1 -- ls",
            "jobq enqueue --kind k --env A=1",
            "jobq enqueue --in 1s --at 10:00 -- ls",
            "jobq enqueue --chunk 5 -- ls",
            "jobq enqueue --chunk 0 --batch f",
            "jobq enqueue --batch f --wait",
            "jobq enqueue --batch f --unique k",
            "jobq enqueue --unique k --unique-by-payload -- ls",
            "jobq enqueue --key-limit 2 -- ls",
            "jobq enqueue --key k --key-limit 0 -- ls",
            "jobq enqueue --tag x -- ls",
            "jobq enqueue --after -- ls",
            "jobq enqueue --wait-timeout 1s -- ls",
        ] {
            refused(line);
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            "jobq run --workers 0",
            "jobq run --again",
            "jobq retry",
            "jobq retry 1 --failed",
            "jobq retry --queue q",
            "jobq retry 1 --tenant t",
            "jobq cancel",
            "jobq cancel 1 --queue q",
            "jobq remove 1 --state failed",
            "jobq wait --tag x",
            "jobq wait",
            "jobq edit 1",
        ] {
            refused(line);
        }
    }
}
