//! `jobq backup`.

use std::path::PathBuf;

use clap::Args;
use jobq::api::text::bytes;
use serde::Serialize;

use crate::cli::exit::{CliResult, Exit};
use crate::cli::session::Session;
use crate::cli::signals::Interrupt;

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The new file
    pub(crate) file: PathBuf,
}

#[derive(Serialize)]
struct BackupJson {
    file: String,
    bytes: u64,
}

pub(crate) fn run(args: &BackupArgs, session: &Session) -> CliResult {
    let signal = Interrupt::listen()?;
    let made = session
        .queue()?
        .backup_while(&args.file, signal.has_not_come());
    // Whatever was done, nothing is left of a backup that was interrupted.
    if let (Err(_), Some(exit)) = (&made, signal.exit()) {
        return Ok(exit);
    }
    made?;
    let answer = BackupJson {
        file: args.file.display().to_string(),
        bytes: std::fs::metadata(&args.file)?.len(),
    };
    let said = format!("{} ({})", answer.file, bytes(answer.bytes));
    session.output.line(&answer, said)?;
    Ok(Exit::Done)
}
