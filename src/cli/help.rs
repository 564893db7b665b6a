//! `jobq help`.

use std::io::Write;

use clap::CommandFactory;

use super::args::{self, Cli};
use super::config::reference;
use super::exit::{CliError, CliResult, Exit};
use super::nearest::nearest;

/// What `jobq help exit-codes` says.
pub(super) const EXIT_CODES: &str = "\
How jobq exits:

  0   done
  1   failed
  2   wrong usage: an option, a name or a value that jobq does not take
  3   no such job, queue or schedule
  4   a job that was waited for or drained failed or was cancelled
 75   try again: the database is busy or full, and nothing was changed
124   timed out waiting
130   interrupted
141   the reader of the output has gone, so that the end of the job was not waited for (wait, --follow)

With `jobq wait --exit-code` the exit code is that of the command that was waited for.
";

/// What `jobq help environment` says.
pub(super) const ENVIRONMENT: &str = "\
Environment variables:

  JOBQ_DB           the database, where --db does not say; an empty one counts as not set
  JOBQ_DURABILITY   full or normal, where --durability does not say
  XDG_STATE_HOME    its folder jobq/ holds the database that is used where nothing else is said;
                    ~/.local/state where it is not set
  XDG_CONFIG_HOME   its folder jobq/ holds the jobq.toml that is read where there is none in the
                    working directory; ~/.config where it is not set
  NO_COLOR          no colours, as with --color never
  RUST_LOG          what is logged on stderr, as env_logger reads it; wins over -v and -q

A command that runs as a job finds:

  JOBQ_DB, JOBQ_JOB_ID, JOBQ_ATTEMPT        its database, its job and which attempt it is
  JOBQ_PHASE=finalize                       all children of this parent have ended
";

/// What `jobq help files` says.
pub(super) const FILES: &str = "\
Files:

  jobs.db                   the database: whatever --db names
  jobs.db-wal, jobs.db-shm  the newest part of it while it is in use; they belong to the database and
                            must not be removed or copied without it: use `jobq backup`
  jobs.db-runners/          a lock file for each runner that is alive
  ./jobq.toml               the config file of a project
  ~/.config/jobq/jobq.toml  the config file of a user
";

type Topic = (&'static str, fn() -> String);

/// What there is help on besides commands.
const TOPICS: [Topic; 4] = [
    ("exit-codes", || EXIT_CODES.to_owned()),
    ("config", reference::text),
    ("environment", || ENVIRONMENT.to_owned()),
    ("files", || FILES.to_owned()),
];

pub(super) fn run(args: &args::Help) -> CliResult {
    let mut out = anstream::stdout().lock();
    if let [topic] = &args.topic[..]
        && let Some((_, text)) = TOPICS.iter().find(|(name, _)| name == topic)
    {
        out.write_all(text().as_bytes())?;
        return Ok(Exit::Done);
    }
    let mut found = Cli::command();
    found.build();
    for word in &args.topic {
        let verb = found.find_subcommand(word).cloned();
        found = verb.ok_or_else(|| no_help(&found, word))?;
    }
    write!(out, "{}", found.render_long_help().ansi())?;
    Ok(Exit::Done)
}

fn no_help(command: &clap::Command, word: &str) -> CliError {
    let names = command.get_subcommands().map(clap::Command::get_name);
    let error = CliError::usage(format!("there is no help on '{word}'"));
    match nearest(word, names.chain(TOPICS.map(|(name, _)| name))) {
        Some(name) => error.with_hint(format!("did you mean '{name}'?")),
        None => error.with_hint("`jobq help` lists the commands"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_of_the_contract_is_explained() {
        use Exit::*;
        for exit in [
            Done,
            Failed,
            Usage,
            NotFound,
            JobFailed,
            TryAgain,
            TimedOut,
            Interrupted,
        ] {
            let code = format!("{:>3}   ", exit.code());
            assert!(
                EXIT_CODES.lines().any(|line| line.starts_with(&code)),
                "{exit:?}"
            );
        }
    }

    #[test]
    fn an_unknown_topic_is_an_error_that_names_the_nearest() {
        let topic = vec!["enqeue".to_owned()];
        let error = run(&args::Help { topic }).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(format!("{error:?}").contains("'enqueue'"));
    }
}
