//! One attempt on its way: claimed by the dispatcher, in the channel, on a worker, reported.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::family::Stage;
use crate::model::hook::HookEvent;
use crate::model::id::JobId;
use crate::model::job::{AttemptRef, Traceparent};
use crate::model::outcome::{Budget, Ending, Usage};
use crate::model::runner_hook::RunnerHooks;
use crate::model::schedule::JobOrigin;
use crate::model::state::State;
use crate::runner::cancellation::Cancellation;
use crate::store::{AttemptMeasures, ClaimToken, ClaimedJob, Spawned};

/// A claimed job as dispatcher and worker share it.
pub(crate) struct Attempt {
    pub(crate) claim: ClaimToken,
    pub(crate) kind: Arc<str>,
    pub(crate) kind_id: i64,
    pub(crate) queue: Arc<str>,
    pub(crate) budget: Budget,
    /// None if the bytes in the file are not text.
    pub(crate) payload: Option<String>,
    pub(crate) stage: Stage,
    pub(crate) origin: Option<Box<JobOrigin>>,
    pub(crate) hook_of: Option<Box<HookEvent>>,
    pub(crate) traceparent: Option<Box<Traceparent>>,
    /// The hooks that the end of its job may fire.
    pub(crate) runner_hooks: RunnerHooks,
    pub(crate) claimed_at: Instant,
    /// No worker begins it after this.
    begin_by: Instant,
    pub(crate) cancellation: Cancellation,
    pub(crate) usage: Mutex<Usage>,
    /// The worker that runs it, or one of the two constants below.
    worker: AtomicU32,
    began_at: OnceLock<Instant>,
    /// Its worker has been recorded in the file.
    noted: AtomicBool,
    /// The state that its handler has brought the job to, in a transaction of its own.
    finished: OnceLock<State>,
}

const IN_CHANNEL: u32 = 0;
const WITHDRAWN: u32 = u32::MAX;

impl Attempt {
    /// The job as this runner has claimed it, with the names of its kind and queue, and the moments of
    /// the claim and by which it has to begin.
    pub(crate) fn new(
        (job, runner): (ClaimedJob, i64),
        (kind, queue): (Arc<str>, Arc<str>),
        (claimed_at, begin_by): (Instant, Instant),
    ) -> Attempt {
        Attempt {
            claim: job.token(runner),
            kind,
            kind_id: job.kind,
            queue,
            budget: job.budget,
            payload: job.payload,
            stage: job.stage,
            origin: job.origin,
            hook_of: job.hook_of,
            traceparent: job.traceparent,
            runner_hooks: None,
            claimed_at,
            begin_by,
            cancellation: Cancellation::default(),
            usage: Mutex::default(),
            worker: AtomicU32::new(IN_CHANNEL),
            began_at: OnceLock::new(),
            noted: AtomicBool::new(false),
            finished: OnceLock::new(),
        }
    }

    pub(crate) fn job(&self) -> JobId {
        self.claim.job
    }

    pub(crate) fn reference(&self) -> AttemptRef {
        AttemptRef {
            job: self.claim.job,
            attempt: self.claim.attempt,
        }
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, String::len)
    }

    /// A worker takes the attempt out of the channel; false if it was withdrawn meanwhile.
    pub(crate) fn begin(&self, worker: u32, now: Instant) -> bool {
        let _ = self.began_at.set(now);
        self.worker
            .compare_exchange(IN_CHANNEL, worker, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Whether the attempt has been in the channel for so long that another runner may have taken the
    /// job over, as when this process stood still. The dispatcher then gives it back, or learns that it
    /// is lost.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        now >= self.begin_by
    }

    /// The dispatcher takes the attempt back; false if a worker was faster.
    pub(crate) fn withdraw(&self) -> bool {
        self.worker
            .compare_exchange(IN_CHANNEL, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The worker that runs it, and since when.
    pub(crate) fn running_on(&self) -> Option<(u32, Instant)> {
        match self.worker.load(Ordering::Acquire) {
            IN_CHANNEL | WITHDRAWN => None,
            worker => Some((
                worker,
                self.began_at.get().copied().unwrap_or(self.claimed_at),
            )),
        }
    }

    /// True for the first caller only.
    pub(crate) fn note_once(&self) -> bool {
        !self.noted.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_noted(&self) -> bool {
        self.noted.load(Ordering::Relaxed)
    }

    /// Whether the handler has ignored cancellation for the grace time.
    pub(crate) fn is_past_grace(&self, now: Instant, grace: Duration) -> bool {
        self.running_on().is_some()
            && self
                .cancellation
                .cancelled_at()
                .is_some_and(|cancelled_at| now >= clock::after(cancelled_at, grace))
    }

    /// The handler has committed the final state of the job.
    pub(crate) fn set_finished(&self, state: State) {
        let _ = self.finished.set(state);
    }

    /// The state that the handler has committed: nothing is left to write for this attempt.
    pub(crate) fn finished(&self) -> Option<State> {
        self.finished.get().copied()
    }

    pub(crate) fn measured(&self, worker: u32, took: Duration) -> AttemptMeasures {
        let usage = self.usage();
        AttemptMeasures {
            worker: Some(worker),
            took: Some(took),
            exit_code: usage.exit_code,
            cpu_ms: usage.cpu_ms,
            max_rss_bytes: usage.max_rss_bytes,
        }
    }

    fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker sends back.
pub(crate) struct Report {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) worker: u32,
    pub(crate) ending: Ending,
    pub(crate) took: Duration,
    /// The jobs it has spawned, to be added if it has completed.
    pub(crate) spawned: Option<Box<Spawned>>,
}
