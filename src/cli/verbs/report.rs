//! `jobq progress`, `jobq log`, `jobq result`, `jobq snooze`: reports of a command from inside its job.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use jobq::mask::Mask;
use jobq::{AttemptRef, JobId, Level};

use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::input::values;
use crate::cli::session::Session;

#[derive(Debug, Args)]
pub(crate) struct ProgressArgs {
    /// How far the job is: 40, 40%, or 3/10
    #[arg(value_parser = how_far, allow_negative_numbers = true)]
    pub(crate) percent: jobq::Progress,
    /// What the job is doing
    pub(crate) message: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// How important it is
    #[arg(long, value_parser = values::level(), default_value = "info")]
    pub(crate) level: Level,
    /// The message
    #[arg(allow_hyphen_values = true)]
    pub(crate) message: String,
}

// `jobq result`; the plain name is taken by the language.
#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    /// The result: JSON, or - for stdin
    #[arg(value_name = "JSON|-", allow_hyphen_values = true)]
    pub(crate) value: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The wait begins when the command exits with 0. If it ends otherwise, or its runner is killed before, the job
is not snoozed.

Examples:
  jobq snooze 10m && exit 0")]
pub(crate) struct SnoozeArgs {
    /// How long the job waits before it is run again: 90s, 1h30m, '2 days'
    #[arg(value_name = "DURATION", value_parser = values::duration, allow_hyphen_values = true)]
    pub(crate) wait: Duration,
}

fn how_far(text: &str) -> Result<jobq::Progress, String> {
    if let Some((done, of)) = text.split_once('/') {
        return match (done.trim().parse(), of.trim().parse()) {
            (Ok(done), Ok(of)) if done <= of => Ok(jobq::Progress::of(done, of)),
            _ => Err("fractions look like 3/10: 3 of 10 done".to_owned()),
        };
    }
    match text.strip_suffix('%').unwrap_or(text).parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(jobq::Progress::percent(percent)),
        _ => Err("progress must be 0 to 100, or like 3/10".to_owned()),
    }
}

pub(crate) fn progress(args: &ProgressArgs, session: &Session) -> CliResult {
    let attempt = this_attempt(&|name| std::env::var(name).ok())?;
    let mut progress = args.percent.clone();
    let message = args.message.clone();
    progress.message = message.map(|message| Mask::of_command().text(message));
    session.queue()?.set_progress(attempt, progress)?;
    Ok(Exit::Done)
}

pub(crate) fn log(args: &LogArgs, session: &Session) -> CliResult {
    let attempt = this_attempt(&|name| std::env::var(name).ok())?;
    let message = Mask::of_command().text(args.message.clone());
    session.queue()?.append_log(attempt, args.level, &message)?;
    Ok(Exit::Done)
}

pub(crate) fn result(args: &ResultArgs, session: &Session) -> CliResult {
    let attempt = this_attempt(&|name| std::env::var(name).ok())?;
    let mut json = args.value.clone();
    if json == "-" {
        json.clear();
        std::io::stdin()
            .read_to_string(&mut json)
            .map_err(|error| CliError::io("stdin", &error))?;
    }
    let json = Mask::of_command().json(json);
    session.queue()?.set_result(attempt, json.trim())?;
    Ok(Exit::Done)
}

pub(crate) fn snooze(args: &SnoozeArgs, session: &Session) -> CliResult {
    let attempt = this_attempt(&|name| std::env::var(name).ok())?;
    session.queue()?.set_snooze(attempt, args.wait)?;
    Ok(Exit::Done)
}

/// The attempt that this process belongs to, where its job is in this file.
pub(crate) fn attempt_in(db: &Path) -> Option<AttemptRef> {
    let attempt = this_attempt(&|name| std::env::var(name).ok()).ok()?;
    let own = std::env::var_os("JOBQ_DB")?;
    let file = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    (file(Path::new(&own))? == file(db)?).then_some(attempt)
}

/// The attempt that this process belongs to, by its environment.
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
    use crate::cli::verbs::Cli;

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

    #[test]
    fn a_result_does_not_get_in_the_way_of_the_global_option() {
        use clap::Parser;
        let cli = Cli::try_parse_from(["jobq", "result", "1"]).unwrap();
        assert!(!cli.global.json);
    }

    #[test]
    fn progress_is_a_percentage_or_a_fraction() {
        assert_eq!(how_far("40"), Ok(jobq::Progress::percent(40.0)));
        assert_eq!(how_far("12.5%"), Ok(jobq::Progress::percent(12.5)));
        assert_eq!(how_far("3/10"), Ok(jobq::Progress::of(3, 10)));
        for text in ["", "101", "-1", "NaN", "11/10", "3/", "x/y"] {
            assert!(how_far(text).is_err(), "{text}");
        }
    }
}
