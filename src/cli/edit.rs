//! `jobq edit`.

use jobq::handlers::exec::{EXEC, ExecPayload};
use jobq::{Edit, JobId, Queue, When};

use super::args;
use super::each::{Done, Verb, each};
use super::enqueue;
use super::exit::CliResult;
use super::session::Session;

pub(super) fn run(args: &args::Edit, session: &Session) -> CliResult {
    let edit = Edit {
        queue: args.queue.clone(),
        priority: args.priority,
        when: when(args),
        max_retries: args.retries,
        backoff: args.backoff,
        retry_delay: args.retry_delay,
        timeout: args.timeout,
        payload: args
            .payload
            .as_deref()
            .map(|given| enqueue::payload(Some(given)))
            .transpose()?,
    };
    let edit = Edits {
        queue: session.queue()?,
        edit,
    };
    each(session, &args.ids, &edit)
}

struct Edits {
    queue: Queue,
    edit: Edit,
}

impl Verb for Edits {
    /// What is wrong with the change would be wrong with it for the next job as well.
    const AT_ONCE: usize = 1;

    fn act(&self, ids: &[JobId]) -> Vec<jobq::Result<Done>> {
        ids.iter().map(|id| self.one(*id)).collect()
    }
}

impl Edits {
    fn one(&self, id: JobId) -> jobq::Result<Done> {
        check_payload(&self.queue, id, &self.edit)?;
        self.queue.edit(id, self.edit.clone())?;
        Ok(Done {
            result: "edited",
            said: format!("job {id} edited"),
        })
    }
}

/// A command that could not be enqueued is not edited into a job either.
fn check_payload(queue: &Queue, id: JobId, edit: &Edit) -> jobq::Result<()> {
    match &edit.payload {
        Some(json) if queue.get(id)?.is_some_and(|job| job.kind == EXEC) => {
            ExecPayload::parse(json).map(|_| ())
        }
        _ => Ok(()),
    }
}

fn when(args: &args::Edit) -> Option<When> {
    match (args.delay, args.at) {
        (Some(delay), _) if delay.is_zero() => Some(When::Now),
        (Some(delay), _) => Some(When::In(delay)),
        (None, at) => at.map(When::At),
    }
}
