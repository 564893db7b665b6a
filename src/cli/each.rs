//! One change to many jobs: each is done for itself, and one that cannot be does not stop the rest.

use jobq::{Filter, JobId, Sort, State};

use super::exit::{CliError, CliResult, Exit};
use super::output::json::DoneJson;
use super::output::text::count;
use super::session::Session;

/// What was done to a job: in a word for programs, in a sentence for people.
pub(super) struct Done {
    pub(super) result: &'static str,
    pub(super) said: String,
}

/// So many jobs are read at a time.
const PAGE: usize = 200;

/// Does `act` to every job named by `ids`. What is wrong with one job only is remembered for the
/// end; what would be wrong with every other ends the walk.
pub(super) fn each(
    session: &Session,
    ids: &[String],
    mut act: impl FnMut(JobId) -> jobq::Result<Done>,
) -> CliResult {
    let mut worst = Exit::Done;
    for id in session.resolve_ids(ids)? {
        match act(id) {
            Ok(Done { result, said }) => session.output.line(&DoneJson { id, result }, said)?,
            Err(error) if has_moved_on(&error) || error.is_duplicate() => {
                worst = worse(worst, tell(error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(worst)
}

/// What is said when many jobs have been gone through.
pub(super) struct Summary {
    /// After the number of those that it was done to.
    pub(super) done: &'static str,
    /// Where there were none.
    pub(super) none: &'static str,
}

/// Does `act` to every job that passes the filter, and says to how many it was done.
///
/// Page by page, as no read may last as long as so many writes. A job that passes again meanwhile
/// is not met twice: the pages only go forward, up to the newest job of the start. One that has
/// moved on since its page was read is left alone.
pub(super) fn each_matching(
    session: &Session,
    mut filter: Filter,
    summary: Summary,
    mut act: impl FnMut(JobId) -> jobq::Result<Done>,
) -> CliResult {
    let queue = session.queue()?;
    filter.sort = Sort::Oldest;
    filter.limit = Some(PAGE);
    let last = queue.last_id()?.unwrap_or_default();
    let mut jobs = 0;
    let mut worst = Exit::Done;
    loop {
        let page = queue.list(&filter)?;
        let Some(end) = page.last().map(|job| job.id) else {
            break;
        };
        for id in page.iter().map(|job| job.id).filter(|id| *id <= last) {
            match act(id) {
                Ok(Done { result, said }) => session.output.line(&DoneJson { id, result }, said)?,
                Err(error) if has_moved_on(&error) => continue,
                Err(error) if error.is_duplicate() => {
                    worst = worse(worst, tell(error));
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            jobs += 1;
        }
        if end >= last {
            break;
        }
        filter.after = Some(end);
    }
    match jobs {
        0 if worst != Exit::Done => {}
        0 => session.screen.say(summary.none),
        jobs => session
            .screen
            .say(format_args!("{} {}", count(jobs, "job"), summary.done)),
    }
    Ok(worst)
}

/// The states asked for, or all that a verb is for; it is for no others.
pub(super) fn states(
    asked: &[State],
    verb: &str,
    is_for: impl Fn(State) -> bool,
) -> CliResult<Vec<State>> {
    if let Some(state) = asked.iter().find(|state| !is_for(**state)) {
        let states = State::ALL.into_iter().filter(|state| is_for(*state));
        let states: Vec<_> = states.map(State::as_str).collect();
        return Err(CliError::usage(format!("{state} jobs cannot be {verb}"))
            .hint(format!("jobs can be {verb} that are {}", states.join(", "))));
    }
    Ok(match asked {
        [] => State::ALL
            .into_iter()
            .filter(|state| is_for(*state))
            .collect(),
        asked => asked.to_vec(),
    })
}

/// Says what is wrong with one job.
fn tell(error: jobq::Error) -> Exit {
    let error = CliError::from(error);
    error.print();
    error.exit()
}

fn has_moved_on(error: &jobq::Error) -> bool {
    error.is_not_found() || error.is_wrong_state()
}

/// A job that is missing weighs more than one that is in the wrong state.
fn worse(a: Exit, b: Exit) -> Exit {
    [Exit::NotFound, Exit::Failed]
        .into_iter()
        .find(|exit| a == *exit || b == *exit)
        .unwrap_or(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_job_decides_the_exit_code() {
        assert_eq!(worse(Exit::Done, Exit::Failed), Exit::Failed);
        assert_eq!(worse(Exit::NotFound, Exit::Failed), Exit::NotFound);
        assert_eq!(worse(Exit::Failed, Exit::NotFound), Exit::NotFound);
    }
}
