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
//! struct Thumbnail { photo: String }
//!
//! impl Job for Thumbnail {
//!     const KIND: &'static str = "thumbnail";
//!     type Output = String; // the path of the small picture
//! }
//!
//! fn shrink(job: Thumbnail, _ctx: &Context) -> Result<String, Failure> {
//!     Ok(format!("small/{}", job.photo))
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! let queue = Queue::open(folder.path().join("jobs.db"))?;
//! let runner = queue.runner().job(shrink).start()?; // five workers
//! let job = queue.enqueue(Thumbnail { photo: "cat.jpg".into() })?;
//! job.wait(None)?;
//! assert_eq!(job.output()?.as_deref(), Some("small/cat.jpg"));
//! runner.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Delivery is at least once: a handler may run again after a crash, so let it be safe to repeat, or
//! give its effect [`Context::idempotency_key`], which is the same in every attempt. An effect on the same file happens
//! exactly once where the handler commits it with the job's completion: [`Context::complete_in`].
//!
//! # For maintainers
//!
//! **Bird's eye.** Any thread of any process enqueues. A process that runs jobs is a *runner*: one
//! *dispatcher* thread claims jobs in a transaction, sends them over a bounded channel to a fixed pool
//! of *workers*, and receives their reports over another. Every write of a process goes through one
//! *writer*, which commits all queued commands as one transaction; in a runner the dispatcher is that
//! writer. Nothing polls.
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
//! **The way of a job.**
//! 1. [`Queue::enqueue`] validates it (`store/jobs/validate.rs`). A lone caller commits in its own thread
//!    (`store/sqlite/writer_handle.rs`). When several threads write at once, each puts a command into the inbox, and
//!    they write it in turns: one takes what all have put there, and then calls the next that waits. While a runner
//!    is started, its dispatcher writes the inbox.
//! 2. The writer applies each command of several in a savepoint, commits, and replies (`store/sqlite/writer.rs`). Output
//!    and log entries have no caller that waits: they stay in memory while the file cannot be written
//!    (`store/sqlite/backlog.rs`).
//! 3. `store/jobs/enqueue.rs` decides the first state. A job without rules is pending or scheduled. A job with
//!    rules may be a duplicate (`unique`), exceed a quota (`quota`), or be blocked by prerequisites
//!    (`dependencies`), its parent (`families`) or its concurrency key (`concurrency_slots`).
//! 4. The dispatcher's tick (`runner/tick.rs`) is one transaction: it finishes reported attempts, promotes due
//!    jobs, fires schedules, takes over from lost runners, writes the heartbeat, and claims
//!    (`store/jobs/claim.rs`). The claim applies the limits of queues (`claim_queues`, `rate`, `fair_share`).
//! 5. After the COMMIT the claimed jobs go down the channel. A worker runs the handler (`runner/pool.rs`) and
//!    reports; a pure function decides what the ending means (`model/outcome.rs`).
//! 6. The next tick finishes the attempt, fenced by (job, running, attempt)
//!    (`store/jobs/finish_attempt.rs`), and adds the jobs it spawned. At the end of the transaction
//!    `store/jobs/consequences.rs` frees keys and slots, releases or cancels dependent jobs, counts the
//!    child at its parent, and fires hooks.
//!
//! [`Context::complete_in`] does step 6 in the handler's thread, behind the write lock, together with the
//! application's own writes (`runner/complete_in.rs`, `store/sqlite/user_transactions.rs`). A final job that is
//! retried by hand goes through `store/jobs/requeue.rs`.
//!
//! **The tree.** The SQL schema is `schema.sql`; the tests are in `tests/it/` and `src/store/tests/`.
//!
//! | folder of `src/` | holds |
//! |---|---|
//! | `model/` | every public data type and every pure rule; no I/O, time and randomness are arguments |
//! | `store/mod.rs` | the storage vocabulary on one page: all that `queue/` and `runner/` may call |
//! | `store/sqlite/` | file, connections, schema, writer, write lock, read pool, and the write transaction, `Tx` |
//! | `store/jobs/` | what is done to jobs: one operation or rule a file, with its SQL |
//! | `store/upkeep/` | what is done for the file: promote, schedules, runners, prune, doctor, backup, restore |
//! | `store/read/` | reading jobs, pages of them, attempts, events, runners, and why a job does not run |
//! | `queue/` | the public face of a file: [`Queue`] |
//! | `runner/` | the dispatcher, its workers and its shutdown; `runner/inline.rs`: `run_due`, without threads |
//! | [`handlers`] | `exec` and the kinds that are built in; they see the model and their [`Context`], never the store |
//! | [`testing`] | a temporary queue on a manual clock |
//! | `web/page/` | the files of the browser page: plain ES modules, served as they are; `vendor/VENDORED.md` names what is not our own |
//! | `api/` | what programs and people are shown: the JSON of records, the words of events and of why a job does not run; a job as it is asked for in JSON |
//! | `web/` | the HTTP server: `web/table.rs` lists its routes, `web/api/` answers them |
//! | `web/live/` | the live socket: views that are read again when they may have changed, and streams of the history |
//! | `cli/verbs/` | one file a command: its arguments, what it does and what it says |
//! | `cli/input/` | reads what is typed, piped or configured: arguments, batches, `jobq.toml` |
//! | `cli/render/` | shows each record as a table or as tab-separated fields |
//! | `cli/top/` | `jobq top`: the state and its keys, reading on a thread, drawing |
//! | `bench/` | what `jobq bench` and `benches/` share; not part of the API |
//!
//! **Layers**, lowest first: `error`, `model` · `store/sqlite` · `store/jobs` · `store/upkeep` · `store/read` ·
//! `store` · `queue` · `runner` · `handlers` · `api` · `web`. A file uses only its own layer and lower ones; files that are in
//! none, such as `clock.rs` and `doorbell.rs`, may be used by all. `tests/it/architecture/` enforces that, and
//! more: only `store/sqlite/` names rusqlite (besides `bench/` and the signatures of [`Queue::enqueue_in`] and
//! [`Transaction::connection`]), only `store/` and `bench/` have SQL, `handlers/`, `api/`, `web/` and `cli/` do not name the store,
//! only `clock.rs` reads a clock, only `store/`, `runner/`, `web/`, `cli/`, `bench/` and one keeper of processes start threads, `unsafe` is in one
//! file, no circle of imports has more than three files, no type name occurs twice, no file has more than 500
//! lines.
//!
//! **Invariants.**
//! - `State::leaves_to` owns the transitions between states; `model/outcome.rs` owns what an ending means.
//! - A reply means that the COMMIT has succeeded. After a COMMIT that failed, a mark in the file tells whether
//!   it landed.
//! - Every claim raises the attempt, and every change by an attempt names it. When no row changes, the claim
//!   was lost, and nothing else happens.
//! - A runner's process is alive exactly as long as the lock on its file in `….db-runners/` is held. No pid and
//!   no wall clock decides. A missing lock file proves nothing, except for a runner without heartbeats
//!   (`run_due`), which has no other sign of life. Readers check the lock too
//!   (`store/sqlite/process_locks.rs`): the row of a dead runner never counts as a living one.
//! - A tick with nothing to write opens no transaction, and one that changed nothing commits nothing; otherwise
//!   runners would wake each other forever.
//! - Counters, history and rows change in one transaction. The history is kept by the way it is read: what a job's
//!   attempts came to (`store/jobs/attempts.rs`), what else happened to it (the log), and the order of all events,
//!   a row a transaction (the feed, `store/sqlite/tx/feed.rs`). An event's id is the same in all of them.
//! - Ids of jobs and events, counters and the marks of commits are rows of one table that fits one page
//!   (`jobq_number`): a transaction writes whole pages. An id follows the rows, too, so a lost number is harmless.
//! - Each job's kind and queue are noted for its block of 256 ids (`store/sqlite/blocks.rs`). Rows of the newest job's
//!   block are never removed, so a writer may remember that they exist.
//! - Metrics are added up in the transaction that ends the attempts (`store/sqlite/tx/metrics.rs`), so that they outlive
//!   the jobs. A row that cannot be read is begun anew.
//! - The consequences of a job's end are worked off a list in the same transaction, without recursion, however
//!   long the chain: no reader sees a job that has ended and another that still waits for it.
//! - Every end of a job goes through `consequences.rs`, where its hooks enqueue their jobs (`store/jobs/fire_hooks.rs`), last, when
//!   its children are counted: one job for each end and hook. A hook's job is not unique, ignores quotas and fires no
//!   hooks, so no end is refused and no chain goes on forever.
//! - Taken unique keys and concurrency slots are rows that name their job. They are removed with the job, and
//!   `doctor` compares them with the jobs (`store/upkeep/doctor/audit.rs`).
//! - A schedule moves past a slot in the transaction that enqueues the slot's job, on condition that the slot is
//!   still the next one: one job for each slot.
//! - Free capacity is computed from the rows: a queue's running jobs are its taken slots, its last starts are its
//!   rate (`store/jobs/rate.rs`). No permit is handed out, so none can leak.
//! - A claim excludes in its query what a limit or a pause holds back; it never takes a job to put it back.
//! - A claim takes nothing while jobs are past their deadline and not yet cancelled.
//! - A wait given as a duration follows steps of the wall clock until the machine is restarted; after that it
//!   is a fixed moment (`store/upkeep/clock_step.rs`).
//! - Only the holder of a queue's write lock has a write transaction open (`store/sqlite/write_lock.rs`). Application
//!   code runs there alone, and its thread must not wait for another writer.
//! - In a file that jobq did not create, jobq changes no mode. New files beside the database take its owner,
//!   group and mode (`store/sqlite/ownership.rs`).
//! - Before each transaction and each read the path must still lead to the open file
//!   (`store/sqlite/file_identity.rs`). Each commit writes a page that names the file, so a log that belongs to
//!   another file is recognised and put aside (`store/sqlite/foreign_log.rs`).
//! - A file's tables are compared with the schema before anything is read from them (`store/sqlite/tables.rs`).
//! - A new file takes its name by a rename that replaces nothing, after a sync (`store/sqlite/new_file.rs`).
//! - A row or page that fails twice is set aside with its job, queue or schedule (`model/part.rs`,
//!   `runner/set_aside.rs`); everything else goes on.
//! - A schedule that a config file declares is removed only by runners of that file
//!   (`store/upkeep/schedules.rs`).
//!
//! **Reasons** for shapes that look odd:
//! - The processes of a lost runner's commands are found by their environment and by the attempts that the
//!   file names (`runner/leftovers.rs`), not by a recorded pid: a record could come too late, or be forged.
//! - A claim reads its row before it updates it: RETURNING makes SQLite open an ephemeral table and a statement
//!   journal for every job.
//! - An attempt that simply completed its job has no row: its job's row says it all, and most jobs end so
//!   (`store/jobs/attempts.rs`). The event of its end is numbered before the row is written.
//! - A tick finishes attempts in the order of their jobs: neighbours share pages, and a range is short in the feed.
//! - Within a queue the order is priority, then id: an id is the age, and no clock can change it.
//! - A retried final job may become blocked or waiting instead of pending: it must not exceed the limit of its
//!   key, and a parent whose run phase is done must not repeat it.
//! - A waiting parent holds no concurrency slot, since its children may have the same key. It takes one for its
//!   finalize phase.
//! - The rules of a job are bits in its row (`model/flags.rs`): a job without rules costs no extra query.
//! - A job's own hooks are rows, and fired by whoever ends it. A runner's hooks are in its memory: they are its config file's,
//!   and each of its transactions that ends jobs brings them along (`store/sqlite/tx/pending.rs`). Neither is a job that
//!   waits for an end: it would be listed, counted and cancelled with what it waits for, and could run for one end only.
//! - What an undo needs is kept in the event of the change (`store/jobs/was.rs`, `store/jobs/edited_options.rs`), so that a change
//!   that is never undone costs no row. Jobs that a cancel by hand has cancelled name its event; `store/upkeep/undo.rs` refuses
//!   an undo over a later change.
//! - What a hook's job is for is stored with it when it is enqueued: the job that has ended may be retried or removed before.
//! - An attempt that asks for a snooze sets a bit, too. The statement that completes a job compares the bits with those
//!   that the claim read, so it finds out at no cost (`store/jobs/finish_attempt.rs`).
//! - A runner's log of 8 MB is copied into the file on the readers' thread, while jobs go on starting; what was written
//!   meanwhile the writer copies (`store/sqlite/log_copies.rs`). Otherwise one job in a hundred would wait for two syncs.
//!   Without a runner the writer does it after it has replied, not SQLite inside COMMIT, and later than a runner would.
//! - An event on the log may come before its commit is visible. The file is checked again until the write lock is free
//!   (`store/sqlite/file_watch.rs`): then everything announced is visible, and nothing but the heartbeat wakes an idle
//!   runner. The lock is not tried while events keep coming: it would be in the way of whoever writes.
//! - A heartbeat that is written alone is not synced: it may be lost with the power, and a disk that sleeps sleeps on.
//! - Pruning goes over all kinds together, by age, and removes jobs with consecutive ids in one statement: they share
//!   pages. A step ends by time, and free pages go back to the disk after the last one, unless they become many: before
//!   that, pages would be moved that are removed next (`store/upkeep/prune.rs`).
//! - Whoever prunes checkpoints the log as early as a runner, and pauses between steps as long as a waiting writer
//!   may sleep. Otherwise the log grows without limit, and its checkpoint falls to the next that enqueues.
//! - The dispatcher waits in one `poll(2)` on an eventfd and the inotify descriptor (`runner/wakeup.rs`); ringing
//!   the doorbell while it is awake costs one atomic operation.
//! - A list is a walk (`store/read/walk.rs`) over the index with the fewest jobs for its filter
//!   (`store/read/drivers.rs`). It reads some rows at a time and looks at the clock in between, so that a search has an end.
//! - A change of all jobs that match a filter reads ids for 150 ms at most and changes them after that read
//!   (`queue/bulk.rs`): a long read would keep the log from being copied.
//! - A group of errors is found by a digest of the error with all that varies blanked (`model/error_group.rs`), not by a
//!   column: it costs a failing job nothing, and the rules of blanking may change.
//! - A graph is read from the job outwards, for a limited time. Jobs that stand in the same relations are found by dividing
//!   classes, and drawn as one box (`model/graph/classes.rs`); of a long list, the rest is only counted, and what the time
//!   does not suffice for is known from the parent's row (`store/read/graph.rs`).
//! - JSON is checked and compared as text (`model/json.rs`): digits and duplicate keys stay as they are written.
//! - Jobs claimed ahead are limited by time and number (`runner/prefetch.rs`) and by bytes
//!   (`store/jobs/claim.rs`).
//! - A secret is masked in the attempt's [`Context`], where all that an attempt says passes; in a command's output before
//!   it is cut into pieces (`model/mask.rs`). A process within a command masks what `JOBQ_SECRETS` names. A
//!   new job that holds a secret of the attempt that enqueues it is refused.
//! - A persistent command belongs to no attempt, so its processes are found by a mark of its own in their environment
//!   (`runner/leftovers.rs`). Whether it has come up shows in its stdin: it has begun to read the job. One that has not
//!   costs the job nothing, and pauses the kind (`runner/kind_pauses.rs`). Between jobs one thread of the process looks
//!   after all of them, as only the handler knows them (`handlers/exec/persistent/keeper.rs`).
//! - Every HTTP request goes through `handlers/http/`: there the settings say which addresses may be called, and a cancel
//!   closes the connection. An idle connection lies in the settings that allowed it, for one attempt at a time
//!   (`handlers/http/agent.rs`).
//! - Which certificates are trusted in TLS, and which of the others may be good later, is the same for all kinds
//!   (`handlers/tls.rs`); so is which errors of files may pass (`error.rs`), where paths may lead and begin
//!   (`handlers/paths.rs`), and that no handler opens or replaces the queue's own files (`handlers/input_file.rs`).
//! - A report's mail is a child that is added when its attempt completes: a retry of the mail runs no query again, and a
//!   crash before leaves no mail (`handlers/report/mail.rs`). Queries of others go through one place, which lets them read
//!   and nothing else (`store/sqlite/database/query.rs`).
//! - The buckets of the histograms for Prometheus end at powers of two of a microsecond, where the bins end that are
//!   stored: their numbers are exact (`model/metrics/prometheus.rs`). A counter of the file must never fall, so what is known
//!   only as long as rows are kept, as lost runners and the slots of schedules, is none.
//! - A browser is spoken to over a pipe, not a port: nobody else can drive it, and the end of its runner is the end of the
//!   pipe, at which it ends, too (`handlers/browser/process.rs`). A thread of its own reads that pipe.
//! - What a route of the HTTP server can do to the file is a value that it is given (`web/access.rs`): a tenant's client
//!   cannot read the jobs of others, and a server that only reads has nothing to write with. Connections without a whole
//!   head share one thread (`web/reception.rs`), so slow ones keep none.
//! - What a live socket sends of the history has a position, so a slow client makes it wait and a cut loses nothing. A
//!   view has none: a client that missed a patch subscribes again. Its readings and the history's are on two threads,
//!   since a search may take long (`web/live/`). Both rest nine times as long as they have worked.
//! - A command that finds no descriptor, process or memory gives its attempt back, and `runner/scarcity.rs`
//!   lowers how many run at a time.
//!
//! **How to add**
//! - *a job option*: its field in `model/job/options.rs`, its setter in `model/job/new.rs`, its check in
//!   `store/jobs/validate.rs`, its column in `store/jobs/enqueue.rs`; its key in batches and in `jobq.toml` in
//!   `api/options.rs`, its flag in `cli/args.rs`; for `edit` its column in `store/jobs/update.rs` and its
//!   flag in `cli/verbs/edit.rs`; to show it, a field in `model/job/record.rs` and `store/read/jobs.rs`.
//!   `JOBQ_GOLDEN=write cargo test --test it golden` shows how the JSON changes.
//! - *a condition of a filter*: its field in `model/filter.rs`, its SQL in `store/read/conditions.rs`, its word in
//!   `model/search.rs` and `model/search/print.rs`, and a line in `cli/input/search.txt`.
//! - *a command*: a file in `cli/verbs/`, a variant of `Verb` in `cli/verbs/mod.rs` and its arm in `run`.
//! - *a route*: a function in `web/api/`, a line in `web/table.rs`, and the schema of what it gives in
//!   `web/api/schemas.rs`. The document of the API is made of them.
//! - *a built-in handler*: a file in `handlers/` with a payload that implements
//!   [`BuiltInJob`](handlers::built_in::BuiltInJob), a cargo feature, and a line in
//!   `handlers/list.rs`. By that line `jobq run` has the handler, payloads are checked when they are enqueued,
//!   and `jobq help kind KIND` describes it.
//! - *a statement*: a constant in the `statements!` of the file that uses it, with a comment that gives the
//!   reason for its shape; `hot` if it must not scan or sort. `store/tests/plans.rs` lists the files with
//!   statements and checks the query plans.
//! - *a schema version*: change `schema.sql`, raise `VERSION` in `store/sqlite/schema.rs`, add `upgrade_N.sql` to
//!   `UPGRADES`, and keep the schema before it as `tests/data/schema_N.sql` for the test of upgrades. The lean
//!   tables in `bench/floor.sql` stay.
//! - *a public item*: re-export it here; `JOBQ_PUBLIC_API=write cargo test --test it public_api` updates the list.
//!
//! **Deliberately absent**: an async runtime, a server that jobs need, a second process, polling, leases by wall
//! clock, configuration in the database, a plug-in ABI, Windows.
#![doc = include_str!("resources.md")]

// The paths in attributes that api's macros write are those of the binary, too.
#[cfg(any(feature = "cli", feature = "web"))]
extern crate self as jobq;

#[cfg(any(feature = "cli", feature = "web"))]
#[doc(hidden)]
pub mod api;
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
#[cfg(feature = "web")]
pub mod web;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub use bench::floor::Floor;
pub use clock::{Clock, ManualClock};
pub use error::{Error, Result};
pub use jiff;
#[cfg(feature = "exec")]
#[doc(hidden)]
pub use model::base64;
pub use model::bulk::{BulkAction, BulkPreview, BulkReport};
pub use model::duration::parse_duration;
pub use model::error_group::{ErrorGroup, ErrorGroups};
pub use model::event::{
    AttemptEnd, Event, EventData, EventFilter, EventId, EventKind, EventPage, Level, LogEntry,
};
pub use model::family::{ChildPolicy, Children, GROUP_KIND, Phase, PrerequisiteRule};
pub use model::file_options::{
    Durability, InUse, LogAtClose, NetworkFs, OpenMode, Replaced, Restored,
};
pub use model::filter::{Filter, KindFilter, Sort};
pub use model::graph::{GraphEdge, GraphEdgeKind, GraphNode, JobGraph};
pub use model::hook::{HookEvent, HookTrigger};
pub use model::id::Batch;
pub use model::id::{JobId, RunnerId, WorkerId};
pub use model::job::options::Priority;
pub use model::job::update::{ClearOption, JobUpdate};
pub use model::job::{
    AttemptRef, Enqueued, Job, JobOptions, JobRecord, JobRef, JobSummary, JobsPage, NewJob,
    OnDuplicate, Prerequisite, Progress, RecordsPage, TextPreview, Traceparent, UniqueKey, When,
};
pub use model::limits::{EnqueueLimits, MAX_PAYLOAD_BYTES, QueueLimitsUpdate, Rate, Update};
pub use model::lost_runner::MAX_CRASHES;
#[cfg(feature = "exec")]
#[doc(hidden)]
pub use model::mask;
pub use model::metrics::snapshot::MetricsSnapshot;
pub use model::metrics::stats::{Quantiles, Stats, StatsBy, StatsPoint, StatsQuery, StatsSeries};
pub use model::metrics::{AttemptTotals, Histogram, MetricRecord, MetricSpan};
pub use model::outcome::{AttemptRecord, Usage};
pub use model::outcome::{CancelReason, Cancelled, Outcome, Snooze};
pub use model::queue::Counts;
pub use model::queue::DEFAULT_QUEUE;
pub use model::queue::{QueueLimits, QueueRecord, QueueSelector};
pub use model::remedy::Remedy;
pub use model::remedy::{Finding, Severity};
pub use model::retry::{Backoff, Jitter, MAX_DELAY, RetryPolicy};
pub use model::runner::{Remaining, RunReport, RunStats, SetAside};
pub use model::runner::{RunnerFilter, RunnerRecord, RunnerState, RunningJob};
pub use model::runner_hook::Hook;
pub use model::runner_options::{
    DEFAULT_STOP_TIMEOUT, DEFAULT_WORKERS, KindOptions, KindRetention, Retention, UnknownKinds,
    Until,
};
pub use model::schedule::{
    Missed, Overlap, Schedule, ScheduleChange, ScheduleOrigin, ScheduleRecord, SchedulesSynced,
    next_slots,
};
pub use model::state::{State, WaitReason};
pub use model::suggestion::NameField;
pub use model::undone::Undone;
pub use model::why::{JobsUnderRule, QueueVerdict, Why};
#[doc(hidden)]
pub use model::{digest, json, nearest, plural};
pub use queue::{
    BatchDedup, BatchProgress, BatchStart, Enqueue, JobHandle, PruneFilter, Queue, QueueOptions,
    Repaired, ResumedBatch, Transaction,
};
pub use runner::builder::RunnerBuilder;
pub use runner::cancellation::Cancellation;
pub use runner::context::Context;
pub use runner::handle::Reloader;
pub use runner::handle::Runner;
pub use runner::handler::{Failure, Handler};
pub use runner::signals::{FailureWatch, Stopper};
pub use rusqlite;
pub use serde_json;
pub use store::Changes;
