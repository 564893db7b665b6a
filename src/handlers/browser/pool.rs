//! The browsers of a runner: one for each program, shared by the jobs that run at the same time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::handlers::browser::class::BrowserError;
use crate::handlers::browser::listener::BrowserListener;
use crate::handlers::browser::process::{BrowserKey, BrowserProcess};
use crate::handlers::exec::CompanionOwner;
use crate::runner::cancellation::lock;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// A browser that does not answer in this time is replaced.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long a browser may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// How often a job that waits for a start looks whether it is cancelled.
const LOOK_EVERY: Duration = Duration::from_millis(50);

enum BrowserSlot {
    /// A job starts it; others wait.
    Starting,
    Ready(Arc<BrowserProcess>),
}

/// Dropped, it ends its browsers and waits for that.
#[derive(Default)]
pub(super) struct BrowserPool {
    state: Mutex<PoolState>,
    changed: Condvar,
}

#[derive(Default)]
struct PoolState {
    slots: HashMap<BrowserKey, BrowserSlot>,
    /// They end when their last jobs have left.
    replaced: Vec<Arc<BrowserProcess>>,
}

impl fmt::Debug for BrowserPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = lock(&self.state).slots.len();
        f.debug_struct("BrowserPool")
            .field("slots", &slots)
            .finish()
    }
}

/// A job's share of a browser.
pub(super) struct BrowserShare(pub(super) Arc<BrowserProcess>);

impl BrowserShare {
    /// None when the browser takes no more jobs.
    fn of(process: &Arc<BrowserProcess>) -> Option<BrowserShare> {
        process.admit().then(|| BrowserShare(Arc::clone(process)))
    }
}

impl Drop for BrowserShare {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The slot of a browser that is being started. Dropped before it is filled, it is free again.
struct StartingSlot<'a> {
    pool: &'a BrowserPool,
    key: &'a BrowserKey,
}

impl StartingSlot<'_> {
    fn fill(self, process: Arc<BrowserProcess>) {
        let slot = BrowserSlot::Ready(process);
        lock(&self.pool.state).slots.insert(self.key.clone(), slot);
    }
}

impl Drop for StartingSlot<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.pool.state);
        if matches!(state.slots.get(self.key), Some(BrowserSlot::Starting)) {
            state.slots.remove(self.key);
        }
        drop(state);
        self.pool.changed.notify_all();
    }
}

impl BrowserPool {
    /// A share of the browser of this key, which is started where there is none.
    pub(super) fn share(
        &self,
        key: &BrowserKey,
        ctx: &Context,
    ) -> Result<BrowserShare, BrowserError> {
        loop {
            let state = lock(&self.state);
            if ctx.is_cancelled() {
                return Err(BrowserError::Other(Failure::cancelled()));
            }
            match state.slots.get(key) {
                Some(BrowserSlot::Starting) => {
                    let waited = self.changed.wait_timeout(state, LOOK_EVERY);
                    drop(waited.unwrap_or_else(PoisonError::into_inner));
                    continue;
                }
                Some(BrowserSlot::Ready(process)) => {
                    if let Some(share) = BrowserShare::of(process) {
                        drop(state);
                        match answers(&share, ctx, ANSWERS_WITHIN) {
                            Ok(()) => return Ok(share),
                            Err(BrowserError::Other(failure)) => {
                                return Err(BrowserError::Other(failure));
                            }
                            Err(_) => share.0.end("it does not answer"),
                        }
                        continue;
                    }
                }
                None => {}
            }
            let slot = self.reserve(key, state);
            let share = start(key, ctx)?;
            slot.fill(Arc::clone(&share.0));
            return Ok(share);
        }
    }

    /// Takes the slot of a browser that is to be started, from one that takes no more jobs.
    fn reserve<'a>(
        &'a self,
        key: &'a BrowserKey,
        mut state: MutexGuard<'_, PoolState>,
    ) -> StartingSlot<'a> {
        let before = state.slots.insert(key.clone(), BrowserSlot::Starting);
        state.replaced.retain(|process| !process.has_ended());
        if let Some(BrowserSlot::Ready(process)) = before {
            state.replaced.push(process);
        }
        StartingSlot { pool: self, key }
    }
}

impl Drop for BrowserPool {
    fn drop(&mut self) {
        let state = std::mem::take(&mut *lock(&self.state));
        let ready = state.slots.into_values().filter_map(|slot| match slot {
            BrowserSlot::Ready(process) => Some(process),
            BrowserSlot::Starting => None,
        });
        let all: Vec<_> = ready.chain(state.replaced).collect();
        for process in &all {
            process.end("its runner stops");
        }
        for process in all {
            process.join();
        }
    }
}

fn start(key: &BrowserKey, ctx: &Context) -> Result<BrowserShare, BrowserError> {
    let program = key.program.display();
    let cannot = |error: BrowserError| error.context(format_args!("{program} cannot be started"));
    let process = BrowserProcess::start(key, &CompanionOwner::of(ctx)).map_err(cannot)?;
    let Some(share) = BrowserShare::of(&process) else {
        process.join();
        return Err(cannot(BrowserError::browser(process.connection.why_gone())));
    };
    let discover = json!({ "discover": true });
    let command = ("Target.setDiscoverTargets", &discover);
    // A browser that has gone does not answer either.
    let _answer = share.0.connection.send(command, None, None);
    answers(&share, ctx, STARTS_WITHIN).map_err(|error| {
        share.0.end("it does not start");
        share.0.join();
        cannot(error)
    })?;
    Ok(share)
}

fn answers(share: &BrowserShare, ctx: &Context, within: Duration) -> Result<(), BrowserError> {
    let listener = BrowserListener::new(Arc::clone(&share.0), ctx.cancellation());
    listener.ping(within)
}
