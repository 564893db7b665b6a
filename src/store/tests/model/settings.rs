//! What is set for keys, queues and schedules, done to the file.

use crate::Result;
use crate::model::limits::{QueueLimitsUpdate, Rate, Update};
use crate::model::queue::QueueSelector;
use crate::store::jobs::{concurrency_slots, queues};
use crate::store::sqlite::tx::Tx;
use crate::store::tests::model::action::Action;
use crate::store::tests::model::ops::Cap;
use crate::store::tests::model::slots::SCHEDULES;
use crate::store::tests::model::world::{queue_name, seconds};
use crate::store::upkeep::{doctor, schedules};

pub(super) fn set(tx: &mut Tx<'_>, action: &Action) -> Result<()> {
    match action {
        Action::Places(key, number) => {
            concurrency_slots::set_number(tx, &format!("k{key}"), *number)
        }
        Action::Limit(queue, cap) => {
            queues::set_limits(tx, &queue_name(*queue), &limits(*cap)).map(|_| ())
        }
        Action::SetPaused(queue, true) => {
            queues::pause(tx, &QueueSelector::Named(queue_name(*queue))).map(|_| ())
        }
        Action::SetPaused(queue, false) => {
            queues::resume(tx, &QueueSelector::Named(queue_name(*queue))).map(|_| ())
        }
        Action::SetSchedulesPaused(is_paused) => {
            for (name, ..) in SCHEDULES {
                match is_paused {
                    true => schedules::pause(tx, name)?,
                    false => schedules::resume(tx, name)?,
                };
            }
            Ok(())
        }
        Action::Repair => doctor::recount(tx),
        _ => Ok(()),
    }
}

fn limits(cap: Cap) -> QueueLimitsUpdate {
    fn to<T>(limit: Option<T>) -> Update<T> {
        limit.map_or(Update::Clear, Update::Set)
    }
    let none = QueueLimitsUpdate::default();
    match cap {
        Cap::Concurrency(jobs) => QueueLimitsUpdate {
            concurrency: to(jobs),
            ..none
        },
        Cap::MaxSize(jobs) => QueueLimitsUpdate {
            max_size: to(jobs.map(u64::from)),
            ..none
        },
        Cap::Rate(rate) => QueueLimitsUpdate {
            rate: to(rate.map(|(jobs, span)| Rate {
                jobs,
                per: seconds(span),
            })),
            ..none
        },
    }
}
