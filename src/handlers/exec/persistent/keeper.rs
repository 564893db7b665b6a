//! The persistent commands of this process that have no job: those that wait for one, and those that leave.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;
use crate::handlers::exec::leader::{DEFAULT_GRACE, Termination};
use crate::handlers::exec::persistent::process::PersistentProcess;

/// How long a command may take to leave once its stdin is at its end.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

/// The same, and then the time between SIGTERM and SIGKILL, where the runner ends.
const LEAVES_AT_ONCE: Duration = Duration::from_secs(1);

static KEEPER: Keeper = Keeper {
    kept: Mutex::new(KeptProcesses {
        idle: Vec::new(),
        leaving: Vec::new(),
        at_work: Vec::new(),
        has_thread: false,
        wakes_at: None,
    }),
    changed: Condvar::new(),
};

/// Ends commands that have been idle for long, and sees to it that those that are to leave do.
struct Keeper {
    kept: Mutex<KeptProcesses>,
    changed: Condvar,
}

struct KeptProcesses {
    idle: Vec<Idle>,
    leaving: Vec<Leaving>,
    /// The handlers of those that leave which the thread has in hand.
    at_work: Vec<u64>,
    has_thread: bool,
    /// When the thread looks again, while it sleeps.
    wakes_at: Option<Instant>,
}

struct Idle {
    /// Of which handler it is.
    handler: u64,
    until: Instant,
    process: PersistentProcess,
}

struct Leaving {
    /// Of which handler it is.
    handler: u64,
    process: PersistentProcess,
    /// By then it has left, or gets SIGTERM.
    by: Instant,
    termination: Termination,
}

/// Keeps a command for the next job of its handler, at most for this long.
pub(super) fn keep(handler: u64, process: PersistentProcess, idle: Duration) {
    let until = clock::after(clock::instant(), idle);
    let mut kept = KEEPER.lock();
    kept.idle.push(Idle {
        handler,
        until,
        process,
    });
    KEEPER.serve(&mut kept);
    // With short jobs this happens very often: the thread sleeps on.
    if kept.wakes_at.is_some_and(|wakes_at| until < wakes_at) {
        KEEPER.changed.notify_all();
    }
}

/// The command of this handler that has had a job last.
pub(super) fn take(handler: u64) -> Option<PersistentProcess> {
    let mut kept = KEEPER.lock();
    let at = kept.idle.iter().rposition(|idle| idle.handler == handler)?;
    Some(kept.idle.remove(at).process)
}

/// Lets a command of this handler leave by itself.
pub(super) fn let_go(handler: u64, process: PersistentProcess) {
    KEEPER.change(|kept| kept.leaving.push(Leaving::new(handler, process)));
}

/// Lets all idle commands leave: those of this handler, or of all.
pub(super) fn let_go_idle(handler: Option<u64>) {
    let is_meant = |idle: &Idle| handler.is_none_or(|handler| idle.handler == handler);
    KEEPER.change(|kept| kept.release(is_meant));
}

/// Waits until those of this handler that leave have left, and hurries them.
pub(super) fn wait_until_gone(handler: u64) {
    let by = clock::after(clock::instant(), LEAVES_AT_ONCE);
    let is_any = |kept: &mut KeptProcesses| {
        let leaving = kept.leaving.iter_mut();
        let own = leaving.filter(|leaving| leaving.handler == handler);
        let left = own.map(|leaving| leaving.hurry(by)).count();
        left > 0 || kept.at_work.contains(&handler)
    };
    let (kept, most) = (KEEPER.lock(), 3 * LEAVES_AT_ONCE);
    let _gone = KEEPER.changed.wait_timeout_while(kept, most, is_any);
}

impl Keeper {
    fn lock(&self) -> MutexGuard<'_, KeptProcesses> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is kept, and has the thread look at it.
    fn change(&'static self, change: impl FnOnce(&mut KeptProcesses)) {
        let mut kept = self.lock();
        change(&mut kept);
        self.serve(&mut kept);
        drop(kept);
        self.changed.notify_all();
    }

    /// Sees to it that there is a thread where there is something to do.
    fn serve(&'static self, kept: &mut KeptProcesses) {
        if kept.is_empty() || kept.has_thread {
            return;
        }
        let started = thread::Builder::new()
            .name("jobq-persistent".to_owned())
            .spawn(|| self.work());
        kept.has_thread = started.is_ok();
        if let Err(error) = started {
            log::error!("persistent commands are not supervised between jobs: {error}");
        }
    }

    /// Until nothing has been kept for a while.
    fn work(&self) {
        let mut kept = self.lock();
        let mut was_empty = false;
        loop {
            let now = clock::instant();
            kept.release(|idle| idle.until <= now);
            // Without the lock: a look at all processes takes its time.
            let mut leaving = std::mem::take(&mut kept.leaving);
            kept.at_work = leaving.iter().map(|leaving| leaving.handler).collect();
            drop(kept);
            leaving.retain_mut(|leaving| !leaving.has_left(now));
            kept = self.lock();
            kept.at_work.clear();
            kept.leaving.append(&mut leaving);
            self.changed.notify_all();
            let is_empty = kept.is_empty();
            if std::mem::replace(&mut was_empty, is_empty) && is_empty {
                kept.has_thread = false;
                return;
            }
            let pause = kept.leaving.iter_mut().map(Leaving::pause).min();
            let idle_until = kept.idle.iter().map(|idle| idle.until).min();
            let idle = idle_until.map(|until| until.saturating_duration_since(now));
            let wait = pause.or(idle).unwrap_or(LEAVES_WITHIN);
            kept.wakes_at = Some(clock::after(now, wait));
            let waited = self.changed.wait_timeout(kept, wait);
            kept = waited.unwrap_or_else(PoisonError::into_inner).0;
            kept.wakes_at = None;
        }
    }
}

impl KeptProcesses {
    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.leaving.is_empty()
    }

    /// Lets idle commands leave.
    fn release(&mut self, which: impl Fn(&Idle) -> bool) {
        let released = self.idle.extract_if(.., |idle| which(idle));
        self.leaving
            .extend(released.map(|idle| Leaving::new(idle.handler, idle.process)));
    }
}

impl Leaving {
    fn new(handler: u64, mut process: PersistentProcess) -> Leaving {
        process.stdin = None;
        Leaving {
            handler,
            process,
            by: clock::after(clock::instant(), LEAVES_WITHIN),
            termination: Termination::after(DEFAULT_GRACE),
        }
    }

    /// Also where it has had SIGTERM: it then has less time until SIGKILL.
    fn hurry(&mut self, by: Instant) {
        self.by = self.by.min(by);
        self.termination.shorten(LEAVES_AT_ONCE);
    }

    /// Goes on with its end; true once it is over.
    fn has_left(&mut self, now: Instant) -> bool {
        let leader = &mut self.process.leader;
        leader.look();
        if !self.termination.has_begun() {
            let is_late = !leader.has_ended && now >= self.by;
            let has_failed = leader.has_ended && !leader.is_done;
            if is_late || has_failed && !leader.remains.is_empty() {
                self.termination.begin(leader, now);
            }
        }
        self.termination.advance(leader, (now, None), false);
        let is_over = self.termination.is_over(leader);
        if is_over {
            let _nobody_asks = leader.reap();
        } else {
            self.process.skim();
        }
        is_over
    }

    fn pause(&mut self) -> Duration {
        self.termination.pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::exec::environment::Environment;
    use crate::handlers::exec::spawn::CommandSpec;

    fn deaf() -> PersistentProcess {
        let script = "trap '' TERM; echo deaf; while :; do sleep 600; done";
        let spec = CommandSpec {
            argv: ["/bin/sh", "-c", script].map(Into::into).to_vec(),
            cwd: None,
            env: Environment::inherited(),
            umask: None,
        };
        let process = PersistentProcess::start(&spec, 1).unwrap();
        let mut read = [0; 16];
        while rustix::io::read(process.pipes[0].as_ref().unwrap(), &mut read).is_err() {
            thread::yield_now();
        }
        process
    }

    #[test]
    fn a_process_that_has_had_sigterm_is_hurried_too() {
        let mut leaving = Leaving::new(1, deaf());
        let now = clock::instant();
        leaving.by = now;
        assert!(!leaving.has_left(now) && leaving.termination.has_begun());
        leaving.hurry(now + LEAVES_AT_ONCE);
        let killed = now + 3 * LEAVES_AT_ONCE;
        let until = now + Duration::from_secs(5);
        while !leaving.has_left(killed) {
            assert!(clock::instant() < until, "it still runs");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
