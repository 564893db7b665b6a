//! One attempt on its way: claimed by the dispatcher, in the channel, on a worker, reported.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::model::attempt::Usage;
use crate::model::family::Stage;
use crate::model::id::JobId;
use crate::model::job::AttemptRef;
use crate::model::outcome::{Budget, Ending};
use crate::model::schedule::JobOrigin;
use crate::model::state::State;
use crate::runner::cancellation::Cancellation;
use crate::store::{AttemptMeasures, ClaimToken, Spawned};

/// A claimed job as dispatcher and worker share it.
pub(crate) struct Attempt {
    pub(crate) held: ClaimToken,
    pub(crate) kind: Arc<str>,
    pub(crate) kind_id: i64,
    pub(crate) queue: Arc<str>,
    pub(crate) budget: Budget,
    /// None where the file's bytes are no text.
    pub(crate) payload: Option<String>,
    pub(crate) stage: Stage,
    pub(crate) origin: Option<Box<JobOrigin>>,
    pub(crate) claimed_at: Instant,
    begin_by: Instant,
    pub(crate) cancellation: Cancellation,
    pub(crate) usage: Mutex<Usage>,
    /// The number of the worker that runs it, or one of the two below.
    worker: AtomicU32,
    began_at: OnceLock<Instant>,
    /// Its worker has been noted in the file.
    noted: AtomicBool,
    /// Where its handler has brought the job to by itself, in a transaction of its own.
    settled: OnceLock<State>,
}

const IN_CHANNEL: u32 = 0;
const WITHDRAWN: u32 = u32::MAX;

impl Attempt {
    pub(crate) fn new(
        held: ClaimToken,
        names: (Arc<str>, Arc<str>),
        claimed: ClaimedParts,
    ) -> Attempt {
        let (kind, queue) = names;
        Attempt {
            held,
            kind,
            kind_id: claimed.kind_id,
            queue,
            budget: claimed.budget,
            payload: claimed.payload,
            stage: claimed.stage,
            origin: claimed.origin,
            claimed_at: claimed.claimed_at,
            begin_by: claimed.begin_by,
            cancellation: Cancellation::default(),
            usage: Mutex::default(),
            worker: AtomicU32::new(IN_CHANNEL),
            began_at: OnceLock::new(),
            noted: AtomicBool::new(false),
            settled: OnceLock::new(),
        }
    }

    pub(crate) fn job(&self) -> JobId {
        self.held.job
    }

    pub(crate) fn reference(&self) -> AttemptRef {
        AttemptRef {
            job: self.held.job,
            attempt: self.held.attempt,
        }
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, String::len)
    }

    /// A worker takes it out of the channel; false where it was withdrawn meanwhile.
    pub(crate) fn begin(&self, worker: u32, now: Instant) -> bool {
        let _ = self.began_at.set(now);
        self.worker
            .compare_exchange(IN_CHANNEL, worker, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Whether it has been in the channel for so long that another runner may have it by now, as when
    /// this process stood still. Then it is left for the dispatcher, which gives it back or learns that it
    /// is lost.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        now >= self.begin_by
    }

    /// The dispatcher takes it back; false where a worker was faster.
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

    /// Whether its handler was told to stop so long ago that its slot is given up.
    pub(crate) fn is_past_grace(&self, now: Instant, grace: Duration) -> bool {
        self.running_on().is_some()
            && self
                .cancellation
                .told_at()
                .is_some_and(|told_at| now >= clock::after(told_at, grace))
    }

    /// Its handler has committed what becomes of the job.
    pub(crate) fn set_settled(&self, state: State) {
        let _ = self.settled.set(state);
    }

    /// Where the job is already: nothing is left to write of this attempt, whatever it reports.
    pub(crate) fn settled(&self) -> Option<State> {
        self.settled.get().copied()
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

/// What a claim found, besides who holds it.
pub(crate) struct ClaimedParts {
    pub(crate) kind_id: i64,
    pub(crate) budget: Budget,
    pub(crate) payload: Option<String>,
    pub(crate) stage: Stage,
    pub(crate) origin: Option<Box<JobOrigin>>,
    pub(crate) claimed_at: Instant,
    /// No worker takes it up after this.
    pub(crate) begin_by: Instant,
}

/// What a worker sends back.
pub(crate) struct Report {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) worker: u32,
    pub(crate) ending: Ending,
    pub(crate) took: Duration,
    /// What it has spawned, to be added if it has completed.
    pub(crate) spawned: Option<Box<Spawned>>,
}
