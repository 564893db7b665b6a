//! `jobq wait`.

use std::time::Duration;

use jobq::{Filter, JobId, JobRecord, Sort, State};

use super::args::Wait;
use super::clock;
use super::exit::{CliError, CliResult, Exit};
use super::output::text;
use super::session::Session;

/// So many jobs are read at a time once they are final.
const PART: usize = 500;

pub(super) fn run(args: &Wait, session: &Session) -> CliResult {
    let ids = match args.ids.is_empty() {
        true => matching(args, session)?,
        false => session.resolve_ids(&args.ids)?,
    };
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

/// The jobs that the options describe now; those that come later are not waited for.
fn matching(args: &Wait, session: &Session) -> CliResult<Vec<JobId>> {
    let filter = Filter {
        states: args.state.states.clone(),
        sort: Sort::Oldest,
        ..session.filter(&args.filter)?
    };
    let mut ids = Vec::new();
    session.queue()?.for_each(&filter, |job| {
        ids.push(job.id);
        Ok(())
    })?;
    match ids.len() as u64 {
        0 => session.screen.say("no job matches"),
        jobs => session
            .screen
            .say(format_args!("waiting for {}", text::count(jobs, "job"))),
    }
    Ok(ids)
}

/// Waits until all are final, and tells where nobody runs them. Those that did not complete are named on stderr.
pub(super) fn until_final(
    ids: &[JobId],
    timeout: Option<Duration>,
    session: &Session,
) -> CliResult {
    let queue = session.queue()?;
    let began = clock::instant();
    let mut exit = Exit::Done;
    let mut hinted = false;
    for ids in ids.chunks(PART) {
        let jobs = match queue.wait(ids, Some(Duration::ZERO)) {
            Err(error) if error.is_timed_out() => {
                if !std::mem::replace(&mut hinted, true) {
                    session.hint_at_run();
                }
                let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
                queue.wait(ids, left)?
            }
            ended => ended?,
        };
        for job in jobs.iter().filter(|job| job.state != State::Completed) {
            exit = Exit::JobFailed;
            session.screen.say(end_of(job));
        }
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
