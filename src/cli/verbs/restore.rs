//! `jobq restore`.

use std::path::PathBuf;

use clap::Args;
use jobq::api::text::count;
use jobq::{InUse, Replaced};
use serde::Serialize;

use crate::cli::exit::{CliResult, Exit};
use crate::cli::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "\
The file that was there is kept beside it as FILE.before-restore, with its jobs.

Examples:
  jobq backup monday.db
  jobq restore monday.db")]
pub(crate) struct RestoreArgs {
    /// The backup; it stays as it is
    pub(crate) file: PathBuf,
    /// Replace the database although processes work with it; their runners end when they notice
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Serialize)]
struct RestoreJson {
    file: String,
    jobs: u64,
    kept: Option<String>,
    replaced_jobs: Option<u64>,
    newer_jobs: Option<u64>,
}

pub(crate) fn run(args: &RestoreArgs, session: &Session) -> CliResult {
    let in_use = match args.force {
        true => InUse::Replace,
        false => InUse::Refuse,
    };
    let db = session.db_path();
    let restored = session.options().restore(&args.file, db, in_use)?;
    let replaced = restored.replaced.as_ref();
    let answer = RestoreJson {
        file: db.display().to_string(),
        jobs: restored.jobs,
        kept: replaced.map(|old| old.kept.display().to_string()),
        replaced_jobs: replaced.and_then(|old| old.jobs),
        newer_jobs: replaced.and_then(|old| old.newer),
    };
    let said = format!("{} ({})", answer.file, count(answer.jobs, "job"));
    session.output.line(&answer, said)?;
    if let Some(replaced) = replaced {
        session.screen.say(of_replaced(replaced));
    }
    Ok(Exit::Done)
}

/// The jobs that the restored file lacks, and where they are.
fn of_replaced(replaced: &Replaced) -> String {
    let kept = replaced.kept.display();
    let jobs = match (replaced.jobs, replaced.newer) {
        (None, _) => "could not be read".to_owned(),
        (Some(jobs), None | Some(0)) => format!("had {}", count(jobs, "job")),
        (Some(jobs), Some(newer)) => {
            format!("had {}, {newer} newer than the backup", count(jobs, "job"))
        }
    };
    format!("the file that was there {jobs}; it is kept as {kept}")
}
