//! `jobq retry`.

use std::cell::RefCell;

use clap::{ArgGroup, Args};
use jobq::api::text::count;
use jobq::{BulkAction, Filter, JobId, Queue, State};

use crate::cli::bulk::{BulkWords, Changed, JobChange, each, each_matching, preview, states};
use crate::cli::exit::{CliResult, Exit};
use crate::cli::input::selection::{DryRun, FILTERS, JobFilter, StateFilter};
use crate::cli::session::Session;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("filter").multiple(true).args(FILTERS).requires("states")))]
#[command(group(ArgGroup::new("states").multiple(true).args(["failed", "error_group", "search"])))]
pub(crate) struct RetryArgs {
    /// The jobs: 42, 3,5, 8-12, @last
    #[arg(value_name = "ID", required_unless_present_any = ["failed", "filter"], conflicts_with_all = FILTERS)]
    pub(crate) ids: Vec<String>,
    /// All that have failed, or those of them that the other options describe. A search or a group of errors
    /// needs no --failed; a search may ask for other final jobs: state:cancelled
    #[arg(long, conflicts_with = "ids")]
    pub(crate) failed: bool,
    #[command(flatten)]
    pub(crate) filter: JobFilter,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

pub(crate) fn run(args: &RetryArgs, session: &Session) -> CliResult {
    let retry = RetryAction {
        queue: session.queue()?,
        back: RefCell::default(),
    };
    let exit = retry.run(args, session)?;
    if !session.output.is_json() {
        retry.hint(session)?;
    }
    Ok(exit)
}

struct RetryAction {
    queue: Queue,
    /// The retried jobs.
    back: RefCell<Vec<JobId>>,
}

impl JobChange for RetryAction {
    fn act(&self, ids: &[JobId]) -> Vec<jobq::Result<Changed>> {
        let states = self.queue.retry_many(ids).into_iter();
        let each = ids.iter().zip(states).map(|(id, state)| {
            let done = done(*id, state?);
            self.back.borrow_mut().push(*id);
            Ok(done)
        });
        each.collect()
    }

    /// With its parent; it may have run since.
    fn already(&self, id: JobId, was: State, is: State) -> Option<Changed> {
        (was.is_final() && is != was).then(|| done(id, is))
    }
}

fn done(id: JobId, state: State) -> Changed {
    Changed {
        result: state.as_str(),
        said: match state.is_final() {
            true => format!("job {id} is {state}"),
            false => format!("job {id} is {state} again"),
        },
    }
}

/// Maximum number of jobs that stay cancelled to look for, and of ranges to name.
const LEFT: usize = 1000;
const NAMED: usize = 10;

impl RetryAction {
    fn run(&self, args: &RetryArgs, session: &Session) -> CliResult<Exit> {
        if !args.ids.is_empty() {
            return each(session, &args.ids, self);
        }
        let failed = StateFilter {
            states: args.failed.then_some(State::Failed).into_iter().collect(),
        };
        let mut filter = session.filter_of_change(&args.filter, &failed)?;
        if filter.states.is_empty() {
            filter.states.push(State::Failed);
        }
        filter.states = states(&filter.states, "retried", State::is_final)?;
        let of_all = Filter {
            states: vec![State::Failed],
            ..Filter::default()
        };
        let summary = BulkWords {
            action: BulkAction::Retry,
            done: "will run again",
            none: match filter == of_all {
                true => "no job has failed",
                false if filter.states == of_all.states => "no failed job matches",
                false => "no final job matches",
            },
        };
        match args.dry_run.dry_run {
            true => preview(session, filter, &summary),
            false => each_matching(session, filter, summary, self),
        }
    }

    /// Jobs that were cancelled because of a job are not retried with it; the hint names them.
    fn hint(&self, session: &Session) -> CliResult<()> {
        let back = self.back.borrow();
        let left = self.queue.cancelled_because_of(&back, LEFT)?;
        let because = match back.len() {
            1 => "it",
            _ => "them",
        };
        match &left[..] {
            [] => {}
            [one] => session.screen.hint(format_args!(
                "job {one} was cancelled because of {because} and stays so: `jobq retry {one}`"
            )),
            many => session.screen.hint(format_args!(
                "{} that were cancelled because of {because} stay so: `jobq retry {}`",
                count(many.len() as u64, "job"),
                ranges(many)
            )),
        }
        Ok(())
    }
}

/// `2-4 7`, as ids are typed; of many the first, and `…`.
pub(crate) fn ranges(ids: &[JobId]) -> String {
    let runs = ids.chunk_by(|a, b| b.0 - a.0 == 1).map(|run| match run {
        [.., last] if run.len() > 1 => format!("{}-{last}", run[0]),
        _ => run[0].to_string(),
    });
    let mut named: Vec<String> = runs.take(NAMED + 1).collect();
    if named.len() > NAMED {
        named[NAMED] = "…".to_owned();
    }
    named.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_follow_each_other_are_named_as_a_range() {
        let named = |ids: &[i64]| ranges(&ids.iter().copied().map(JobId).collect::<Vec<_>>());
        assert_eq!(named(&[2, 3, 4, 7, 9, 10]), "2-4 7 9-10");
        let odd: Vec<i64> = (0..30).map(|id| 2 * id + 1).collect();
        assert_eq!(named(&odd), "1 3 5 7 9 11 13 15 17 19 …");
    }
}
