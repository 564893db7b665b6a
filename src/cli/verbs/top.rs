//! `jobq top`.

use clap::Args;

use crate::cli::exit::CliResult;
use crate::cli::session::Session;
use crate::cli::top;

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Print the first screen as plain text and end, as where the output is not a terminal
    #[arg(long)]
    pub(crate) once: bool,
}

pub(crate) fn run(args: &TopArgs, session: &Session) -> CliResult {
    top::show(session, args.once)
}
