//! One command from its start to its end: one loop around poll(2), in the caller's thread.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::clock;
use crate::doorbell::Wake;
use crate::handlers::exec::capture::{Buffers, Capture, Stream, Watcher};
use crate::handlers::exec::children::Child;
use crate::handlers::exec::exit::{CommandEnd, End};
use crate::handlers::exec::spawn::{CommandSpec, Feed, Started};
use crate::model::mask::Mask;
use crate::model::outcome::CancelReason;
use crate::runner::cancellation::Cancellation;
use crate::runner::leftovers::{Leftover, Remains};

/// Default grace time of a command after SIGTERM.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// Maximum number of bytes written to a command's stdin at once.
const FEED_BYTES: usize = 64 * 1024;

/// How often to check whether a stopping command's grace time was shortened.
const CUT_SHORT_EVERY: Duration = Duration::from_millis(250);

/// A command to run, and its conditions.
pub(crate) struct Run<'a> {
    /// What to start.
    pub(crate) spec: &'a CommandSpec,
    /// Its stdin; none: `/dev/null`.
    pub(crate) stdin: Option<&'a [u8]>,
    /// Ends it.
    pub(crate) cancellation: &'a Cancellation,
    /// How long it may take to end after SIGTERM, before SIGKILL.
    pub(crate) grace: Duration,
    /// Maximum number of bytes of output that are kept, of both streams together.
    pub(crate) output_limit_bytes: usize,
    /// The secrets that it knows.
    pub(crate) mask: &'a Mask,
}

/// Runs a command to its end.
///
/// It leads a session and a process group of its own, without a controlling terminal. When it has exited
/// with 0, what it has printed until then is read, and that is all: a process that it left in the
/// background lives on, and may keep the pipes open without holding anybody up.
///
/// When it is cancelled, for whatever reason, and when it has failed, nothing of it is left running:
/// everything that belongs to it gets SIGTERM (and SIGCONT, so that a stopped one hears it), and what is
/// left after the grace time gets SIGKILL. What belongs to it is its group and session, what has its
/// attempt in its environment, and what these have started, as [`Remains`] finds them.
pub(crate) fn run(run: &Run<'_>, watcher: &mut dyn Watcher) -> CommandEnd {
    if run.cancellation.is_cancelled() {
        return CommandEnd::not_run(End::NotBegun);
    }
    let tools = match Tools::take() {
        Ok(tools) => tools,
        Err(error) => {
            return CommandEnd::not_run(End::NoRoom(format!(
                "cannot run anything just now: {error}"
            )));
        }
    };
    let started = match Child::start(run.spec, run.stdin) {
        Ok(started) => started,
        Err(end) => {
            // Its descriptor may be what another one lacks.
            if !matches!(end, End::NoRoom(_)) {
                tools.put_back();
            }
            return CommandEnd::not_run(end);
        }
    };
    let mut supervision = Supervision::new(run, started, tools);
    watcher.spawned(supervision.leader.child.pid.as_raw_nonzero().get());
    let wake = Arc::clone(&supervision.wake);
    run.cancellation.on_cancel(move || wake.ring());
    supervision.follow(watcher);
    // Frees the callback. One that is just being called rings for the next command that takes the bell,
    // which looks, sees that it is not meant, and goes on.
    run.cancellation.on_cancel(|| {});
    supervision.finish(watcher)
}

/// What a command needs, and the next one again, whichever worker runs it.
struct Tools {
    wake: Arc<Wake>,
    buffers: Buffers,
}

impl Tools {
    fn take() -> std::io::Result<Tools> {
        let spare = Tools::spare().pop();
        match spare {
            Some(tools) => Ok(tools),
            None => Ok(Tools {
                wake: Arc::new(Wake::new()?),
                buffers: Buffers::default(),
            }),
        }
    }

    fn put_back(self) {
        Tools::spare().push(self);
    }

    fn spare() -> MutexGuard<'static, Vec<Tools>> {
        static SPARE: Mutex<Vec<Tools>> = Mutex::new(Vec::new());
        SPARE.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command itself, until it is reaped. Dropped before, it takes along what belongs to it.
struct Leader {
    child: Child,
    /// Readable when the command has ended. None on systems without, which are asked again and again.
    pidfd: Option<OwnedFd>,
    has_ended: bool,
    /// It has exited with 0.
    is_done: bool,
    remains: Remains,
}

impl Leader {
    fn new(child: Child, spec: &CommandSpec) -> Leader {
        #[cfg(target_os = "linux")]
        let pidfd = {
            use rustix::process::{PidfdFlags, pidfd_open};
            pidfd_open(child.pid, PidfdFlags::empty()).ok()
        };
        #[cfg(not(target_os = "linux"))]
        let pidfd = None;
        Leader {
            remains: child.remains(&spec.env),
            child,
            pidfd,
            has_ended: false,
            is_done: false,
        }
    }

    /// Asks whether it has ended, without reaping it: as a zombie it keeps its number, so that a
    /// signal to the group can meet no other.
    fn look(&mut self) {
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
#[derive(Clone, Copy)]
enum StopStage {
    /// Not at all.
    Running,
    /// All of it has had SIGTERM; at `kill_at` what is left gets SIGKILL.
    Terminating { kill_at: Instant },
    /// Done with: the command has ended and nothing of it is left, or it has had SIGKILL.
    Settled,
}

struct Supervision<'a> {
    leader: Leader,
    feed: Option<Feed<'a>>,
    pipes: [Option<OwnedFd>; 2],
    capture: Capture,
    wake: Arc<Wake>,
    cancellation: &'a Cancellation,
    grace: Duration,
    stage: StopStage,
    /// Why it was stopped, if it was before it had ended.
    stop_reason: Option<CancelReason>,
    pause: Pause,
}

/// The time between two looks at what nothing tells of.
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

/// The positions of the descriptors in a call of poll(2).
const WAKE: usize = 0;
const LEADER: usize = 1;
const FEED: usize = 2;
const OUTPUT: usize = 3;

impl<'a> Supervision<'a> {
    fn new(run: &Run<'a>, (child, started): (Child, Started<'a>), tools: Tools) -> Supervision<'a> {
        let capture = Capture::new(
            tools.buffers,
            (run.output_limit_bytes, run.mask),
            clock::instant(),
        );
        Supervision {
            leader: Leader::new(child, run.spec),
            feed: started.feed,
            pipes: [Some(started.stdout), Some(started.stderr)],
            capture,
            wake: tools.wake,
            cancellation: run.cancellation,
            grace: run.grace,
            stage: StopStage::Running,
            stop_reason: None,
            pause: Pause(Pause::FIRST),
        }
    }

    /// Serves the pipes and the cancellation until the command has ended.
    fn follow(&mut self, watcher: &mut dyn Watcher) {
        while !self.is_over() {
            let ready = self.wait(watcher.is_ready());
            let now = clock::instant();
            if !ready[WAKE].is_empty() {
                self.wake.reset();
            }
            if !ready[FEED].is_empty() {
                self.write_stdin();
            }
            for stream in Stream::ALL {
                self.read_output(stream, ready[OUTPUT + stream as usize], now, watcher);
            }
            let may_have_ended = !ready[LEADER].is_empty() || self.leader.pidfd.is_none();
            if may_have_ended && !self.leader.has_ended {
                self.leader.look();
            }
            self.advance(now, &ready);
            self.capture.pass_due(now, watcher);
        }
    }

    /// A command that is done is over then; any other takes along what it has left.
    fn is_over(&self) -> bool {
        self.leader.has_ended && !matches!(self.stage, StopStage::Terminating { .. })
    }

    fn advance(&mut self, now: Instant, ready: &[PollFlags]) {
        match self.stage {
            StopStage::Running => {
                let stop_reason = self.cancellation.reason();
                if stop_reason.is_some() && !self.leader.has_ended {
                    // What has ended before the signal is sent has not ended because of it.
                    self.leader.look();
                }
                if !self.leader.has_ended {
                    self.stop_reason = stop_reason;
                }
                let has_failed = self.leader.has_ended && !self.leader.is_done;
                if self.stop_reason.is_some() || has_failed && !self.leader.remains.is_empty() {
                    self.leader.remains.tell_to_stop();
                    let kill_at = now + self.grace;
                    self.stage = StopStage::Terminating { kill_at };
                    self.pause = Pause(Pause::FIRST);
                }
            }
            StopStage::Terminating { kill_at } if now >= self.soonest(kill_at) => {
                self.leader.kill();
                self.stage = StopStage::Settled;
            }
            // A look at all processes is dear: none while it is busy printing.
            StopStage::Terminating { .. }
                if self.leader.has_ended && ready.iter().all(PollFlags::is_empty) =>
            {
                if self.leader.remains.is_empty() {
                    self.stage = StopStage::Settled;
                } else {
                    // It may have started something since.
                    self.leader.remains.tell_to_stop();
                }
            }
            StopStage::Terminating { .. } | StopStage::Settled => {}
        }
    }

    /// When it is killed: after its grace time, or sooner if the stop has a deadline.
    fn soonest(&self, kill_at: Instant) -> Instant {
        self.cancellation
            .stop_by()
            .map_or(kill_at, |stop_by| stop_by.min(kill_at))
    }

    /// Sleeps until there is something to do, and says where.
    ///
    /// Unless the watcher `can_take` output, it is left in the pipes.
    fn wait(&mut self, can_take: bool) -> [PollFlags; 5] {
        let timeout = self.timeout(can_take);
        let wake = self.wake.as_fd();
        let leader = self
            .leader
            .pidfd
            .as_ref()
            .filter(|_| !self.leader.has_ended);
        let feed = self.feed.as_ref().map(|feed| &feed.pipe);
        let [stdout, stderr] = self
            .pipes
            .each_ref()
            .map(|pipe| pipe.as_ref().filter(|_| can_take));
        let asked = [leader, feed, stdout, stderr];
        let [leader, feed, stdout, stderr] = asked.map(|fd| fd.map(AsFd::as_fd));
        // An entry without a descriptor gets one for which no event is asked.
        let entry = |fd: Option<_>, flags| match fd {
            Some(fd) => PollFd::from_borrowed_fd(fd, flags),
            None => PollFd::from_borrowed_fd(wake, PollFlags::empty()),
        };
        let mut polled = [
            entry(Some(wake), PollFlags::IN),
            entry(leader, PollFlags::IN),
            entry(feed, PollFlags::OUT),
            entry(stdout, PollFlags::IN),
            entry(stderr, PollFlags::IN),
        ];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => polled.map(|entry| entry.revents()),
            Err(_) => [PollFlags::empty(); 5],
        }
    }

    fn timeout(&mut self, can_take: bool) -> Option<Timespec> {
        let kill_at = match self.stage {
            // The time it has may yet be cut short, which wakes nobody.
            StopStage::Terminating { kill_at } => Some(
                self.soonest(kill_at)
                    .min(clock::instant() + CUT_SHORT_EVERY),
            ),
            StopStage::Running | StopStage::Settled => None,
        };
        let until = self.capture.deadline().into_iter().chain(kill_at).min();
        let wait = until.map(|until| until.saturating_duration_since(clock::instant()));
        let must_look = self.leader.has_ended || self.leader.pidfd.is_none() || !can_take;
        let pause = must_look.then(|| self.pause.next());
        Timespec::try_from(wait.into_iter().chain(pause).min()?).ok()
    }

    fn write_stdin(&mut self) {
        let Some(feed) = &mut self.feed else { return };
        let piece = &feed.left[..feed.left.len().min(FEED_BYTES)];
        match rustix::io::write(&feed.pipe, piece) {
            Ok(count) => feed.left = &feed.left[count..],
            Err(Errno::AGAIN | Errno::INTR) => {}
            // EPIPE: it does not want to know the rest, as is its right.
            Err(_) => feed.left = &[],
        }
        if feed.left.is_empty() {
            self.feed = None;
        }
    }

    /// One read where poll has found something: more could block.
    fn read_output(
        &mut self,
        stream: Stream,
        ready: PollFlags,
        now: Instant,
        watcher: &mut dyn Watcher,
    ) {
        let slot = &mut self.pipes[stream as usize];
        let Some(pipe) = slot else { return };
        let is_at_end = if ready.contains(PollFlags::IN) {
            !matches!(self.capture.read(stream, pipe, now, watcher), Ok(1..))
        } else {
            !ready.is_empty()
        };
        if is_at_end {
            *slot = None;
        }
    }

    /// Reads what is in the pipes at this moment, and no more, however much a process in the
    /// background goes on to write; reaps the command.
    fn finish(mut self, watcher: &mut dyn Watcher) -> CommandEnd {
        let now = clock::instant();
        for (stream, pipe) in Stream::ALL.into_iter().zip(self.pipes) {
            let Some(pipe) = pipe else { continue };
            let mut left = rustix::io::ioctl_fionread(&pipe).unwrap_or(0);
            while left > 0 {
                match self.capture.read(stream, &pipe, now, watcher) {
                    Ok(count @ 1..) => left = left.saturating_sub(count as u64),
                    _ => break,
                }
            }
        }
        let (last_words, buffers) = self.capture.finish(watcher);
        let (end, usage) = match self.leader.child.reap() {
            Some(Ok(reaped)) => (End::from(reaped.status), Some(reaped.usage)),
            Some(Err(error)) => (End::Lost(format!("its exit status is lost: {error}")), None),
            None => (End::Lost("its exit status is lost".to_owned()), None),
        };
        Tools {
            wake: self.wake,
            buffers,
        }
        .put_back();
        CommandEnd {
            end,
            usage,
            last_words,
            stop_reason: self.stop_reason,
        }
    }
}

#[cfg(test)]
mod tests;
