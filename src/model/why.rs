//! Why a job does not run.

use crate::model::family::Children;
use crate::model::id::{JobId, RunnerId};
use crate::model::limits::Rate;
use crate::model::state::{State, WaitReason};

/// Why a job does not run now, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It runs.
    Running {
        /// On this runner.
        runner: RunnerId,
        /// It has been asked to stop.
        cancel_requested: bool,
    },
    /// It was running, and its runner is gone. The next runner that looks takes it over.
    RunnerGone {
        /// The runner.
        runner: RunnerId,
        /// It had been asked to stop: it will be cancelled.
        cancel_requested: bool,
    },
    /// It has ended.
    Final {
        /// How.
        state: State,
        /// What went wrong, or which rule cancelled it.
        error: Option<String>,
    },
    /// Other jobs have to end first.
    WaitsFor {
        /// These, with their states.
        jobs: Vec<(JobId, State)>,
        /// And so many more.
        more: u64,
    },
    /// It is a child, and its parent's own part has to be done first.
    ParentFirst {
        /// The parent.
        parent: JobId,
        /// What it does.
        state: State,
    },
    /// The attempt that spawned it has to complete first.
    SpawnerFirst {
        /// The job of that attempt.
        spawner: JobId,
    },
    /// Other jobs hold all places of its concurrency key.
    KeyTaken {
        /// The key.
        key: String,
        /// How many places it has.
        places: u64,
        /// Who holds them, with their states: the first ten.
        holders: Vec<(JobId, State)>,
    },
    /// Its own part is done, its children are not.
    ChildrenFirst(Children),
    /// It is a group without children.
    NoChildYet,
    /// It is not due yet.
    NotDue {
        /// Because of this.
        reason: WaitReason,
        /// Until then.
        until: jiff::Timestamp,
    },
    /// It had not begun by its deadline: the next runner to start cancels it.
    DeadlineOver {
        /// What it is until then.
        state: State,
        /// Its deadline.
        deadline: jiff::Timestamp,
    },
    /// Every queue is paused.
    AllPaused,
    /// Its queue is paused.
    QueuePaused(String),
    /// No runner is alive.
    NoRunner,
    /// Runners are alive, but none has a handler for its kind.
    NoHandler(String),
    /// Runners are alive, but none of those with a handler serves its queue.
    QueueNotServed(String),
    /// Every runner that could run it is about to stop.
    RunnersStopping,
    /// The system has too little for another job: each runner that could run it runs fewer at a time.
    OutOfResources {
        /// The first of them.
        runner: RunnerId,
        /// What there is too little of, in a handler's words.
        reason: String,
        /// How many jobs run on these runners.
        running: u64,
    },
    /// So many jobs of its queue run as may run at once.
    QueueAtLimit {
        /// Its queue.
        queue: String,
        /// The limit.
        limit: u32,
        /// How many run: more than the limit where that was lowered.
        running: u64,
        /// The first ten of them.
        jobs: Vec<JobId>,
    },
    /// Each runner that could run it runs as many jobs of its kind as it may at once.
    KindAtLimit {
        /// Its kind.
        kind: String,
        /// The limits of the kind in these runners, each once.
        limits: Vec<u64>,
        /// How many run.
        running: u64,
        /// The first ten of them.
        jobs: Vec<JobId>,
    },
    /// So many jobs of its queue have started as may start in the span.
    QueueRate {
        /// Its queue.
        queue: String,
        /// Its rate.
        rate: Rate,
        /// When the next one may start.
        next: jiff::Timestamp,
    },
    /// It waits for its turn.
    InLine {
        /// So many jobs of its queue go first.
        ahead: u64,
        /// So many jobs run on the runners that could run it.
        running: u64,
        /// With so many workers.
        workers: u64,
    },
    /// What the file holds of it, or of its queue, is damaged: a runner sets it aside.
    Damaged {
        /// What it is, as far as that can be told.
        state: State,
        /// What is wrong.
        what: String,
    },
    /// None of the above is found: `jobq doctor` looks whether the file is sound.
    Other(State),
}
