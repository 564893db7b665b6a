//! What is asked for: a job with its options.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::millis;
use crate::model::digest::Digest;
use crate::model::family::ChildPolicy;
use crate::model::id::JobId;
use crate::model::job::options::{JobOptions, JobRef, Priority};
use crate::model::job::{AttemptRef, Traceparent};
use crate::model::json;
use crate::model::outcome::Snooze;
use crate::model::retry::{Backoff, Jitter};

/// When a new job may run, or by when it must have begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// As soon as a worker is free.
    #[default]
    Now,
    /// After this duration, whatever the wall clock does meanwhile. After a restart of the machine it is
    /// a fixed moment of the wall clock.
    In(Duration),
    /// From this moment of the wall clock on.
    At(Timestamp),
}

impl From<Duration> for When {
    fn from(wait: Duration) -> When {
        When::In(wait)
    }
}

impl From<Timestamp> for When {
    fn from(moment: Timestamp) -> When {
        When::At(moment)
    }
}

impl From<Snooze> for When {
    fn from(snooze: Snooze) -> When {
        match snooze {
            Snooze::For(wait) => When::In(wait),
            Snooze::Until(moment) => When::At(moment),
        }
    }
}

/// A job to be enqueued: kind, payload and options. Options that are not set take their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    pub(crate) kind: String,
    pub(crate) payload: Result<String, String>,
    pub(crate) options: JobOptions,
    /// The attempt that spawns it as a child: it must complete, or the child is discarded.
    pub(crate) spawned_by: Option<AttemptRef>,
}

/// What a job is unique by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum UniqueKey {
    /// By this key.
    #[serde(rename = "key")]
    Named(String),
    /// By its kind and payload.
    #[serde(rename = "payload")]
    KindAndPayload,
}

impl UniqueKey {
    /// The key as the file has it.
    pub(crate) fn text(&self, kind: &str, payload: &str) -> String {
        match self {
            UniqueKey::Named(key) => key.clone(),
            UniqueKey::KindAndPayload => derived_key(kind, payload),
        }
    }
}

/// It must never change: it is stored in the file. A payload that is not JSON is refused elsewhere.
pub(crate) fn derived_key(kind: &str, payload: &str) -> String {
    let canonical = json::canonical(payload).unwrap_or_else(|_| payload.to_owned());
    let mut digest = Digest::new();
    digest.update(canonical.as_bytes());
    format!("{kind}:{digest}")
}

/// What happens when a job's unique key is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnDuplicate {
    /// Keeps the job that has the key and returns its id.
    #[default]
    Keep,
    /// Gives that job the new payload and options if it is not running yet, and returns its id. A job
    /// that has begun keeps its own: see [`Enqueued::replaced`](crate::Enqueued).
    Replace,
    /// As `Replace` if that job is not running yet. If it has begun, the new job runs after it, however
    /// it ends. At most one job waits this way; it takes the payload and options of the latest.
    Rerun,
    /// Returns an error: [`Error::is_duplicate`](crate::Error::is_duplicate).
    Reject,
}

words!(OnDuplicate, "policy for duplicates", "policies for duplicates" {
    Keep = "keep",
    Replace = "replace",
    Rerun = "rerun",
    Reject = "reject",
});

impl NewJob {
    /// A job of this kind with the payload `null`.
    pub fn new(kind: impl Into<String>) -> NewJob {
        NewJob {
            kind: kind.into(),
            payload: Ok("null".to_owned()),
            options: JobOptions::default(),
            spawned_by: None,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its payload as JSON text; none if it could not be written.
    pub fn payload_text(&self) -> Option<&str> {
        self.payload.as_deref().ok()
    }

    /// The options that are set.
    pub fn options(&self) -> &JobOptions {
        &self.options
    }

    /// Sets the options that are given; the others stay as they are. Tags are added; jobs to wait for are
    /// replaced.
    #[must_use]
    pub fn with_options(mut self, options: JobOptions) -> NewJob {
        if options.parent.is_some() {
            self.spawned_by = None;
        }
        self.options = options.or(&self.options);
        self
    }

    /// The payload, from anything that serde can write as JSON. A value that cannot be
    /// written, such as NaN or an infinity, is reported when the job is enqueued.
    #[must_use]
    pub fn payload(mut self, payload: &impl Serialize) -> NewJob {
        let json = json::write(payload).map_err(|error| error.to_string());
        self.payload = json.and_then(checked);
        self
    }

    /// The payload as JSON text, stored unchanged. Enqueuing reports text that is not JSON, and text that
    /// other JSON readers refuse: half of a surrogate pair (`"\ud800"`), a number beyond a double
    /// (`1e400`), more than 100 nested arrays and objects.
    #[must_use]
    pub fn payload_json(mut self, json: impl Into<String>) -> NewJob {
        self.payload = checked(json.into());
        self
    }

    /// The queue; `default` unless set.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> NewJob {
        self.options.queue = Some(queue.into());
        self
    }

    /// The priority within the queue.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> NewJob {
        self.options.priority = Some(priority);
        self
    }

    /// When it may run.
    #[must_use]
    pub fn when(mut self, when: When) -> NewJob {
        self.options.when = Some(when);
        self
    }

    /// Not before `delay` has passed.
    #[must_use]
    pub fn delay(self, delay: Duration) -> NewJob {
        self.when(When::In(delay))
    }

    /// Maximum retries after the first attempt; default: 3.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> NewJob {
        self.options.max_retries = Some(retries);
        self
    }

    /// How the delay between retries grows, in place of a list of delays; default: exponential.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> NewJob {
        self.options.backoff = Some(backoff);
        self.options.retry_delays = None;
        self
    }

    /// The first delay between retries, in place of a list of delays; zero retries at once.
    #[must_use]
    pub fn retry_delay(mut self, delay: Duration) -> NewJob {
        self.options.retry_delay = Some(delay);
        self.options.retry_delays = None;
        self
    }

    /// A delay for each retry, in place of a backoff that was set before: exactly these, unless [`NewJob::jitter`] lengthens them. There are
    /// as many retries as delays, unless [`NewJob::max_retries`] says otherwise; then the last delay repeats.
    ///
    /// ```
    /// use std::time::Duration;
    /// use jobq::NewJob;
    ///
    /// let job = NewJob::new("charge").retry_delays([5, 300, 7200].map(Duration::from_secs)); // three retries
    /// # let _ = job;
    /// ```
    #[must_use]
    pub fn retry_delays(mut self, delays: impl IntoIterator<Item = Duration>) -> NewJob {
        self.options.retry_delays = Some(delays.into_iter().collect());
        self.options.backoff = None;
        self.options.retry_delay = None;
        self
    }

    /// Whether delays between retries are lengthened at random; default: they are, unless they are given as a list.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> NewJob {
        self.options.jitter = Some(jitter);
        self
    }

    /// Maximum duration of one attempt; default: that of the kind or the runner.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> NewJob {
        self.options.timeout = Some(timeout);
        self
    }

    /// Cancels the job unless an attempt has begun by this moment, or within this duration after the job
    /// was enqueued, whatever the wall clock does. A group has begun once its children may run.
    #[must_use]
    pub fn deadline(mut self, deadline: impl Into<When>) -> NewJob {
        self.options.deadline = Some(deadline.into());
        self
    }

    /// At most one job that is not final has this key; see [`NewJob::on_duplicate`] for what happens to a second.
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>) -> NewJob {
        self.options.unique = Some(UniqueKey::Named(key.into()));
        self
    }

    /// At most one job of this kind that is not final has this payload. The order of the payload's keys, its white
    /// space and its escapes do not matter; numbers are compared as they are written: `1`, `1.0` and
    /// `1e0` are three.
    #[must_use]
    pub fn unique_by_payload(mut self) -> NewJob {
        self.options.unique = Some(UniqueKey::KindAndPayload);
        self
    }

    /// The unique key stays taken for this long after the job has ended.
    #[must_use]
    pub fn unique_for(mut self, window: Duration) -> NewJob {
        self.options.unique_for = Some(window);
        self
    }

    /// What happens when the unique key is taken; default: the job that has it is kept.
    #[must_use]
    pub fn on_duplicate(mut self, on_duplicate: OnDuplicate) -> NewJob {
        self.options.on_duplicate = Some(on_duplicate);
        self
    }

    /// Runs once all of these jobs have completed. When one of them fails or is cancelled, this job is
    /// cancelled.
    #[must_use]
    pub fn after(mut self, jobs: impl IntoIterator<Item = JobId>) -> NewJob {
        self.options.after.extend(jobs.into_iter().map(JobRef::Id));
        self
    }

    /// Runs once all of these jobs are final, however they ended.
    #[must_use]
    pub fn after_any(mut self, jobs: impl IntoIterator<Item = JobId>) -> NewJob {
        self.options
            .after_any
            .extend(jobs.into_iter().map(JobRef::Id));
        self
    }

    /// Makes the job a child of this job, which must not be final and completes once all its children
    /// have. Children run when their parent's run phase is done. A parent's handler uses
    /// [`Context::spawn_child`](crate::Context::spawn_child).
    #[must_use]
    pub fn parent(mut self, parent: JobId) -> NewJob {
        self.options.parent = Some(JobRef::Id(parent));
        self.spawned_by = None;
        self
    }

    /// A child that a running attempt spawns: it runs once that attempt has completed, and is discarded
    /// if the attempt ends otherwise, so a retry adds no child twice. It cannot also run
    /// [after](NewJob::after) the attempt's job.
    #[must_use]
    pub fn spawned(mut self, parent: JobId, by: AttemptRef) -> NewJob {
        self.options.parent = Some(JobRef::Id(parent));
        self.spawned_by = Some(by);
        self
    }

    /// What a child's failure means for this job; default: it fails once all children are final.
    #[must_use]
    pub fn child_policy(mut self, policy: ChildPolicy) -> NewJob {
        self.options.child_policy = Some(policy);
        self
    }

    /// Calls the handler once more when all children are final; see
    /// [`Context::phase`](crate::Context::phase).
    #[must_use]
    pub fn finalize(mut self) -> NewJob {
        self.options.finalize = Some(true);
        self
    }

    /// The concurrency key: at most [key_limit](NewJob::key_limit) jobs with the same key run at once;
    /// the others are blocked and follow in order.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> NewJob {
        self.options.key = Some(key.into());
        self
    }

    /// How many jobs with the concurrency key run at once from now on, at most 1000; default: 1.
    #[must_use]
    pub fn key_limit(mut self, key_limit: u32) -> NewJob {
        self.options.key_limit = Some(key_limit);
        self
    }

    /// Enqueues `job` each time this one completes; see [`NewJob::on_end`].
    #[must_use]
    pub fn on_success(mut self, job: NewJob) -> NewJob {
        self.options.on_success = Some(Box::new(job));
        self
    }

    /// Enqueues `job` each time this one fails for good; see [`NewJob::on_end`].
    #[must_use]
    pub fn on_failure(mut self, job: NewJob) -> NewJob {
        self.options.on_failure = Some(Box::new(job));
        self
    }

    /// Enqueues `job` each time this one is final: completed, failed or cancelled. It is enqueued in the transaction of
    /// the end, whoever ends the job, however full its queue is; so there is exactly one for each end. It has its own
    /// retries and log, and fires no hooks.
    ///
    /// The job finds the end in [`Context::hook`](crate::Context::hook), a command in its environment as `JOBQ_HOOK_JOB`
    /// and so on. In the strings of its payload, unless it is a command, `{hook.job}` stands for the id of the job that
    /// has ended, so does each field of [`HookEvent`](crate::HookEvent) for its value, and `{hook}` alone for the whole
    /// event.
    ///
    /// ```
    /// use jobq::NewJob;
    ///
    /// let told = NewJob::new("tell").payload(&"import {hook.job} has {hook.state}");
    /// let job = NewJob::new("import").on_end(told);
    /// # let _ = job;
    /// ```
    #[must_use]
    pub fn on_end(mut self, job: NewJob) -> NewJob {
        self.options.on_end = Some(Box::new(job));
        self
    }

    /// The trace that it belongs to. Its handler finds it in [`Context::traceparent`](crate::Context::traceparent), a
    /// command in `TRACEPARENT`, and what it spawns belongs to the same trace.
    #[must_use]
    pub fn traceparent(mut self, traceparent: Traceparent) -> NewJob {
        self.options.traceparent = Some(traceparent);
        self
    }

    /// The tenant that owns the job.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> NewJob {
        self.options.tenant = Some(tenant.into());
        self
    }

    /// Adds a tag, by which jobs can be selected.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> NewJob {
        self.options.tags.insert(name.into(), value.into());
        self
    }
}

/// JSON that every reader can read.
fn checked(text: String) -> Result<String, String> {
    match json::check(&text) {
        Ok(()) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}

/// When a waiting job is due, and whether that moment was asked for or follows from a duration.
pub(crate) struct Due {
    pub(crate) run_at_ms: i64,
    pub(crate) fixed: bool,
}

impl Due {
    /// None if it is due already.
    pub(crate) fn of(when: When, now_ms: i64) -> Option<Due> {
        Some(Due::moment(when, now_ms)).filter(|due| due.run_at_ms > now_ms)
    }

    /// The same, also for a moment that has passed.
    pub(crate) fn moment(when: When, now_ms: i64) -> Due {
        let run_at_ms = match when {
            When::Now => now_ms,
            When::In(delay) => Due::after(millis(delay), now_ms),
            When::At(at) => at.as_millisecond(),
        };
        Due {
            run_at_ms,
            fixed: !matches!(when, When::In(_)),
        }
    }

    /// The moment `wait_ms` from now. The year 9999 stands for never, and still fits when a step of the clock
    /// moves it.
    pub(crate) fn after(wait_ms: i64, now_ms: i64) -> i64 {
        const NEVER_MS: i64 = 253_402_300_799_999;
        now_ms.saturating_add(wait_ms).min(NEVER_MS)
    }
}
