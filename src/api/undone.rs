//! What an undo has brought back: its JSON and its words.

use crate::api::json::json_fields;
use crate::plural::count;
use crate::{EventId, QueueSelector, Undone};

json_fields! {
    /// What was undone.
    pub UndoneJson(event: &'a EventId, undone: &'a Undone) {
        event: event,
        undone: undone.kind(),
        job: match undone {
            Undone::Cancel { job, .. } | Undone::Edit(job) => Some(job),
            _ => None,
        },
        state: match undone {
            Undone::Cancel { state, .. } => Some(state),
            _ => None,
        },
        others: match undone {
            Undone::Cancel { others, .. } => Some(others),
            _ => None,
        },
        queue: match undone {
            Undone::QueuePause(QueueSelector::Named(name))
            | Undone::QueueResume(QueueSelector::Named(name))
            | Undone::QueueLimits(name) => Some(name),
            _ => None,
        },
        schedule: match undone {
            Undone::SchedulePause(name) | Undone::ScheduleResume(name) => Some(name),
            _ => None,
        },
    }
}

/// What an undo has brought back, in a sentence.
pub fn said(undone: &Undone) -> String {
    let which = |which: &QueueSelector| match which {
        QueueSelector::All => "all queues are".to_owned(),
        QueueSelector::Named(name) => format!("queue '{name}' is"),
    };
    match undone {
        Undone::Cancel { job, state, others } => {
            let others = match others {
                0 => String::new(),
                others => format!(", and {} with it", count(*others, "job")),
            };
            format!("job {job} is {state} again{others}")
        }
        Undone::Edit(job) => format!("job {job} has the options that it had before"),
        Undone::QueuePause(of) => format!("{} resumed", which(of)),
        Undone::QueueResume(of) => format!("{} paused again", which(of)),
        Undone::QueueLimits(name) => format!("queue '{name}' has the limits that it had before"),
        Undone::SchedulePause(name) => format!("schedule '{name}' is resumed"),
        Undone::ScheduleResume(name) => format!("schedule '{name}' is paused again"),
    }
}
