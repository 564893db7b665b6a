//! `jobq retry`.

use jobq::{Filter, JobId, Queue, State};

use super::args;
use super::each::{Done, Summary, Verb, each, each_matching};
use super::exit::CliResult;
use super::session::Session;

pub(super) fn run(args: &args::Retry, session: &Session) -> CliResult {
    let retry = Retry(session.queue()?);
    if !args.failed {
        return each(session, &args.ids, &retry);
    }
    let asked = session.filter(&args.filter)?;
    let summary = Summary {
        done: "put back",
        none: match asked == Filter::default() {
            true => "no job has failed",
            false => "no failed job matches",
        },
    };
    let filter = Filter {
        states: vec![State::Failed],
        ..asked
    };
    each_matching(session, filter, summary, &retry)
}

struct Retry(Queue);

impl Verb for Retry {
    fn act(&self, ids: &[JobId]) -> Vec<jobq::Result<Done>> {
        let states = self.0.retry_many(ids).into_iter();
        let each = ids.iter().zip(states);
        each.map(|(id, state)| Ok(done(*id, state?))).collect()
    }

    /// With its parent; it may have run since.
    fn already(&self, id: JobId, was: State, is: State) -> Option<Done> {
        (was.is_final() && is != was).then(|| done(id, is))
    }
}

fn done(id: JobId, state: State) -> Done {
    Done {
        result: state.as_str(),
        said: match state.is_final() {
            true => format!("job {id} is {state}"),
            false => format!("job {id} is {state} again"),
        },
    }
}
