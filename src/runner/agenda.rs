//! What the next transaction has to write, and when to look for what.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::Attempt;
use super::turn::{Lost, Settlement};
use crate::clock;
use crate::job::JobId;
use crate::store::command::Command;
use crate::store::prune::Pass;
use crate::store::settle::Held;

/// What is to be written in the next transaction, and when to look for what.
pub(crate) struct Agenda {
    pub(crate) began: Instant,
    pub(crate) settlements: Vec<Settlement>,
    pub(crate) commands: Vec<Box<dyn Command>>,
    /// The jobs whose writes are kept in memory, as was said.
    pub(crate) kept_of: BTreeSet<JobId>,
    pub(crate) returns: Vec<Arc<Attempt>>,
    pub(crate) strays: Vec<Held>,
    pub(crate) workers: Vec<(Arc<Attempt>, u32)>,
    pub(crate) lost: Vec<Lost>,
    /// Jobs that run according to the file, and whose runners have ended.
    pub(crate) unowned: Vec<JobId>,
    pub(crate) prune: Option<Pass>,
    /// What is left of a pass over old jobs, for when [`Agenda::next_prune`] comes.
    pub(crate) prune_left: Option<Pass>,
    /// The clock has stepped: any transaction follows it.
    pub(crate) clock_stepped: bool,
    pub(crate) mark_stopping: bool,
    /// What the file is to say that this runner is short of; nothing of an empty text.
    pub(crate) short_of: Option<String>,
    /// The turn under way carried commands of other threads.
    pub(crate) had_commands: bool,
    /// There may be something to claim.
    pub(crate) more: bool,
    /// The file's version when it was last looked at; none: look whatever it is.
    pub(crate) version: Option<i64>,
    pub(crate) probe_locks: bool,
    pub(crate) next_due_ms: Option<i64>,
    pub(crate) next_beat: Instant,
    pub(crate) next_prune: Instant,
    /// After a write that failed: not before.
    pub(crate) not_before: Option<Instant>,
    pub(crate) failures: u32,
    /// Of the last of them.
    pub(crate) last_error: Option<String>,
    /// What is held here is to be compared with the file, as soon as that can be read.
    pub(crate) reconcile: bool,
    /// Where we are in looking again after an event. A change that shows does not end it: the event
    /// may have been that of the next one, by another process.
    pub(crate) looks: usize,
    /// The event was that a lock file was closed: it comes before the kernel lets go of the lock.
    pub(crate) closed_lately: bool,
}

impl Agenda {
    /// Everything is to be looked at, and the first beat is a while away: registering was one.
    pub(crate) fn new(now: Instant, beat_every: Duration) -> Agenda {
        Agenda {
            began: now,
            settlements: Vec::new(),
            commands: Vec::new(),
            kept_of: BTreeSet::new(),
            returns: Vec::new(),
            strays: Vec::new(),
            workers: Vec::new(),
            lost: Vec::new(),
            unowned: Vec::new(),
            prune: None,
            prune_left: None,
            clock_stepped: false,
            mark_stopping: false,
            short_of: None,
            had_commands: false,
            more: true,
            version: None,
            probe_locks: true,
            next_due_ms: None,
            next_beat: clock::after(now, beat_every),
            next_prune: now,
            not_before: None,
            failures: 0,
            last_error: None,
            reconcile: false,
            looks: 0,
            closed_lately: false,
        }
    }

    /// Whether there is anything to write.
    pub(crate) fn has_writes(&self) -> bool {
        !(self.settlements.is_empty()
            && self.commands.is_empty()
            && self.returns.is_empty()
            && self.strays.is_empty()
            && self.workers.is_empty()
            && self.lost.is_empty()
            && self.unowned.is_empty()
            && self.prune.is_none()
            && !self.clock_stepped
            && self.short_of.is_none()
            && !self.mark_stopping)
    }
}
