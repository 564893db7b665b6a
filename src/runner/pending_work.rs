//! The work for the next transaction, and the timers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::id::JobId;
use crate::runner::tick::Tick;
use crate::store::{AnnouncedCommits, Command, PrunePass};

/// The work for the next transaction, and when to check for what.
pub(crate) struct PendingWork {
    pub(crate) began: Instant,
    /// The runner's own writes.
    pub(crate) tick: Tick,
    /// Commands of other threads of the process.
    pub(crate) commands: Vec<Box<dyn Command>>,
    /// The jobs whose writes are kept in memory and were logged so.
    pub(crate) kept_of: BTreeSet<JobId>,
    /// The rest of a pass over old jobs, for when [`PendingWork::next_prune`] comes.
    pub(crate) prune_left: Option<PrunePass>,
    /// The transaction under way carries commands of other threads.
    pub(crate) had_commands: bool,
    /// There may be something to claim.
    pub(crate) more: bool,
    /// For how many free workers jobs were last looked for. Without `more` there were none, but another worker that
    /// becomes free may find some.
    pub(crate) looked_for: usize,
    /// The file's version at the last check; none: check in any case.
    pub(crate) version: Option<i64>,
    pub(crate) probe_locks: bool,
    pub(crate) next_due_ms: Option<i64>,
    pub(crate) next_heartbeat: Instant,
    pub(crate) next_prune: Instant,
    /// Not to be written before this, after a failed write.
    pub(crate) not_before: Option<Instant>,
    pub(crate) failures: u32,
    /// The last failure.
    pub(crate) last_error: Option<String>,
    /// Jobs in flight are to be compared with the file, as soon as it can be read.
    pub(crate) reconcile: bool,
    /// A change that is found does not end the checks that follow an event: it may have been that of the next
    /// change, by another process.
    pub(crate) commits: AnnouncedCommits,
    /// Number of checks since a lock file was closed, which comes before the kernel releases the lock.
    pub(crate) lock_checks: Option<u32>,
}

impl PendingWork {
    /// Everything is to be checked. The first heartbeat is due later, as registering was one.
    pub(crate) fn new(now: Instant, heartbeat_every: Duration) -> PendingWork {
        PendingWork {
            began: now,
            tick: Tick::default(),
            commands: Vec::new(),
            kept_of: BTreeSet::new(),
            prune_left: None,
            had_commands: false,
            more: true,
            looked_for: 0,
            version: None,
            probe_locks: true,
            next_due_ms: None,
            next_heartbeat: clock::after(now, heartbeat_every),
            next_prune: now,
            not_before: None,
            failures: 0,
            last_error: None,
            reconcile: false,
            commits: AnnouncedCommits::default(),
            lock_checks: None,
        }
    }

    /// Whether there is anything to write.
    pub(crate) fn has_writes(&self) -> bool {
        !(self.commands.is_empty() && self.tick.is_empty())
    }
}
