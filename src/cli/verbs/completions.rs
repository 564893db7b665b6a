//! `jobq completions`.

use std::io::Write;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::exit::{CliResult, Exit};

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, mut command: Command) -> CliResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "jobq", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Done)
}
