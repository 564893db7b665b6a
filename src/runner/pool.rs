//! The fixed pool of workers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use crate::model::outcome::{Ending, Outcome, Spelled};
use crate::runner::attempt::{Attempt, Report};
use crate::runner::context::{Context, SharedContext};
use crate::runner::handler::Registry;
use crate::runner::prefetch::MAX_PREFETCH;
use crate::runner::spawn::take_spawned;
use crate::store::Spawned;
use crate::{Error, Result, clock};

/// The workers' threads and the channels to and from them.
pub(crate) struct Pool {
    shared: Arc<SharedContext>,
    jobs: Option<Sender<Arc<Attempt>>>,
    taken: Receiver<Arc<Attempt>>,
    report: Sender<Report>,
    reports: Receiver<Report>,
    slots: Vec<Slot>,
}

struct Slot {
    thread: Option<JoinHandle<()>>,
    /// Set when a fresh thread has replaced this one, which ends after its job.
    replaced: Arc<AtomicBool>,
}

impl Pool {
    pub(crate) fn start(workers: usize, shared: SharedContext) -> Result<Pool> {
        let (jobs, taken) = bounded(workers + MAX_PREFETCH);
        let (report, reports) = unbounded();
        let mut pool = Pool {
            shared: Arc::new(shared),
            jobs: Some(jobs),
            taken,
            report,
            reports,
            slots: Vec::new(),
        };
        for worker in 1..=workers {
            let slot = pool.start_worker(u32::try_from(worker).unwrap_or(u32::MAX - 1))?;
            pool.slots.push(slot);
        }
        Ok(pool)
    }

    fn start_worker(&self, worker: u32) -> Result<Slot> {
        let replaced = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&replaced);
        let (shared, taken, report) = (
            Arc::clone(&self.shared),
            self.taken.clone(),
            self.report.clone(),
        );
        let thread = thread::Builder::new()
            .name(format!("jobq-worker-{worker}"))
            .spawn(move || work(worker, &shared, (&taken, &report), &own))
            .map_err(|error| Error::no_thread("worker", error))?;
        Ok(Slot {
            thread: Some(thread),
            replaced,
        })
    }

    /// Jobs that begin from now on use these handlers.
    pub(crate) fn use_registry(&self, registry: Arc<Registry>) {
        let shared = &self.shared.registry;
        *shared.lock().unwrap_or_else(PoisonError::into_inner) = registry;
    }

    pub(crate) fn workers(&self) -> usize {
        self.slots.len()
    }

    /// Puts a claimed job into the channel; returns it if the channel is full, which the bounds on
    /// claiming rule out.
    pub(crate) fn send(&self, attempt: Arc<Attempt>) -> Result<(), Arc<Attempt>> {
        let Some(jobs) = &self.jobs else {
            return Err(attempt);
        };
        jobs.try_send(attempt).map_err(|refused| match refused {
            TrySendError::Full(attempt) | TrySendError::Disconnected(attempt) => attempt,
        })
    }

    /// How many more jobs the channel can hold. Withdrawn jobs stay in it until a worker takes them
    /// out.
    pub(crate) fn space(&self) -> usize {
        let capacity = self.taken.capacity().unwrap_or_default();
        capacity.saturating_sub(self.taken.len())
    }

    pub(crate) fn reports(&self) -> &Receiver<Report> {
        &self.reports
    }

    /// Replaces the thread of a worker that hangs. The fence refuses the old thread's late report, and
    /// the thread ends.
    pub(crate) fn replace(&mut self, worker: u32) {
        let fresh = match self.start_worker(worker) {
            Ok(fresh) => fresh,
            Err(error) => {
                return log::error!("worker {worker} hangs and cannot be replaced: {error}");
            }
        };
        if let Some(slot) = self.slots.get_mut(worker as usize - 1) {
            slot.replaced.store(true, Ordering::Release);
            *slot = fresh;
        }
    }

    /// Ends the free workers and waits for them; a worker that still runs a job is left behind.
    pub(crate) fn close(&mut self, is_busy: impl Fn(u32) -> bool) {
        self.jobs = None;
        for (worker, slot) in (1u32..).zip(&mut self.slots) {
            if let Some(thread) = slot.thread.take().filter(|_| !is_busy(worker)) {
                let _ = thread.join();
            }
        }
    }
}

fn work(
    worker: u32,
    shared: &Arc<SharedContext>,
    (taken, report): (&Receiver<Arc<Attempt>>, &Sender<Report>),
    replaced: &AtomicBool,
) {
    while let Ok(attempt) = taken.recv() {
        let began = clock::instant();
        if attempt.is_overdue(began) || !attempt.begin(worker, began) {
            continue;
        }
        let (job, number) = (attempt.job(), attempt.claim.attempt);
        let kind = &attempt.kind;
        log::info!("job {job} ({kind}): attempt {number} started on worker {worker}");
        let (ending, spawned) = run(&attempt, shared, worker);
        let (how, took) = (ending.said(), Spelled(began.elapsed()));
        log::info!("job {job} ({kind}): attempt {number} {how} after {took}");
        let finished = Report {
            attempt,
            worker,
            ending,
            took: began.elapsed(),
            spawned,
        };
        if report.send(finished).is_err() {
            return;
        }
        shared.bell.ring();
        if replaced.load(Ordering::Acquire) {
            return;
        }
    }
}

/// Runs a claimed job's handler on this thread.
pub(super) fn run(
    attempt: &Arc<Attempt>,
    shared: &SharedContext,
    worker: u32,
) -> (Ending, Option<Box<Spawned>>) {
    let reason = || attempt.cancellation.reason();
    let failed = |error: String| {
        let outcome = Outcome::Fail { error };
        (
            Ending::Returned {
                outcome,
                reason: None,
            },
            None,
        )
    };
    if attempt.payload.is_none() {
        return failed("the payload cannot be read as text: the row is damaged".to_owned());
    }
    let registry = shared.registry();
    let Some(handler) = registry.handlers.get(&*attempt.kind) else {
        return failed(format!("no handler for kind '{}'", attempt.kind));
    };
    let context = Context::new(Arc::clone(attempt), shared, worker);
    let ran = catch_unwind(AssertUnwindSafe(|| handler.run(&context)));
    context.flush();
    let ending = match ran {
        Ok(outcome) => Ending::Returned {
            outcome: context.masked_outcome(outcome),
            reason: reason(),
        },
        Err(panic) => Ending::Panicked {
            message: context.masked(panic_message(panic.as_ref())),
            reason: reason(),
        },
    };
    (ending, take_spawned(context))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
