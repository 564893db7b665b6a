//! `jobq remove`.

use jobq::{Filter, JobId, Queue, State};

use super::args;
use super::each::{Done, Summary, Verb, each, each_matching, states};
use super::exit::CliResult;
use super::session::Session;

pub(super) fn run(args: &args::Remove, session: &Session) -> CliResult {
    let remove = Remove(session.queue()?);
    if !args.ids.is_empty() {
        return each(session, &args.ids, &remove);
    }
    let filter = Filter {
        states: states(&args.state.states, "removed", State::is_final)?,
        ..session.filter(&args.filter)?
    };
    let summary = Summary {
        done: "removed",
        none: "no final job matches",
    };
    each_matching(session, filter, summary, &remove)
}

struct Remove(Queue);

impl Verb for Remove {
    fn act(&self, ids: &[JobId]) -> Vec<jobq::Result<Done>> {
        let answers = self.0.remove_many(ids).into_iter();
        let done = |id: &JobId| Done {
            result: "removed",
            said: format!("job {id} removed"),
        };
        let each = ids.iter().zip(answers);
        each.map(|(id, removed)| removed.map(|()| done(id)))
            .collect()
    }
}
