//! Why a job is not running.

use crate::model::family::Children;
use crate::model::id::{JobId, RunnerId};
use crate::model::limits::Rate;
use crate::model::queue::Counts;
use crate::model::state::{State, WaitReason};

/// Why a job is not running now, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It is running.
    Running {
        /// Its runner.
        runner: RunnerId,
        /// Whether it was asked to stop.
        cancel_requested: bool,
    },
    /// It was running, and its runner is dead. The next active runner takes it over.
    RunnerGone {
        /// The runner.
        runner: RunnerId,
        /// Whether it had been asked to stop; it will then be cancelled.
        cancel_requested: bool,
    },
    /// It has ended.
    Final {
        /// Its final state.
        state: State,
        /// Its error, or the rule that cancelled it.
        error: Option<String>,
    },
    /// Other jobs have to end first.
    WaitsFor {
        /// The first of them, with their states.
        jobs: Vec<(JobId, State)>,
        /// The number of further ones.
        more: u64,
    },
    /// It is a child, and its parent's run phase must be done first.
    ParentFirst {
        /// The parent.
        parent: JobId,
        /// The parent's state.
        state: State,
    },
    /// The attempt that spawned it must complete first.
    SpawnerFirst {
        /// The job of that attempt.
        spawner: JobId,
    },
    /// Other jobs hold all slots of its concurrency key.
    KeyTaken {
        /// The key.
        key: String,
        /// The limit of the key.
        limit: u64,
        /// The first ten jobs that hold slots, with their states.
        holders: Vec<(JobId, State)>,
    },
    /// Its run phase is done, its children are not.
    ChildrenFirst(Children),
    /// It is a group without children.
    NoChildYet,
    /// It is not due yet.
    NotDue {
        /// Why it is scheduled.
        reason: WaitReason,
        /// When it is due.
        until: jiff::Timestamp,
    },
    /// It has not begun by its deadline; the next active runner cancels it.
    DeadlineOver {
        /// Its state until then.
        state: State,
        /// Its deadline.
        deadline: jiff::Timestamp,
    },
    /// Every queue is paused.
    AllPaused,
    /// Its queue is paused.
    QueuePaused(String),
    /// No runner is active.
    NoRunner,
    /// No active runner has a handler for its kind.
    NoHandler(String),
    /// No active runner with a handler for its kind serves its queue.
    QueueNotServed(String),
    /// The handler of its kind can run no job at the moment, in each runner that could run it.
    HandlerUnavailable {
        /// Its kind.
        kind: String,
        /// The first of these runners.
        runner: RunnerId,
        /// Why, in the handler's words.
        reason: String,
    },
    /// Every runner that could run it is stopping.
    RunnersStopping,
    /// The system lacks resources: each runner that could run it runs fewer jobs at once for now.
    OutOfResources {
        /// The first of them.
        runner: RunnerId,
        /// What is lacking, in a handler's words.
        reason: String,
        /// The number of jobs running on these runners.
        running: u64,
    },
    /// Its queue is at its concurrency limit.
    QueueAtLimit {
        /// Its queue.
        queue: String,
        /// The limit.
        limit: u32,
        /// The number of running jobs: more than the limit if that was lowered.
        running: u64,
        /// The first ten running jobs.
        jobs: Vec<JobId>,
    },
    /// Its kind is at its limit in each runner that could run it.
    KindAtLimit {
        /// Its kind.
        kind: String,
        /// The limits of the kind in these runners, each once.
        limits: Vec<u64>,
        /// The number of running jobs.
        running: u64,
        /// The first ten running jobs.
        jobs: Vec<JobId>,
    },
    /// Its queue is at its rate limit.
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
        /// The number of jobs of its queue that go first.
        ahead: u64,
        /// The number of jobs running on the runners that could run it.
        running: u64,
        /// The number of workers of these runners.
        workers: u64,
    },
    /// Its data or its queue's are damaged in the file: a runner sets it aside.
    Damaged {
        /// The job's state, if it can be read.
        state: State,
        /// What is wrong.
        what: String,
    },
    /// None of the above was found: `jobq doctor` checks whether the file is sound.
    Other(State),
}

/// Why the pending jobs of a queue do not run now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueVerdict {
    /// The queue.
    pub queue: String,
    /// Its jobs by state.
    pub counts: Counts,
    /// The rules that its pending jobs are under, the rule of the most jobs first; empty: none is pending.
    pub rules: Vec<JobsUnderRule>,
}

/// Pending jobs of a queue that the same rule keeps from running.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobsUnderRule {
    /// How many there are.
    pub jobs: u64,
    /// Whether there may be more: jobs are counted up to some thousands of a kind.
    pub is_at_least: bool,
    /// The rule. `ahead` of [`Why::InLine`] is 0.
    pub why: Why,
}
