//! What is said of a job that runs, and of one whose runner is gone.

use jobq::{JobId, RunnerId, State, Why};

use super::Told;
use crate::cli::session::Session;

pub(super) fn running(id: JobId, runner: RunnerId, cancel_requested: bool) -> Told {
    let is_running = format!("job {id} is running, on runner {runner}");
    if cancel_requested {
        let asked = format!("{is_running}, and has been asked to stop");
        return Told::new("cancel_requested", asked);
    }
    Told::new("running", is_running)
        .with_hint(format!("`jobq logs -f {id}` follows what it prints"))
}

pub(super) fn runner_gone(id: JobId, runner: RunnerId, cancel_requested: bool) -> Told {
    let then = match cancel_requested {
        true => "cancels it",
        false => "takes it over",
    };
    let gone = format!("runner {runner} is gone; the next runner to start {then}");
    Told::new("runner_gone", format!("job {id} is running, but {gone}"))
        .with_hint("start one with `jobq run`")
}

/// Of a job that waits for others: that one of them runs no more than it says.
pub(super) fn gone_behind(why: &Why, session: &Session) -> jobq::Result<Option<String>> {
    let jobs: &[(JobId, State)] = match why {
        Why::WaitsFor { jobs, .. } => jobs,
        Why::KeyTaken { holders, .. } => holders,
        Why::ParentFirst { parent, state } => &[(*parent, *state)],
        Why::SpawnerFirst { spawner } => &[(*spawner, State::Running)],
        _ => &[],
    };
    for (id, _) in jobs.iter().filter(|(_, state)| *state == State::Running) {
        if let Why::RunnerGone { runner, .. } = session.queue()?.why(*id)? {
            let what = format!("runner {runner}, which ran job {id}, is gone");
            return Ok(Some(format!("{what}; start one with `jobq run`")));
        }
    }
    Ok(None)
}
