//! `jobq retry`.

use jobq::{Filter, JobId, State};

use super::args;
use super::each::{Done, Summary, each, each_matching};
use super::exit::CliResult;
use super::session::Session;

pub(super) fn run(args: &args::Retry, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let retry = |id: JobId| {
        let state = queue.retry(id)?;
        Ok(Done {
            result: state.as_str(),
            said: format!("job {id} is {state} again"),
        })
    };
    if !args.failed {
        return each(session, &args.ids, retry);
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
    each_matching(session, filter, summary, retry)
}
