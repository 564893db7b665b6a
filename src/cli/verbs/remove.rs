//! `jobq remove`.

use jobq::{Filter, JobId, Queue, State};

use crate::cli::bulk::{BulkAction, BulkWords, Changed, each, each_matching, states};
use crate::cli::exit::CliResult;
use crate::cli::input::selection::JobSelection;
use crate::cli::session::Session;

pub(crate) fn run(args: &JobSelection, session: &Session) -> CliResult {
    let remove = RemoveAction(session.queue()?);
    if !args.ids.is_empty() {
        return each(session, &args.ids, &remove);
    }
    let filter = Filter {
        states: states(&args.state.states, "removed", State::is_final)?,
        ..session.filter(&args.filter)?
    };
    let summary = BulkWords {
        done: "removed",
        none: "no final job matches",
    };
    each_matching(session, filter, summary, &remove)
}

struct RemoveAction(Queue);

impl BulkAction for RemoveAction {
    fn act(&self, ids: &[JobId]) -> Vec<jobq::Result<Changed>> {
        let answers = self.0.remove_many(ids).into_iter();
        let done = |id: &JobId| Changed {
            result: "removed",
            said: format!("job {id} removed"),
        };
        let each = ids.iter().zip(answers);
        each.map(|(id, removed)| removed.map(|()| done(id)))
            .collect()
    }
}
