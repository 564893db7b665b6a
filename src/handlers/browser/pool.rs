//! The browsers of a runner: one for each program and proxy, shared by the jobs that run at the same time.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::handlers::browser::class::BrowserError;
use crate::handlers::browser::listener::BrowserListener;
use crate::handlers::browser::process::{BrowserLaunch, BrowserProcess};
use crate::runner::cancellation::lock;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

/// A browser that does not answer in this time is replaced.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long a browser may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// How often a job that waits for a start looks whether it is cancelled.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a browser is started with: jobs that want the same share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BrowserKey {
    pub(super) program: PathBuf,
    pub(super) proxy: Option<String>,
    pub(super) no_sandbox: bool,
}

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

impl Drop for BrowserShare {
    fn drop(&mut self) {
        self.0.leave();
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
            let mut state = lock(&self.state);
            if ctx.is_cancelled() {
                return Err(BrowserError::Other(Failure::cancelled()));
            }
            match state.slots.get(key) {
                Some(BrowserSlot::Starting) => {
                    let waited = self.changed.wait_timeout(state, LOOK_EVERY);
                    drop(waited.unwrap_or_else(PoisonError::into_inner));
                    continue;
                }
                Some(BrowserSlot::Ready(process)) if process.admit() => {
                    let share = BrowserShare(Arc::clone(process));
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
                _ => {}
            }
            let before = state.slots.insert(key.clone(), BrowserSlot::Starting);
            state.replaced.retain(|process| !process.has_ended());
            if let Some(BrowserSlot::Ready(process)) = before {
                state.replaced.push(process);
            }
            drop(state);
            let started = start(key, ctx);
            let mut state = lock(&self.state);
            match &started {
                Ok(share) => {
                    let ready = BrowserSlot::Ready(Arc::clone(&share.0));
                    state.slots.insert(key.clone(), ready);
                }
                Err(_) => drop(state.slots.remove(key)),
            }
            drop(state);
            self.changed.notify_all();
            return started;
        }
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
    let process = BrowserProcess::start(&BrowserLaunch {
        program: &key.program,
        proxy: key.proxy.as_deref(),
        no_sandbox: key.no_sandbox,
    });
    let program = key.program.display();
    let cannot = format!("{program} cannot be started");
    let process = process.map_err(|error| error.context(&cannot))?;
    process.admit();
    let share = BrowserShare(process);
    let is_up = answers(&share, ctx, STARTS_WITHIN);
    if is_up.is_err() {
        share.0.end("it does not start");
        share.0.join();
    }
    is_up.map_err(|error| error.context(&cannot))?;
    Ok(share)
}

fn answers(share: &BrowserShare, ctx: &Context, within: Duration) -> Result<(), BrowserError> {
    let listener = BrowserListener::new(Arc::clone(&share.0), ctx.cancellation());
    listener.ping(within)
}
