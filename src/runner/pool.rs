//! The fixed pool of workers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use crate::doorbell::Doorbell;
use crate::model::outcome::{Ending, Outcome, Spelled};
use crate::queue::Queue;
use crate::runner::attempt::{Attempt, Report};
use crate::runner::context::Context;
use crate::runner::handler::Registry;
use crate::runner::prefetch::MAX_AHEAD;
use crate::runner::spawn::take_spawned;
use crate::store::Spawned;
use crate::{Error, Result, clock};

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) registry: Mutex<Arc<Registry>>,
    pub(crate) bell: Arc<Doorbell>,
}

impl Shared {
    /// The handlers as they are now.
    pub(super) fn registry(&self) -> Arc<Registry> {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&registry)
    }
}

/// The workers' threads and the channels to and from them.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    jobs: Option<Sender<Arc<Attempt>>>,
    taken: Receiver<Arc<Attempt>>,
    report: Sender<Report>,
    reports: Receiver<Report>,
    slots: Vec<Slot>,
}

struct Slot {
    thread: Option<JoinHandle<()>>,
    /// Set when the slot was given to a fresh thread: the old one ends after its job.
    replaced: Arc<AtomicBool>,
}

impl Pool {
    pub(crate) fn start(workers: usize, shared: Shared) -> Result<Pool> {
        let (jobs, taken) = bounded(workers + MAX_AHEAD);
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

    /// What begins from now on is done by these handlers.
    pub(crate) fn use_registry(&self, registry: Arc<Registry>) {
        let shared = &self.shared.registry;
        *shared.lock().unwrap_or_else(PoisonError::into_inner) = registry;
    }

    pub(crate) fn workers(&self) -> usize {
        self.slots.len()
    }

    /// Puts a claimed job into the channel; gives it back where the channel is full, which the
    /// bounds on claiming rule out.
    pub(crate) fn send(&self, attempt: Arc<Attempt>) -> Result<(), Arc<Attempt>> {
        let Some(jobs) = &self.jobs else {
            return Err(attempt);
        };
        jobs.try_send(attempt).map_err(|refused| match refused {
            TrySendError::Full(attempt) | TrySendError::Disconnected(attempt) => attempt,
        })
    }

    /// How many more jobs the channel can hold; those taken back are in it until a worker comes by.
    pub(crate) fn room(&self) -> usize {
        let capacity = self.taken.capacity().unwrap_or_default();
        capacity.saturating_sub(self.taken.len())
    }

    pub(crate) fn reports(&self) -> &Receiver<Report> {
        &self.reports
    }

    /// Gives the slot of a worker that hangs to a fresh thread. The old one's late report falls to
    /// the fence, and it ends.
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

    /// Ends the workers that are free and waits for them; one that still runs a job is left behind.
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
    shared: &Arc<Shared>,
    (taken, report): (&Receiver<Arc<Attempt>>, &Sender<Report>),
    replaced: &AtomicBool,
) {
    while let Ok(attempt) = taken.recv() {
        let began = clock::instant();
        if attempt.is_overdue(began) || !attempt.begin(worker, began) {
            continue;
        }
        let (job, number) = (attempt.job(), attempt.held.attempt);
        let kind = &attempt.kind;
        log::info!("job {job} ({kind}): attempt {number} started on worker {worker}");
        let (ending, spawned) = run(&attempt, shared, worker);
        let (how, took) = (ending.said(), Spelled(began.elapsed()));
        log::info!("job {job} ({kind}): attempt {number} {how} after {took}");
        let told = Report {
            attempt,
            worker,
            ending,
            took: began.elapsed(),
            spawned,
        };
        if report.send(told).is_err() {
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
    shared: &Shared,
    worker: u32,
) -> (Ending, Option<Box<Spawned>>) {
    let told = || attempt.cancellation.reason();
    let failed = |error: String| {
        let outcome = Outcome::Fail { error };
        (
            Ending::Returned {
                outcome,
                told: None,
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
            outcome,
            told: told(),
        },
        Err(panic) => Ending::Panicked {
            message: panic_message(panic.as_ref()),
            told: told(),
        },
    };
    (ending, take_spawned(context))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
