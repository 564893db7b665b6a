//! `jobq help`.

use std::io::Write;

use clap::CommandFactory;

use super::args::{self, Cli};
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

With `jobq wait --exit-code` the exit code is that of the command that was waited for.
";

pub(super) fn run(args: &args::Help) -> CliResult {
    let mut out = anstream::stdout().lock();
    if args.topic == ["exit-codes"] {
        out.write_all(EXIT_CODES.as_bytes())?;
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
    match nearest(word, names.chain(["exit-codes"])) {
        Some(name) => error.hint(format!("did you mean '{name}'?")),
        None => error.hint("`jobq help` lists the commands"),
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
