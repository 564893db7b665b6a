//! The result of enqueuing a job, with hints about likely mistakes.

use jobq::api::text::count;
use jobq::{Enqueued, JobId, OnDuplicate, State};

use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::render::{Format, text};
use crate::cli::session::Session;

/// Only the id if a program reads it.
pub(crate) fn print(enqueued: &Enqueued, session: &Session) -> CliResult<()> {
    let Enqueued { id, state, .. } = enqueued;
    let text = match (session.output.format, enqueued.rerun_of) {
        (Format::Tabs, _) => id.to_string(),
        (_, Some(first)) if enqueued.replaced => {
            format!(
                "job {id} is there already ({state}), and is now this one; it runs after job {first}"
            )
        }
        (_, Some(first)) => format!("job {id} enqueued ({state}): it runs after job {first}"),
        _ if enqueued.replaced => {
            format!("job {id} is there already ({state}), and is now this one")
        }
        _ if enqueued.duplicate => format!("job {id} is there already ({state})"),
        _ => format!("job {id} enqueued ({state})"),
    };
    let printed = session.output.line(enqueued, text);
    // The hint keeps a script from enqueuing it twice after this error.
    printed.map_err(|error| {
        CliError::from(error).with_hint(format!("job {id} is in the queue all the same"))
    })
}

/// Says what keeps a job from being what was asked for, and how the process is to end by that.
pub(crate) fn print_warning(
    enqueued: &Enqueued,
    on_duplicate: Option<OnDuplicate>,
    session: &Session,
) -> CliResult {
    let Enqueued { id, state, .. } = *enqueued;
    if is_cancelled(enqueued) {
        print_cancelled(id, session)?;
        return Ok(Exit::JobFailed);
    }
    if !is_not_taken(enqueued, on_duplicate) {
        return Ok(Exit::Done);
    }
    session.screen.say(not_taken(id, state));
    if !state.is_final() {
        session
            .screen
            .hint("to run it once more afterwards: --on-duplicate rerun");
    }
    Ok(Exit::Failed)
}

/// It can never run: what it waits for has failed already.
pub(crate) fn is_cancelled(enqueued: &Enqueued) -> bool {
    enqueued.is_new() && enqueued.state == State::Cancelled
}

/// Its payload should have replaced another's, and did not.
pub(crate) fn is_not_taken(enqueued: &Enqueued, on_duplicate: Option<OnDuplicate>) -> bool {
    let takes_over = matches!(
        on_duplicate,
        Some(OnDuplicate::Replace | OnDuplicate::Rerun)
    );
    takes_over && enqueued.duplicate && !enqueued.replaced && enqueued.rerun_of.is_none()
}

fn not_taken(id: JobId, state: State) -> String {
    match state.is_final() {
        true => {
            format!("job {id} has its unique key for a while yet: the new payload was not taken")
        }
        false => {
            format!("job {id} is {state} and keeps its own payload: the new one was not taken")
        }
    }
}

pub(crate) fn print_cancelled(id: JobId, session: &Session) -> CliResult<()> {
    let job = session.queue()?.get(id)?;
    let why = job.as_ref().and_then(|job| job.error.as_deref());
    let why = why.unwrap_or("what it waits for has not completed");
    session.screen.say(format_args!(
        "job {id} was cancelled at once: {}",
        text::for_terminal(why)
    ));
    let needs = job.into_iter().flat_map(|job| job.depends_on);
    let mut again: Vec<String> = Vec::new();
    for needs in needs.filter(|needs| !needs.met) {
        again.push(needs.job.to_string());
    }
    again.push(id.to_string());
    session.screen.hint(format_args!(
        "to run them again: jobq retry {}; to run it however they end: --after-any",
        again.join(" ")
    ));
    Ok(())
}

/// The same for the jobs of a batch: how many, and the first of each sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Warnings {
    cancelled: Option<(JobId, u64)>,
    not_taken: Option<(JobId, u64)>,
}

impl Warnings {
    pub(crate) fn add(&mut self, enqueued: &Enqueued, on_duplicate: Option<OnDuplicate>) {
        let count = |of: &mut Option<(JobId, u64)>| {
            of.get_or_insert((enqueued.id, 0)).1 += 1;
        };
        if is_cancelled(enqueued) {
            count(&mut self.cancelled);
        } else if is_not_taken(enqueued, on_duplicate) {
            count(&mut self.not_taken);
        }
    }

    pub(crate) fn and(&mut self, more: Warnings) {
        for (all, more) in [
            (&mut self.cancelled, more.cancelled),
            (&mut self.not_taken, more.not_taken),
        ] {
            *all = match (*all, more) {
                (Some((first, a)), Some((_, b))) => Some((first, a + b)),
                (all, more) => all.or(more),
            };
        }
    }

    /// As [`print_warning`].
    pub(crate) fn print(&self, session: &Session) -> CliResult {
        if let Some((first, jobs)) = self.cancelled {
            if jobs > 1 {
                session.screen.say(format_args!(
                    "{} were cancelled at once, as what they wait for has not completed; the first:",
                    count(jobs, "job")
                ));
            }
            print_cancelled(first, session)?;
        }
        if let Some((first, jobs)) = self.not_taken {
            let payloads = count(jobs, "payload");
            let were = if jobs == 1 { "was" } else { "were" };
            session.screen.say(format_args!(
                "{payloads} {were} not taken, as the jobs that have their unique keys run or have ended; the first is job {first}"
            ));
        }
        Ok(match (self.cancelled, self.not_taken) {
            (Some(_), _) => Exit::JobFailed,
            (None, Some(_)) => Exit::Failed,
            (None, None) => Exit::Done,
        })
    }
}
