//! `jobq completions`.

use std::io::Write;

use clap::CommandFactory;

use super::args::{Cli, Completions};
use super::exit::{CliResult, Exit};

pub(super) fn run(args: &Completions) -> CliResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "jobq", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Done)
}
