//! Which rules speak of other jobs.

use crate::Why;

/// Whether a rule is about other jobs, or about how many others there are.
pub fn names_others(why: &Why) -> bool {
    match why {
        Why::WaitsFor { .. }
        | Why::ParentFirst { .. }
        | Why::SpawnerFirst { .. }
        | Why::KeyTaken { .. }
        | Why::OutOfResources { .. }
        | Why::QueueAtLimit { .. }
        | Why::KindAtLimit { .. }
        | Why::InLine { .. } => true,
        Why::Running { .. }
        | Why::RunnerGone { .. }
        | Why::Final { .. }
        | Why::ChildrenFirst(_)
        | Why::NoChildYet
        | Why::NotDue { .. }
        | Why::DeadlineOver { .. }
        | Why::AllPaused
        | Why::QueuePaused(_)
        | Why::NoRunner
        | Why::NoHandler(_)
        | Why::QueueNotServed(_)
        | Why::HandlerUnavailable { .. }
        | Why::RunnersStopping
        | Why::QueueRate { .. }
        | Why::Damaged { .. }
        | Why::Other(_) => false,
    }
}
