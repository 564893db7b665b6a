//! `jobq wait`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use jobq::api::event::sentence;
use jobq::api::json::write_line;
use jobq::api::text::count;
use jobq::{EventFilter, EventId, EventKind, Filter, JobId, JobRecord, Queue, Sort, State};
use serde::Serialize;

use crate::cli::bulk::{any_matches, no_match};
use crate::cli::clock;
use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::history::{WAIT, read_events};
use crate::cli::input::selection::JobSelection;
use crate::cli::input::values;
use crate::cli::render::text;
use crate::cli::session::Session;
use crate::cli::signals::end_when_reader_is_gone;

// Jobs by their numbers, or all that the options describe at the start
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) jobs: JobSelection,
    /// How long to wait at most, exit code 124 after that [default: forever]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
    /// With one command: exit with its exit code
    #[arg(long)]
    pub(crate) exit_code: bool,
}

/// Number of final jobs read at a time.
const PART: usize = 500;

pub(crate) fn run(args: &WaitArgs, session: &Session) -> CliResult {
    let ids = match args.jobs.ids.is_empty() {
        true => matching(args, session)?,
        false => session.resolve_ids(&args.jobs.ids)?,
    };
    end_when_reader_is_gone(Exit::ReaderGone);
    if !args.exit_code {
        return until_told(&ids, args.timeout, session);
    }
    let [id] = ids[..] else {
        return Err(CliError::usage("--exit-code goes with one job")
            .with_hint("wait for them one by one, or leave it out"));
    };
    let exit = until_told(&[id], args.timeout, session)?;
    let attempts = session.queue()?.attempts(id)?;
    let code = attempts.last().and_then(|attempt| attempt.end.exit_code);
    Ok(match code.map(u8::try_from) {
        Some(Ok(code)) => Exit::Code(code),
        _ => exit,
    })
}

/// The jobs that the options describe now; those that come later are not waited for.
fn matching(args: &WaitArgs, session: &Session) -> CliResult<Vec<JobId>> {
    let filter = Filter {
        sort: Sort::Oldest,
        ..session.filter_with(&args.jobs.filter, &args.jobs.state)?
    };
    let mut ids = Vec::new();
    session.queue()?.for_each(&filter, |job| {
        ids.push(job.id);
        Ok(())
    })?;
    match ids.len() as u64 {
        0 if !any_matches(&session.queue()?, &filter)? => return Err(no_match()),
        0 => session.screen.say("no job matches"),
        jobs => session
            .screen
            .say(format_args!("waiting for {}", count(jobs, "job"))),
    }
    Ok(ids)
}

/// A job that was waited for.
#[derive(Serialize)]
pub(crate) struct EndedJson {
    pub(crate) id: JobId,
    pub(crate) state: State,
}

/// Waits until all are final, and tells a program in which state each has ended.
fn until_told(ids: &[JobId], timeout: Option<Duration>, session: &Session) -> CliResult {
    let told = each_final(ids, (timeout, None), session, &mut |job| {
        let JobRecord { id, state, .. } = *job;
        if session.output.is_json() {
            let mut out = session.output.stdout();
            write_line(&mut out, &EndedJson { id, state })?;
            out.flush()?;
        }
        Ok(())
    });
    told.map_err(CliError::with_unknown_end)
}

/// Waits until a job is final that was enqueued after the event `since`.
pub(crate) fn until_final(
    id: JobId,
    since: EventId,
    timeout: Option<Duration>,
    session: &Session,
) -> CliResult {
    each_final(&[id], (timeout, Some(since)), session, &mut |_| Ok(()))
}

/// Waits until all are final, and hints at `jobq run` where no runner is active. Those that
/// did not complete are named on stderr.
fn each_final(
    ids: &[JobId],
    (timeout, since): (Option<Duration>, Option<EventId>),
    session: &Session,
    each: &mut dyn FnMut(&JobRecord) -> CliResult<()>,
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
                match ids.len() {
                    ..=FEW => wait_and_tell(&queue, ids, (left, since), session)?,
                    _ => queue.wait(ids, left)?,
                }
            }
            ended => ended?,
        };
        for job in &jobs {
            each(job)?;
            if job.state != State::Completed {
                exit = Exit::JobFailed;
                session.screen.say(end_of(job));
            }
        }
    }
    Ok(exit)
}

/// Up to this number of jobs, failed attempts and the time of the next are shown meanwhile.
const FEW: usize = 20;

fn wait_and_tell(
    queue: &Queue,
    ids: &[JobId],
    (timeout, since): (Option<Duration>, Option<EventId>),
    session: &Session,
) -> CliResult<Vec<JobRecord>> {
    let began = clock::instant();
    let mut changes = queue.changes()?;
    let mut filter = EventFilter {
        since: since.map_or_else(|| queue.last_event(), Ok)?,
        kinds: vec![EventKind::Retry],
        ..EventFilter::default()
    };
    loop {
        read_events(queue, &mut filter, |event| {
            if let Some(id) = event.job.filter(|id| ids.contains(id)) {
                let said = sentence(&event);
                session
                    .screen
                    .say(format_args!("job {id} {}", text::for_terminal(&said)));
            }
            CliResult::Ok(())
        })?;
        match queue.wait(ids, Some(Duration::ZERO)) {
            Err(error) if error.is_timed_out() => {
                let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
                if left == Some(Duration::ZERO) {
                    return Err(error.into());
                }
                changes.wait(left.map_or(WAIT, |left| left.min(WAIT)))?;
            }
            ended => return Ok(ended?),
        }
    }
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
