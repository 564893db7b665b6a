//! The commands that this process has started and not reaped, and what it has become the parent of.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::fault;
use crate::fault::Fault;
use crate::handlers::exec::environment::Environment;
use crate::handlers::exec::exit::End;
use crate::handlers::exec::launch;
use crate::handlers::exec::launch::Reaped;
use crate::handlers::exec::spawn::{CommandSpec, Started, Stdin, spawn};
use crate::runner::leftovers::{Attempts, Remains};
#[cfg(target_os = "linux")]
use crate::runner::processes::{children_of, own_pid};

/// Held for reading while a command is started and entered in the list: holding it for writing
/// means that the list is complete.
static STARTING: RwLock<()> = RwLock::new(());

/// The commands by number, with what else is known of their processes.
static RUNNING: Mutex<BTreeMap<i32, Option<Attempts>>> = Mutex::new(BTreeMap::new());

fn running() -> MutexGuard<'static, BTreeMap<i32, Option<Attempts>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A command of this process that has not been reaped: its number is its own.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    is_reaped: bool,
}

impl Child {
    /// Starts a command.
    pub(super) fn start<'a>(
        spec: &CommandSpec,
        stdin: Stdin<'a>,
    ) -> Result<(Child, Started<'a>), End> {
        let _nobody_looks = STARTING.read().unwrap_or_else(PoisonError::into_inner);
        let started = spawn(spec, stdin)?;
        let pid = started.pid;
        if fault::is_on(Fault::DiesAtStart) {
            let _nothing_returns = kill_process(getpid(), Signal::KILL);
        }
        running().insert(raw(pid), Attempts::named_by(|name| spec.env.get(name)));
        let child = Child {
            pid,
            is_reaped: false,
        };
        Ok((child, started))
    }

    /// What belongs to it.
    pub(super) fn remains(&self, environ: &Environment) -> Remains {
        Remains::of_command(self.pid, Attempts::named_by(|name| environ.get(name)))
    }

    pub(super) fn is_reaped(&self) -> bool {
        self.is_reaped
    }

    /// Waits for its end; none where that was done already.
    pub(super) fn reap(&mut self) -> Option<std::io::Result<Reaped>> {
        if std::mem::replace(&mut self.is_reaped, true) {
            return None;
        }
        let reaped = launch::reap(self.pid);
        // Afterwards: what is not in the list may be reaped by `reap_orphans`.
        running().remove(&raw(self.pid));
        Some(reaped)
    }
}

/// Makes this process the parent of whatever its commands leave behind (on Linux), as the first
/// process of a container is anyway. It is to call [`reap_orphans`] from then on, whenever a child of its
/// has ended.
///
/// For a program that is a runner and nothing else, as `jobq run` is.
///
/// # Errors
/// The system does not know that.
pub fn adopt_orphans() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Reaps what has ended of the children of this process that are not commands of its own. False where a
/// command is just being started: to be called again soon.
///
/// Not for a program that starts processes in other ways as well, as it takes their exit status.
#[must_use]
pub fn reap_orphans() -> bool {
    let Ok(_nothing_starts) = STARTING.try_write() else {
        return false;
    };
    #[cfg(target_os = "linux")]
    for pid in children_of(own_pid()) {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        if let Some(pid) = Pid::from_raw(pid).filter(|_| !running().contains_key(&pid)) {
            // One that lives on is left alone; one that is gone is another thread's.
            let _nobody_asks = waitid(WaitId::Pid(pid), options);
        }
    }
    true
}

/// Stops all commands and what they have started (SIGSTOP), calls `meanwhile`, and lets them go on. No
/// command is started meanwhile.
pub fn suspend(meanwhile: impl FnOnce()) {
    let _nothing_starts = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    signal_all(Signal::STOP);
    meanwhile();
    signal_all(Signal::CONT);
}

fn signal_all(signal: Signal) {
    let all = running().clone();
    for (pid, attempts) in all {
        if let Some(pid) = Pid::from_raw(pid) {
            Remains::of_command(pid, attempts).signal(signal);
        }
    }
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
