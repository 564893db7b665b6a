//! `jobq remove`.

use jobq::{BulkAction, JobId, Queue, State};

use crate::cli::bulk::{BulkWords, Changed, JobChange, each, each_matching, preview, states};
use crate::cli::exit::CliResult;
use crate::cli::input::selection::ChangeSelection;
use crate::cli::session::Session;

pub(crate) fn run(args: &ChangeSelection, session: &Session) -> CliResult {
    let ChangeSelection { jobs, dry_run } = args;
    let remove = RemoveAction(session.queue()?);
    if !jobs.ids.is_empty() {
        return each(session, &jobs.ids, &remove);
    }
    let mut filter = session.filter_of_change(&jobs.filter, &jobs.state)?;
    filter.states = states(&filter.states, "removed", State::is_final)?;
    let summary = BulkWords {
        action: BulkAction::Remove,
        done: "removed",
        none: "no final job matches",
    };
    match dry_run.dry_run {
        true => preview(session, filter, &summary),
        false => each_matching(session, filter, summary, &remove),
    }
}

struct RemoveAction(Queue);

impl JobChange for RemoveAction {
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
