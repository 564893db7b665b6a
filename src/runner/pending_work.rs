//! What the next transaction has to write, and when to look for what.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::id::JobId;
use crate::runner::tick::Tick;
use crate::store::{Command, PrunePass};

/// What is to be written in the next transaction, and when to look for what.
pub(crate) struct PendingWork {
    pub(crate) began: Instant,
    /// What this runner has to write.
    pub(crate) tick: Tick,
    /// What other threads of the process have.
    pub(crate) commands: Vec<Box<dyn Command>>,
    /// The jobs whose writes are kept in memory, as was logged.
    pub(crate) kept_of: BTreeSet<JobId>,
    /// What is left of a pass over old jobs, for when [`PendingWork::next_prune`] comes.
    pub(crate) prune_left: Option<PrunePass>,
    /// The transaction under way carries commands of other threads.
    pub(crate) had_commands: bool,
    /// There may be something to claim.
    pub(crate) more: bool,
    /// The file's version when it was last looked at; none: look whatever it is.
    pub(crate) version: Option<i64>,
    pub(crate) probe_locks: bool,
    pub(crate) next_due_ms: Option<i64>,
    pub(crate) next_heartbeat: Instant,
    pub(crate) next_prune: Instant,
    /// After a write that failed: not before.
    pub(crate) not_before: Option<Instant>,
    pub(crate) failures: u32,
    /// Of the last of them.
    pub(crate) last_error: Option<String>,
    /// What is in flight is to be compared with the file, as soon as that can be read.
    pub(crate) reconcile: bool,
    /// How often an event was followed by another look. A change that shows does not end it: the event
    /// may have been that of the next one, by another process.
    pub(crate) looks: usize,
    /// The event was that a lock file was closed: it comes before the kernel lets go of the lock.
    pub(crate) closed_lately: bool,
}

impl PendingWork {
    /// Everything is to be looked at, and the first heartbeat is a while away: registering was one.
    pub(crate) fn new(now: Instant, heartbeat_every: Duration) -> PendingWork {
        PendingWork {
            began: now,
            tick: Tick::default(),
            commands: Vec::new(),
            kept_of: BTreeSet::new(),
            prune_left: None,
            had_commands: false,
            more: true,
            version: None,
            probe_locks: true,
            next_due_ms: None,
            next_heartbeat: clock::after(now, heartbeat_every),
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
        !(self.commands.is_empty() && self.tick.is_empty())
    }
}
