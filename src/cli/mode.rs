//! What a verb may do to the database file by opening it.

use jobq::OpenMode;
use jobq::OpenMode::{AsIs, Create, Existing};

use super::args::{QueueVerb, ScheduleVerb, Verb};

/// Only what adds makes a file; only what writes upgrades one. Whatever is not named here looks.
pub(super) fn of_verb(verb: &Verb) -> OpenMode {
    match verb {
        Verb::Enqueue(_) | Verb::Run(_) => Create,
        Verb::Queue(queue) => match queue.verb {
            QueueVerb::Set(_) => Create,
            QueueVerb::List => AsIs,
        },
        Verb::Schedule(schedule) => match schedule.verb {
            ScheduleVerb::Add(_) => Create,
            ScheduleVerb::List | ScheduleVerb::Next(_) => AsIs,
            _ => Existing,
        },
        Verb::Prune(prune) if prune.dry_run => AsIs,
        Verb::Doctor(doctor) if doctor.fix => Existing,
        Verb::Cancel(_)
        | Verb::Retry(_)
        | Verb::Edit(_)
        | Verb::Remove(_)
        | Verb::Pause(_)
        | Verb::Resume(_)
        | Verb::Prune(_)
        | Verb::Progress(_)
        | Verb::Log(_)
        | Verb::Result(_) => Existing,
        _ => AsIs,
    }
}
