//! `jobq backup`.

use serde::Serialize;

use super::args;
use super::exit::{CliResult, Exit};
use super::output::text::bytes;
use super::session::Session;

#[derive(Serialize)]
struct Answer {
    file: String,
    bytes: u64,
}

pub(super) fn run(args: &args::Backup, session: &Session) -> CliResult {
    session.queue()?.backup(&args.file)?;
    let answer = Answer {
        file: args.file.display().to_string(),
        bytes: std::fs::metadata(&args.file)?.len(),
    };
    let said = format!("{} ({})", answer.file, bytes(answer.bytes));
    session.output.line(&answer, said)?;
    Ok(Exit::Done)
}
