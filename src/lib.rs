//! jobq: a durable job queue in one SQLite file. No server, no async runtime.
//!
//! A job is enqueued in a transaction, claimed in a transaction and finished in a transaction. What
//! was acknowledged is never lost, what crashes is run again, and nothing is ever stuck.
//!
//! ```
//! use jobq::{Context, Failure, Job, Queue};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Thumbnail { photo: String, width: u32 }
//!
//! impl Job for Thumbnail {
//!     const KIND: &'static str = "thumbnail";
//!     type Output = String; // the path of the small picture
//! }
//!
//! fn make_small(job: Thumbnail, ctx: &Context) -> Result<String, Failure> {
//!     if ctx.is_cancelled() {
//!         return Err(Failure::cancelled());
//!     }
//!     Ok(format!("{}.{}px.jpg", job.photo, job.width))
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! let queue = Queue::open(folder.path().join("jobs.db"))?;
//! let runner = queue.runner().job(make_small).start()?; // five workers
//!
//! let job = queue.enqueue(Thumbnail { photo: "cat".into(), width: 200 })?;
//! job.wait(None)?;
//! assert_eq!(job.output()?.as_deref(), Some("cat.200px.jpg"));
//! runner.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Delivery is at least once: a handler may run again after a crash, so let it be safe to repeat, or
//! give its effect [`Context::idempotency_key`], which is the same in every attempt. An effect on the same file happens
//! exactly once where the handler commits it with the job's completion: [`Context::complete_in`].
//!
//! # The code map
//!
//! **Bird's eye.** Any thread of any process enqueues. A process that runs jobs is a *runner*: one
//! *dispatcher* thread claims jobs in a transaction and sends them over a bounded channel to a fixed
//! pool of *workers*, and takes their reports back over another. Every write of a process goes
//! through one *writer* that commits what has queued up as one transaction; in a runner the
//! dispatcher is that writer. Nothing polls.
//!
//! ```text
//! any thread / any process              runner
//! ───────────────────────   ┌────────────────────────────────────────────────┐
//! enqueue, cancel, retry ──▶│ dispatcher = writer ──jobs──▶ worker 1..5      │
//!                           │   │      ▲  ◀──reports──                       │
//!                           │   ▼      │ wake: doorbell · file · lock · timer  │
//!                           └── one SQLite file (WAL) ── read pool (r2d2) ───┘
//! ```
//!
//! **One job's way.** `Queue::enqueue` checks it (`store/enqueue.rs`) and posts a command to the
//! writer's inbox (`store/seat.rs`). The writer applies what is there, a savepoint each, commits, and
//! replies (`store/writer.rs`). Whoever writes alone in a process applies it himself; a thread does where
//! several write at once. What nobody waits for (output, log entries) is kept in memory while the file
//! cannot be written (`store/backlog.rs`, `store/writer/group.rs`). In a runner the same transaction goes on with the dispatcher's turn
//! (`runner/turn.rs`): settle reports, promote what is due, take over from lost runners, beat, claim
//! (`store/claim.rs`). After the COMMIT the claimed jobs go down the channel; a worker runs the
//! handler (`runner/pool.rs`) and reports; one pure function judges what becomes of the job
//! (`outcome.rs`), and the next turn settles it, fenced by (job, running, attempt) (`store/settle.rs`).
//!
//! **A job under rules.** Its row has a bit for each tie (`store/links.rs`); a job without bits goes the
//! way above and touches nothing else. `store/enqueue.rs` decides where it begins: it may be the job
//! that has its unique key already (`uniques`), find no room (`room`), be blocked by prerequisites
//! (`prerequisites`) or by its concurrency key (`places`), or be a child (`families`). What its attempt
//! spawns (`runner/family.rs`) is added where its end is settled. When it ends, `store/ended.rs` works
//! off what follows: keys, places and deadlines become free, who needs it is released or cancelled, its
//! parent counts it and may end in turn. `family.rs` has the judgements as pure functions. A queue's
//! limits are looked at by the claim (`store/claim.rs`, `rate`, `shares`), deadlines (`deadlines`) and
//! schedules (`fire`, by `schedule/firing.rs`) by each turn that finds one due, a final job that is put
//! back goes through `requeue`, and `why_blocked` says what keeps it. `complete_in` does all of a
//! completion behind the gate with the application's code (`runner/effects.rs`, `store/effects.rs`,
//! `store/gate.rs`).
//!
//! **Time.** `schedule/fields.rs` says what is wrong with a cron rule, `schedule/wall.rs` what it means
//! where a zone changes its clock. A schedule that a config file declares notes the file
//! (`declared_by`), and only that file's runners remove it (`store/schedules.rs`). A running runner takes
//! on other handlers and times at its next turn (`runner/reload.rs`); `jobq run` does so when its config
//! file changes (`cli/run/reload.rs`).
//!
//! **What the file may do to a process.** Whether the path still leads to the file that is open is asked
//! before each transaction and read (`store/identity.rs`); what a file holds in place of jobq's tables is
//! looked at when it is opened (`store/tables.rs`); folder and lock files follow its owner, group and mode
//! (`store/ownership.rs`). A log says whose it is: each commit writes a page that names the file, and a
//! log that names another one is put aside (`store/foreign_log.rs`). A new file gets its place by a
//! rename that replaces nothing, after it was synced (`store/new_file.rs`, `store/backup.rs`,
//! `store/restore.rs`). A row or page that cannot be read or written twice is set aside with the job,
//! queue or schedule it belongs to (`part.rs`, `runner/aside.rs`); a job that was set aside while it ran goes
//! back once its row is mended (`store/unowned.rs`). JSON is checked and made canonical as
//! text (`json.rs`).
//!
//! **What the system may lack.** A command that finds no descriptor, process or memory gives its attempt back;
//! `runner/scarcity.rs` says how many run at a time then, and the runner's row what there is too little of. A
//! lock that the system does not take back is let go by closing all connections (`store/lock_holder.rs`).
//!
//! **Modules**, each may use those above it:
//!
//! | module | is |
//! |---|---|
//! | `job` `state` `retry` `limit` `outcome` `schedule` `family` `event` `error` `clock` `cancel` | the domain: no I/O; time and chance come in as arguments |
//! | `wake` `doorbell` `fault` `part` | what ends a wait in poll(2), and wakes the dispatcher by it; protections that tests take away; which part of a file an error belongs to |
//! | `store/` | the only place that knows SQLite: file, connections, writer, readers, one file per noun with its SQL as named constants |
//! | `queue` | the public face of a file |
//! | `runner/` | `dispatcher` makes `turn`s of what is on its `agenda`; `appetite` what it can take, `held` what it holds, `upkeep` what it does for the file, `sleep` what wakes it; `pool`, `ahead`, `liveness`, `shutdown`; `inline` is a runner without threads |
//! | [`handlers`] | `exec` and `sleep`; they see the domain and their [`Context`], never the store |
//! | [`testing`] | a temporary queue on a manual clock, for the tests of applications and its own |
//! | `measure/` | what `jobq bench` and `benches/` share; not part of the API |
//! | `cli/` (the binary) | one file per verb, `args`, `output` |
//!
//! **Invariants.**
//! - `State::leaves_to` owns the transitions; `outcome::judge` owns what an ending means.
//! - A reply means the COMMIT has succeeded. After one that failed, a mark tells whether it landed.
//! - Every claim raises the attempt; whatever an attempt changes names it. No row changed means the
//!   claim was lost, and nothing else happens.
//! - A runner's process lives exactly as long as the lock on its file in `….db-runners/` is held. No
//!   pid and no wall clock is ever asked. A missing file proves nothing, but of a runner that never beats
//!   (`run_due`): of that there is nothing else to see. Who only looks asks the lock, too
//!   (`store/locks.rs`): no row of a runner that is gone passes for a living one.
//! - A turn with nothing to write opens no transaction, and one that changed nothing commits nothing:
//!   else runners would wake each other for ever.
//! - Counters, history and rows change in one transaction.
//! - What follows from the end of a job is worked off a list in the same transaction, without recursion,
//!   however long the chain: nobody ever sees a job that has ended and one that still waits for it.
//! - Places under a concurrency key and unique keys that are taken are rows that name their job: they
//!   go with it, and `doctor` compares them with the jobs (`store/audit.rs`).
//! - A slot of a schedule is passed in the transaction that enqueues its job, on condition that it is
//!   still the next one: one job for each slot.
//! - What a limit leaves free is read off what is there: the running jobs of a queue are its places
//!   (`store/claim.rs`), its last starts its rate (`store/rate.rs`). No permit is handed out, so none leaks.
//! - A claim leaves out what a limit or a pause keeps back by query; it never takes a job to put it back.
//! - A claim takes nothing while jobs are past their deadlines that have not been cancelled yet.
//! - What was given as a duration follows steps of the clock until the machine is started again; from then
//!   on it is a moment (`store/due.rs`).
//! - In a file that jobq did not create it changes no mode.
//! - Whoever has a write transaction open is behind the gate (`store/gate.rs`); an application's code runs
//!   there alone (`store/effects.rs`), and on that thread nothing may wait for another writer.
//!
//! **Where it departs from the first design**, because measurement or the code showed something better:
//! - What a lost runner's commands left running is found by the attempts that the file says it held and by
//!   the environment of the processes (`handlers/exec/leftover.rs`). No process is noted anywhere: a note
//!   could come too late, or be forged.
//! - Events are appended sixteen to a statement, and a claim reads its row before it updates it: with
//!   RETURNING, SQLite opened an ephemeral table and a statement journal for every job.
//! - The order within a queue is priority, then number: numbers are the age, and no clock can turn them.
//! - A final job that is put back may go to blocked or waiting besides pending: a retry must not break
//!   the limit of its key, nor run again the own part of a parent that has done it.
//! - A waiting parent holds no place under its key: its children may have the same one and would never
//!   run. It takes one for its finalize phase.
//! - The ties of a job are bits in its row rather than looked up: jobs without rules cost no query more
//!   than in the spine.
//! - The log is checkpointed by the writer after it has answered, not by SQLite inside of COMMIT, and
//!   at 8 MB: that took the p99 of a start from 1.9 to 0.5 ms. A runner does it before others would.
//! - What waits in the channel is bounded in bytes (16 MiB) as well as in time and number.
//! - The dispatcher waits in one `poll(2)` on an eventfd and the inotify descriptor; a ring of the
//!   doorbell while it is awake costs one load.
//!
//! **Deliberately absent**: an async runtime, a server, a second process, polling, leases by wall
//! clock, configuration in the database, a plug-in ABI, Windows.
#![doc = include_str!("resources.md")]

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod bench;
mod clock;
mod doorbell;
mod error;
mod fault;
pub mod handlers;
mod model;
mod queue;
mod runner;
mod store;
pub mod testing;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub use bench::floor::Floor;
pub use clock::{Clock, ManualClock};
pub use error::{Error, Result};
pub use jiff;
pub use model::attempt::{AttemptRecord, Usage};
pub use model::batch::Batch;
pub use model::counts::Counts;
pub use model::event::{
    AttemptEnd, Event, EventData, EventFilter, EventId, EventKind, EventPage, Level, LogEntry,
};
pub use model::family::{ChildPolicy, Children, GROUP_KIND, Phase, PrerequisiteRule};
pub use model::file_options::{
    Durability, InUse, LogAtClose, NetworkFs, OpenMode, Replaced, Restored,
};
pub use model::filter::{Filter, KindFilter, Sort};
pub use model::finding::{Finding, Severity};
pub use model::id::{JobId, RunnerId, WorkerId};
pub use model::job::update::JobUpdate;
pub use model::job::{
    AttemptRef, Enqueued, Job, JobRecord, NewJob, OnDuplicate, Prerequisite, Progress, When,
};
pub use model::limits::{EnqueueLimits, MAX_PAYLOAD_BYTES, QueueLimitsUpdate, Rate, Update};
pub use model::name::DEFAULT_QUEUE;
pub use model::outcome::{CancelReason, Cancelled, MAX_CRASHES, Outcome, Snooze};
pub use model::priority::Priority;
pub use model::queue::{QueueLimits, QueueRecord, QueueSelector};
pub use model::remedy::Remedy;
pub use model::retry::{Backoff, Jitter, MAX_DELAY, RetryPolicy};
pub use model::run_report::{Remaining, RunReport, RunStats, SetAside};
pub use model::runner::{RunnerFilter, RunnerRecord, RunnerState, RunningJob};
pub use model::runner_options::{
    DEFAULT_STOP_TIMEOUT, DEFAULT_WORKERS, KindOptions, KindRetention, Retention, UnknownKinds,
    Until,
};
pub use model::schedule::{
    Missed, Overlap, Schedule, ScheduleChange, ScheduleOrigin, ScheduleRecord, SchedulesSynced,
    next_slots,
};
pub use model::state::{State, WaitReason};
pub use model::why::Why;
#[doc(hidden)]
pub use model::{digest, json, plural};
pub use queue::{
    BatchDedup, BatchProgress, BatchStart, BulkReport, Enqueue, JobHandle, PruneFilter, Queue,
    QueueOptions, Repaired, ResumedBatch, Transaction,
};
pub use runner::builder::RunnerBuilder;
pub use runner::cancellation::Cancellation;
pub use runner::context::Context;
pub use runner::handle::Runner;
pub use runner::handler::{Failure, Handler};
pub use runner::reload::Reloader;
pub use runner::signals::{FailureWatch, Stopper};
pub use rusqlite;
pub use serde_json;
pub use store::Changes;
