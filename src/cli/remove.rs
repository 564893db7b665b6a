//! `jobq remove`.

use super::args;
use super::each::{Done, each};
use super::exit::CliResult;
use super::session::Session;

pub(super) fn run(args: &args::Remove, session: &Session) -> CliResult {
    let queue = session.queue()?;
    each(session, &args.ids, |id| {
        queue.remove(id)?;
        Ok(Done {
            result: "removed",
            said: format!("job {id} removed"),
        })
    })
}
