//! `jobq remove`.

use jobq::{Filter, JobId, State};

use super::args;
use super::each::{Done, Summary, each, each_matching, states};
use super::exit::CliResult;
use super::session::Session;

pub(super) fn run(args: &args::Remove, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let remove = |id: JobId| {
        queue.remove(id)?;
        Ok(Done {
            result: "removed",
            said: format!("job {id} removed"),
        })
    };
    if !args.ids.is_empty() {
        return each(session, &args.ids, remove);
    }
    let filter = Filter {
        states: states(&args.state.states, "removed", State::is_final)?,
        ..session.filter(&args.filter)?
    };
    let summary = Summary {
        done: "removed",
        none: "no final job matches",
    };
    each_matching(session, filter, summary, remove)
}
