//! `jobq backup`.

use serde::Serialize;

use super::args;
use super::exit::{CliResult, Exit};
use super::interrupt::Signal;
use super::output::text::bytes;
use super::session::Session;

#[derive(Serialize)]
struct Answer {
    file: String,
    bytes: u64,
}

pub(super) fn run(args: &args::Backup, session: &Session) -> CliResult {
    let signal = Signal::listen()?;
    let made = session
        .queue()?
        .backup_while(&args.file, signal.has_not_come());
    // Whatever was done, nothing is left of a backup that was interrupted.
    if let (Err(_), Some(exit)) = (&made, signal.exit()) {
        return Ok(exit);
    }
    made?;
    let answer = Answer {
        file: args.file.display().to_string(),
        bytes: std::fs::metadata(&args.file)?.len(),
    };
    let said = format!("{} ({})", answer.file, bytes(answer.bytes));
    session.output.line(&answer, said)?;
    Ok(Exit::Done)
}
