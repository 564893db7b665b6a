//! `jobq retry`.

use jobq::{Filter, JobId, Queue, Sort, State};

use super::args;
use super::each::{Done, Walk, each};
use super::exit::CliResult;
use super::session::Session;

/// So many failed jobs are read at a time.
const PAGE: usize = 200;

pub(super) fn run(args: &args::Retry, session: &Session) -> CliResult {
    let queue = session.queue()?;
    if args.failed {
        return all_failed(&queue, session);
    }
    each(session, &args.ids, |id| retry(&queue, id))
}

fn retry(queue: &Queue, id: JobId) -> jobq::Result<Done> {
    queue.retry(id)?;
    Ok(Done {
        result: "pending",
        said: format!("job {id} is pending again"),
    })
}

/// Page by page, as no read may last as long as so many writes. A job that fails again meanwhile is
/// not met twice: the pages only go forward, up to the newest job of the start.
fn all_failed(queue: &Queue, session: &Session) -> CliResult {
    let mut walk = Walk::new(session);
    let mut filter = Filter {
        states: vec![State::Failed],
        sort: Sort::Oldest,
        limit: Some(PAGE),
        ..Filter::default()
    };
    let last = queue.last_id()?.unwrap_or_default();
    let mut found = false;
    loop {
        let page = queue.list(&filter)?;
        let Some(end) = page.last().map(|job| job.id) else {
            break;
        };
        for job in page.iter().filter(|job| job.id <= last) {
            found = true;
            walk.tell(job.id, retry(queue, job.id))?;
        }
        if end >= last {
            break;
        }
        filter.after = Some(end);
    }
    if !found {
        session.screen.say("no job has failed");
    }
    walk.end()
}
