//! Other file systems for a moment.

use super::support::Jobq;

/// Runs a script in a mount namespace of its own; false where nothing can be mounted.
pub(crate) fn in_namespace(jobq: &Jobq, script: &str) -> bool {
    let run = jobq.program("unshare", &["-rm", "sh", "-ec", script]).run();
    if run.stderr.contains("unshare") || run.stderr.contains("mount") {
        eprintln!("skipped: nothing can be mounted here: {}", run.stderr);
        return false;
    }
    run.exits(0);
    true
}
