//! `jobq cancel`.

use std::collections::HashMap;

use jobq::{BulkAction, Cancelled, JobId, Queue, RunnerFilter, RunnerId, State};

use crate::cli::bulk::{BulkWords, Changed, JobChange, each, each_matching, preview, states};
use crate::cli::exit::CliResult;
use crate::cli::input::selection::ChangeSelection;
use crate::cli::session::Session;

pub(crate) fn run(args: &ChangeSelection, session: &Session) -> CliResult {
    let ChangeSelection { jobs, dry_run } = args;
    let queue = session.queue()?;
    let cancel = CancelAction {
        gone: gone_holders(&queue)?,
        queue,
    };
    if !cancel.gone.is_empty() {
        session.hint_at_run();
    }
    if !jobs.ids.is_empty() {
        return each(session, &jobs.ids, &cancel);
    }
    let mut filter = session.filter_of_change(&jobs.filter, &jobs.state)?;
    filter.states = states(&filter.states, "cancelled", |state| !state.is_final())?;
    let summary = BulkWords {
        action: BulkAction::Cancel,
        done: "cancelled or asked to stop",
        none: "no live job matches",
    };
    match dry_run.dry_run {
        true => preview(session, filter, &summary),
        false => each_matching(session, filter, summary, &cancel),
    }
}

struct CancelAction {
    queue: Queue,
    /// The jobs whose runners are dead, and so cannot stop them.
    gone: HashMap<JobId, RunnerId>,
}

impl JobChange for CancelAction {
    fn act(&self, ids: &[JobId]) -> Vec<jobq::Result<Changed>> {
        let answers = self.queue.cancel_many(ids).into_iter();
        let each = ids.iter().zip(answers);
        each.map(|(id, cancelled)| Ok(self.done(*id, cancelled?)))
            .collect()
    }

    /// With its parent, or because of what it waits for.
    fn already(&self, id: JobId, was: State, is: State) -> Option<Changed> {
        (!was.is_final() && is == State::Cancelled).then(|| Changed {
            result: "cancelled",
            said: format!("job {id} is cancelled"),
        })
    }
}

impl CancelAction {
    fn done(&self, id: JobId, cancelled: Cancelled) -> Changed {
        match (cancelled, self.gone.get(&id)) {
            (Cancelled::Now, _) => Changed {
                result: "cancelled",
                said: format!("job {id} cancelled"),
            },
            (Cancelled::Requested, None) => Changed {
                result: "cancel_requested",
                said: format!("job {id} is running: asked to stop"),
            },
            (Cancelled::Requested, Some(runner)) => Changed {
                result: "cancel_requested",
                said: format!(
                    "job {id} is asked to stop, but runner {runner} is dead; the next runner to start cancels it"
                ),
            },
        }
    }
}

/// The jobs held by dead runners, with the runners.
fn gone_holders(queue: &Queue) -> jobq::Result<HashMap<JobId, RunnerId>> {
    let mut runners = queue.runners(RunnerFilter::Now)?;
    runners.retain(|runner| !runner.is_alive());
    let held = runners
        .iter()
        .flat_map(|runner| runner.jobs.iter().map(|job| (job.job, runner.id)));
    Ok(held.collect())
}
