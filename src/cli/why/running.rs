//! What is said of a job that runs, and of one whose runner is gone.

use jobq::JobId;

use super::Told;

pub(super) fn running(id: JobId, runner: i64, cancel_requested: bool) -> Told {
    let is_running = format!("job {id} is running, on runner {runner}");
    if cancel_requested {
        let asked = format!("{is_running}, and has been asked to stop");
        return Told::new("cancel_requested", asked);
    }
    Told::new("running", is_running).hint(format!("`jobq logs -f {id}` follows what it prints"))
}

pub(super) fn runner_gone(id: JobId, runner: i64, cancel_requested: bool) -> Told {
    let then = match cancel_requested {
        true => "cancels it",
        false => "takes it over",
    };
    let gone = format!("runner {runner} is gone; the next runner that looks {then}");
    Told::new("runner_gone", format!("job {id} is running, but {gone}"))
        .hint("start one: `jobq run`")
}
