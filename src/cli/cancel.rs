//! `jobq cancel`.

use jobq::{Cancelled, Filter, JobId};

use super::args;
use super::each::{Done, Summary, each, each_matching, states};
use super::exit::CliResult;
use super::gone;
use super::session::Session;

pub(super) fn run(args: &args::Cancel, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let gone = gone::holders(&queue)?;
    let cancel = |id: JobId| {
        Ok(match queue.cancel(id)? {
            Cancelled::Now => Done {
                result: "cancelled",
                said: format!("job {id} cancelled"),
            },
            Cancelled::Requested => Done {
                result: "cancel_requested",
                said: match gone.get(&id) {
                    None => format!("job {id} is running: asked to stop"),
                    Some(runner) => format!(
                        "job {id} is asked to stop, but runner {runner} is gone; the next runner that looks cancels it"
                    ),
                },
            },
        })
    };
    if !gone.is_empty() {
        session.hint_at_run();
    }
    if !args.ids.is_empty() {
        return each(session, &args.ids, cancel);
    }
    let filter = Filter {
        states: states(&args.state.states, "cancelled", |state| !state.is_final())?,
        ..session.filter(&args.filter)?
    };
    let summary = Summary {
        done: "cancelled or asked to stop",
        none: "no live job matches",
    };
    each_matching(session, filter, summary, cancel)
}
