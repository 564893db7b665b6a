//! One command from its start to its end: one loop around poll(2), in the caller's thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::clock;
use crate::doorbell::Wake;
use crate::handlers::exec::capture::{Buffers, Capture, Stream, Watcher};
use crate::handlers::exec::children::Child;
use crate::handlers::exec::exit::{CommandEnd, End};
use crate::handlers::exec::leader::{Leader, Termination};
use crate::handlers::exec::spawn::{CommandSpec, Feed, Started, Stdin};
use crate::model::mask::Mask;
use crate::model::outcome::CancelReason;
use crate::runner::cancellation::Cancellation;

/// Maximum number of bytes written to a command's stdin at once.
const FEED_BYTES: usize = 64 * 1024;

/// A command to run, and its conditions.
pub(crate) struct Run<'a> {
    /// What to start.
    pub(crate) spec: &'a CommandSpec,
    /// Its stdin; none: `/dev/null`.
    pub(crate) stdin: Option<&'a [u8]>,
    /// Ends it.
    pub(crate) cancellation: &'a Cancellation,
    /// Ends it, too, when it has run for so long. An attempt's own timeout comes as its cancellation.
    pub(crate) timeout: Option<Duration>,
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
/// attempt in its environment, and what these have started, as [`Remains`](crate::runner::leftovers::Remains) finds them.
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
    let stdin = run.stdin.map_or(Stdin::Nothing, Stdin::Text);
    let started = match Child::start(run.spec, stdin) {
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
    let callback = run.cancellation.on_cancel_while(move || wake.ring());
    supervision.follow(watcher);
    // One that is just being called rings for the next command that takes the bell, which looks, sees that it
    // is not meant, and goes on.
    drop(callback);
    supervision.finish(watcher)
}

/// What a command needs, and the next one again, whichever worker runs it.
pub(super) struct Tools {
    pub(super) wake: Arc<Wake>,
    pub(super) buffers: Buffers,
}

impl Tools {
    pub(super) fn take() -> std::io::Result<Tools> {
        let spare = Tools::spare().pop();
        match spare {
            Some(tools) => Ok(tools),
            None => Ok(Tools {
                wake: Arc::new(Wake::new()?),
                buffers: Buffers::default(),
            }),
        }
    }

    pub(super) fn put_back(self) {
        Tools::spare().push(self);
    }

    fn spare() -> MutexGuard<'static, Vec<Tools>> {
        static SPARE: Mutex<Vec<Tools>> = Mutex::new(Vec::new());
        SPARE.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Supervision<'a> {
    leader: Leader,
    feed: Option<Feed<'a>>,
    pipes: [Option<OwnedFd>; 2],
    capture: Capture,
    wake: Arc<Wake>,
    cancellation: &'a Cancellation,
    /// When it has run for as long as it may.
    deadline: Option<Instant>,
    termination: Termination,
    /// Why it was stopped, if it was before it had ended.
    stop_reason: Option<CancelReason>,
}

/// The positions of the descriptors in a call of [`poll_all`].
pub(super) const WAKE: usize = 0;
pub(super) const LEADER: usize = 1;
pub(super) const FEED: usize = 2;
pub(super) const OUTPUT: usize = 3;

/// Sleeps until there is something to do, and says where: the bell, the command's end, its stdin, stdout and
/// stderr, as far as they are given.
pub(super) fn poll_all(
    wake: &Wake,
    [leader, feed, stdout, stderr]: [Option<BorrowedFd<'_>>; 4],
    timeout: Option<Duration>,
) -> [PollFlags; 5] {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // An entry without a descriptor gets one for which no event is asked.
    let entry = |fd: Option<_>, flags| match fd {
        Some(fd) => PollFd::from_borrowed_fd(fd, flags),
        None => PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::empty()),
    };
    let mut polled = [
        entry(Some(wake.as_fd()), PollFlags::IN),
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

impl<'a> Supervision<'a> {
    fn new(run: &Run<'a>, (child, started): (Child, Started<'a>), tools: Tools) -> Supervision<'a> {
        let now = clock::instant();
        let capture = Capture::new(tools.buffers, (run.output_limit_bytes, run.mask), now);
        Supervision {
            leader: Leader::new(child, &run.spec.env),
            feed: started.feed,
            pipes: [Some(started.stdout), Some(started.stderr)],
            capture,
            wake: tools.wake,
            cancellation: run.cancellation,
            deadline: run.timeout.map(|timeout| clock::after(now, timeout)),
            termination: Termination::after(run.grace),
            stop_reason: None,
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
        self.termination.is_over(&self.leader)
    }

    fn advance(&mut self, now: Instant, ready: &[PollFlags]) {
        if self.termination.has_begun() {
            let is_busy = !ready.iter().all(PollFlags::is_empty);
            let stop_by = self.cancellation.stop_by();
            return self
                .termination
                .advance(&mut self.leader, (now, stop_by), is_busy);
        }
        let is_out_of_time = self.deadline.is_some_and(|deadline| deadline <= now);
        let out_of_time = is_out_of_time.then_some(CancelReason::Timeout);
        let stop_reason = self.cancellation.reason().or(out_of_time);
        if stop_reason.is_some() && !self.leader.has_ended {
            // What has ended before the signal is sent has not ended because of it.
            self.leader.look();
        }
        if !self.leader.has_ended {
            self.stop_reason = stop_reason;
        }
        let has_failed = self.leader.has_ended && !self.leader.is_done;
        if self.stop_reason.is_some() || has_failed && !self.leader.remains.is_empty() {
            self.termination.begin(&mut self.leader, now);
        }
    }

    /// Unless the watcher `can_take` output, it is left in the pipes.
    fn wait(&mut self, can_take: bool) -> [PollFlags; 5] {
        let timeout = self.timeout(can_take);
        let leader = self.leader.pidfd.as_ref();
        let leader = leader.filter(|_| !self.leader.has_ended);
        let feed = self.feed.as_ref().map(|feed| &feed.pipe);
        let pipes = self.pipes.each_ref().map(Option::as_ref);
        let [stdout, stderr] = pipes.map(|pipe| pipe.filter(|_| can_take));
        let asked = [leader, feed, stdout, stderr];
        poll_all(&self.wake, asked.map(|fd| fd.map(AsFd::as_fd)), timeout)
    }

    fn timeout(&mut self, can_take: bool) -> Option<Duration> {
        let look = self.termination.next_look(self.cancellation.stop_by());
        let deadline = self
            .deadline
            .filter(|_| !self.leader.has_ended && !self.termination.has_begun());
        let until = self.capture.deadline().into_iter().chain(look);
        let until = until.chain(deadline).min();
        let wait = until.map(|until| until.saturating_duration_since(clock::instant()));
        let must_look = self.leader.has_ended || self.leader.pidfd.is_none() || !can_take;
        let pause = must_look.then(|| self.termination.pause());
        wait.into_iter().chain(pause).min()
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
            self.capture.read_rest(stream, &pipe, now, watcher);
        }
        let (last_words, buffers) = self.capture.finish(watcher);
        let (end, usage) = self.leader.reap();
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
