//! `jobq progress`, `jobq log`, `jobq result`: what a command says from inside its job.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jobq::{AttemptRef, JobId};

use super::args;
use super::exit::{CliError, CliResult, Exit};
use super::session::Session;

pub(super) fn progress(args: &args::Progress, session: &Session) -> CliResult {
    let attempt = this_attempt(&|name| std::env::var(name).ok())?;
    let mut progress = args.percent.clone();
    progress.message.clone_from(&args.message);
    session.queue()?.set_progress(attempt, progress)?;
    Ok(Exit::Done)
}

pub(super) fn log(args: &args::Log, session: &Session) -> CliResult {
    let attempt = this_attempt(&|name| std::env::var(name).ok())?;
    session
        .queue()?
        .append_log(attempt, args.level, &args.message)?;
    Ok(Exit::Done)
}

pub(super) fn result(args: &args::ResultOf, session: &Session) -> CliResult {
    let attempt = this_attempt(&|name| std::env::var(name).ok())?;
    let mut piped = String::new();
    let json = if args.value == "-" {
        std::io::stdin()
            .read_to_string(&mut piped)
            .map_err(|error| CliError::io("stdin", &error))?;
        &piped
    } else {
        &args.value
    };
    session.queue()?.set_result(attempt, json.trim())?;
    Ok(Exit::Done)
}

/// The attempt that this process belongs to, where its job is in this file.
pub(super) fn attempt_in(db: &Path) -> Option<AttemptRef> {
    let attempt = this_attempt(&|name| std::env::var(name).ok()).ok()?;
    let own = std::env::var_os("JOBQ_DB")?;
    let file = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    (file(Path::new(&own))? == file(db)?).then_some(attempt)
}

/// The attempt that this process belongs to, as its runner has told it.
fn this_attempt(env: &dyn Fn(&str) -> Option<String>) -> CliResult<AttemptRef> {
    let number = |name: &str| env(name).and_then(|text| text.parse::<i64>().ok());
    let job = number("JOBQ_JOB_ID");
    let attempt = number("JOBQ_ATTEMPT").and_then(|attempt| u32::try_from(attempt).ok());
    match (job, attempt, env("JOBQ_DB")) {
        (Some(job), Some(attempt), Some(_)) => Ok(AttemptRef {
            job: JobId(job),
            attempt,
        }),
        _ => Err(CliError::usage("this only works inside a running job").with_hint(
            "a command that `jobq run` runs finds JOBQ_DB, JOBQ_JOB_ID and JOBQ_ATTEMPT in its environment",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(vars: &[(&str, &str)]) -> CliResult<AttemptRef> {
        this_attempt(&|name| {
            let var = vars.iter().find(|var| var.0 == name)?;
            Some(var.1.to_owned())
        })
    }

    #[test]
    fn the_environment_names_the_attempt() {
        let (db, job, number) = (
            ("JOBQ_DB", "/x"),
            ("JOBQ_JOB_ID", "7"),
            ("JOBQ_ATTEMPT", "2"),
        );
        let found = attempt(&[db, job, number]).unwrap();
        assert_eq!((found.job, found.attempt), (JobId(7), 2));
        for vars in [
            &[db, job][..],
            &[job, number],
            &[db, ("JOBQ_JOB_ID", "x"), number],
        ] {
            assert_eq!(attempt(vars).unwrap_err().exit(), Exit::Usage);
        }
    }
}
