//! `jobq cancel`.

use std::collections::HashMap;

use jobq::{Cancelled, Filter, JobId, Queue, State};

use super::args;
use super::each::{Done, Summary, Verb, each, each_matching, states};
use super::exit::CliResult;
use super::gone;
use super::session::Session;

pub(super) fn run(args: &args::Cancel, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let cancel = Cancel {
        gone: gone::holders(&queue)?,
        queue,
    };
    if !cancel.gone.is_empty() {
        session.hint_at_run();
    }
    if !args.ids.is_empty() {
        return each(session, &args.ids, &cancel);
    }
    let filter = Filter {
        states: states(&args.state.states, "cancelled", |state| !state.is_final())?,
        ..session.filter(&args.filter)?
    };
    let summary = Summary {
        done: "cancelled or asked to stop",
        none: "no live job matches",
    };
    each_matching(session, filter, summary, &cancel)
}

struct Cancel {
    queue: Queue,
    /// The jobs whose runners are gone: nobody is there to be asked.
    gone: HashMap<JobId, jobq::RunnerId>,
}

impl Verb for Cancel {
    fn act(&self, ids: &[JobId]) -> Vec<jobq::Result<Done>> {
        let answers = self.queue.cancel_many(ids).into_iter();
        let each = ids.iter().zip(answers);
        each.map(|(id, cancelled)| Ok(self.done(*id, cancelled?)))
            .collect()
    }

    /// With its parent, or because of what it waits for.
    fn already(&self, id: JobId, was: State, is: State) -> Option<Done> {
        (!was.is_final() && is == State::Cancelled).then(|| Done {
            result: "cancelled",
            said: format!("job {id} is cancelled"),
        })
    }
}

impl Cancel {
    fn done(&self, id: JobId, cancelled: Cancelled) -> Done {
        match (cancelled, self.gone.get(&id)) {
            (Cancelled::Now, _) => Done {
                result: "cancelled",
                said: format!("job {id} cancelled"),
            },
            (Cancelled::Requested, None) => Done {
                result: "cancel_requested",
                said: format!("job {id} is running: asked to stop"),
            },
            (Cancelled::Requested, Some(runner)) => Done {
                result: "cancel_requested",
                said: format!(
                    "job {id} is asked to stop, but runner {runner} is gone; the next runner to start cancels it"
                ),
            },
        }
    }
}
