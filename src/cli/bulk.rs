//! One change to many jobs: some hundred to a commit, each for itself, and one that cannot be changed
//! does not stop the rest.

use std::collections::HashMap;
use std::time::Duration;

use jobq::api::text::count;
use jobq::{BulkAction, EventId, Filter, JobId, Queue, Sort, State};
use serde::Serialize;

use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::render::table::{Cell, Column, Fit, Rows};
use crate::cli::session::Session;

/// What was done to a job: in a word for programs, in a sentence for people.
pub(crate) struct Changed {
    pub(crate) result: &'static str,
    pub(crate) said: String,
}

/// The result of a change to one job.
#[derive(Serialize)]
pub(crate) struct ChangedJobJson<'a> {
    pub(crate) id: JobId,
    pub(crate) result: &'a str,
}

/// A change to jobs.
pub(crate) trait JobChange {
    /// Number of jobs at a time.
    const AT_ONCE: usize = PAGE;

    /// Does it to these, each for itself; the answers are in their order.
    fn act(&self, ids: &[JobId]) -> Vec<jobq::Result<Changed>>;

    /// A job that was in one state when the command began and is in another before its turn has come:
    /// what has become of it, where that is what the command does to other jobs as well.
    fn already(&self, _: JobId, _was: State, _is: State) -> Option<Changed> {
        None
    }
}

/// Number of jobs read at a time.
const PAGE: usize = 256;

/// Does `verb` to every job named by `ids`, by number: parents and prerequisites come before those
/// that wait for them. What is wrong with one job only is remembered for the end; what would be wrong
/// with every other ends the walk.
pub(crate) fn each<V: JobChange>(session: &Session, ids: &[String], verb: &V) -> CliResult {
    let named = session.resolve_existing(ids)?;
    let missing = named.error();
    let mut ids = named.ids;
    ids.sort_unstable();
    let before = Before::of(&ids, session.queue()?)?;
    let mut worst = Exit::Done;
    let mut errors = 0;
    for part in ids.chunks(V::AT_ONCE) {
        let mut left = Vec::with_capacity(part.len());
        for id in part {
            match before.already(verb, *id)? {
                Some(done) => show(session, *id, done)?,
                None => left.push(*id),
            }
        }
        for (id, answer) in left.iter().zip(verb.act(&left)) {
            match answer {
                Ok(done) => show(session, *id, done)?,
                Err(error) if has_moved_on(&error) || error.is_duplicate() => {
                    match before.already(verb, *id)? {
                        Some(done) => show(session, *id, done)?,
                        None => worst = worse(worst, print_error(error, &mut errors)),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    print_rest(session, errors);
    if let Some(error) = missing {
        error.print();
        worst = Exit::NotFound;
    }
    Ok(worst)
}

/// Where the jobs were when the command began: what it has brought about itself is no error.
struct Before {
    queue: Queue,
    states: HashMap<JobId, State>,
}

impl Before {
    fn of(ids: &[JobId], queue: Queue) -> jobq::Result<Before> {
        let mut states = HashMap::with_capacity(ids.len());
        for id in ids {
            if let Some(state) = queue.state(*id)? {
                states.insert(*id, state);
            }
        }
        Ok(Before { queue, states })
    }

    fn already(&self, verb: &impl JobChange, id: JobId) -> jobq::Result<Option<Changed>> {
        let was = self.states.get(&id).copied();
        let moved = was.zip(self.queue.state(id)?);
        Ok(moved.and_then(|(was, is)| verb.already(id, was, is)))
    }
}

/// The messages after a change to many jobs.
pub(crate) struct BulkWords {
    pub(crate) action: BulkAction,
    /// After the number of those that it was done to.
    pub(crate) done: &'static str,
    /// Where there were none.
    pub(crate) none: &'static str,
}

/// Does `verb` to every job that passes the filter, and says to how many it was done.
///
/// Page by page, as no read may last as long as all the writes. A job that passes again meanwhile
/// is not met twice: the pages only go forward, up to the newest job of the start. One that has
/// moved on since its page was read is left alone.
pub(crate) fn each_matching(
    session: &Session,
    filter: Filter,
    summary: BulkWords,
    verb: &impl JobChange,
) -> CliResult {
    let queue = session.queue()?;
    let mut jobs = 0;
    let mut errors = 0;
    let mut worst = Exit::Done;
    let is_typo = !any_matches(&queue, &filter)?;
    queue.for_each_page(&filter, |ids| -> CliResult<()> {
        for (id, answer) in ids.iter().zip(verb.act(ids)) {
            match answer {
                Ok(done) => show(session, *id, done)?,
                Err(error) if has_moved_on(&error) => continue,
                Err(error) if error.is_duplicate() => {
                    worst = worse(worst, print_error(error, &mut errors));
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            jobs += 1;
        }
        Ok(())
    })?;
    print_rest(session, errors);
    match jobs {
        0 if worst != Exit::Done => {}
        0 if is_typo => return Err(no_match()),
        0 => session.screen.say(summary.none),
        jobs => session
            .screen
            .say(format_args!("{} {}", count(jobs, "job"), summary.done)),
    }
    Ok(worst)
}

/// The states asked for, or all that a verb is for; it is for no others.
pub(crate) fn states(
    asked: &[State],
    verb: &str,
    is_for: impl Fn(State) -> bool,
) -> CliResult<Vec<State>> {
    if let Some(state) = asked.iter().find(|state| !is_for(**state)) {
        let states = State::ALL.into_iter().filter(|state| is_for(*state));
        let states: Vec<_> = states.map(State::as_str).collect();
        return Err(CliError::usage(format!("{state} jobs cannot be {verb}"))
            .with_hint(format!("jobs can be {verb} that are {}", states.join(", "))));
    }
    Ok(match asked {
        [] => State::ALL
            .into_iter()
            .filter(|state| is_for(*state))
            .collect(),
        asked => asked.to_vec(),
    })
}

fn show(session: &Session, id: JobId, Changed { result, said }: Changed) -> CliResult<()> {
    Ok(session.output.line(&ChangedJobJson { id, result }, said)?)
}

/// Maximum number of jobs whose errors are shown.
const MAX_ERRORS: u64 = 20;

/// Says what is wrong with one job, unless that has been said of many.
fn print_error(error: jobq::Error, told: &mut u64) -> Exit {
    let error = CliError::from(error);
    *told += 1;
    if *told <= MAX_ERRORS {
        error.print();
    }
    error.exit()
}

fn print_rest(session: &Session, errors: u64) {
    if let Some(more) = errors.checked_sub(MAX_ERRORS).filter(|more| *more > 0) {
        session.screen.say(format_args!(
            "{} more could not be changed, for reasons like these",
            count(more, "job")
        ));
    }
}

/// How long one read of a search may last.
pub(crate) const SEARCH_BUDGET: Duration = Duration::from_millis(150);

/// What a change would be made to. The names of the fields are a contract.
#[derive(Serialize)]
struct PreviewJson<'a> {
    dry_run: bool,
    action: BulkAction,
    jobs: u64,
    as_of: EventId,
    sample: Vec<SampleJson<'a>>,
}

#[derive(Serialize)]
struct SampleJson<'a> {
    id: JobId,
    state: State,
    kind: &'a str,
    queue: &'a str,
}

const SAMPLE_COLUMNS: [Column; 4] = [
    ("ID", Fit::Number),
    ("STATE", Fit::Whole),
    ("KIND", Fit::Name),
    ("QUEUE", Fit::Name),
];

/// Says to how many jobs it would be done, and shows the first of them.
pub(crate) fn preview(session: &Session, mut filter: Filter, words: &BulkWords) -> CliResult {
    let queue = session.queue()?;
    let mut preview = queue.preview(&filter, words.action, SEARCH_BUDGET)?;
    filter.as_of = Some(preview.as_of);
    while preview.searched_to.is_some() {
        filter.after = preview.searched_to;
        preview.add(queue.preview(&filter, words.action, SEARCH_BUDGET)?);
    }
    if session.output.is_json() {
        let sample = preview.sample.iter().map(|job| SampleJson {
            id: job.id,
            state: job.state,
            kind: &job.kind,
            queue: &job.queue,
        });
        let json = PreviewJson {
            dry_run: true,
            action: words.action,
            jobs: preview.jobs,
            as_of: preview.as_of,
            sample: sample.collect(),
        };
        session.output.line(&json, "")?;
        return Ok(Exit::Done);
    }
    let mut rows = Rows::new(&session.output, &SAMPLE_COLUMNS);
    for job in &preview.sample {
        rows.push_row(vec![
            Cell::new(job.id),
            Cell::state(job.state),
            Cell::new(&job.kind),
            Cell::new(&job.queue),
        ])?;
    }
    rows.finish()?;
    match preview.jobs {
        0 => session.screen.say(words.none),
        jobs => session.screen.say(format_args!(
            "dry run: {} to {}{}; nothing is changed",
            count(jobs, "job"),
            words.action,
            match jobs > preview.sample.len() as u64 {
                true => ", the first of them above",
                false => "",
            }
        )),
    }
    Ok(Exit::Done)
}

/// Whether there is any job that the filter describes, in any state. One that describes all jobs
/// fits always.
pub(crate) fn any_matches(queue: &Queue, filter: &Filter) -> jobq::Result<bool> {
    let any = Filter {
        states: Vec::new(),
        after: None,
        limit: None,
        sort: Sort::default(),
        ..filter.clone()
    };
    if any == Filter::default() {
        return Ok(true);
    }
    let mut first = Filter {
        limit: Some(1),
        ..any
    };
    loop {
        let page = queue.page(&first)?;
        first.after = page.next;
        if !page.jobs.is_empty() || first.after.is_none() {
            return Ok(!page.jobs.is_empty());
        }
    }
}

/// What was typed may not be what was meant.
pub(crate) fn no_match() -> CliError {
    CliError::not_found("no job matches, in any state")
        .with_hint("`jobq list` shows the jobs in the file with their queues and kinds")
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
