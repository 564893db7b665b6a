//! `jobq wait`.

use std::time::Duration;

use jobq::{JobId, JobRecord, State};

use super::args::Wait;
use super::exit::{CliError, CliResult, Exit};
use super::output::text;
use super::session::Session;

pub(super) fn run(args: &Wait, session: &Session) -> CliResult {
    let ids = session.resolve_ids(&args.ids)?;
    if !args.exit_code {
        return until_final(&ids, args.timeout, session);
    }
    let [id] = ids[..] else {
        return Err(CliError::usage("--exit-code goes with one job")
            .hint("wait for them one by one, or leave it out"));
    };
    let exit = until_final(&[id], args.timeout, session)?;
    let attempts = session.queue()?.attempts(id)?;
    let code = attempts.last().and_then(|attempt| attempt.end.exit_code);
    Ok(match code.map(u8::try_from) {
        Some(Ok(code)) => Exit::Code(code),
        _ => exit,
    })
}

/// Waits until all are final. Those that did not complete are named on stderr.
pub(super) fn until_final(
    ids: &[JobId],
    timeout: Option<Duration>,
    session: &Session,
) -> CliResult {
    let jobs = session.queue()?.wait(ids, timeout)?;
    let mut exit = Exit::Done;
    for job in jobs.iter().filter(|job| job.state != State::Completed) {
        exit = Exit::JobFailed;
        session.screen.say(end_of(job));
    }
    Ok(exit)
}

/// `job 7 failed: exit code 3`.
fn end_of(job: &JobRecord) -> String {
    let JobRecord { id, state, .. } = job;
    match (state, &job.error) {
        (State::Failed, Some(error)) => {
            format!("job {id} {state}: {}", text::for_terminal(error))
        }
        _ => format!("job {id} {state}"),
    }
}
