//! `jobq cancel`.

use jobq::Cancelled;

use super::args;
use super::each::{Done, each};
use super::exit::CliResult;
use super::session::Session;

pub(super) fn run(args: &args::Cancel, session: &Session) -> CliResult {
    let queue = session.queue()?;
    each(session, &args.ids, |id| {
        Ok(match queue.cancel(id)? {
            Cancelled::Now => Done {
                result: "cancelled",
                said: format!("job {id} cancelled"),
            },
            Cancelled::Requested => Done {
                result: "cancel_requested",
                said: format!("job {id} is running: asked to stop"),
            },
        })
    })
}
