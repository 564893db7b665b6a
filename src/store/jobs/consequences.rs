//! The consequences of a job's end: its unique key and its concurrency slot become free, dependent jobs are
//! released or cancelled, its children end with it, its parent counts it, its hooks are fired.
//!
//! A job that ends is put on a list. The list is worked off in the same transaction, without recursion,
//! however long the chain, so a change of state and all its consequences are one commit.

use crate::Result;
use crate::error::Of;
use crate::model::flags::JobFlags;
use crate::model::part::Part;
use crate::store::jobs::{
    concurrency_slots, deadlines, dependencies, families, fire_hooks, unique,
};
use crate::store::sqlite::tx::{ChildAction, Ended, Tx};

/// Works off the jobs that have ended, and those that end because of them.
pub(crate) fn follow(tx: &mut Tx<'_>) -> Result<()> {
    loop {
        while let Some(ended) = tx.pending.next_ended() {
            let part = Part::Job(ended.job);
            if !tx.is_aside(part) {
                after(tx, ended).of(part)?;
            }
        }
        if let Some((parent, change)) = tx.pending.next_family() {
            let part = Part::Job(parent);
            if !tx.is_aside(part) {
                families::apply(tx, parent, change).of(part)?;
            }
        } else if let Some(ended) = tx.pending.next_hooked() {
            fire_hooks::fire(tx, ended).of(Part::Job(ended.job))?;
        } else {
            return Ok(());
        }
    }
}

fn after(tx: &mut Tx<'_>, ended: Ended) -> Result<()> {
    // What is cancelled because of it names the same cancel by hand.
    tx.cancel = ended.cancel;
    let followed = follow_end(tx, ended);
    tx.cancel = None;
    followed?;
    if let Some(parent) = ended.parent {
        tx.pending.child_ended(parent, ended.job, ended.to);
    }
    tx.pending.fires_hooks(ended);
    Ok(())
}

fn follow_end(tx: &mut Tx<'_>, ended: Ended) -> Result<()> {
    let Ended { job, to, flags, .. } = ended;
    if flags.has(JobFlags::UNIQUE) {
        unique::release(tx, job)?;
    }
    if flags.has(JobFlags::KEY) {
        concurrency_slots::leave(tx, job)?;
    }
    if flags.has(JobFlags::DEADLINE) {
        deadlines::disarm(tx, job)?;
    }
    if flags.has(JobFlags::NEEDED) {
        dependencies::ended(tx, job, to)?;
    }
    if flags.has(JobFlags::FAMILY) && ended.children == ChildAction::Cancel {
        families::cancel_children(tx, job, to)?;
    }
    Ok(())
}
