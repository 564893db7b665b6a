//! The process of a command, from its start until it is reaped, and how its end is brought about.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::clock;
use crate::handlers::exec::children::Child;
use crate::handlers::exec::environment::Environment;
use crate::handlers::exec::exit::{End, ResourceUsage};
use crate::runner::leftovers::{Leftover, Remains};

/// Default grace time of a command after SIGTERM.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// How often to check whether a stopping command's grace time was shortened.
const CUT_SHORT_EVERY: Duration = Duration::from_millis(250);

/// The command itself, until it is reaped. Dropped before, it takes along what belongs to it.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) child: Child,
    /// Readable when the command has ended. None on systems without, which are asked again and again.
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) has_ended: bool,
    /// It has exited with 0.
    pub(super) is_done: bool,
    pub(super) remains: Remains,
}

impl Leader {
    /// Of a command with this environment.
    pub(super) fn new(child: Child, environ: &Environment) -> Leader {
        #[cfg(target_os = "linux")]
        let pidfd = {
            use rustix::process::{PidfdFlags, pidfd_open};
            pidfd_open(child.pid, PidfdFlags::empty()).ok()
        };
        #[cfg(not(target_os = "linux"))]
        let pidfd = None;
        Leader {
            remains: child.remains(environ),
            child,
            pidfd,
            has_ended: false,
            is_done: false,
        }
    }

    /// Asks whether it has ended, without reaping it: as a zombie it keeps its number, so that a
    /// signal to the group can meet no other.
    pub(super) fn look(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.child.pid), options) {
            Ok(None) | Err(Errno::INTR) => {}
            Ok(Some(status)) => {
                self.has_ended = true;
                self.is_done = status.exit_status() == Some(0);
            }
            // ECHILD: it is gone, and somebody else has reaped it.
            Err(_) => self.has_ended = true,
        }
    }

    /// Reaps it, once it has ended.
    pub(super) fn reap(&mut self) -> (End, Option<ResourceUsage>) {
        match self.child.reap() {
            Some(Ok(reaped)) => (End::from(reaped.status), Some(reaped.usage)),
            Some(Err(error)) => (End::Lost(format!("its exit status is lost: {error}")), None),
            None => (End::Lost("its exit status is lost".to_owned()), None),
        }
    }

    fn kill(&mut self) {
        if self.remains.kill() == Leftover::Survives {
            log::error!(
                "leftover processes of {} cannot be killed",
                self.remains.name()
            );
        }
    }
}

impl Drop for Leader {
    /// Only a panic of the watcher comes here with a command that is not reaped.
    fn drop(&mut self) {
        if !self.child.is_reaped() {
            self.kill();
            let _nobody_asks = self.child.reap();
        }
    }
}

/// How far the end of a command has been brought about.
#[derive(Clone, Copy, Debug)]
enum StopStage {
    /// Not at all.
    Running,
    /// All of it has had SIGTERM; at `kill_at` what is left gets SIGKILL.
    Terminating { kill_at: Instant },
    /// Done with: the command has ended and nothing of it is left, or it has had SIGKILL.
    Settled,
}

/// Ends a command and what belongs to it: SIGTERM, and SIGKILL after the grace time.
#[derive(Debug)]
pub(super) struct Termination {
    stage: StopStage,
    grace: Duration,
    pause: Pause,
}

impl Termination {
    pub(super) fn after(grace: Duration) -> Termination {
        Termination {
            stage: StopStage::Running,
            grace,
            pause: Pause(Pause::FIRST),
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.stage, StopStage::Running)
    }

    /// Whether the command has ended, and nothing of it is still to be ended.
    pub(super) fn is_over(&self, leader: &Leader) -> bool {
        leader.has_ended && !matches!(self.stage, StopStage::Terminating { .. })
    }

    /// Less grace than it had.
    pub(super) fn shorten(&mut self, grace: Duration) {
        self.grace = self.grace.min(grace);
        if let StopStage::Terminating { kill_at } = &mut self.stage {
            *kill_at = (*kill_at).min(clock::instant() + grace);
        }
    }

    /// SIGTERM to all of it.
    pub(super) fn begin(&mut self, leader: &mut Leader, now: Instant) {
        leader.remains.tell_to_stop();
        let kill_at = now + self.grace;
        self.stage = StopStage::Terminating { kill_at };
        self.pause = Pause(Pause::FIRST);
    }

    /// Goes on with what has begun; by `stop_by` it has to be over. While the command `is_busy` printing, its
    /// processes are not looked for, which is dear.
    pub(super) fn advance(
        &mut self,
        leader: &mut Leader,
        (now, stop_by): (Instant, Option<Instant>),
        is_busy: bool,
    ) {
        match self.stage {
            StopStage::Terminating { kill_at } if now >= soonest(kill_at, stop_by) => {
                leader.kill();
                self.stage = StopStage::Settled;
            }
            StopStage::Terminating { .. } if leader.has_ended && !is_busy => {
                if leader.remains.is_empty() {
                    self.stage = StopStage::Settled;
                } else {
                    // It may have started something since.
                    leader.remains.tell_to_stop();
                }
            }
            StopStage::Running | StopStage::Terminating { .. } | StopStage::Settled => {}
        }
    }

    /// When to look again, though nothing may have happened.
    pub(super) fn next_look(&self, stop_by: Option<Instant>) -> Option<Instant> {
        match self.stage {
            // The time it has may yet be cut short, which wakes nobody.
            StopStage::Terminating { kill_at } => {
                Some(soonest(kill_at, stop_by).min(clock::instant() + CUT_SHORT_EVERY))
            }
            StopStage::Running | StopStage::Settled => None,
        }
    }

    /// The time until the next look at what nothing tells of.
    pub(super) fn pause(&mut self) -> Duration {
        self.pause.next()
    }
}

/// When it is killed: after its grace time, or sooner if the stop has a deadline.
fn soonest(kill_at: Instant, stop_by: Option<Instant>) -> Instant {
    stop_by.map_or(kill_at, |stop_by| stop_by.min(kill_at))
}

/// The time between two looks at what nothing tells of.
#[derive(Debug)]
struct Pause(Duration);

impl Pause {
    const FIRST: Duration = Duration::from_millis(1);
    const LAST: Duration = Duration::from_millis(50);

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(Pause::LAST);
        pause
    }
}
