//! The verbs: one file each, with its arguments, its work and its messages.

mod backup;
mod bench;
mod cancel;
mod completions;
mod doctor;
mod edit;
mod enqueue;
mod errors;
mod events;
mod graph;
mod help;
mod list;
mod logs;
mod man;
mod metrics;
mod pause;
mod prune;
mod queue;
mod remove;
mod report;
mod restore;
mod retry;
mod run;
mod schedule;
mod serve;
mod status;
mod top;
mod undo;
mod wait;
mod why;

use clap::{CommandFactory, Parser, Subcommand};
use jobq::OpenMode;

use crate::cli::args::GlobalOptions;
use crate::cli::exit::CliResult;
use crate::cli::input::selection::ChangeSelection;
use crate::cli::render::Output;
use crate::cli::render::screen::Screen;
use crate::cli::session::Session;

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
    Also `jobq help exit-codes`, `jobq help environment`, `jobq help files`, `jobq help search`."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

// The commands. The options of one are built when it is the one that is given: then a doc comment on a struct of
// options would replace what its command says of itself.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Verb {
    /// Add one job or many
    Enqueue(Box<enqueue::EnqueueArgs>),
    /// Run jobs in the foreground
    Run(Box<run::RunArgs>),
    /// Show counts, queues and runners, or jobs in full
    Status(status::StatusArgs),
    /// Watch and steer the file in the terminal
    Top(top::TopArgs),
    /// List jobs
    List(list::ListArgs),
    /// Show what a job printed and logged
    Logs(logs::LogsArgs),
    /// Group the errors of failed jobs
    Errors(errors::ErrorsArgs),
    /// Wait until jobs are final: completed, failed or cancelled
    Wait(wait::WaitArgs),
    /// Serve the browser page and the HTTP API
    Serve(serve::ServeArgs),
    /// Explain why a job is not running
    Why(why::WhyArgs),
    /// Show the jobs around a job: its family, what it waits for, what waits for it
    Graph(graph::GraphArgs),
    /// Show the history as a stream of events
    Events(events::EventsArgs),
    /// Show how attempts went, by kind
    Metrics(metrics::MetricsArgs),
    /// Cancel jobs, running ones too
    Cancel(ChangeSelection),
    /// Run final jobs again (history is kept)
    Retry(retry::RetryArgs),
    /// Change jobs that are not running
    Edit(Box<edit::EditArgs>),
    /// Undo a cancel, an edit, a pause or a limit, or list what can be undone
    Undo(undo::UndoArgs),
    /// Remove final jobs and their history
    Remove(ChangeSelection),
    /// Stop starting jobs of a queue, or of all queues
    Pause(pause::PauseArgs),
    /// Resume a paused queue, or all queues
    Resume(pause::PauseArgs),
    /// List queues and limit them
    Queue(queue::QueueArgs),
    /// Manage recurring jobs
    Schedule(schedule::ScheduleArgs),
    /// Remove old final jobs, and old events of queues, schedules and runners
    Prune(prune::PruneArgs),
    /// Copy the live database to a new file
    Backup(backup::BackupArgs),
    /// Replace the database by a backup
    Restore(restore::RestoreArgs),
    /// Examine the database
    Doctor(doctor::DoctorArgs),
    /// Measure this machine
    Bench(bench::BenchArgs),
    /// From inside a job: report its progress
    Progress(report::ProgressArgs),
    /// From inside a job: add to its log
    Log(report::LogArgs),
    /// From inside a job: set its result
    Result(report::ResultArgs),
    /// From inside a job: run it again later, at no cost in retries
    Snooze(report::SnoozeArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man(man::ManArgs),
    /// Show help for a command, or on `config`, `environment`, `exit-codes`, `files`, `search`
    Help(help::HelpArgs),
}

/// Runs the verb.
pub(crate) fn run(cli: &Cli, output: Output, screen: &Screen) -> CliResult {
    let session = || Session::new(&cli.global, cli.verb.open_mode(), output, screen.clone());
    match &cli.verb {
        Verb::Enqueue(args) => {
            let session = session()?.keeping_short_log();
            let ended = enqueue::run(args, &session);
            session.leave_to_the_system();
            ended
        }
        Verb::Run(args) => run::run(args, &session()?),
        Verb::Status(args) => status::run(args, &session()?),
        Verb::Top(args) => top::run(args, &session()?),
        Verb::List(args) => list::run(args, &session()?),
        Verb::Logs(args) => logs::run(args, &session()?),
        Verb::Errors(args) => errors::run(args, &session()?),
        Verb::Wait(args) => wait::run(args, &session()?),
        Verb::Serve(args) => serve::run(args, &session()?),
        Verb::Why(args) => why::run(args, &session()?),
        Verb::Graph(args) => graph::run(args, &session()?),
        Verb::Events(args) => events::run(args, &session()?),
        Verb::Metrics(args) => metrics::run(args, &session()?),
        Verb::Cancel(args) => cancel::run(args, &session()?),
        Verb::Retry(args) => retry::run(args, &session()?),
        Verb::Edit(args) => edit::run(args, &session()?),
        Verb::Undo(args) => undo::run(args, &session()?),
        Verb::Remove(args) => remove::run(args, &session()?),
        Verb::Pause(args) => pause::pause(args, &session()?),
        Verb::Resume(args) => pause::resume(args, &session()?),
        Verb::Queue(args) => queue::run(args, &session()?),
        Verb::Schedule(args) => schedule::run(args, &session()?),
        Verb::Prune(args) => prune::run(args, &session()?),
        Verb::Backup(args) => backup::run(args, &session()?),
        Verb::Restore(args) => restore::run(args, &session()?),
        Verb::Doctor(args) => doctor::run(args, &session()?),
        Verb::Bench(args) => bench::run(args, &session()?),
        Verb::Progress(args) => report::progress(args, &session()?),
        Verb::Log(args) => report::log(args, &session()?),
        Verb::Result(args) => report::result(args, &session()?),
        Verb::Snooze(args) => report::snooze(args, &session()?),
        Verb::Completions(args) => completions::run(args, Cli::command()),
        Verb::Man(args) => man::run(args, Cli::command()),
        Verb::Help(args) => help::run(args, Cli::command()),
    }
}

impl Verb {
    /// Only what adds makes a file; only what writes upgrades one. Whatever is not named here looks.
    fn open_mode(&self) -> OpenMode {
        match self {
            Verb::Enqueue(_) | Verb::Run(_) => OpenMode::Create,
            Verb::Serve(serve) if !serve.read_only => OpenMode::Create,
            Verb::Queue(queue) => match queue.verb {
                queue::QueueVerb::Set(_) => OpenMode::Create,
                queue::QueueVerb::List | queue::QueueVerb::Show(_) => OpenMode::AsIs,
            },
            Verb::Schedule(schedule) => match schedule.verb {
                schedule::ScheduleVerb::Add(_) => OpenMode::Create,
                schedule::ScheduleVerb::List | schedule::ScheduleVerb::Next(_) => OpenMode::AsIs,
                _ => OpenMode::Existing,
            },
            Verb::Prune(prune) if prune.dry_run => OpenMode::AsIs,
            Verb::Cancel(change) | Verb::Remove(change) if change.dry_run.dry_run => OpenMode::AsIs,
            Verb::Retry(retry) if retry.dry_run.dry_run => OpenMode::AsIs,
            Verb::Doctor(doctor) if doctor.fix => OpenMode::Existing,
            Verb::Undo(undo) if undo.event.is_none() => OpenMode::AsIs,
            Verb::Cancel(_)
            | Verb::Retry(_)
            | Verb::Edit(_)
            | Verb::Undo(_)
            | Verb::Remove(_)
            | Verb::Pause(_)
            | Verb::Resume(_)
            | Verb::Prune(_)
            | Verb::Progress(_)
            | Verb::Log(_)
            | Verb::Result(_)
            | Verb::Snooze(_) => OpenMode::Existing,
            _ => OpenMode::AsIs,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

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
        let mut command = Cli::command();
        command.build();
        help_texts(&command, &mut texts);
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
    fn prerequisite_list_ends_at_the_command_or_the_next_option() {
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
        ] {
            refused(line);
        }
    }
}
