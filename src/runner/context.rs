//! A handler's view: its job, whether it is to stop, and where to report.

use std::any::TypeId;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::clock::timestamp;
use crate::doorbell::Doorbell;
use crate::error::{Error, Kind};
use crate::model::event::{EventKind, Level, LogEntry};
use crate::model::hook::HookEvent;
use crate::model::id::JobId;
use crate::model::job::{Progress, Traceparent};
#[cfg(feature = "exec")]
use crate::model::mask::Mask;
use crate::model::outcome::{Outcome, Usage};
use crate::queue::Queue;
use crate::runner::attempt::Attempt;
use crate::runner::cancellation::{Cancellation, lock};
use crate::runner::handler::{Failure, Registry};
use crate::store::{Backlog, Posted, Room, Spawned, Tx};
use crate::{clock, store};

/// Progress is saved at most this often; the last report is always saved.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A handler's view of its attempt. It lives as long as the handler runs. Scoped threads that the handler
/// starts may use it as well:
///
/// ```
/// use jobq::{Context, Failure, Level};
///
/// fn convert(pages: Vec<u32>, ctx: &Context) -> Result<(), Failure> {
///     std::thread::scope(|scope| {
///         for page in pages {
///             scope.spawn(move || ctx.log(Level::Info, format!("page {page}")));
///         }
///     });
///     Ok(())
/// }
/// ```
pub struct Context {
    pub(super) attempt: Arc<Attempt>,
    pub(super) queue: Queue,
    registry: Arc<Registry>,
    pub(super) worker: u32,
    progress: Mutex<Throttle>,
    spawned: Mutex<Spawned>,
    /// An entry was posted and may not be written yet.
    pub(super) posted: AtomicBool,
    outbox: Mutex<Outbox>,
    /// Signalled when no thread sends from the outbox any more.
    sent: Condvar,
    /// The secrets that the attempt has read.
    #[cfg(feature = "exec")]
    mask: Mutex<Mask>,
}

/// The state that all workers share.
pub(crate) struct SharedContext {
    pub(crate) queue: Queue,
    pub(crate) registry: Mutex<Arc<Registry>>,
    pub(crate) bell: Arc<Doorbell>,
}

impl SharedContext {
    /// The current handlers.
    pub(super) fn registry(&self) -> Arc<Registry> {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&registry)
    }
}

/// Entries that were posted and not yet sent to the writer. One thread sends at a time, so that entries
/// keep their order, and without the lock, as the writer may have to wait for a transaction of the
/// handler.
#[derive(Default)]
struct Outbox {
    entries: VecDeque<((Posted, Room), Post)>,
    is_sending: bool,
    /// [`Context::complete_in`] is under way: posted entries are saved in its transaction.
    is_completing: bool,
}

/// Holds posted entries back until it is dropped.
pub(super) struct Completing<'c>(&'c Context);

impl Completing<'_> {
    /// Writes the entries held back.
    pub(super) fn write(&self, tx: &mut Tx<'_>) -> crate::Result<()> {
        for (_, post) in &mut lock(&self.0.outbox).entries {
            post(tx)?;
        }
        Ok(())
    }

    /// Drops the entries held back: they are saved, or too late.
    pub(super) fn forget(&self) {
        lock(&self.0.outbox).entries.clear();
    }
}

impl Drop for Completing<'_> {
    fn drop(&mut self) {
        lock(&self.0.outbox).is_completing = false;
    }
}

/// A write that the handler does not wait for.
pub(super) type Post = Box<dyn FnMut(&mut Tx<'_>) -> crate::Result<()> + Send>;

#[derive(Default)]
struct Throttle {
    saved_at: Option<Instant>,
    held_back: Option<Progress>,
}

impl Context {
    pub(crate) fn new(attempt: Arc<Attempt>, shared: &SharedContext, worker: u32) -> Context {
        Context {
            attempt,
            queue: shared.queue.clone(),
            registry: shared.registry(),
            worker,
            progress: Mutex::default(),
            spawned: Mutex::default(),
            posted: AtomicBool::new(false),
            outbox: Mutex::default(),
            sent: Condvar::new(),
            #[cfg(feature = "exec")]
            mask: Mutex::default(),
        }
    }

    /// Masks this secret from now on, wherever the attempt says something.
    #[cfg(feature = "exec")]
    pub(crate) fn mask(&self, secret: &str) {
        lock(&self.mask).add(secret);
    }

    /// The secrets that the attempt has read.
    #[cfg(feature = "exec")]
    pub(crate) fn masked_secrets(&self) -> Mask {
        lock(&self.mask).clone()
    }

    /// A text without the secrets that the attempt has read.
    pub(super) fn masked(&self, text: String) -> String {
        #[cfg(feature = "exec")]
        let text = lock(&self.mask).text(text);
        text
    }

    /// Whether JSON holds a secret that the attempt has read.
    #[cfg(feature = "exec")]
    pub(super) fn has_secret(&self, json: &str) -> bool {
        lock(&self.mask).is_in(json)
    }

    /// JSON without the secrets that the attempt has read.
    pub(super) fn masked_json(&self, json: String) -> String {
        #[cfg(feature = "exec")]
        let json = lock(&self.mask).json(json);
        json
    }

    /// An outcome without the secrets that the attempt has read.
    pub(super) fn masked_outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Done(result) => Outcome::Done(result.map(|json| self.masked_json(json))),
            Outcome::Retry { error, after } => Outcome::Retry {
                error: self.masked(error),
                after,
            },
            Outcome::Fail { error } => Outcome::Fail {
                error: self.masked(error),
            },
            Outcome::Unavailable { error, pause } => Outcome::Unavailable {
                error: self.masked(error),
                pause,
            },
            Outcome::OutOfResources { error } => Outcome::OutOfResources {
                error: self.masked(error),
            },
            Outcome::Snooze(_) | Outcome::Cancelled => outcome,
        }
    }

    pub(crate) fn spawned(&self) -> MutexGuard<'_, Spawned> {
        lock(&self.spawned)
    }

    /// The job's id.
    pub fn job_id(&self) -> JobId {
        self.attempt.job()
    }

    /// The number of this attempt, from 1. With the job's id it identifies the attempt forever.
    pub fn attempt(&self) -> u32 {
        self.attempt.claim.attempt
    }

    /// The runner that has claimed the job.
    #[cfg_attr(
        not(feature = "exec"),
        allow(dead_code, reason = "commands are a feature")
    )]
    pub(crate) fn runner(&self) -> i64 {
        self.attempt.claim.runner
    }

    /// The schedule that enqueued the job.
    pub fn schedule(&self) -> Option<&str> {
        Some(&self.attempt.origin.as_ref()?.schedule)
    }

    /// The slot of the schedule that the job is for; none where somebody asked the schedule for a job.
    pub fn slot(&self) -> Option<Timestamp> {
        self.attempt.origin.as_ref()?.slot_ms.map(timestamp)
    }

    /// What the job is for, if a hook has enqueued it: how another job has ended. See
    /// [`NewJob::on_end`](crate::NewJob::on_end).
    pub fn hook(&self) -> Option<&HookEvent> {
        self.attempt.hook_of.as_deref()
    }

    /// The trace that the job belongs to. What the attempt spawns belongs to the same trace, unless it has one of its own.
    pub fn traceparent(&self) -> Option<Traceparent> {
        self.attempt.traceparent.as_deref().copied()
    }

    /// A key for effects outside of the file that must happen once, as a payment or an e-mail: the same in every
    /// attempt of this job, and another for every other job and in every copy of the file.
    ///
    /// ```
    /// # fn charge(ctx: &jobq::Context) -> Result<(), jobq::Failure> {
    /// let header = ("Idempotency-Key", ctx.idempotency_key()?);
    /// # let _ = header;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn idempotency_key(&self) -> Result<String, Failure> {
        Ok(format!("{}-{}", self.queue.store.file_id()?, self.job_id()))
    }

    /// How many retries are left after this attempt.
    pub fn retries_left(&self) -> u32 {
        self.attempt
            .budget
            .policy
            .max_retries
            .saturating_sub(self.attempt.budget.retries)
    }

    /// How long the job would wait before its next retry.
    #[cfg_attr(
        not(feature = "http-client"),
        allow(dead_code, reason = "handlers are features")
    )]
    pub(crate) fn retry_delay(&self) -> Duration {
        let budget = &self.attempt.budget;
        budget.policy.delay(budget.retries + 1, 0.0)
    }

    /// The job's kind.
    pub fn kind(&self) -> &str {
        &self.attempt.kind
    }

    /// The job's queue.
    pub fn queue_name(&self) -> &str {
        &self.attempt.queue
    }

    /// The payload: JSON text.
    pub fn payload(&self) -> &str {
        self.attempt.payload.as_deref().unwrap_or("null")
    }

    /// The payload as a type. A payload that does not fit fails the job for good.
    ///
    /// # Errors
    /// The JSON does not fit the type.
    pub fn payload_as<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(self.payload())
            .map_err(|error| Failure::permanent(format_args!("the payload does not fit: {error}")))
    }

    /// Whether the attempt is to stop; wait on it in place of a sleep.
    pub fn cancellation(&self) -> &Cancellation {
        &self.attempt.cancellation
    }

    /// Short for `cancellation().is_cancelled()`.
    pub fn is_cancelled(&self) -> bool {
        self.attempt.cancellation.is_cancelled()
    }

    /// How much time this attempt has left; none if it has no timeout.
    pub fn time_left(&self) -> Option<Duration> {
        let (_, began) = self.attempt.running_on()?;
        let timeout = self.attempt.budget.timeout?;
        Some(clock::after(began, timeout).saturating_duration_since(clock::instant()))
    }

    /// Reports progress. Cheap to call often: updates that come too fast are held back, and the last
    /// one is always saved.
    pub fn progress(&self, mut progress: Progress) {
        progress.message = progress.message.map(|message| self.masked(message));
        let now = clock::instant();
        let mut throttle = lock(&self.progress);
        if throttle
            .saved_at
            .is_some_and(|at| now.duration_since(at) < PROGRESS_EVERY)
        {
            throttle.held_back = Some(progress);
            return;
        }
        throttle.saved_at = Some(now);
        throttle.held_back = None;
        drop(throttle);
        self.save_progress(progress);
    }

    /// Posts everything held back.
    pub(crate) fn flush(&self) {
        self.flush_progress();
        self.send();
    }

    pub(super) fn flush_progress(&self) {
        let held_back = lock(&self.progress).held_back.take();
        if let Some(progress) = held_back {
            self.save_progress(progress);
        }
    }

    fn save_progress(&self, progress: Progress) {
        let attempt = self.attempt.reference();
        self.post(("progress", 0), move |tx| {
            store::write_progress(tx, attempt, &progress)
        });
    }

    /// Appends to the job's log; mirrored through the `log` crate.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        self.log_entry(LogEntry {
            level,
            message: message.into(),
            fields: None,
        });
    }

    /// Appends to the job's log with fields of the handler's choice.
    pub fn log_fields(&self, level: Level, message: impl Into<String>, fields: serde_json::Value) {
        self.log_entry(LogEntry {
            level,
            message: message.into(),
            fields: Some(fields),
        });
    }

    fn log_entry(&self, mut entry: LogEntry) {
        entry.message = self.masked(entry.message);
        entry.fields = entry.fields.map(|fields| {
            let masked = self.masked_json(fields.to_string());
            serde_json::from_str(&masked).unwrap_or(fields)
        });
        let level = match entry.level {
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        match &entry.fields {
            None => log::log!(level, "job {}: {}", self.job_id(), entry.message),
            Some(fields) => log::log!(level, "job {}: {} {fields}", self.job_id(), entry.message),
        }
        let attempt = self.attempt.reference();
        let bytes = entry.message.len();
        self.post(("a log entry", bytes), move |tx| {
            store::write_log(tx, attempt, &entry)
        });
    }

    /// The state of this type that the application registered with
    /// [`RunnerBuilder::data`](crate::RunnerBuilder::data).
    pub fn data<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let data = self.registry.data.get(&TypeId::of::<T>())?;
        Arc::clone(data).downcast().ok()
    }

    /// The queue that the job came from, to enqueue more.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Records the kernel's figures for the attempt's process.
    pub fn record_usage(&self, usage: Usage) {
        *self
            .attempt
            .usage
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = usage;
    }

    /// Appends a piece of a command's output, with its reserved space.
    #[cfg_attr(
        not(feature = "exec"),
        allow(dead_code, reason = "commands are a feature")
    )]
    pub(crate) fn output(&self, kind: EventKind, bytes: Vec<u8>, room: Room) {
        self.posted.store(true, Ordering::SeqCst);
        let attempt = self.attempt.reference();
        if let Err(error) = self.queue.post_output(attempt, kind, (bytes, room)) {
            self.posted_as("output").lost(&error);
        }
    }

    /// The entries that wait to be written.
    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        self.queue.store.writer.backlog()
    }

    fn post(
        &self,
        (what, bytes): (&'static str, usize),
        body: impl FnMut(&mut Tx<'_>) -> crate::Result<()> + Send + 'static,
    ) {
        let posted = self.posted_as(what);
        // Nothing else is written before a transaction of the handler is over, so waiting for space
        // would never end.
        let room = match self.queue.store.is_user_code_here() || lock(&self.outbox).is_completing {
            true => Some(self.backlog().room_anyway(bytes)),
            false => self.backlog().room(bytes),
        };
        let Some(room) = room else {
            let error = "too much waits to be written already";
            return posted.lost(&Error::new(Kind::Full, error));
        };
        let entry = ((posted, room), Box::new(body) as Post);
        lock(&self.outbox).entries.push_back(entry);
        self.send();
    }

    fn posted_as(&self, what: &'static str) -> Posted {
        Posted {
            job: self.job_id(),
            what,
        }
    }

    /// Sends the entries of the outbox, unless another thread does or a transaction of the handler is
    /// open.
    fn send(&self) {
        if self.queue.store.is_user_code_here() {
            return;
        }
        let mut outbox = lock(&self.outbox);
        if outbox.is_sending {
            return;
        }
        while !outbox.is_completing
            && let Some(((posted, room), post)) = outbox.entries.pop_front()
        {
            outbox.is_sending = true;
            drop(outbox);
            self.posted.store(true, Ordering::SeqCst);
            if let Err(error) = self.queue.store.writer.post((posted, room), post) {
                posted.lost(&error);
            }
            outbox = lock(&self.outbox);
        }
        outbox.is_sending = false;
        self.sent.notify_all();
    }

    /// Holds back what is posted from now on until the end of a completion.
    pub(super) fn begin_completing(&self) -> Completing<'_> {
        let mut outbox = lock(&self.outbox);
        outbox.is_completing = true;
        let sent = self.sent.wait_while(outbox, |outbox| outbox.is_sending);
        drop(sent.unwrap_or_else(PoisonError::into_inner));
        Completing(self)
    }
}
